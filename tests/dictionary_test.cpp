#include "data/dictionary.h"

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <zlib.h>

#include "data/tokenizer.h"
#include "data/utf8.h"
#include "data/vocabulary.h"
#include "tests/allocation_counter.h"
#include "tests/support.h"

namespace steelyard {
namespace {

using test::check_fails;

constexpr char kShop[] = "手机 100 n\n手机壳 20 n\n壳 10\n保护\t30\tv\n\n保护壳  15 n\r\n机 5\nガス 7\n";

Dictionary parse(std::string list) { return Dictionary::parse(std::move(list), "words.txt"); }

std::string words(const Dictionary& dictionary, std::string_view text) {
  Tokens tokens;
  Tokenizer({.stem = "none"}, &dictionary).tokenize(text, tokens);
  return std::string(tokens.text());
}

using Words = std::map<std::string, double>;

// The score of the best cut, by trying all.
double best_score(const Words& list, std::string_view run, double total) {
  if (run.empty()) return 0;
  double best = -1e300;
  for (const auto& [word, frequency] : list)
    if (run.starts_with(word))
      best = std::max(best, std::log(frequency / total) + best_score(list, run.substr(word.size()), total));
  if (best > -1e300) return best;
  const auto length = static_cast<size_t>(decode_utf8(run, 0).length);
  return std::log(1 / total) + best_score(list, run.substr(length), total);
}

}  // namespace

TEST_CASE("dictionary: a run of ideographs is cut into its most probable words") {
  const Dictionary shop = parse(kShop);
  CHECK(shop.size() == 7);
  CHECK(words(shop, "手机壳") == "手机壳");
  CHECK(words(shop, "手机保护壳") == "手机 保护壳");
  CHECK(words(shop, "手机壳保护") == "手机壳 保护");
  CHECK(words(shop, "机壳") == "机 壳");
  CHECK(words(shop, "水手机龙头") == "水 手机 龙 头");  // in no word: by itself
  CHECK(words(shop, "手 机") == "手 机");               // blanks separate
  CHECK(words(shop, "") == "");
  // 研究生 | 命 | 起源 is what the longest match would say.
  const Dictionary origin = parse("研究 50\n研究生 20\n生命 60\n命 5\n起源 30\n的 500\n");
  CHECK(words(origin, "研究生命的起源") == "研究 生命 的 起源");
}

TEST_CASE("dictionary: of equally probable cuts the one with the longer first word") {
  CHECK(words(parse("甲乙 3\n乙丙 3\n甲 2\n丙 2\n"), "甲乙丙") == "甲乙 丙");
  CHECK(words(parse("甲乙 3\n乙丙 3\n甲 3\n丙 2\n"), "甲乙丙") == "甲 乙丙");
}

TEST_CASE("dictionary: words stand among letters, numbers and units, and keep their sources") {
  const Dictionary shop = parse(kShop);
  CHECK(words(shop, "iPhone手机壳2个") == "iphone 手机壳 2 个");
  CHECK(words(shop, "适用5.5″手机，保护壳's 3米") == "适 用 5.5 in 手机 保护壳 3 米");
  const std::string text = "iPhone手机壳2个";
  Tokens tokens;
  Tokenizer({}, &shop).tokenize(text, tokens);
  REQUIRE(tokens.size() == 4);
  const auto source = [&](int64_t i) {
    const auto& word = tokens.word(i);
    return text.substr(static_cast<size_t>(word.source_begin),
                       static_cast<size_t>(word.source_end - word.source_begin));
  };
  CHECK(source(0) == "iPhone");
  CHECK(source(1) == "手机壳");
  CHECK(source(2) == "2");
  CHECK(source(3) == "个");
  CHECK_FALSE(tokens.word(0).ideographs);
  CHECK(tokens.word(1).ideographs);
}

TEST_CASE("dictionary: list and text are normalised alike") {
  const Dictionary list = parse("ｶﾞｽ 5\n塚本 4\n⼿機 3\n");  // half-width, compatibility, a radical
  CHECK(words(list, "ガス") == "ガス");
  CHECK(words(list, "カ\u3099ス") == "ガス");
  CHECK(words(list, "カス") == "カ ス");  // a mark is part of its character
  CHECK(words(list, "塚\uFE00本") == "塚本");
  CHECK(words(list, "手機") == "手機");
  CHECK(words(parse("カ 9\nス 9\n"), "カ\u0301ス") == "カ\u0301 ス");
  // Words that no run can hold only count.
  const Dictionary mixed = parse("T恤 6\n卡拉ok 3\n… 2\n恤 1\n");
  CHECK(mixed.size() == 1);
  CHECK(words(mixed, "T恤") == "t 恤");
  Tokens scratch;
  Cut cut;
  mixed.segment(Tokenizer::run("恤", scratch), cut);
  CHECK(cut.score() == doctest::Approx(std::log(1.0 / 12)));
  CHECK(Tokenizer::run("T恤", scratch).empty());
}

TEST_CASE("dictionary: no cut is more probable, the same words come out again, buffers leave no trace") {
  std::mt19937_64 random(3);
  static const char* const kCharacters[] = {"水", "龙", "头", "が", "\U00020000"};
  const auto any = [&](uint64_t most) {
    std::string text;
    for (uint64_t i = 1 + random() % most; i > 0; --i) text += kCharacters[random() % std::size(kCharacters)];
    return text;
  };
  constexpr double kPrimes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29};  // of them, no product is another's
  Tokens tokens, again, scratch;
  Cut cut;
  for (int round = 0; round < 200; ++round) {
    Words list;
    for (uint64_t i = 1 + random() % 9; i > 0; --i) list[any(3)] = kPrimes[random() % std::size(kPrimes)];
    std::string file;
    double total = 0;
    for (const auto& [word, frequency] : list) {
      file += text(word, " ", frequency, "\n");
      total += frequency;
    }
    const Dictionary dictionary = parse(file);
    const Tokenizer tokenizer({}, &dictionary);
    for (int i = 0; i < 20; ++i) {
      const std::string run = any(8);
      CAPTURE(file);
      CAPTURE(run);
      dictionary.segment(Tokenizer::run(run, scratch), cut);
      CHECK(cut.score() == doctest::Approx(best_score(list, run, total)));
      tokenizer.tokenize(run, tokens);
      tokenizer.tokenize(tokens.text(), again);
      CHECK(again.text() == tokens.text());
    }
  }
}

TEST_CASE("dictionary: a warm cut allocates nothing") {
  const Dictionary shop = parse(kShop);
  const Tokenizer tokenizer({}, &shop);
  Tokens tokens;
  std::string text = "手机保护壳 iPhone手机壳ガス水";
  tokenizer.tokenize(text + text, tokens);
  const int64_t before = test::allocations();
  for (int i = 0; i < 10; ++i) tokenizer.tokenize(i % 2 ? text : std::string_view(), tokens);
  CHECK(test::allocations() == before);
}

TEST_CASE("dictionary: what is wrong with a list is said with its line") {
  const auto refused = [](const std::string& list, const std::string& message) {
    CAPTURE(list);
    check_fails(
        Fault::input, [&] { parse(list); }, message);
  };
  const std::string line =
      "expected `word frequency [part of speech]`, the frequency a whole number, 1 … 2^53";
  for (const char* bad : {"手机", "手机 ", "手机 -1", "手机 0", "手机 n", "手机 1.5", "手机 1e3", "手机 +1",
                          "手机 9007199254740993", "手机 99999999999999999999", "手机 1 n n", "1 手机"})
    refused(std::string("水 1\n\n") + bad + "\n水 1", "words.txt:3: " + line);
  refused("水 1\n\xE6\xB0 1\n", "words.txt:2: not valid UTF-8; expected a word and its frequency in UTF-8");
  refused("水 1\n龙 1\n水 2\n", "words.txt:3: \"水\" once more; expected each word once");
  refused("ガ 1\nｶﾞ 2\n", "words.txt:2: \"ｶﾞ\" once more");
  refused("", "words.txt: no words; expected one in a line, with its frequency");
  refused("\n \r\n", "words.txt: no words");
  std::string word;
  for (int i = 0; i < 64; ++i) word += "水";
  CHECK(parse(word + " 1").size() == 1);
  refused(word + "水 1", "words.txt:1: a word of 65 characters; expected at most 64");
  CHECK(parse("\xEF\xBB\xBF水 9007199254740992").size() == 1);
}

TEST_CASE("dictionary: files, plain and gzip") {
  const test::TempDir folder;
  const std::string path = folder / "words.txt", packed = folder / "words.txt.gz";
  test::write_file(path, kShop);
  CHECK(words(Dictionary::read(path), "手机保护壳") == "手机 保护壳");
  std::string list;
  for (int32_t i = 0; i < 20000; ++i) {
    append_utf8(list, 0x4E00 + i);
    list += text(" ", i + 1, "\n");
  }
  const gzFile file = gzopen(packed.c_str(), "wb");
  gzwrite(file, list.data(), static_cast<unsigned>(list.size()));
  gzclose(file);
  CHECK(Dictionary::read(packed).fingerprint() == parse(list).fingerprint());
  const std::string bytes = test::read_file(packed);
  test::write_file(packed, bytes.substr(0, bytes.size() / 2));
  check_fails(
      Fault::input, [&] { Dictionary::read(packed); }, packed + ": ",
      "; expected a word list, plain or gzip");
  std::string damaged = bytes;
  damaged[damaged.size() / 2] = static_cast<char>(~damaged[damaged.size() / 2]);
  test::write_file(packed, damaged);
  check_fails(
      Fault::input, [&] { Dictionary::read(packed); }, packed + ":");
  check_fails(
      Fault::input, [&] { Dictionary::read(folder / "none"); }, "none: cannot be opened: ");
  check_fails(
      Fault::input, [&] { Dictionary::read(folder.path()); }, folder.path().string() + ": ");
}

TEST_CASE("dictionary: arrays and back, and what load refuses") {
  const Dictionary shop = parse(kShop);
  const Dictionary loaded = Dictionary::load(shop.arrays());
  CHECK(loaded.fingerprint() == shop.fingerprint());
  CHECK(loaded.size() == shop.size());
  CHECK(words(loaded, "手机壳保护") == "手机壳 保护");
  CHECK(parse("水 1\n").fingerprint() != parse("水 2\n").fingerprint());

  check_fails(
      Fault::input, [] { Dictionary::load({}); }, "dictionary/list: missing");
  const std::vector<int32_t> numbers = {1};
  const std::vector<NamedArray> other = {NamedArray::of<int32_t>("dictionary/list", numbers)};
  check_fails(
      Fault::input, [&] { Dictionary::load(other); }, "dictionary/list");
  std::vector<NamedArray> square = shop.arrays();
  square[0].shape.push_back(1);
  check_fails(
      Fault::input, [&] { Dictionary::load(square); }, "dictionary/list: got 2 dimensions; expected 1");
  const std::vector<uint8_t> bytes = {'x', '\n'};
  const std::vector<NamedArray> corrupt = {NamedArray::of<uint8_t>("dictionary/list", bytes)};
  check_fails(
      Fault::input, [&] { Dictionary::load(corrupt); }, "dictionary/list:1: expected `word frequency");
}

TEST_CASE("dictionary: words cut differently still share runs of ideographs") {
  const Dictionary shop = parse(kShop);
  const Tokenizer tokenizer({}, &shop);
  const auto surfaces = [&](std::string_view text, const VocabularyConfig& config) {
    Tokens tokens;
    tokenizer.tokenize(text, tokens);
    Terms terms;
    VocabularyBuilder(config).finish().terms(tokens, terms);
    std::vector<std::string> result;
    for (int64_t i = 0; i < terms.size(); ++i) result.emplace_back(terms.surface(i));
    return result;
  };
  const VocabularyConfig config{.word_ngrams = 1, .ideographs = 2, .across = 0};
  CHECK(surfaces("手机壳", config) ==
        std::vector<std::string>{"手机壳", "*手*", "*机*", "*壳*", "*手机*", "*机壳*"});
  CHECK(surfaces("手机 壳", config) ==
        std::vector<std::string>{"手机", "*手*", "*机*", "*手机*", "壳", "*壳*"});
  // Letters' options are not theirs, and theirs is not letters'.
  const VocabularyConfig letters{.word_ngrams = 1, .subword_min = 1, .subword_max = 1, .across = 0};
  CHECK(surfaces("手机壳", letters) == std::vector<std::string>{"手机壳"});
  CHECK(surfaces("ab", config) == std::vector<std::string>{"ab", "*<ab*", "*ab>*"});
}

}  // namespace steelyard
