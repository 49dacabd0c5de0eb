#include "data/tokenizer.h"

#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "data/utf8.h"
#include "tests/allocation_counter.h"
#include "tests/support.h"

namespace steelyard {
namespace {

// The normalised text; `stem` is off unless it is what a test is about.
std::string words(std::string_view text, const std::string& stem = "none", bool units = false) {
  Tokens tokens;
  Tokenizer({.stem = stem, .units = units}).tokenize(text, tokens);
  return std::string(tokens.text());
}

std::vector<std::string> sources(const Tokens& tokens, std::string_view text) {
  std::vector<std::string> result;
  for (int64_t i = 0; i < tokens.size(); ++i) {
    const auto& word = tokens.word(i);
    result.emplace_back(text.substr(static_cast<size_t>(word.source_begin),
                                    static_cast<size_t>(word.source_end - word.source_begin)));
  }
  return result;
}

// Bytes of every sort: ASCII that matters to the rules, multibyte characters whole and torn, plain noise.
std::string random_text(std::mt19937_64& random, size_t pieces) {
  static const std::array<std::string_view, 40> kPieces = {"1",       "23",     "000",
                                                           ",",       ".",      "/",
                                                           "'",       "\"",     " ",
                                                           "s",       "'s",     "ft",
                                                           "inches",  "cubic",  "volts",
                                                           "A",       "Zoë",    "é",
                                                           "e\u0301", "\u0301", "\u0323",
                                                           "ß",       "½",      "²",
                                                           "㎧",      "㎏",     "ﷺ",
                                                           "水",      "龙头",   "が",
                                                           "ｶﾞ",      "한",     "\u1112\u1161",
                                                           "™",       "\u00AD", "″",
                                                           "İ",       "ﬁ",      "\xE2\x82",
                                                           "\xFF"};
  std::string text;
  for (size_t i = 0; i < pieces; ++i) {
    if (random() % 8 == 0)
      text.push_back(static_cast<char>(random()));
    else
      text += kPieces[random() % kPieces.size()];
  }
  return text;
}

}  // namespace

TEST_CASE("utf8: what is valid and where it is not") {
  CHECK(valid_utf8(""));
  CHECK(valid_utf8("aé水🚿\U0010FFFF"));
  const std::pair<std::string_view, size_t> kInvalid[] = {
      {"ab\x80", 2},            // a continuation without a beginning
      {"\xC0\xAF", 0},          // overlong
      {"\xE0\x9F\xBF", 0},      // overlong
      {"é\xED\xA0\x80", 2},     // surrogate
      {"\xF4\x90\x80\x80", 0},  // beyond U+10FFFF
      {"\xF0\x8F\xBF\xBF", 0},  // overlong
      {"x\xE6\xB0", 1},         // cut
      {"\xF8\x88\x80\x80\x80", 0},
  };
  for (const auto& [text, expected] : kInvalid) {
    size_t position = 99;
    CHECK_FALSE(valid_utf8(text, &position));
    CHECK(position == expected);
  }
}

TEST_CASE("utf8: every code point survives writing and reading") {
  for (int32_t value = 0; value <= 0x10FFFF; ++value) {
    if (value == 0xD800) value = 0xE000;
    std::string text;
    append_utf8(text, value);
    const CodePoint point = decode_utf8(text, 0);
    REQUIRE(point.value == value);
    REQUIRE(static_cast<size_t>(point.length) == text.size());
  }
}

TEST_CASE("tokenizer: words, numbers and what separates them") {
  CHECK(words("") == "");
  CHECK(words(" - ") == "");
  CHECK(words("Delta Vero 1-Handle Shower-Only Faucet (Chrome)") ==
        "delta vero 1 handle shower only faucet chrome");
  CHECK(words("12ft 2x4 R13") == "12 ft 2 x 4 r 13");
  CHECK(words("1.9 cu. ft.") == "1.9 cu ft");
  CHECK(words("1/2 1-1/2 1/2/3 5. /5") == "1/2 1 1/2 1/2/3 5 5");
  CHECK(words("1,000 12,345,678.5 1,5 1,0000") == "1000 12345678.5 1 5 1 0000");
  CHECK(words("½ 1½ ½5 ¾in 1⁄2") == "1/2 1 1/2 1/2 5 3/4 in 1/2");
  CHECK(words("Lowe's men’s kids' don't O'Reilly's it's2") == "lowe men kids don t o reilly it 2");
  CHECK(words("Wonder™ Board® Service℠") == "wonder board service");
}

TEST_CASE("tokenizer: Unicode") {
  CHECK(words("ＡＢＣ１２３ ﬁne Straße ΣΊΣΥΦΟΣ") == "abc 123 fine strasse σίσυφοσ");
  CHECK(words("ft² ㎏") == "ft 2 kg");
  CHECK(words("cafe\u0301 CAFÉ") == "café café");
  CHECK(words("a\u0301\u0323") == words("a\u0323\u0301"));       // canonical order
  CHECK(words("fau\u00ADcet fau\u200Dcet") == "faucet faucet");  // soft hyphen, joiner
  CHECK(words("水龙头abc3米") == "水 龙 头 abc 3 米");
  CHECK(words("ガス ｶﾞｽ が") == "ガ ス ガ ス が");
  CHECK(words("\u1112\u1161\u11AB국어") == "한국어");  // jamo compose across letters
  CHECK(words("١٢٣") == "١٢٣");                        // other digits are digits
  CHECK(words("\u0301") == "");                        // a mark without a letter
  CHECK(words("ab\xE2\x82 c\xFF"
              "d") == "ab c d");  // each invalid byte separates
  std::string stack = "a";
  for (int i = 0; i < 100; ++i) stack += "\u0323";
  CHECK(words(stack + "b").ends_with(" b"));  // thirty marks on a letter are enough
}

TEST_CASE("tokenizer: units behind a number") {
  const auto units = [](std::string_view text) { return words(text, "none", true); };
  CHECK(units("6' x 3\" 5'' 7″ 8′ 9” 4’6\"") == "6 ft x 3 in 5 in 7 in 8 ft 9 in 4 ft 6 in");
  CHECK(units("1.9 Cubic Feet 20 square feet 3 gallons") == "1.9 cu ft 20 sq ft 3 gal");
  CHECK(units("12v 60-Watts 15 amps 5 pounds 2 inch") == "12 volt 60 watt 15 amp 5 lb 2 in");
  CHECK(units("square feet of pounds \" '") == "square feet of pounds");  // no number before
  CHECK(units("the 50's 6'x9' rug") == "the 50 6 ft x 9 ft rug");
  CHECK(units("2's inches") == "2 in");           // once lost its unit, and found it when normalised again
  CHECK(units("5 ' 5' feet") == "5 5 ft feet");   // a sign stands directly behind; one unit per number
  CHECK(words("6' 5 feet 3\"") == "6 5 feet 3");  // off
}

TEST_CASE("tokenizer: English endings") {
  const auto check_all = [](const std::string& stem, std::string_view in, std::string_view out) {
    CAPTURE(stem);
    CHECK(words(in, stem) == out);
  };
  check_all("plural", "faucets boxes switches brushes glasses batteries ties hoses",
            "faucet box switch brush glass battery tie hose");
  check_all("plural", "glass cactus chassis gas bus is", "glass cactus chassis gas bus is");
  check_all("plural", "mounted lighting", "mounted lighting");
  check_all("english", "mounted lighting dimming insulated wiring buildings",
            "mount light dim insulate wire build");
  check_all("english", "agreed feed bed string red dried tied filled",
            "agree feed bed string red dry tie fill");
  check_all("english", "employing buoyed yes cafés x", "employ buoy yes cafés x");
  check_all("none", "faucets mounted", "faucets mounted");
  CHECK(words("5 pounds of pounds", "english", true) == "5 lb of pound");
  test::check_fails(
      Fault::usage, [] { Tokenizer({.stem = "german"}); }, "tokenizer.stem", "german", "english");
}

TEST_CASE("tokenizer: each word knows its bytes in the source") {
  const std::string_view text = "  Men’s 1,000 ㎧ Cafe\u0301 6\" Boxes,ﬁ½";
  Tokens tokens;
  Tokenizer().tokenize(text, tokens);
  CHECK(tokens.text() == "men 1000 m s café 6 in box fi 1/2");
  CHECK(sources(tokens, text) ==
        std::vector<std::string>{"Men", "1,000", "㎧", "㎧", "Cafe\u0301", "6", "\"", "Boxes", "ﬁ", "½"});
  CHECK(tokens[1] == "1000");
}

TEST_CASE("tokenizer: properties on random text") {
  std::mt19937_64 random(7);
  Tokens tokens, again, left, right;
  for (int round = 0; round < 20'000; ++round) {
    const bool units = random() % 2;
    const Tokenizer tokenizer({.stem = "none", .units = units});
    const std::string drawn = random_text(random, random() % 24);
    const std::vector<char> exact(drawn.begin(), drawn.end());  // no terminating zero to lean on
    const std::string_view text(exact.data(), exact.size());
    CAPTURE(drawn);

    tokenizer.tokenize(text, tokens);
    int64_t end = -1, source_begin = 0, source_end = 0;
    for (int64_t i = 0; i < tokens.size(); ++i) {
      const auto& word = tokens.word(i);
      REQUIRE(word.begin == end + 1);
      REQUIRE(word.end > word.begin);
      REQUIRE(word.source_begin >= source_begin);
      REQUIRE(word.source_end >= source_end);
      REQUIRE(word.source_end > word.source_begin);
      end = word.end, source_begin = word.source_begin, source_end = word.source_end;
    }
    REQUIRE(end == (tokens.empty() ? -1 : static_cast<int64_t>(tokens.text().size())));
    REQUIRE(source_end <= static_cast<int64_t>(text.size()));
    REQUIRE(valid_utf8(tokens.text()));

    tokenizer.tokenize(tokens.text(), again);
    REQUIRE(again.text() == tokens.text());

    if (units) continue;  // a unit may follow its number across the cut
    const size_t cut = random() % (text.size() + 1);
    tokenizer.tokenize(std::string(text.substr(0, cut)) + "\n" + std::string(text.substr(cut)), again);
    tokenizer.tokenize(text.substr(0, cut), left);
    tokenizer.tokenize(text.substr(cut), right);
    REQUIRE(again.size() == left.size() + right.size());
    for (int64_t i = 0; i < again.size(); ++i)
      REQUIRE(again[i] == (i < left.size() ? left[i] : right[i - left.size()]));
  }
}

TEST_CASE("tokenizer: no allocation after warm-up") {
  std::mt19937_64 random(11);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back(random_text(random, 50));
  const Tokenizer tokenizer;
  Tokens tokens;
  for (const auto& text : texts) tokenizer.tokenize(text, tokens);
  const int64_t before = test::allocations();
  for (const auto& text : texts) tokenizer.tokenize(text, tokens);
  CHECK(test::allocations() == before);
}

}  // namespace steelyard
