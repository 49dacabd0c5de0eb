// A word list for what is written without blanks: it cuts a run of ideographs and kana into words. Of all ways
// to cut, the most probable one, by how frequent the words are:
//
//   max Σ log(frequency / total)   over the words of the cut; total: the sum of the list's frequencies
//
// Where no word of the list begins, one character is a word of frequency 1. Of equally probable cuts the one
// with the longer first word. All of this is what jieba (github.com/fxsjy/jieba) does without its Markov model,
// except that there rounding decides between equals; lists made for it work as they are:
//
//   手机 1000 n      word, frequency (a whole number, 1 … 2^53) and perhaps a part of speech, which is not used;
//   手机壳 30        between them blanks or tabs; empty lines are skipped
//
// Words are read as the tokenizer reads texts, so full-width and compatibility forms meet. A word that holds
// anything else (T恤) cannot be met in a run; it counts in the total only.
//
// Why the list itself is kept, and written into model files: one format, and one way to check it. Next:
// tokenizer.h, which asks for the cut.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/tensor_file.h"

namespace steelyard {

// The words of one run. Reuse it: after the longest run has passed, cutting allocates nothing.
class Cut {
 public:
  // The end of the word that begins at character i: where the next one begins. 0 begins the first word.
  size_t next(size_t i) const { return places_[i].next; }
  double score() const;  // Σ log(frequency / total)

 private:
  friend class Dictionary;
  struct Place {
    int64_t score;  // of the best cut from here to the end
    size_t next;
  };
  std::vector<Place> places_;  // [characters + 1]
};

// Immutable, so any number of threads may share one, each with its own Cut.
class Dictionary {
 public:
  // A list from a file, plain or gzip, or from memory under a name for messages. Whatever is wrong is an
  // Error(input): `FILE:LINE: what; expected …`.
  static Dictionary read(const std::filesystem::path& path);
  static Dictionary parse(std::string list, const std::string& name);
  // The one array of a model file, "dictionary/list": the list. As strict as `parse`.
  static Dictionary load(std::span<const NamedArray> arrays);
  std::vector<NamedArray> arrays() const;  // a view, valid while this dictionary stays where it is

  // Cuts a run of characters, one code point each; Tokenizer::run makes them of a text. Time: the length of the
  // run, times that of the longest word in the worst case.
  void segment(std::span<const int32_t> run, Cut& out) const;

  int64_t size() const { return words_; }  // words that can be met
  uint64_t fingerprint() const;            // of the list's bytes

 private:
  friend class Cut;
  // The trie of the words: nodes are numbers, 0 is the root, and its edges are one hash table.
  struct Edge {
    int32_t parent, code, child;  // child 0: free
  };
  size_t find(int32_t parent, int32_t code) const {  // its place, or the free one where it would stand
    const uint64_t key = uint64_t{static_cast<uint32_t>(parent)} << 32 | static_cast<uint32_t>(code);
    const size_t mask = edges_.size() - 1;
    size_t i = key * 0x9E37'79B9'7F4A'7C15 >> std::countl_zero(mask);
    while (edges_[i].child != 0 && (edges_[i].parent != parent || edges_[i].code != code)) i = (i + 1) & mask;
    return i;
  }
  int32_t add_child(int32_t parent, int32_t code);

  // Logarithms are whole multiples of 2^-24. So sums are exact, and what is equal is equal in every text.
  static constexpr double kOne = 1 << 24;
  static constexpr int32_t kNoWord = -1;

  std::string list_;
  std::vector<Edge> edges_ = std::vector<Edge>(1 << 8);
  std::vector<int32_t> weights_{kNoWord};  // [nodes] log frequency
  int64_t log_total_ = 0;
  int64_t words_ = 0;
};

}  // namespace steelyard
