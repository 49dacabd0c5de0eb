// Text into words: Unicode-aware, with light English on top. It is the same function for queries and
// products, in training and in serving, so two spellings of one thing meet here or never. Next: vocabulary.h
// turns words into terms.
//
// What is done, in this order:
//   1. Each character is decomposed, compatibility forms included, and case-folded; characters that Unicode
//      calls ignorable (soft hyphen, joiners, variation selectors) vanish. ™ and ℠ separate, or else they
//      would become the letters tm and sm. Each byte that is not UTF-8 separates.
//   2. A word is a run of letters with their marks, or a number: digits with . or / between them, and commas
//      that group thousands, which are dropped (1,000 → 1000). Letters and digits part: 12ft → 12 ft; a
//      fraction is a number of its own: 1½ → 1 1/2. An ideograph or a kana is a word by itself, or, where there
//      is a Dictionary, a run of them is cut into words by it. All else separates. A possessive 's falls away.
//   3. Each word is put into canonical order and composed: NFKC_Casefold, word by word.
//   4. Units, if wished: directly after a number " and '' become in, ' becomes ft; a next word inches, feet,
//      pounds … becomes in, ft, lb …
//   5. English endings, if wished; see `stem`.
//
// Tokenizing the normalised text again gives the same words, except that a stem may be stemmed further. That
// holds for a Dictionary's words, too: were a cut of a word more probable, it would have been made.
// Why our own and not a library's: Snowball and ICU are large, allocate, and know nothing of 1/2" or 12ft.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dictionary.h"

namespace steelyard {

struct TokenizerConfig {
  std::string stem = "english";
  bool units = true;
  std::string dictionary = "";

  template <class F>
  void fields(F&& f) {
    f("stem", stem, "English endings taken off: none, plural (-s), or english (-s, -ed, -ing)");
    f("units", units, "write units after numbers in one way: 6' and 6 feet become 6 ft");
    f("dictionary", dictionary,
      "word list that cuts Chinese and Japanese into words; empty: into characters");
  }
};

// The words of one text. Reuse it: after the longest text has passed, tokenizing allocates nothing.
class Tokens {
 public:
  struct Word {
    int64_t begin, end;                // in text()
    int64_t source_begin, source_end;  // bytes of the source that the word was read from; never empty
    bool ideographs;                   // or kana, and nothing else
  };

  int64_t size() const { return static_cast<int64_t>(words_.size()); }
  bool empty() const { return words_.empty(); }
  std::string_view text() const { return text_; }  // the words, joined by single blanks
  // Both source bounds ascend from word to word; words from one character (㎧ is "m" and "s") share them.
  const Word& word(int64_t i) const { return words_[static_cast<size_t>(i)]; }
  std::string_view operator[](int64_t i) const { return text().substr(begin_of(i), length_of(i)); }

 private:
  friend class Tokenizer;
  friend class WordCutter;

  struct Point {  // one character after step 1
    int32_t code;
    uint8_t kind;
    int64_t begin, end;  // in the source
  };

  size_t begin_of(int64_t i) const { return static_cast<size_t>(word(i).begin); }
  size_t length_of(int64_t i) const { return static_cast<size_t>(word(i).end - word(i).begin); }

  std::string text_;
  std::vector<Word> words_;
  std::vector<Point> points_;
  std::vector<int32_t> composed_;
  std::vector<int32_t> run_;
  Cut cut_;
};

// Immutable, so any number of threads may share one, each with its own Tokens.
class Tokenizer {
 public:
  // Error(usage) if `stem` is unknown. The dictionary is what the caller has read where config.dictionary says,
  // and must outlive the tokenizer; nullptr: none.
  explicit Tokenizer(const TokenizerConfig& config = {}, const Dictionary* dictionary = nullptr);

  void tokenize(std::string_view utf8, Tokens& out) const;

  // The characters of a text as `tokenize` hands them to a Dictionary: composed, kNoCode for one that has no
  // code of its own; empty unless all of them are ideographs and kana. Valid until `scratch` is used again.
  static std::span<const int32_t> run(std::string_view utf8, Tokens& scratch);
  static constexpr int32_t kNoCode = -1;

 private:
  enum class Stem { none, plural, english };
  Stem stem_;
  bool units_;
  const Dictionary* dictionary_;
};

}  // namespace steelyard
