#include "data/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/fields.h"
#include "tests/allocation_counter.h"
#include "tests/support.h"

namespace steelyard {
namespace {

Tokens tokenize(std::string_view text) {
  Tokens tokens;
  Tokenizer({.stem = "none", .units = false}).tokenize(text, tokens);
  return tokens;
}

Vocabulary build(const std::vector<std::string>& texts, const VocabularyConfig& config) {
  VocabularyBuilder builder(config);
  for (const auto& text : texts) builder.add(tokenize(text));
  return builder.finish();
}

std::vector<std::string> surfaces(const Terms& terms) {
  std::vector<std::string> result;
  for (int64_t i = 0; i < terms.size(); ++i) result.emplace_back(terms.surface(i));
  return result;
}

std::vector<std::string> random_texts(uint64_t seed, int count) {
  static const char* const kWords[] = {"shower", "faucet", "showers", "水",      "龙",  "1/2",
                                       "trim",   "kit",    "a",       "faucets", "zzz", "é"};
  std::mt19937_64 random(seed);
  std::vector<std::string> texts(static_cast<size_t>(count));
  for (auto& text : texts)
    for (uint64_t i = random() % 9; i > 0; --i)
      text += std::string(kWords[random() % std::size(kWords)]) + " ";
  return texts;
}

// The four arrays of a vocabulary, owned, to be spoilt one at a time.
struct Arrays {
  std::vector<uint8_t> surfaces{'a', 'b', '*', 'c', '*'};
  std::vector<int64_t> offsets{0, 1, 2, 5};
  std::vector<int32_t> frequencies{0, 9, 3, 2, 1};
  std::vector<int64_t> documents{3};

  std::vector<NamedArray> views() const {
    return {NamedArray::of<uint8_t>("vocabulary/surfaces", surfaces),
            NamedArray::of<int64_t>("vocabulary/offsets", offsets),
            NamedArray::of<int32_t>("vocabulary/frequencies", frequencies),
            NamedArray::of<int64_t>("vocabulary/documents", documents)};
  }
  Vocabulary load() const { return Vocabulary::load(views(), {.buckets = 2}); }
};

}  // namespace

TEST_CASE("vocabulary: the terms of a text, in order, with kinds and counts") {
  const Vocabulary vocabulary = build({}, {.subword_max = 3, .boundaries = false});
  Terms terms;
  vocabulary.terms(tokenize("Tap tape TAP"), terms);
  CHECK(surfaces(terms) == std::vector<std::string>{"tap", "tap tape", "+tapta+", "+aptap+", "+ptape+",
                                                    "tape", "*tap*", "*ape*", "tape tap", "+tapet+",
                                                    "+apeta+", "+petap+"});
  CHECK(terms[0].count == 2);
  CHECK(terms[0].kind == TermKind::word);
  CHECK(terms[0].word == 0);
  CHECK(terms[1].kind == TermKind::phrase);
  CHECK(terms[2].kind == TermKind::across);
  CHECK(terms[6].kind == TermKind::subword);
  CHECK(terms[6].word == 1);
  CHECK(terms[6].count == 1);
  vocabulary.terms(tokenize(""), terms);
  CHECK(terms.empty());
}

TEST_CASE("vocabulary: options switch kinds off, characters are code points") {
  Terms terms;
  build({}, {.word_ngrams = 1, .subword_max = 0, .across = 0}).terms(tokenize("shower faucet"), terms);
  CHECK(surfaces(terms) == std::vector<std::string>{"shower", "faucet"});
  build({}, {.word_ngrams = 3, .subword_max = 0, .across = 0}).terms(tokenize("a b c"), terms);
  CHECK(surfaces(terms) == std::vector<std::string>{"a", "a b", "a b c", "b", "b c", "c"});
  build({}, {.word_ngrams = 1, .subword_min = 2, .subword_max = 3, .boundaries = false, .across = 3})
      .terms(tokenize("水é éàü"), terms);
  CHECK(surfaces(terms) ==
        std::vector<std::string>{"水", "+水éé+", "é", "+ééà+", "éàü", "*éà*", "*àü*", "+éàü+"});
}

TEST_CASE("vocabulary: runs know where words begin and end, a term knows its first and its last word") {
  Terms terms;
  build({}, {.word_ngrams = 2, .subword_min = 2, .subword_max = 3, .across = 0})
      .terms(tokenize("é on é"), terms);
  CHECK(surfaces(terms) == std::vector<std::string>{"é", "*<é*", "*é>*", "é on", "on", "*<o*", "*on*", "*n>*",
                                                    "*<on*", "*on>*", "on é"});
  CHECK(terms[0].word == 0);
  CHECK(terms[0].last == 2);
  CHECK(terms[3].word == 0);
  CHECK(terms[3].last == 1);
  build({}, {.word_ngrams = 1, .subword_max = 0, .across = 4}).terms(tokenize("ab c d"), terms);
  CHECK(terms.surface(1) == "+abcd+");
  CHECK(terms[1].word == 0);
  CHECK(terms[1].last == 2);
  CHECK(terms.find(terms[1].id) == 1);
  CHECK(terms.find(-2) == -1);
}

TEST_CASE("vocabulary: entries by document frequency, the rest into buckets") {
  const VocabularyConfig config{
      .word_ngrams = 1, .subword_max = 0, .across = 0, .min_count = 2, .max_terms = 3, .buckets = 1};
  const Vocabulary v = build({"b a a", "c b a", "c d", "e d"}, config);
  REQUIRE(v.entries() == 3);  // a b c d are each in two texts; the cap drops d
  CHECK(v.surface(1) == "a");
  CHECK(v.surface(2) == "b");
  CHECK(v.surface(3) == "c");
  CHECK(v.size() == 4);
  CHECK(v.documents() == 4);
  CHECK(v.document_frequency(1) == 2);
  CHECK(v.document_frequency(0) == 3);  // d twice, e once
  CHECK(v.id("b") == 2);
  CHECK(v.id("d") == 0);
  CHECK(v.is_bucket(0));
  CHECK(v.idf(1) == doctest::Approx(std::log(5.0 / 3) + 1));
  test::check_fails(
      Fault::bug, [&] { v.surface(0); }, "id 0");
  test::check_fails(
      Fault::bug, [&] { v.idf(-1); }, "id -1");

  Terms terms;  // one bucket: d and e are one term
  v.terms(tokenize("d a e d"), terms);
  REQUIRE(surfaces(terms) == std::vector<std::string>{"d", "a"});
  CHECK(terms[0].count == 3);
  CHECK(terms[0].id == 0);

  const Vocabulary crowded = build({"a b c"}, config);  // the bucket's sum exceeds the number of texts
  CHECK(crowded.document_frequency(0) == 3);
  CHECK(crowded.idf(0) == 1);
}

TEST_CASE("vocabulary: counts agree with a slow count over maps") {
  const auto texts = random_texts(3, 400);
  VocabularyConfig config{.min_count = 5, .max_terms = 150, .buckets = 8};
  const Vocabulary v = build(texts, config);
  Terms terms;
  std::map<std::string, int32_t> expected;
  config.buckets = 1 << 20;  // wide enough that no two surfaces of this test meet
  const Vocabulary wide = build({}, config);
  for (const auto& text : texts) {
    wide.terms(tokenize(text), terms);
    for (const auto& surface : surfaces(terms)) ++expected[surface];
  }
  std::vector<std::pair<int32_t, std::string>> order;
  for (const auto& [surface, count] : expected) order.emplace_back(-count, surface);
  std::sort(order.begin(), order.end());
  REQUIRE(v.entries() == 150);
  std::vector<int32_t> buckets(8);
  for (size_t i = 0; i < order.size(); ++i) {
    const int32_t id = v.id(order[i].second);
    if (i < 150) {
      REQUIRE(id == v.buckets() + static_cast<int32_t>(i));
      REQUIRE(v.surface(id) == order[i].second);
      REQUIRE(v.document_frequency(id) == -order[i].first);
    } else {
      REQUIRE(v.is_bucket(id));
      buckets[static_cast<size_t>(id)] -= order[i].first;
    }
  }
  for (int32_t b = 0; b < 8; ++b) CHECK(v.document_frequency(b) == buckets[static_cast<size_t>(b)]);
}

TEST_CASE("vocabulary: the order of the texts does not matter, everything else does") {
  auto texts = random_texts(5, 300);
  VocabularyConfig config{.subword_max = 6, .across = 4, .min_count = 2};
  const uint64_t fingerprint = build(texts, config).fingerprint();
  std::shuffle(texts.begin(), texts.end(), std::mt19937_64(1));
  CHECK(build(texts, config).fingerprint() == fingerprint);
  const Fields options = config;
  for (const Field& option : options.all()) {
    CAPTURE(option.key);
    VocabularyConfig other = config;
    const FieldValue value = option.value();
    const bool* yes = std::get_if<bool>(&value);
    const int64_t next = option.key == "buckets" ? 1 << 10 : option.key == "max_terms" ? 10 : 5;
    Fields(other).at(option.key).set(yes ? FieldValue(!*yes) : FieldValue(next));
    CHECK(differences(other, config) == std::vector<std::string>{option.key});
    CHECK(build(texts, other).fingerprint() != fingerprint);
  }
  texts.push_back("shower");
  CHECK(build(texts, config).fingerprint() != fingerprint);
}

TEST_CASE("vocabulary: written and loaded, it is the same") {
  const auto texts = random_texts(9, 300);
  const VocabularyConfig config{.min_count = 2, .buckets = 64};
  const Vocabulary v = build(texts, config);
  const Vocabulary loaded = Vocabulary::load(v.arrays(), config);
  CHECK(loaded.fingerprint() == v.fingerprint());
  Terms a, b;
  for (const auto& text : texts) {
    v.terms(tokenize(text), a);
    loaded.terms(tokenize(text), b);
    REQUIRE(surfaces(a) == surfaces(b));
    for (int64_t i = 0; i < a.size(); ++i) REQUIRE(a[i].id == b[i].id);
  }
  for (int32_t id = v.buckets(); id < v.size(); ++id) REQUIRE(loaded.id(v.surface(id)) == id);
}

TEST_CASE("vocabulary: grown, it says of every text without a new entry what it said before") {
  const VocabularyConfig config{
      .word_ngrams = 1, .subword_max = 0, .across = 0, .min_count = 2, .max_terms = 5, .buckets = 4};
  const Vocabulary older = build({"b a", "b a", "a c"}, config);
  REQUIRE(older.entries() == 2);
  VocabularyBuilder newer(config);
  for (const char* text : {"d a", "d e", "d e a", "e d", "f g", "g f", "c"}) newer.add(tokenize(text));
  const Vocabulary grown = newer.grow(older);
  REQUIRE(grown.entries() == 5);  // d and e, and of f and g, which are as frequent, the first: max_terms
  CHECK(grown.documents() == 3);
  for (int32_t id = older.buckets(); id < older.size(); ++id) CHECK(grown.surface(id) == older.surface(id));
  for (int32_t id = 0; id < older.size(); ++id) CHECK(grown.idf(id) == older.idf(id));
  CHECK(grown.surface(older.size()) == "d");
  CHECK(grown.surface(older.size() + 1) == "e");
  CHECK(grown.surface(older.size() + 2) == "f");
  CHECK(grown.document_frequency(older.size()) == 3);  // it was in 4 texts; there are 3 documents
  CHECK(grown.document_frequency(older.size() + 1) == 3);
  for (const char* word : {"a", "b", "c", "g", "zzz"}) CHECK(grown.id(word) == older.id(word));
  CHECK(Vocabulary::load(grown.arrays(), config).fingerprint() == grown.fingerprint());
  CHECK(newer.grow(grown).fingerprint() == grown.fingerprint());
  VocabularyBuilder other({.word_ngrams = 2});
  test::check_fails(
      Fault::bug, [&] { other.grow(older); }, "other options");
}

TEST_CASE("vocabulary: the bits of bucket ids are fixed, model files depend on them") {
  const Vocabulary v = build({}, {});
  CHECK(v.size() == 131072);
  CHECK(v.id("faucet") == 9131);
  CHECK(v.id("*fau*") == 17490);
}

TEST_CASE("vocabulary: a bad array is refused by name") {
  const auto refused = [](auto spoil, const char* array, const char* why) {
    Arrays arrays;
    spoil(arrays);
    test::check_fails(
        Fault::input, [&] { arrays.load(); }, array, why);
  };
  CHECK(Arrays().load().entries() == 3);
  const char* surfaces = "vocabulary/surfaces";
  const char* offsets = "vocabulary/offsets";
  const char* frequencies = "vocabulary/frequencies";
  const char* documents = "vocabulary/documents";
  refused([](Arrays& a) { a.surfaces[1] = 'a'; }, surfaces, "same");
  refused([](Arrays& a) { a.surfaces[3] = 0xFF; }, surfaces, "entry 2 is not valid UTF-8");
  refused([](Arrays& a) { a.offsets.clear(); }, offsets, "got 0");
  refused([](Arrays& a) { a.offsets[0] = -1; }, offsets, "expected 0");
  refused([](Arrays& a) { a.offsets[3] = 6; }, offsets, "expected 0 … 5");
  refused([](Arrays& a) { a.offsets[1] = 2; }, offsets, "entry 1 from 2 to 2");
  refused([](Arrays& a) { a.offsets[1] = std::numeric_limits<int64_t>::max(); }, offsets, "ascending");
  refused([](Arrays& a) { a.offsets[1] = std::numeric_limits<int64_t>::min(); }, offsets, "ascending");
  refused([](Arrays& a) { a.frequencies.pop_back(); }, frequencies,
          "got 4 numbers; expected 2 buckets + 3 entries");
  refused([](Arrays& a) { a.frequencies[4] = -1; }, frequencies, "id 4");
  refused([](Arrays& a) { a.frequencies[2] = 4; }, frequencies, "in 4 of 3 texts");
  refused([](Arrays& a) { a.documents[0] = -1; }, documents, "not negative");
  refused([](Arrays& a) { a.documents.clear(); }, documents, "one number");

  const Arrays arrays;
  for (size_t missing = 0; missing < 4; ++missing) {
    auto views = arrays.views();
    const std::string name = views[missing].name;
    views.erase(views.begin() + static_cast<std::ptrdiff_t>(missing));
    test::check_fails(
        Fault::input, [&] { Vocabulary::load(views, {.buckets = 2}); }, name, "missing");
  }
  auto views = arrays.views();
  views[1].shape = {2, 2};
  test::check_fails(
      Fault::input, [&] { Vocabulary::load(views, {.buckets = 2}); }, offsets, "2 dimensions");
  views[1] = NamedArray::of<int32_t>(offsets, arrays.frequencies);
  test::check_fails(
      Fault::input, [&] { Vocabulary::load(views, {.buckets = 2}); }, offsets);
}

TEST_CASE("vocabulary: a bad option is refused by name") {
  const auto refused = [](const VocabularyConfig& config, const char* option) {
    test::check_fails(
        Fault::usage, [&] { VocabularyBuilder builder(config); }, option);
  };
  refused({.word_ngrams = 0}, "vocabulary.word_ngrams");
  refused({.subword_min = 0}, "vocabulary.subword_min");
  refused({.subword_max = 33}, "vocabulary.subword_max");
  refused({.across = -1}, "vocabulary.across");
  refused({.min_count = 0}, "vocabulary.min_count");
  refused({.max_terms = -1}, "vocabulary.max_terms");
  refused({.buckets = 0}, "vocabulary.buckets");
  refused({.buckets = 3}, "vocabulary.buckets");
}

TEST_CASE("vocabulary: loading allocates a small multiple of the arrays") {
  Arrays arrays;
  arrays.surfaces.clear(), arrays.offsets = {0}, arrays.frequencies.clear();
  for (int i = 0; i < 50'000; ++i) {
    for (const char c : std::to_string(i)) arrays.surfaces.push_back(static_cast<uint8_t>(c));
    arrays.offsets.push_back(static_cast<int64_t>(arrays.surfaces.size()));
  }
  arrays.frequencies.resize(50'002);
  const auto bytes = static_cast<int64_t>(arrays.surfaces.size() + arrays.offsets.size() * 8 +
                                          arrays.frequencies.size() * 4);
  const int64_t before = test::allocated_bytes();
  CHECK(arrays.load().entries() == 50'000);
  CHECK(test::allocated_bytes() - before < 5 * bytes);

  const int64_t calm = test::allocated_bytes();  // a claim of many buckets alone allocates nothing
  test::check_fails(
      Fault::input, [&] { Vocabulary::load(arrays.views(), {.buckets = 1 << 29}); }, "buckets");
  CHECK(test::allocated_bytes() - calm < 10'000);
}

TEST_CASE("vocabulary: no allocation after warm-up, even for a text of thousands of terms") {
  auto texts = random_texts(13, 200);
  texts.emplace_back();
  for (int i = 0; i < 500; ++i) texts.back() += std::to_string(i * 7919) + "word" + std::to_string(i) + " ";
  const Vocabulary v = build(texts, {.min_count = 2});
  std::vector<Tokens> tokens;
  for (const auto& text : texts) tokens.push_back(tokenize(text));
  Terms terms;
  for (const auto& text : tokens) v.terms(text, terms);
  const int64_t before = test::allocations();
  for (const auto& text : tokens) v.terms(text, terms);
  CHECK(test::allocations() == before);
  CHECK(terms.size() > 5000);
  std::set<int32_t> ids;
  for (const Term& term : terms.all()) ids.insert(term.id);
  CHECK(static_cast<int64_t>(ids.size()) == terms.size());
}

}  // namespace steelyard
