#include "data/market.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/random.h"
#include "data/metrics.h"
#include "data/table.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "tests/support.h"

namespace steelyard {
namespace {

const Market& market() {
  static const Market made = make_market({});
  return made;
}

const Market& chinese() {
  static const Market made = make_market({}, Language::chinese);
  return made;
}

const Product& product_of(const Judgement& judgement) {
  return market().products[static_cast<size_t>(judgement.product)];
}
const Query& query_of(const Judgement& judgement) {
  return market().queries[static_cast<size_t>(judgement.query)];
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out(1);
  for (char c : text) {
    c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      out.back() += c;
    } else if (!out.back().empty()) {
      out.emplace_back();
    }
  }
  if (out.back().empty()) out.pop_back();
  return out;
}

int number(const std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  REQUIRE(found != names.end());
  return static_cast<int>(found - names.begin());
}

TEST_CASE("the market is of a useful size") {
  CHECK(market().categories.size() >= 60);
  CHECK(market().brands.size() >= 60);
  CHECK(market().attributes.size() >= 60);
  CHECK(market().products.size() == 3000);
  CHECK(market().train.size() == 12000);
  CHECK(market().dev.size() == 2000);
  CHECK(market().test.size() == 2000);
  CHECK(market().misspellings.size() > 300);
  CHECK(market().synonyms.size() > 100);
}

TEST_CASE("the market is a function of its seed, and the catalogue of nothing else") {
  const auto texts = [](const Market& m) {
    std::string out;
    for (const Product& p : m.products) out += p.id + p.title + std::to_string(p.cents) + "\n";
    return out;
  };
  const Market again = make_market({});
  CHECK(texts(again) == texts(market()));
  REQUIRE(again.train.size() == market().train.size());
  bool same = true;
  for (size_t i = 0; i < again.train.size(); ++i)
    same = same && again.train[i].product == market().train[i].product &&
           again.train[i].relevance == market().train[i].relevance;
  CHECK(same);
  MarketConfig other;
  other.train_queries = 10;
  CHECK(texts(make_market(other)) == texts(market()));
  other.seed = 2;
  CHECK(texts(make_market(other)) != texts(market()));
}

TEST_CASE("no query is in two parts, no product twice under a query") {
  std::map<std::string, std::set<int>> parts;
  int part = 0;
  for (const auto* judgements : {&market().train, &market().dev, &market().test}) {
    std::set<std::pair<int, int>> pairs;
    for (const Judgement& judgement : *judgements) {
      parts[query_of(judgement).text].insert(part);
      CHECK_MESSAGE(pairs.insert({judgement.query, judgement.product}).second, query_of(judgement).text);
    }
    ++part;
  }
  CHECK(parts.size() == 2000);
  for (const auto& part : parts) CHECK_MESSAGE(part.second.size() == 1, part.first);
}

TEST_CASE("relevance by hand") {
  const Market& m = market();
  Product product;
  product.category = number(m.categories, "phone");
  product.brand = 3;
  product.attributes = {number(m.attributes, "black"), number(m.attributes, "wireless")};
  const auto judged = [&](const char* category, int brand, std::vector<int> attributes) {
    return true_relevance(product, {number(m.categories, category), brand, std::move(attributes)});
  };
  const int black = number(m.attributes, "black"), red = number(m.attributes, "red"),
            oak = number(m.attributes, "oak");
  CHECK(judged("phone", -1, {}) == 3);
  CHECK(judged("phone", 3, {black}) == 3);
  CHECK(judged("phone", 4, {black}) == 2.25);
  CHECK(judged("phone", 3, {red}) == 2.5);
  CHECK(judged("phone", 4, {red}) == 1.75);
  CHECK(judged("phone", 4, {red, oak}) == 1.5);
  CHECK(judged("phone case", 3, {black}) == 1.25);
  CHECK(judged("sofa", 3, {black}) == 1);
  product.category = number(m.categories, "shower curtain");
  CHECK(judged("shower head", -1, {}) == 1.5);
}

TEST_CASE("labels are the truth plus noise of the size that was said") {
  double bias = 0, squares = 0, expected = 0;
  const double careless = MarketConfig{}.careless;
  for (const Judgement& judgement : market().train) {
    CHECK(judgement.truth == true_relevance(product_of(judgement), query_of(judgement).intent));
    CHECK(judgement.relevance >= 1);
    CHECK(judgement.relevance <= 3);
    // One rater: the two grades around the truth, or any of three. Three raters: a third of the variance.
    const double t = judgement.truth, below = std::floor(t), up = t - below;
    const double mean = (1 - careless) * t + careless * 2;
    const double square =
        (1 - careless) * ((1 - up) * below * below + up * (below + 1) * (below + 1)) + careless * 14.0 / 3;
    bias += judgement.relevance - mean;
    squares += (judgement.relevance - mean) * (judgement.relevance - mean);
    expected += (square - mean * mean) / 3;
  }
  CHECK(std::abs(bias / 12000) < 0.01);
  CHECK(squares / expected == doctest::Approx(1).epsilon(0.05));

  MarketConfig exact;
  exact.careless = 0;
  for (const Judgement& judgement : make_market(exact).dev)
    if (judgement.truth == 1 || judgement.truth == 3) CHECK(judgement.relevance == judgement.truth);
}

TEST_CASE("titles and queries say what is meant, misspelt only as listed") {
  std::map<std::string, std::string> right;
  for (const WordPair& pair : market().misspellings) {
    CHECK_MESSAGE(right.emplace(pair.word, pair.other).second, pair.word);
    CHECK(pair.word != pair.other);
  }
  std::set<std::string> vocabulary;
  for (const auto* names : {&market().categories, &market().brands, &market().attributes})
    for (const std::string& name : *names)
      for (const std::string& word : words(name)) vocabulary.insert(word);
  for (const WordPair& pair : market().synonyms)
    for (const std::string& word : words(pair.other)) vocabulary.insert(word);
  for (const std::string& word : vocabulary) CHECK_MESSAGE(!right.count(word), word);

  int misspelt = 0, unknown = 0;
  for (const Query& query : market().queries) {
    bool wrong = false;
    for (const std::string& word : words(query.text)) {
      wrong = wrong || right.count(word);
      unknown +=
          !right.count(word) && !vocabulary.count(word);  // a plural, or one of six words without meaning
    }
    misspelt += wrong;
  }
  CHECK(misspelt > 160);
  CHECK(misspelt < 300);
  CHECK(unknown < 1000);
  for (const Product& product : market().products) {
    const std::string& brand = market().brands[static_cast<size_t>(product.brand)];
    CHECK_MESSAGE(product.title.find(brand) != std::string::npos, product.title);
    CHECK(product.cents > 0);
  }
}

TEST_CASE("counting shared words ranks badly but not blindly, the truth well") {
  std::vector<double> overlap, label, truth;
  for (const Judgement& judgement : market().train) {
    const auto query = words(query_of(judgement).text), title = words(product_of(judgement).title);
    double shared = 0;
    for (const std::string& word : query)
      shared += std::find(title.begin(), title.end(), word) != title.end();
    overlap.push_back(shared / static_cast<double>(query.size()));
    label.push_back(judgement.relevance);
    truth.push_back(judgement.truth);
  }
  const double by_words = spearman(overlap, label).value(), by_truth = spearman(truth, label).value();
  CAPTURE(by_words);
  CAPTURE(by_truth);
  CHECK(by_words > 0.2);
  CHECK(by_words < 0.5);
  CHECK(by_truth > 0.85);
}

TEST_CASE("the files can be read back") {
  const test::TempDir folder;
  const Market made = write_market(folder / "new", {});
  const auto rows = [&](const char* file, std::vector<std::string> columns) {
    TableReader table((folder / "new" / file).string(), {.required = std::move(columns)});
    for (Row row; table.next(row);) continue;
    return table.rows();
  };
  CHECK(rows("catalogue.tsv", {"id", "title", "category", "brand", "price"}) == 3000);
  CHECK(rows("relevance_dev.tsv", {"query", "product", "title", "relevance"}) == 2000);
  CHECK(rows("relevance_test.tsv", {"query", "product", "title", "relevance"}) == 2000);
  CHECK(rows("misspellings.tsv", {"wrong", "right"}) == static_cast<int64_t>(made.misspellings.size()));
  CHECK(rows("synonyms.tsv", {"word", "synonym"}) == static_cast<int64_t>(made.synonyms.size()));

  TableReader train((folder / "new" / "relevance_train.tsv").string(),
                    {.required = {"query", "product", "title", "relevance"}});
  size_t i = 0;
  for (Row row; train.next(row); ++i) {
    REQUIRE(i < made.train.size());
    const Judgement& judgement = made.train[i];
    CHECK(row[0] == made.queries[static_cast<size_t>(judgement.query)].text);
    CHECK(row[1] == made.products[static_cast<size_t>(judgement.product)].id);
    CHECK(row[2] == made.products[static_cast<size_t>(judgement.product)].title);
    CHECK(row.number(3, 1, 3) == judgement.relevance);
  }
  CHECK(i == 12000);

  TableReader catalogue((folder / "new" / "catalogue.tsv").string(), {.required = {"price"}});
  Row row;
  REQUIRE(catalogue.next(row));
  CHECK(std::llround(row.number(0) * 100) == made.products[0].cents);

  test::write_file(folder / "file", "");
  test::check_fails(
      Fault::resources, [&] { write_market(folder / "file" / "x", {}); }, "cannot be created");
}

TEST_CASE("the English files are what they have always been") {
  const test::TempDir folder;
  write_market(folder.path(), {});
  const std::pair<const char*, uint64_t> files[] = {
      {"catalogue.tsv", 0x97419ac4d7dc9e72},       {"misspellings.tsv", 0xa6c8403163772bec},
      {"relevance_dev.tsv", 0xaea210eb8322de5a},   {"relevance_test.tsv", 0xf129f4237252b068},
      {"relevance_train.tsv", 0x723e6f0731d35b70}, {"synonyms.tsv", 0x1653e8d68cbf6660}};
  for (const auto& file : files)
    CHECK_MESSAGE(key_part(test::read_file(folder / file.first)) == file.second, file.first);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 6);
}

TEST_CASE("the shop is the same in Chinese: its products, and how relevant they are") {
  CHECK(chinese().train.size() == 12000);
  CHECK(chinese().dev.size() == 2000);
  CHECK(chinese().test.size() == 2000);
  CHECK(chinese().misspellings.empty());
  CHECK(chinese().synonyms.size() > 100);
  REQUIRE(chinese().products.size() == market().products.size());
  bool same = true;
  for (size_t i = 0; i < chinese().products.size(); ++i) {
    const Product &one = chinese().products[i], &other = market().products[i];
    same = same && one.id == other.id && one.category == other.category && one.brand == other.brand &&
           one.attributes == other.attributes && one.cents == other.cents;
  }
  CHECK(same);

  std::map<int, int> parts;
  int part = 0;
  for (const auto* judgements : {&chinese().train, &chinese().dev, &chinese().test}) {
    for (const Judgement& judgement : *judgements) {
      const Query& query = chinese().queries[static_cast<size_t>(judgement.query)];
      const Product& product = chinese().products[static_cast<size_t>(judgement.product)];
      CHECK(parts.emplace(judgement.query, part).first->second == part);
      CHECK(judgement.truth == true_relevance(product, query.intent));
      CHECK(std::abs(judgement.relevance - judgement.truth) <= 2);
    }
    ++part;
  }
  std::set<std::string> texts;
  for (const Query& query : chinese().queries) CHECK_MESSAGE(texts.insert(query.text).second, query.text);

  const Market again = make_market({}, Language::chinese);
  for (size_t i = 0; i < again.queries.size(); ++i)
    same = same && again.queries[i].text == chinese().queries[i].text;
  for (size_t i = 0; i < again.products.size(); ++i)
    same = same && again.products[i].title == chinese().products[i].title;
  for (size_t i = 0; i < again.train.size(); ++i)
    same = same && again.train[i].product == chinese().train[i].product &&
           again.train[i].relevance == chinese().train[i].relevance;
  CHECK(same);
}

TEST_CASE("Chinese is written without blanks and cut into the words it was made of") {
  const test::TempDir folder;
  write_market(folder.path(), {}, Language::chinese);
  const Dictionary dictionary = Dictionary::read(folder / "words_zh.txt");
  CHECK(dictionary.size() == std::ssize(chinese().words));
  const std::set<std::string, std::less<>> known(chinese().words.begin(), chinese().words.end());
  const Tokenizer tokenizer({}, &dictionary);
  Tokens tokens;
  const auto cut = [&](const std::string& text) {
    tokenizer.tokenize(text, tokens);
    return ' ' + std::string(tokens.text()) + ' ';
  };

  std::map<std::string, std::set<std::string>> wordings;  // by name, the name among them
  std::set<std::string> all;
  for (const auto* names : {&chinese().categories, &chinese().attributes, &chinese().brands})
    for (const std::string& name : *names) wordings[name].insert(name), all.insert(name);
  CHECK(all.size() == market().categories.size() + market().attributes.size() + market().brands.size());
  for (const WordPair& pair : chinese().synonyms) {
    CHECK_MESSAGE(all.insert(pair.other).second, pair.other);
    wordings.at(pair.word).insert(pair.other);
  }

  std::set<std::string> used;
  const auto says = [&](const std::string& text, const std::string& name) {
    const std::string words = cut(text);
    bool found = false;
    for (const std::string& wording : wordings.at(name))
      if (words.find(cut(wording)) != words.npos) found = true, used.insert(wording);
    return found;
  };
  const auto check_text = [&](const std::string& text, int category, int brand,
                              const std::vector<int>& attributes) {
    CAPTURE(text);
    CHECK(valid_utf8(text));
    CHECK(text.find_first_of(" \t") == text.npos);
    cut(text);
    for (int64_t i = 0; i < tokens.size(); ++i)
      CHECK((known.count(tokens[i]) == 1 ||
             tokens[i].find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == tokens[i].npos));
    CHECK(says(text, chinese().categories[static_cast<size_t>(category)]));
    if (brand >= 0) CHECK(says(text, chinese().brands[static_cast<size_t>(brand)]));
    for (const int attribute : attributes)
      CHECK(says(text, chinese().attributes[static_cast<size_t>(attribute)]));
  };
  for (const Product& product : chinese().products)
    check_text(product.title, product.category, product.brand, product.attributes);
  for (const Query& query : chinese().queries)
    check_text(query.text, query.intent.category, query.intent.brand, query.intent.attributes);
  for (const std::string& wording : all) CHECK_MESSAGE(used.count(wording) == 1, wording);
}

TEST_CASE("options out of range are refused") {
  MarketConfig config;
  config.products = 3;
  test::check_fails(
      Fault::usage, [&] { make_market(config); }, "market: products = 3; expected 500 to");
  config = {};
  config.careless = 1.5;
  test::check_fails(
      Fault::usage, [&] { make_market(config); }, "careless = 1.5; expected 0 to 1");
}

}  // namespace
}  // namespace steelyard
