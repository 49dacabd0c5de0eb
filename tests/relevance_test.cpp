// What the models of relevance promise: one score for a pair, alone or among others, from one thread or
// eight, before and after its file; explanations that add up to it to the last bit; files that are refused by
// name. Models here are small and their numbers random: nothing depends on training.
#include "nn/relevance.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include <nlohmann/json.hpp>

#include "core/fields.h"
#include "core/random.h"
#include "tests/allocation_counter.h"
#include "tests/op_table.h"
#include "tests/support.h"
#include "tools/explain.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

constexpr std::array kWords = {"shower", "faucet", "head",    "trim", "kit",   "in",    "chrome", "for",
                               "with",   "delta",  "faucets", "3",    "12ft",  "brass", "single", "handle",
                               "水",     "龙头",   "shwoer",  "é",    "black", "w",     "phone",  "case"};

// 0 … `most` words; some are made up, so that no vocabulary knows them.
std::string random_text(uint64_t key, uint64_t most) {
  std::string text;
  for (uint64_t i = 0, count = random_bits(key, 0) % (most + 1); i < count; ++i) {
    const uint64_t bits = random_bits(key, i + 1);
    text += i ? " " : "";
    text += bits % 16 == 0 ? "zq" + std::to_string(bits % 1000) : kWords[bits / 16 % kWords.size()];
  }
  return text;
}

// Every kind of model: the lexical bags, with priors, and with a text that is read, on either side and on both.
const std::vector<std::string> kModels = {"bm25",      "lexical",    "deepbow", "weighting", "expansion",
                                          "both read", "words only", "latent",  "dense"};

RelevanceConfig small(const std::string& name) {
  RelevanceConfig config;
  config.model = name == "bm25" || name == "dense" ? name : "deepbow";
  config.encoder = {.width = 4, .heads = 2, .words = 12, .max_words = 6, .max_characters = 24};
  config.bags.least_weight = 0;
  config.deepbow.priors = name != "lexical" && name != "words only";
  config.deepbow.query_encoder = name == "weighting" || name == "both read" || name == "words only";
  config.deepbow.product_encoder =
      name == "expansion" || name == "both read" || name == "words only" || name == "latent";
  if (name == "weighting") config.deepbow.product_bag = "weighting";
  if (name == "both read") config.deepbow.query_bag = "expansion";
  if (name == "words only") config.encoder.character_layers = 0, config.deepbow.gate = false;
  if (name == "latent") config.encoder.kind = name;
  config.vocabulary.buckets = 256;
  config.vocabulary.min_count = 2;
  config.bm25.mean_length = 4;
  return config;
}

Vocabulary learn(const RelevanceConfig& config, uint64_t seed = 1) {
  const Tokenizer tokenizer(config.tokenizer);
  VocabularyBuilder builder(config.vocabulary);
  Tokens tokens;
  for (int i = 0; i < 300; ++i) {
    tokenizer.tokenize(random_text(key_of(seed, "corpus", i), 8), tokens);
    builder.add(tokens);
  }
  return builder.finish();
}

// A model whose every number was drawn, as if training had been there.
Relevance random_model(const RelevanceConfig& config, uint64_t seed = 1) {
  Relevance model(config, learn(config, seed), seed);
  for (Parameter& p : model.parameters().all()) {
    uint64_t i = 0;
    for (real& value : p.buffer.host())
      value = 2 * random_uniform(key_of(seed, std::string_view(p.path)), i++) - 1;
  }
  return model;
}

struct Pair {
  std::string query, product, grade = "2";
};

std::vector<Pair> random_pairs(int count, uint64_t seed = 1) {
  std::vector<Pair> pairs;
  for (int i = 0; i < count; ++i)
    pairs.push_back({random_text(key_of(seed, "query", i), 5), random_text(key_of(seed, "product", i), 10),
                     std::to_string(1 + random_bits(key_of(seed, "grade"), static_cast<uint64_t>(i)) % 3)});
  return pairs;
}

RelevanceConfig graded(const std::string& name) {
  RelevanceConfig config = small(name);
  config.columns.low = 1;
  config.columns.high = 3;
  config.columns.positive = 2.5;
  return config;
}

std::string table_of(const std::vector<Pair>& pairs) {
  std::string table = "label\tquery\tproduct\n";
  for (const Pair& pair : pairs) table += pair.grade + "\t" + pair.query + "\t" + pair.product + "\n";
  return table;
}

// The pairs as training has them, with the file they are in.
struct EncodedPairs {
  TempDir folder;
  RowCache cache;
  PairRows rows;

  EncodedPairs(const Relevance& model, const std::vector<Pair>& pairs)
      : cache((write_file(folder / "rows.tsv", table_of(pairs)),
               model.encode_rows((folder / "rows.tsv").string(), "stop", folder / "rows.cache"))),
        rows(cache) {}
};

struct Scorer {
  const Relevance& model;
  Workspace workspace = {};
  Bag query = {}, product = {};

  double operator()(std::string_view query_text, std::string_view product_text) {
    model.encode(Side::query, query_text, query, workspace);
    model.encode(Side::product, product_text, product, workspace);
    return score(query, product);
  }
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace

// ---- scores

TEST_CASE("relevance: a pair has one score, alone and in every batch, on any number of threads") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const Relevance model = random_model(graded(name));
    const std::vector<Pair> pairs = random_pairs(name == "lexical" ? 1300 : 300);  // pieces of work
    const EncodedPairs encoded(model, pairs);
    Scorer scorer{model};
    std::vector<double> alone;
    for (const Pair& pair : pairs) alone.push_back(scorer(pair.query, pair.product));
    for (const int threads : {1, 2, 8}) {
      CAPTURE(threads);
      CHECK(same_bits(model.score_rows(encoded.rows, Workers(threads)).scores, alone));
    }
    bool equal = true;
    for (const size_t count : {1, 2, 3, 7, 31, 32, 33, 40})
      for (size_t first : {size_t{0}, size_t{5}, size_t{200}}) {
        const auto begin = pairs.begin() + static_cast<int64_t>(first);
        const EncodedPairs some(model, {begin, begin + static_cast<int64_t>(count)});
        const std::vector<double> scores = model.score_rows(some.rows, Workers(1)).scores;
        equal = equal && std::memcmp(scores.data(), &alone[first], count * sizeof(double)) == 0;
      }
    CHECK(equal);
  }
}

TEST_CASE("relevance: weights are positive, and those of a DeepBoW query sum to one") {
  for (const std::string& name : kModels) {
    if (name == "dense") continue;  // it has no words
    CAPTURE(name);
    const Relevance model = random_model(small(name));
    Workspace workspace;
    Bag bag;
    double off = 0;
    bool fits = true, positive = true;
    for (const Side side : {Side::query, Side::product})
      for (int i = 0; i < 2000; ++i) {
        model.encode(side, random_text(key_of(3, i), 9), bag, workspace);
        fits = fits && static_cast<int64_t>(bag.weights.size()) == bag.terms.size();
        double sum = 0;
        for (real weight : bag.weights) {
          positive = positive && weight > 0 && std::isfinite(weight);
          sum += static_cast<double>(weight);
        }
        if (side == Side::query && !bag.terms.empty()) off = std::max(off, std::abs(sum - 1));
      }
    CHECK(fits);
    CHECK(positive);
    if (name != "bm25" && model.config().deepbow.query_bag == "weighting") CHECK(off < 1e-6);
  }
}

TEST_CASE("relevance: whatever the text, a score is a finite number") {
  std::string megabyte;
  for (uint64_t i = 0; megabyte.size() < 1'000'000; ++i) megabyte += random_text(key_of(9, i), 9) + " ";
  std::string ten_thousand;
  for (int i = 0; i < 10'000; ++i) ten_thousand += "word" + std::to_string(i) + " ";
  const std::string unknown = "xylophone", punctuation = "?!… --- \xff\xfe ™";
  const std::vector<std::string> texts = {
      "",           " ",     punctuation, unknown, "душевая лейка", "シャワーヘッド", "دش", "shower faucet",
      ten_thousand, megabyte};
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const Relevance model = random_model(small(name));
    Scorer scorer{model};
    std::vector<Bag> queries(texts.size()), products(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      model.encode(Side::query, texts[i], queries[i], scorer.workspace);
      model.encode(Side::product, texts[i], products[i], scorer.workspace);
    }
    int64_t wrong = 0;
    for (size_t q = 0; q < texts.size(); ++q)
      for (size_t p = 0; p < texts.size(); ++p) {
        const double s = score(queries[q], products[p]), probability = model.probability(s);
        wrong += !std::isfinite(s) || !(probability >= 0 && probability <= 1);
        if (q + 1 == texts.size() || p + 1 == texts.size()) continue;  // a megabyte's page is long
        const Explanation e = explain(model, texts[q], texts[p], queries[q], products[p]);
        double sum = 0;
        for (const MatchLine& line : e.matches) sum += line.contribution;
        wrong += sum != s;
      }
    CHECK(wrong == 0);
    if (name != "bm25" && name != "lexical") continue;  // the others know more than words that match
    CHECK(scorer("", megabyte) == 0);
    CHECK(scorer("shower", punctuation) == 0);
    CHECK(scorer(unknown, unknown) > 0);  // no word is ever unknown: it has a bucket
    CHECK(scorer("shower faucet", megabyte) > 0);
  }
}

TEST_CASE("relevance: BM25 by hand") {
  RelevanceConfig config = small("bm25");
  config.vocabulary = {.word_ngrams = 1, .subword_max = 0, .across = 0, .min_count = 1, .buckets = 16};
  config.bm25.mean_length = 2.5;
  const Tokenizer tokenizer(config.tokenizer);
  VocabularyBuilder builder(config.vocabulary);
  Tokens tokens;
  for (const char* text : {"red lamp", "red shade", "blue lamp lamp", "pot"}) {
    tokenizer.tokenize(text, tokens);
    builder.add(tokens);
  }
  const Vocabulary vocabulary = builder.finish();
  const auto idf = [](double texts) { return std::log(5 / (texts + 1)) + 1; };
  const auto saturated = [](double count, double words) {
    return count * 2.2 / (count + 1.2 * (0.25 + 0.75 * words / 2.5));
  };
  const Relevance model(config, vocabulary, 1);
  Scorer scorer{model};
  CHECK(scorer("red", "red lamp") == doctest::Approx(idf(2) * saturated(1, 2)));
  CHECK(scorer("red lamp lamp", "lamp red lamp pot") ==
        doctest::Approx(idf(2) * saturated(1, 4) + 2 * idf(2) * saturated(2, 4)));
  CHECK(scorer("pot", "red lamp") == 0);

  config.bm25.normalised = true;
  const Relevance normalised(config, vocabulary, 1);
  Scorer normalised_scorer{normalised};
  CHECK(normalised_scorer("red pot", "red lamp") ==
        doctest::Approx(idf(2) / (idf(2) + idf(1)) * saturated(1, 2)));

  // A corpus of empty products has no mean length: lengths do not count then.
  config.bm25 = {.b = 0, .mean_length = 0};
  CHECK(std::isfinite(Scorer{Relevance(config, vocabulary, 1)}("red", "red lamp")));
  config.bm25.b = 0.75;
  const Relevance lengthless(config, vocabulary, 1);
  CHECK(Scorer{lengthless}("red", "red") == Scorer{lengthless}("red", "red lamp pot"));
}

TEST_CASE("relevance: a fresh DeepBoW weighs a query by idf and a product by one") {
  const RelevanceConfig config = small("deepbow");
  const Relevance model(config, learn(config), 1);
  Workspace workspace;
  Bag bag;
  model.encode(Side::product, "delta shower faucet in chrome zq7", bag, workspace);
  for (real weight : bag.weights) CHECK(weight == doctest::Approx(1).epsilon(1e-6));
  model.encode(Side::query, "shower faucets zq7", bag, workspace);
  double sum = 0;
  for (const Term& term : bag.terms.all()) sum += model.vocabulary().idf(term.id);
  for (int64_t i = 0; i < bag.terms.size(); ++i)
    CHECK(bag.weights[static_cast<size_t>(i)] ==
          doctest::Approx(model.vocabulary().idf(bag.terms[i].id) / sum).epsilon(1e-5));
}

TEST_CASE("relevance: a fresh DeepBoW likes all queries and products alike") {
  const RelevanceConfig config = small("deepbow");
  const Relevance model(config, learn(config), 1);
  Scorer scorer{model};
  CHECK(scorer("shower", "brass") == doctest::Approx(2 * std::log(2)));
  CHECK(model.probability(scorer("shower", "brass")) == doctest::Approx(1 / (1 + std::exp(1))));
  REQUIRE(scorer.query.expansion.size() == 2);
  CHECK(model.surface(scorer.query, scorer.query.terms.size()) == "(product)");
  CHECK(scorer.query.expansion[0].weight == 1);
  CHECK(model.surface(scorer.product, scorer.product.terms.size() + 1) == "(query)");
  CHECK(scorer.product.expansion[1].weight == 1);
}

TEST_CASE("relevance: a bag keeps its heaviest words and the priors, and none twice") {
  for (const std::string name : {"deepbow", "expansion", "both read"}) {
    CAPTURE(name);
    RelevanceConfig config = small(name);
    const Relevance all = random_model(config);
    config.bags = {.query_terms = 3, .product_terms = 4, .least_weight = 0.2};
    const Relevance some = random_model(config);
    const std::span<real> expected = some.parameters().find("bags/expected")->buffer.host();
    Workspace workspace;
    Bag bag, kept;
    int64_t expanded = 0, wrong = 0;
    for (const Side side : {Side::query, Side::product})
      for (int i = 0; i < 500; ++i) {
        const auto use = [&](const Bag& of, int64_t e) {
          const real share = expected[2 * static_cast<size_t>(of[e].id) + (e >= of.terms.size())];
          return side == Side::query ? of[e].weight : std::abs(of[e].weight * share);
        };
        const std::string text = random_text(key_of(3, i), 9);
        all.encode(side, text, bag, workspace);
        some.encode(side, text, kept, workspace);
        const int32_t size = some.vocabulary().size();
        std::vector<real> weights, of_kept;
        for (int64_t e = 0; e < bag.size(); ++e) {
          const bool word = bag[e].id < size;
          if (word && (e < bag.terms.size() || bag[e].weight >= real(0.2))) weights.push_back(use(bag, e));
          if (!word) wrong += kept.find(bag[e].id) < 0 || kept[kept.find(bag[e].id)].weight != bag[e].weight;
        }
        for (int64_t e = 0; e < kept.size(); ++e) {
          if (kept[e].id < size && kept[e].weight != 0) of_kept.push_back(use(kept, e));
          if (e < kept.terms.size()) continue;
          expanded += kept[e].id < size;
          wrong += kept.terms.find(kept[e].id) >= 0;
          wrong += e > kept.terms.size() && kept[e - 1].id >= kept[e].id;
        }
        std::sort(weights.begin(), weights.end(), std::greater<>());
        std::sort(of_kept.begin(), of_kept.end(), std::greater<>());
        weights.resize(std::min<size_t>(weights.size(), side == Side::query ? 3 : 4));
        wrong += weights != of_kept;
      }
    CHECK(wrong == 0);
    CHECK((expanded > 0) == (name != "deepbow"));
  }
}

TEST_CASE("relevance: of what use a term is, training pairs tell") {
  RelevanceConfig config = graded("lexical");
  config.vocabulary = {.word_ngrams = 1, .subword_max = 0, .across = 0, .min_count = 1, .buckets = 4};
  config.bags.product_terms = 2;
  VocabularyBuilder builder(config.vocabulary);
  Tokens tokens;
  for (const char* word : {"shower", "faucet", "chrome", "lamp"}) {  // of equal idf
    Tokenizer(config.tokenizer).tokenize(word, tokens);
    builder.add(tokens);
  }
  Relevance model(config, builder.finish(), 1);
  const EncodedPairs encoded(model, {{"shower", "chrome shower", "3"},
                                     {"shower faucet", "chrome shower", "2"},
                                     {"lamp", "chrome faucet", "1"}});
  model.pretrain(encoded.rows, Workers(1));
  const std::span<real> expected = model.parameters().find("bags/expected")->buffer.host();
  const auto of = [&](const char* word, size_t column) {
    return static_cast<double>(expected[2 * static_cast<size_t>(model.vocabulary().id(word)) + column]);
  };
  const double any = 10 * 1.5 / 6;  // ten pairs in which a term is as any of the six that products hold
  CHECK(of("shower", 0) == doctest::Approx((1.5 + any) / 12));
  CHECK(of("chrome", 0) == doctest::Approx(any / 13));
  CHECK(of("faucet", 0) == doctest::Approx(any / 11));
  CHECK(of("faucet", 1) == doctest::Approx(0.5 / 12));
  CHECK(of("lamp", 1) == doctest::Approx(1.0 / 13));
  Workspace workspace;
  Bag bag;
  model.encode(Side::product, "chrome faucet shower", bag, workspace);  // equal weights
  CHECK(bag[0].weight == 0);
  CHECK(bag[1].weight > 0);
  CHECK(bag[2].weight > 0);
}

TEST_CASE("relevance: scored rows say what their bags hold") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    RelevanceConfig config = graded(name);
    config.bags = {.query_terms = 5, .product_terms = 9, .least_weight = 0.2};
    const Relevance model = random_model(config);
    const std::vector<Pair> pairs = random_pairs(100);
    const EncodedPairs encoded(model, pairs);
    const auto expected = [&](Side side) {
      std::set<std::string> texts;
      for (const Pair& pair : pairs) texts.insert(side == Side::query ? pair.query : pair.product);
      std::set<int32_t> brought;
      Sparsity sparsity;
      Workspace workspace;
      Bag bag;
      for (const std::string& text : texts) {
        model.encode(side, text, bag, workspace);
        for (real weight : bag.weights) sparsity.terms += weight > real(1e-6);
        for (const Entry& entry : bag.expansion) {
          if (entry.id >= model.vocabulary().size()) continue;
          ++sparsity.expansion;
          brought.insert(entry.id);
        }
      }
      sparsity.terms /= static_cast<double>(texts.size());
      sparsity.expansion /= static_cast<double>(texts.size());
      const bool expands = name == "both read" || (side == Side::product && config.deepbow.product_encoder &&
                                                   config.deepbow.product_bag == "expansion");
      sparsity.words = expands ? config.encoder.words : 0;
      sparsity.dead = sparsity.words - std::ssize(brought);
      return sparsity;
    };
    for (const int threads : {1, 8}) {
      const ScoredRows rows = model.score_rows(encoded.rows, Workers(threads));
      for (const Side side : {Side::query, Side::product}) {
        const Sparsity& found = side == Side::query ? rows.query : rows.product;
        const Sparsity wanted = expected(side);
        CHECK(found.terms == wanted.terms);
        CHECK(found.expansion == wanted.expansion);
        CHECK(found.words == wanted.words);
        CHECK(found.dead == wanted.dead);
        CHECK((found.terms > 0) == (name != "dense"));
        CHECK((found.expansion > 0) == (wanted.words > 0));
      }
    }
  }
  const ScoredRows rows{{}, {.terms = 3}, {.terms = 4.5, .expansion = 12, .words = 100, .dead = 7}};
  CHECK(Relevance::figures(rows) ==
        std::vector<std::pair<std::string, double>>{
            {"query_terms", 3}, {"product_terms", 4.5}, {"product_expansion", 12}, {"product_dead", 7}});
}

TEST_CASE("relevance: a model that tells nothing apart has collapsed, and no other has") {
  const auto collapse = [](const std::string& name, const std::string& parameter, real value,
                           double penalty = 0, int limit = 0) {
    RelevanceConfig config = graded(name);
    config.bags.query_terms = config.bags.product_terms = limit;
    config.deepbow.query_penalty = config.deepbow.product_penalty = penalty;
    Relevance model = random_model(config);
    for (Parameter& p : model.parameters().all())
      if (p.path.ends_with(parameter)) std::ranges::fill(p.buffer.host(), value);
    const EncodedPairs encoded(model, random_pairs(50));
    const ScoredRows rows = model.score_rows(encoded.rows, Workers(1));
    for (const double score : rows.scores) CHECK(std::isfinite(score));
    return model.collapse(rows);
  };
  for (const std::string& name : kModels) CHECK(collapse(name, "nothing", 0) == "");
  constexpr real kNone = -1e6;                            // where a softplus is 0
  CHECK(collapse("lexical", "query/term", kNone) == "");  // a query's weights sum to one, whatever they are
  CHECK(collapse("deepbow", "product/term", kNone) ==     // the priors are there
        "the dev products keep no word; optimizer.rate is likely too large");
  CHECK(collapse("expansion", "product/bias", kNone, 7) ==
        "the dev products bring in no word; deepbow.product_penalty = 7 is likely too large");
  CHECK(collapse("expansion", "product/bias", kNone, 7, 20) == "");  // the limit may have left no room
  CHECK(collapse("latent", "product/bias", kNone) == "");            // texts may know of no kinship
  CHECK(collapse("latent", "product/bias", kNone, 7) ==
        "the dev products bring in no word; deepbow.product_penalty = 7 is likely too large");
  CHECK(collapse("both read", "query/bias", kNone, 8) ==
        "the dev queries bring in no word; deepbow.query_penalty = 8 is likely too large");
  CHECK(collapse("dense", "product", 0) ==
        "all 50 dev scores are 0; optimizer.rate is likely too large, or the rows share no word");
}

TEST_CASE("relevance: a word that was brought in has a source in the text") {
  for (const char* name : {"expansion", "latent"}) {
    CAPTURE(name);
    const Relevance model = random_model(small(name));
    Workspace workspace;
    Bag bag;
    std::set<int32_t> seen;
    for (int i = 0; i < 200; ++i) {
      model.encode(Side::product, "shower " + random_text(key_of(4, i), 4), bag, workspace);
      const std::vector<int32_t> sources = model.sources(Side::product, bag, workspace);
      REQUIRE(sources.size() == bag.expansion.size());
      for (size_t e = 0; e < sources.size(); ++e) {
        const bool word = bag.expansion[e].id < model.vocabulary().size();
        CHECK((word ? sources[e] >= 0 && sources[e] < bag.tokens.size() : sources[e] == -1));
        seen.insert(sources[e]);
      }
    }
    CHECK(seen.size() > 3);
    if (name == std::string("latent")) {  // only the last word has a vector
      model.encode(Side::product, "zqx zqy shower", bag, workspace);
      const std::vector<int32_t> sources = model.sources(Side::product, bag, workspace);
      CHECK(std::count(sources.begin(), sources.end(), 2) > 0);
      for (int32_t source : sources) CHECK((source == 2 || source == -1));
    }
    model.encode(Side::query, "shower", bag, workspace);
    CHECK(model.sources(Side::query, bag, workspace) == std::vector<int32_t>{-1, -1});
  }
}

// ---- places: what DeepBoW knows of a term beside its id

TEST_CASE("deepbow: places follow kind, length, distance and head") {
  const RelevanceConfig config = small("deepbow");
  const Vocabulary vocabulary = learn(config);
  Parameters parameters(cpu(), 1);
  const DeepBow model(parameters.root(), config.deepbow, config.encoder, vocabulary);
  const Tokenizer tokenizer(config.tokenizer);

  // The place of the term with this surface.
  const auto place = [&](Side side, std::string_view text, std::string_view surface) {
    Bag bag;
    tokenizer.tokenize(text, bag.tokens);
    vocabulary.terms(bag.tokens, bag.terms);
    TextColumns columns;
    model.read(side, bag, columns);
    columns.end_text();
    const Ids all = columns.places.ragged()[0];
    CHECK(std::ssize(all) == bag.terms.size());
    for (int64_t i = 0; i < bag.terms.size(); ++i)
      if (bag.terms.surface(i) == surface) return all[static_cast<size_t>(i)];
    FAIL("no term ", surface, " in ", text);
    return -1;
  };
  const auto query = [&](std::string_view text, std::string_view surface) {
    return place(Side::query, text, surface);
  };
  const auto product = [&](std::string_view text, std::string_view surface) {
    return place(Side::product, text, surface);
  };

  // A query: two words at the same distance from the last are alike if they are about as frequent.
  CHECK(query("delta shower", "shower") == query("brass shower", "shower"));
  CHECK(query("delta shower", "shower") != query("shower delta", "shower"));        // last, or not
  CHECK(query("delta shower", "shower") != query("black delta shower", "shower"));  // of two, of three
  CHECK(query("shower", "shower") != query("delta shower", "shower"));
  CHECK(query("shower head", "shower") != query("shower head", "*<sho*"));  // kinds
  CHECK(query("shower head", "shower head") != query("shower head", "head"));
  CHECK(query("shower head", "*<sh*") == query("shower head", "*how*"));
  CHECK(query("shower head", "*sho*") != query("shower head", "*show*"));   // short and long runs
  CHECK(query("shower head", "*sho*") != query("shower head", "+erhea+"));  // inside and across
  CHECK(query("zq99999", "zq") != query("shower", "shower"));

  // A product: the head is the word before the first preposition, or the last.
  const auto head = product("shower faucet", "faucet");
  CHECK(product("delta brass faucet", "faucet") == head);
  CHECK(product("trim kit in chrome", "kit") == head);
  CHECK(product("trim kit with handle", "kit") == head);
  CHECK(product("trim kit for shower", "kit") == head);
  CHECK(product("black 3 in faucet", "faucet") == head);  // an inch, no preposition
  CHECK(product("for shower", "shower") == head);         // a head needs a word before the preposition
  CHECK(product("trim kit in chrome", "trim") == product("shower faucet", "shower"));
  CHECK(product("trim kit in chrome", "chrome") != head);
  CHECK(product("shower faucet", "shower") != head);
  CHECK(product("shower faucet", "shower faucet") != head);  // a phrase at the head is no word
  // Far is far.
  CHECK(product("a b c d e f g h", "a") == product("a b c d e f g h", "b"));
}

// ---- training

namespace {

std::vector<int64_t> first_rows(int64_t count) {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) rows[static_cast<size_t>(i)] = i;
  return rows;
}

Var total(const Objective& objective) {
  const Var loss = objective.tasks[0].loss;
  return objective.regulariser.tape ? loss + objective.regulariser : loss;
}

double loss_of(const Relevance& model, const PairRows& pairs, std::span<const int64_t> rows,
               Mode mode = Mode::train) {
  Tape tape(cpu(), mode);
  tape.set_random_key(7);
  return static_cast<double>(total(model.objective(tape, pairs, rows)).value().data[0]);
}

}  // namespace

TEST_CASE("relevance: the loss is the mean cross-entropy of the calibrated scores") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    RelevanceConfig config = graded(name);
    config.deepbow.prior_penalty = 0;
    const Relevance model = random_model(config);
    const std::vector<Pair> pairs = random_pairs(60);
    const EncodedPairs encoded(model, pairs);
    Scorer scorer{model};
    std::map<std::string, double> calibration;
    for (const Parameter& p : model.parameters().all()) calibration[p.path] = p.value().data[0];
    double sum = 0;
    for (const Pair& pair : pairs) {
      const double score = scorer(pair.query, pair.product);
      const double logit =
          std::exp(calibration.at("calibration/log_scale")) * score + calibration.at("calibration/shift");
      CHECK(model.probability(score) == doctest::Approx(1 / (1 + std::exp(-logit))));
      sum += std::log1p(std::exp(logit)) - (std::stod(pair.grade) - 1) / 2 * logit;
    }
    const double loss = loss_of(model, encoded.rows, first_rows(60), Mode::score);
    CHECK(loss == doctest::Approx(sum / 60).epsilon(1e-5));
  }
}

TEST_CASE("relevance: a shard without rows is of no weight") {
  for (const std::string& name : kModels)
    for (const double negatives : {0., 0.5}) {
      CAPTURE(name);
      RelevanceConfig config = graded(name);
      config.deepbow.query_penalty = config.deepbow.product_penalty = 0.1;
      config.deepbow.negatives = negatives;
      const Relevance model = random_model(config);
      const EncodedPairs encoded(model, random_pairs(3));
      Tape tape(cpu());
      Gradients gradients(model.parameters());
      const Objective objective = model.objective(tape, encoded.rows, {});
      CHECK(objective.tasks[0].rows == 0);
      if (!objective.regulariser.tape) continue;
      CHECK(objective.regulariser.value().data[0] == 0);
      tape.backward(objective.regulariser, gradients);
      CHECK(gradients.norm() == 0);
    }
}

TEST_CASE(
    "relevance: of two goals the second is the penalty of many words, and all else stays where it was") {
  for (const double negatives : {0., 0.5})
    for (const double prior_penalty : {0., 0.3}) {
      RelevanceConfig config = graded("expansion");
      config.deepbow.product_penalty = 0.1, config.deepbow.negatives = negatives;
      config.deepbow.prior_penalty = prior_penalty;
      const Relevance model = random_model(config);
      const EncodedPairs encoded(model, random_pairs(20));
      const auto value = [](Var x) { return x.tape ? static_cast<double>(x.value().data[0]) : 0; };
      Tape tape(cpu()), same(cpu());
      tape.set_random_key(7), same.set_random_key(7);
      const Objective one = model.objective(tape, encoded.rows, first_rows(20));
      const Objective two = model.objective(same, encoded.rows, first_rows(20), 1, true);
      REQUIRE(two.tasks.size() == 2);
      CHECK(two.tasks[0].name == "relevance");
      CHECK(two.tasks[1].name == "sparsity");
      CHECK(two.tasks[1].rows == 20);
      CHECK(value(two.tasks[1].loss) > 0);
      CHECK(value(one.tasks[0].loss) == value(two.tasks[0].loss));
      CHECK(value(one.regulariser) ==
            doctest::Approx(value(two.regulariser) + value(two.tasks[1].loss)).epsilon(1e-5));
    }
  RelevanceConfig config = graded("expansion");  // nothing to make small
  config.deepbow.product_penalty = config.deepbow.query_penalty = 0;
  const Relevance model = random_model(config);
  const EncodedPairs encoded(model, random_pairs(20));
  Tape tape(cpu());
  CHECK(model.objective(tape, encoded.rows, first_rows(20), 1, true).tasks[1].rows == 0);
}

TEST_CASE("relevance: the penalty of many words grows over the first third, and negatives join it") {
  const auto regulariser = [](const RelevanceConfig& config, double progress) {
    const Relevance model = random_model(config);
    const EncodedPairs encoded(model, random_pairs(20));
    Tape tape(cpu());
    tape.set_random_key(7);
    const Objective objective = model.objective(tape, encoded.rows, first_rows(20), progress);
    return objective.regulariser.tape ? static_cast<double>(objective.regulariser.value().data[0]) : 0;
  };
  for (const std::string penalty : {"flops", "l1"}) {
    RelevanceConfig config = graded("expansion");
    config.deepbow.prior_penalty = 0, config.deepbow.product_penalty = 0.1, config.deepbow.penalty = penalty;
    const double whole = regulariser(config, 1);
    CHECK(whole > 0);
    CHECK(regulariser(config, 0) == 0);
    CHECK(regulariser(config, 1. / 6) == doctest::Approx(whole / 4).epsilon(1e-5));
    CHECK(regulariser(config, 0.34) == whole);
    config.deepbow.query_dropout = 0;  // the same keys for the words that are looked at
    const double alone = regulariser(config, 1);
    config.deepbow.negatives = 0.5;
    const double half = regulariser(config, 1) - alone;
    config.deepbow.negatives = 1;
    CHECK(half > 0);
    CHECK(regulariser(config, 1) - alone == doctest::Approx(2 * half).epsilon(1e-4));
  }
  RelevanceConfig config = graded("deepbow");
  const double once = regulariser(config, 1);
  config.deepbow.prior_penalty *= 3;
  CHECK(once > 0);
  CHECK(regulariser(config, 1) == doctest::Approx(3 * once).epsilon(1e-5));
}

#ifdef REAL_DOUBLE
namespace {

// θ ← θ + h · d
void shift(Parameters& parameters, const std::vector<std::vector<real>>& direction, real h) {
  for (Parameter& p : parameters.all()) {
    const std::vector<real>& d = direction[static_cast<size_t>(p.index)];
    for (size_t i = 0; i < d.size(); ++i) p.buffer.host()[i] += h * d[i];
  }
}

}  // namespace

// dL/dh L(θ + h·d) = ⟨∇L, d⟩ for random directions d over every number of the model.
TEST_CASE("relevance: the gradient of a whole model") {
  for (const std::string& name : kModels)
    for (const bool places : {true, false}) {
      CAPTURE(name);
      RelevanceConfig config = graded(name);
      config.deepbow.query_places = config.deepbow.product_places = places;
      config.deepbow.query_dropout = 0.3;
      config.deepbow.query_penalty = config.deepbow.product_penalty = 0.1;
      if (places) config.deepbow.penalty = "l1", config.deepbow.negatives = 0.5;
      Relevance model = random_model(config);
      const EncodedPairs encoded(model, random_pairs(80));
      const std::vector<int64_t> rows = first_rows(80);
      Tape tape(cpu());
      tape.set_random_key(7);
      Gradients gradients(model.parameters());
      tape.backward(total(model.objective(tape, encoded.rows, rows)), gradients);
      for (uint64_t seed = 1; seed <= 5; ++seed) {
        std::vector<std::vector<real>> direction;
        double analytic = 0;
        for (const Parameter& p : model.parameters().all()) {
          const std::vector<real> g = gradient(gradients, p);
          std::vector<real>& d = direction.emplace_back(g.size());
          for (size_t i = 0; i < d.size(); ++i) {
            d[i] = p.fixed ? 0 : random_normal(key_of(seed, p.index), i);
            analytic += g[i] * d[i];
          }
        }
        constexpr double h = 1e-7;  // small: log(1 + relu) has a kink
        shift(model.parameters(), direction, h);
        const double above = loss_of(model, encoded.rows, rows);
        shift(model.parameters(), direction, -2 * h);
        const double below = loss_of(model, encoded.rows, rows);
        shift(model.parameters(), direction, h);
        CHECK(analytic != 0);
        CHECK(std::abs((above - below) / (2 * h) - analytic) <= 1e-8 + 1e-6 * std::abs(analytic));
      }
    }
}
#endif

TEST_CASE("relevance: dropout leaves terms out, and never all of a query") {
  RelevanceConfig config = graded("lexical");
  config.deepbow.query_dropout = 0.98;
  const Relevance model(config, learn(config), 1);
  Parameters parameters(cpu(), 1);  // the same, without the calibration
  const DeepBow deepbow(parameters.root(), config.deepbow, config.encoder, model.vocabulary());
  std::vector<Pair> pairs;
  for (int i = 0; i < 200; ++i) {
    const std::string text = "shower " + random_text(key_of(5, i), 3);
    pairs.push_back({text, text});
  }
  pairs.push_back({"", "shower"});
  pairs.push_back({"shower faucet", "shower"});
  const EncodedPairs encoded(model, pairs);
  const auto scores_of = [&](Tape& tape) {
    const PairBatch batch = gather_pairs(tape, encoded.rows, first_rows(202), deepbow.pair_options());
    return numbers(deepbow.scores(tape, batch, 1).scores.value());
  };
  std::set<real> seen;
  for (uint64_t key = 1; key <= 20; ++key) {
    Tape tape(cpu());
    tape.set_random_key(key);
    const std::vector<real> scores = scores_of(tape);
    // All products weigh 1 at first: a query that is its own product scores Σ w = 1, whatever was left out.
    for (size_t i = 0; i < 200; ++i) CHECK(scores[i] == doctest::Approx(1).epsilon(1e-5));
    CHECK(scores[200] == 0);
    seen.insert(scores[201]);
  }
  CHECK(seen.size() > 2);  // its matched terms come and go
  Tape tape(cpu(), Mode::score);
  CHECK(scores_of(tape)[201] ==
        doctest::Approx(model.score_rows(encoded.rows, Workers(1)).scores[201]).epsilon(1e-5));
}

TEST_CASE("relevance: encoded rows are used again until anything changes") {
  const Relevance model = random_model(graded("deepbow"));
  const TempDir folder;
  const std::string table = (folder / "rows.tsv").string();
  write_file(table, table_of(random_pairs(5)));
  const auto built = [&](const Relevance& by) {  // a cache that is only found keeps its time
    const auto cache = folder / "rows.cache";
    const std::filesystem::file_time_type long_ago{};
    if (std::filesystem::exists(cache)) std::filesystem::last_write_time(cache, long_ago);
    by.encode_rows(table, "stop", cache);
    return std::filesystem::last_write_time(cache) != long_ago;
  };
  CHECK(built(model));
  CHECK_FALSE(built(model));
  write_file(table, table_of(random_pairs(6)));
  CHECK(built(model));
  RelevanceConfig config = graded("deepbow");
  const Relevance other_words(config, learn(config, 2), 1);
  CHECK(other_words.vocabulary().fingerprint() != model.vocabulary().fingerprint());
  CHECK(built(other_words));
  config.tokenizer.stem = "none";
  CHECK(built(Relevance(config, learn(config, 2), 1)));
}

TEST_CASE("relevance: rows of one query, or of one group, are ranked against each other") {
  const TempDir folder;
  const std::string table = (folder / "rows.tsv").string();
  write_file(table,
             "query\tproduct\tlabel\tweek\nb\tx\t1\t7\na\tx\t1\t7\nb\ty\t1\t8\nb\tx\tnone\t9\na\ty\t1\t10\n");
  const auto groups = [&](const std::string& column) {
    RelevanceConfig config = graded("deepbow");
    config.columns.group = column;
    const RowCache cache = random_model(config).encode_rows(table, "skip", folder / "rows.cache");
    const Ids ids = PairRows(cache).groups;
    return std::vector<int32_t>(ids.begin(), ids.end());
  };
  CHECK(groups("") == std::vector<int32_t>{0, 1, 0, 1});
  CHECK(groups("query") == std::vector<int32_t>{0, 1, 0, 1});
  CHECK(groups("week") == std::vector<int32_t>{0, 0, 1, 2});
}

TEST_CASE("relevance: metrics, and null where the data define none") {
  const Relevance model = random_model(graded("deepbow"));
  const std::vector<double> scores = {0.9, 0.8, 0.1, 0.2};
  const std::vector<float> grades = {3, 2.67f, 1, 1.33f};
  const std::vector<int32_t> groups = {5, 5, 5, 5};
  std::map<std::string, double> metrics;
  for (const auto& [name, value] : model.metrics(scores, grades, groups)) metrics[name] = value;
  CHECK(metrics.size() == 7);
  for (const char* name : {"spearman", "auc", "pr_auc", "ndcg10"})
    CHECK(metrics.at(name) == doctest::Approx(1));
  double rmse = 0;
  for (size_t i = 0; i < 4; ++i) rmse += std::pow(1 + 2 * model.probability(scores[i]) - grades[i], 2);
  CHECK(metrics.at("rmse") == doctest::Approx(std::sqrt(rmse / 4)));
  const std::vector<float> equal = {1, 1, 1, 1};
  for (const auto& [name, value] : model.metrics(scores, equal, groups))
    CHECK(std::isnan(value) == (name == "spearman" || name == "auc" || name == "pr_auc" || name == "ndcg10"));
}

// ---- serving

TEST_CASE("relevance: eight threads share a model and score without a lock or an allocation") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const Relevance model = random_model(small(name));
    const std::vector<Pair> pairs = random_pairs(400);
    Scorer scorer{model};
    std::vector<double> expected, again(pairs.size());
    for (const Pair& pair : pairs) expected.push_back(scorer(pair.query, pair.product));
    const int64_t before = allocations();
    for (size_t i = 0; i < pairs.size(); ++i) again[i] = scorer(pairs[i].query, pairs[i].product);
    CHECK(allocations() == before);
    CHECK(same_bits(again, expected));

    std::vector<std::vector<double>> scores(8, std::vector<double>(pairs.size()));
    std::vector<std::thread> threads;
    for (std::vector<double>& mine : scores)
      threads.emplace_back([&] {
        Scorer own{model};
        for (size_t i = 0; i < pairs.size(); ++i) mine[i] = own(pairs[i].query, pairs[i].product);
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::vector<double>& mine : scores) CHECK(same_bits(mine, expected));
  }
}

TEST_CASE("relevance: a million explanations add up to their scores, to the last bit") {
  constexpr int kSide = sizeof(real) == sizeof(float) ? 1000 : 200;  // of a square of pairs
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const Relevance model = random_model(small(name));
    Workspace workspace;
    std::vector<Bag> queries(kSide), products(kSide);
    std::vector<std::string> query_texts, product_texts;
    for (size_t i = 0; i < kSide; ++i) {
      query_texts.push_back(random_text(key_of(11, "query", i), 4));
      product_texts.push_back(random_text(key_of(11, "product", i), 8));
      model.encode(Side::query, query_texts[i], queries[i], workspace);
      model.encode(Side::product, product_texts[i], products[i], workspace);
    }
    const size_t stride = name == "lexical" ? 1 : 50;  // where a text is read, an explanation reads it again
    int64_t wrong = 0, matched = 0, wrong_json = 0;
    for (size_t q = 0; q < kSide; ++q)
      for (size_t p = 0; p < kSide; p += stride) {
        const Explanation e = explain(model, query_texts[q], product_texts[p], queries[q], products[p]);
        double sum = 0;
        for (const MatchLine& line : e.matches) {
          sum += line.contribution;
          wrong += line.contribution != line.query_weight * line.product_weight;
        }
        wrong += sum != e.score || e.score != score(queries[q], products[p]);
        matched += static_cast<int64_t>(e.matches.size());
        if ((q * kSide + p) % 100 != 0) continue;
        const nlohmann::json json = nlohmann::json::parse(explanation_json(e));
        double read = 0;
        for (const auto& line : json.at("matches")) {
          read += line.at("contribution").get<double>();
          wrong_json += line.at("contribution").get<double>() !=
                        line.at("query_weight").get<double>() * line.at("product_weight").get<double>();
        }
        wrong_json += read != e.score || json.at("score").get<double>() != e.score ||
                      json.at("probability").get<double>() != e.probability ||
                      json.at("matches").size() != e.matches.size();
      }
    CHECK(wrong == 0);
    CHECK(wrong_json == 0);
    CHECK(matched > static_cast<int64_t>(kSide * kSide / stride / 10));
  }
}

// ---- files

TEST_CASE("relevance: a saved model opens to the same scores and saves to the same bytes") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const TempDir folder;
    const Relevance model = random_model(graded(name));
    model.save(folder / "model.safetensors", {{"training", "{}"}});
    const Relevance opened = Relevance::open(folder.path());  // a run folder
    opened.save(folder / "again.safetensors", {{"training", opened.metadata().at("training")}});
    CHECK(read_file(folder / "model.safetensors") == read_file(folder / "again.safetensors"));
    CHECK(opened.vocabulary().fingerprint() == model.vocabulary().fingerprint());
    Scorer before{model}, after{opened};
    int64_t wrong = 0;
    for (const Pair& pair : random_pairs(500)) {
      const double score = before(pair.query, pair.product);
      wrong += score != after(pair.query, pair.product);
      wrong += model.probability(score) != opened.probability(score);
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("relevance: a model that goes on with more words scores as before what holds none of them") {
  for (const std::string& name : kModels)
    for (const int limit : {0, 5}) {
      CAPTURE(name);
      CAPTURE(limit);
      RelevanceConfig config = graded(name);
      config.encoder.words = 40;
      config.bags.least_weight = 0.01;  // more than a newer word begins with
      config.bags.query_terms = config.bags.product_terms = limit;
      const Relevance older = random_model(config);
      VocabularyBuilder builder(config.vocabulary);
      Tokens tokens;
      for (const char* text : {"shower lamp", "lamp zqlamp", "zqlamp 灯", "灯 black faucet"}) {
        Tokenizer(config.tokenizer).tokenize(text, tokens);
        builder.add(tokens);
      }
      const Relevance grown(config, builder.grow(older.vocabulary()), 2, {}, &older);
      CHECK(grown.vocabulary().id("灯") >= older.vocabulary().size());
      Scorer before{older}, after{grown};
      int64_t same = 0, compared = 0, others = 0;
      for (const Pair& pair : random_pairs(400)) {
        const double score = before(pair.query, pair.product);
        same += score == after(pair.query, pair.product);
        ++compared;
        others += before("lamp " + pair.query, pair.product + " lamp") !=
                  after("lamp " + pair.query, pair.product + " lamp");
      }
      CHECK(same == compared);
      CHECK((others > 0) == (name != "dense"));  // which reads characters
    }
}

TEST_CASE("relevance: of newer terms alone newer pairs tell the use") {
  RelevanceConfig config = graded("expansion");
  config.bags.product_terms = 3;
  const Relevance older = random_model(config);
  VocabularyBuilder builder(config.vocabulary);
  Tokens tokens;
  for (int i = 0; i < 2; ++i) {
    Tokenizer(config.tokenizer).tokenize("zqlamp", tokens);
    builder.add(tokens);
  }
  Relevance grown(config, builder.grow(older.vocabulary()), 1, {}, &older);
  const auto expected = [](const Relevance& model) {
    const std::span<real> x = model.parameters().find("bags/expected")->buffer.host();
    return std::vector<real>(x.begin(), x.end());
  };
  const EncodedPairs encoded(grown, {{"zqlamp", "shower zqlamp", "3"}, {"shower", "shower faucet", "3"}});
  grown.pretrain(encoded.rows, Workers(1));
  std::vector<real> before = expected(older), after = expected(grown);
  const auto old = static_cast<int64_t>(before.size());
  CHECK(same_bits(before, std::vector<real>(after.begin(), after.begin() + old)));
  REQUIRE(after.size() > before.size());
  CHECK(std::ranges::all_of(after.begin() + old, after.end(), [](real x) { return x >= 0 && x < 1; }));
}

TEST_CASE("relevance: a file of few bytes that claims a wide model is refused before memory is taken") {
  for (const char* name : {"expansion", "latent", "dense"}) {
    CAPTURE(name);
    const TempDir folder;
    random_model(graded(name)).save(folder / "model.safetensors", {});
    const TensorFile file(folder / "model.safetensors");
    Metadata metadata = file.metadata();
    nlohmann::json config = nlohmann::json::parse(metadata["config"]);
    config["encoder"]["width"] = 4096;
    metadata["config"] = config.dump();
    write_tensor_file(folder / "wide.safetensors", file.arrays(), metadata);
    const int64_t before = allocated_bytes();
    check_fails(
        Fault::input, [&] { Relevance::open(folder / "wide.safetensors"); }, "embedding", "4096");
    CHECK(allocated_bytes() - before < (1 << 22));
  }
}

TEST_CASE("relevance: a dictionary goes into the model's file and cuts words there") {
  RelevanceConfig config = graded("lexical");
  config.tokenizer.dictionary = "words.txt";
  const Dictionary dictionary = Dictionary::parse("手机 1000\n手机壳 3000\n红色 500\n", "words.txt");
  check_fails(
      Fault::bug, [&] { Relevance(config, learn(graded("lexical")), 1); }, "tokenizer.dictionary");
  check_fails(
      Fault::bug, [&] { Relevance(graded("lexical"), learn(graded("lexical")), 1, dictionary); },
      "dictionary");
  const TempDir folder;
  write_file(folder / "rows.tsv", "query\tproduct\tlabel\n红色手机壳\t手机壳 红色\t3\n手机\t手机红色壳\t1\n");
  const std::string table = (folder / "rows.tsv").string();
  const Corpus corpus = read_corpus(config, table, "stop", &dictionary);
  CHECK(corpus.mean_product_length == 2.5);
  const Relevance model(config, corpus.vocabulary, 1, dictionary);
  model.save(folder / "model.safetensors", {});
  const Relevance opened = Relevance::open(folder / "model.safetensors");
  Scorer before{model}, after{opened};
  CHECK(before("红色手机壳", "手机壳 红色") == after("红色手机壳", "手机壳 红色"));
  REQUIRE(after.query.tokens.size() == 2);
  CHECK(after.query.tokens[1] == "手机壳");
  CHECK(explain(opened, "手机壳", "红色手机壳", after.query, after.product).dictionary ==
        opened.dictionary());

  const TensorFile file(folder / "model.safetensors");
  std::vector<NamedArray> arrays = file.arrays();
  std::erase_if(arrays, [](const NamedArray& a) { return a.name == "dictionary/list"; });
  write_tensor_file(folder / "spoilt", arrays, file.metadata());
  check_fails(
      Fault::input, [&] { Relevance::open(folder / "spoilt"); }, "spoilt", "dictionary/list");
}

TEST_CASE("relevance: a file that is not exactly a model is refused by name") {
  const TempDir folder;
  const auto path = folder / "model.safetensors", spoilt = folder / "spoilt.safetensors";
  random_model(small("deepbow")).save(path, {});
  const TensorFile file(path);
  using Arrays = std::vector<NamedArray>;
  // The file again, with right checksums, after one change.
  const auto refuses = [&](const std::function<void(Arrays&, Metadata&)>& change, auto... parts) {
    Arrays arrays = file.arrays();
    Metadata metadata = file.metadata();
    change(arrays, metadata);
    write_tensor_file(spoilt, arrays, metadata);
    check_fails(
        Fault::input, [&] { Relevance::open(spoilt); }, spoilt.string(), std::string(parts)...);
  };
  const auto position = [](Arrays& arrays, const std::string& name) {
    return std::find_if(arrays.begin(), arrays.end(), [&](const NamedArray& a) { return a.name == name; });
  };
  const std::string place = "parameters/deepbow/product/place";

  refuses([](Arrays&, Metadata& m) { m["kind"] = "user"; }, "kind is \"user\"", "expected \"relevance\"");
  refuses([](Arrays&, Metadata& m) { m["format"] = "steelyard-model-0"; }, "steelyard-model-0");
  refuses([](Arrays&, Metadata& m) { m.erase("kind"); }, "no metadata", "kind");
  refuses([](Arrays&, Metadata& m) { m.erase("config"); }, "no metadata", "config");
  refuses([&](Arrays& a, Metadata&) { a.erase(position(a, place)); }, "no array", place);
  const float one = 1;
  refuses([&](Arrays& a,
              Metadata&) { a.push_back(NamedArray::of("parameters/deepbow/extra", std::span(&one, 1))); },
          "deepbow/extra", "not part of this model");
  refuses(
      [&](Arrays& a, Metadata&) { std::swap(position(a, place)->shape[0], position(a, place)->shape[1]); },
      place, "has shape [1,");
  const std::vector<int32_t> whole(
      static_cast<size_t>(position(const_cast<Arrays&>(file.arrays()), place)->size()));
  refuses(
      [&](Arrays& a, Metadata&) {
        position(a, place)->type = ElementType::i32;
        position(a, place)->data = whole.data();
      },
      place, "I32");
  refuses([&](Arrays& a, Metadata&) { a.erase(position(a, "vocabulary/offsets")); }, "vocabulary/offsets");

  // Configurations that no run could have had.
  const auto refuses_config = [&](const std::string& key, const std::string& value, auto... parts) {
    refuses(
        [&](Arrays&, Metadata& m) {
          nlohmann::json config = nlohmann::json::parse(m.at("config"));
          config[nlohmann::json::json_pointer(key)] = nlohmann::json::parse(value);
          m["config"] = config.dump();
        },
        parts...);
  };
  refuses([](Arrays&, Metadata& m) { m["config"] = "{"; });
  refuses([](Arrays&, Metadata& m) { m["config"] = "[]"; });
  refuses_config("/model", "\"gpt\"", "unknown model \"gpt\"", "deepbow, dense or bm25");
  refuses_config("/modle", "\"deepbow\"", "modle");
  refuses_config("/columns/query", "\"\"", "columns.query");
  refuses_config("/columns/low", "1", "columns.low");
  refuses_config("/columns/positive", "\"nan\"", "columns.positive");
  refuses_config("/tokenizer/stem", "\"french\"", "french");
  refuses_config("/vocabulary/buckets", "100", "vocabulary.buckets");
  refuses_config("/vocabulary/buckets", "512", "vocabulary/frequencies");  // not what the arrays have
  refuses_config("/deepbow/query_dropout", "1", "deepbow.query_dropout");
  refuses_config("/deepbow/query_dropout", "\"nan\"", "deepbow.query_dropout");
  refuses_config("/bm25/k1", "-1", "bm25.k1");
  refuses_config("/bm25/b", "1.5", "bm25.b");
  refuses_config("/bm25/mean_length", "\"inf\"", "bm25.mean_length");

  check_fails(
      Fault::input, [&] { Relevance::open(folder / "nothing"); }, "nothing");
}

TEST_CASE("relevance: wrong tables and options are refused by name") {
  const TempDir folder;
  const std::string table = (folder / "rows.tsv").string();
  const RelevanceConfig config = graded("deepbow");
  const Relevance model = random_model(config);
  const auto encode = [&](const std::string& content, const std::string& bad_rows = "stop") {
    write_file(table, content);
    return model.encode_rows(table, bad_rows, folder / "cache").numbers("label").size();
  };
  const std::string header = "query\tproduct\tlabel\n";
  check_fails(
      Fault::input, [&] { encode(header); }, "rows.tsv", "no rows");
  check_fails(
      Fault::input, [&] { encode("query\tlabel\na\t1\n"); }, "rows.tsv", "product");
  check_fails(
      Fault::input, [&] { encode(header + "a\tb\t4\n"); }, "rows.tsv:2:5", "label");
  check_fails(
      Fault::input, [&] { encode(header + "a\tb\tx\n"); }, "rows.tsv:2:5", "label");
  CHECK(encode(header + "a\tb\t4\na\tb\t2\n", "skip") == 1);
  check_fails(
      Fault::input, [&] { read_corpus(config, (write_file(table, header), table), "stop"); }, "no rows");
  write_file(table, header + "red lamp\tred lamp\t1\nred lamp\tred shade kit\t2\nblue\tred lamp\t3\n");
  const Corpus corpus = read_corpus(config, table, "stop");
  CHECK(corpus.vocabulary.documents() == 4);  // two queries, two products, each once
  CHECK(corpus.mean_product_length == 2.5);

  const auto refuses = [&](auto change, auto... parts) {
    RelevanceConfig wrong = config;
    change(wrong);
    check_fails(
        Fault::usage, [&] { Relevance(wrong, learn(config), 1); }, std::string(parts)...);
  };
  refuses([](RelevanceConfig& c) { c.model = "tfidf"; }, "model", "tfidf");
  refuses([](RelevanceConfig& c) { c.columns.label = ""; }, "columns.label", "empty");
  refuses([](RelevanceConfig& c) { c.columns.high = 1; }, "columns.low: 1", "columns.high = 1");
  refuses([](RelevanceConfig& c) { c.columns.positive = 4; }, "columns.positive: 4");
  refuses([](RelevanceConfig& c) { c.vocabulary.word_ngrams = 0; }, "vocabulary.word_ngrams");
  refuses([](RelevanceConfig& c) { c.deepbow.query_dropout = -0.1; }, "deepbow.query_dropout: -0.1");
  refuses([](RelevanceConfig& c) { c.bm25.k1 = NAN; }, "bm25.k1: nan");
  refuses([](RelevanceConfig& c) { c.bm25.b = NAN; }, "bm25.b: nan");
}
