// Terms: what bags are made of. A text's terms are its words, its phrases (consecutive words) and the runs of
// characters inside words and across them, so that a misspelling or a compound still shares something with
// its correct form. Each term has an id and a surface, the text that people read:
//
//   word     faucet           a word of the Tokens
//   phrase   shower faucet    2 … word_ngrams words, one blank between
//   subword  *fau* *<fa*      subword_min … subword_max characters inside one longer word; < and > are its
//                             ends
//            *壳*             in ideographs and kana: 1 … `ideographs` characters of one word, ends not marked
//   across   +rfauc+          `across` characters of the text written without blanks
//
// One ideograph means as much as several letters, and where words end is only the dictionary's opinion. So a
// run may be the whole word: 手机壳, one word here and 手机 壳 there, still shares *手* *机* *壳* and *手机*.
//
// Words hold no blank, * or +, so surfaces of different kinds never meet. Characters are code points.
//
// Frequent terms have an entry of their own. All others share the first `buckets` ids by their hash, so no word is
// ever unknown. Ids that exist never move: a vocabulary grows at its end. A surface is known by its 64-bit hash alone: two with equal hashes would be one
// term, which among a billion surfaces has a chance of a few per cent to happen once; comparing texts would
// cost a cache miss for every term.
//
// Next: the .cpp for the table; nn/ for what the ids are good for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor_file.h"
#include "data/tokenizer.h"

namespace steelyard {

struct VocabularyConfig {
  int word_ngrams = 2;
  int subword_min = 3;
  int subword_max = 4;
  bool boundaries = true;
  int ideographs = 0;
  int across = 5;
  int min_count = 3;
  int max_terms = 200'000;
  int buckets = 1 << 17;

  template <class F>
  void fields(F&& f) {
    f("word_ngrams", word_ngrams, "longest phrase, in words; 1 for none");
    f("subword_min", subword_min, "shortest run of characters inside a word");
    f("subword_max", subword_max, "longest run of characters inside a word; 0 for none");
    f("boundaries", boundaries,
      "mark where words begin and end, so that *<fau* and *cet>* are runs of their own");
    f("ideographs", ideographs,
      "longest run of characters in a word of ideographs; 0 for none; 2 where a dictionary cuts words");
    f("across", across, "characters in a run across the text with blanks removed; 0 for none");
    f("min_count", min_count, "training texts that must hold a term before it gets an entry of its own");
    f("max_terms", max_terms, "most entries; the most frequent terms are kept");
    f("buckets", buckets, "ids that all other terms share by hash; a power of two");
  }

  void validate() const;  // Error(usage) naming the option
};

enum class TermKind { word, phrase, subword, across };

struct Term {
  int32_t id;
  int32_t count;  // occurrences in this text
  TermKind kind;
  int32_t word;  // index of the word in which the first occurrence begins
  int32_t last;  // and of the word in which the last one ends
};

// The terms of one text. Reuse it: after the longest text has passed, finding terms allocates nothing.
class Terms {
 public:
  int64_t size() const { return static_cast<int64_t>(terms_.size()); }
  bool empty() const { return terms_.empty(); }
  const Term& operator[](int64_t i) const { return terms_[static_cast<size_t>(i)]; }
  std::span<const Term> all() const { return terms_; }
  int64_t find(int32_t id) const;              // the term with this id, −1 if there is none
  std::string_view surface(int64_t i) const {  // valid until these Terms are filled again
    return surface(occurrences_[static_cast<size_t>(first_[static_cast<size_t>(i)])]);
  }

 private:
  friend class Vocabulary;
  friend class VocabularyBuilder;

  struct Occurrence {
    uint64_t hash;       // of the surface
    int64_t begin, end;  // the surface, in surfaces_
    int32_t word, last;  // in which it begins and ends
    TermKind kind;
  };

  // Fills occurrences_ with all terms of the text, repetitions included, in the order of Vocabulary::terms.
  void read(const Tokens& tokens, const VocabularyConfig& config);
  std::string_view surface(const Occurrence& occurrence) const {
    return std::string_view(surfaces_).substr(static_cast<size_t>(occurrence.begin),
                                              static_cast<size_t>(occurrence.end - occurrence.begin));
  }

  std::vector<Term> terms_;
  std::vector<int64_t> first_;  // [terms] index of the first occurrence
  std::vector<Occurrence> occurrences_;
  std::string surfaces_;
  // Where the id stands, or would stand, in the table of this text.
  size_t place(int32_t id) const {
    for (size_t i = static_cast<uint32_t>(id) * 0x9E3779B1u;; ++i) {
      const int32_t found = places_[i & (in_use_ - 1)];
      if (found < 0 || terms_[static_cast<size_t>(found)].id == id) return i & (in_use_ - 1);
    }
  }

  std::vector<int32_t> places_;  // hash table by id: index into terms_ or −1
  size_t in_use_ = 0;            // of it; a power of two

  // The text without blanks, cut into characters.
  std::string characters_;
  std::vector<int64_t> starts_;         // [characters + 1] their first bytes
  std::vector<int64_t> first_of_word_;  // [words + 1] indices into starts_
};

// Immutable, so any number of threads may share one, each with its own Terms.
class Vocabulary {
 public:
  // Strict: whatever the arrays hold, the result is an Error(input) that names the array, or a vocabulary
  // whose arrays() are these. Allocates a small multiple of the arrays' size.
  static Vocabulary load(std::span<const NamedArray> arrays, const VocabularyConfig& config);
  static Vocabulary load(const TensorFile& file, const VocabularyConfig& config);
  // Views named "vocabulary/…", valid while this vocabulary stays where it is.
  std::vector<NamedArray> arrays() const;

  // The distinct terms of a text in order of their first occurrence, where at each word come first the word,
  // then its subwords, then the phrases and last the runs across that begin in it. Surfaces of a text that
  // fall into one bucket are one term, with the first surface and the sum of the counts.
  void terms(const Tokens& tokens, Terms& out) const;

  int32_t id(std::string_view surface) const;  // of the entry, or of the bucket
  std::string_view surface(int32_t id) const;  // of an entry

  // Ids are 0 … size()−1: the buckets, then the entries.
  int32_t size() const { return buckets() + entries(); }
  int32_t buckets() const { return config_.buckets; }
  int32_t entries() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  bool is_bucket(int32_t id) const { return id < buckets(); }
  int64_t documents() const { return documents_; }  // N, texts seen in training
  // Texts that hold the term; for a bucket the sum over all that fell into it.
  int32_t document_frequency(int32_t id) const;
  // log((N + 1) / (min(document frequency, N) + 1)) + 1: at least 1; log(N + 1) + 1 for what was never seen.
  double idf(int32_t id) const;

  // Of everything that decides a text's terms and their frequencies: options and content.
  uint64_t fingerprint() const;
  const VocabularyConfig& config() const { return config_; }

 private:
  friend class VocabularyBuilder;
  struct Slot {
    uint64_t hash;
    int32_t id;  // −1: free
  };

  explicit Vocabulary(const VocabularyConfig& config) : config_(config) {}
  size_t find(uint64_t hash) const;  // its slot, or the free one where it would stand
  int32_t id(uint64_t hash) const;
  bool index();  // builds the table; false if two entries are the same

  VocabularyConfig config_;
  std::vector<uint8_t> surfaces_;     // back to back
  std::vector<int64_t> offsets_{0};   // [entries + 1]
  std::vector<int32_t> frequencies_;  // [size()]
  int64_t documents_ = 0;
  std::vector<Slot> slots_;
};

// Counts terms and makes a Vocabulary of them. What it counts is the hash of a surface; the surface itself is
// kept only from the moment its count reaches min_count, so the many terms that occur once cost 24 bytes and
// no text. The result depends on the texts, not on their order.
class VocabularyBuilder {
 public:
  explicit VocabularyBuilder(const VocabularyConfig& config);
  void add(const Tokens& text);
  // Entries are ordered by falling frequency, equal ones by their bytes.
  Vocabulary finish() const;
  // The older vocabulary, which has the same options, with what its texts did not know behind its entries. All that
  // it says of a text without a new entry stays, frequencies included, so a model weighs such a text as before.
  Vocabulary grow(const Vocabulary& older) const;

 private:
  struct Count {
    uint64_t hash;
    int32_t texts;      // 0: free
    int32_t last_text;  // the text that counted last, so that each counts once
    int64_t surface;    // index into ends_, −1 while below min_count
  };
  Count& find(uint64_t hash);  // its place, or the free one where it would stand
  void widen();
  // New entries; the terms that did not become one, nor were.
  std::vector<const Count*> append(Vocabulary& vocabulary) const;

  VocabularyConfig config_;
  int32_t documents_ = 0;
  std::vector<Count> counts_;
  int64_t used_ = 0;
  std::string surfaces_;
  std::vector<int64_t> ends_{0};
  Terms terms_;
};

}  // namespace steelyard
