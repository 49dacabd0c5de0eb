// The multi-granularity encoder of DeepBoW (Lin et al. 2024): a text is read as characters and as words, and
// every word knows the characters it is made of. Queries and products share it, told apart by one vector each.
//
//   H_c = Transformer_c(E_c[character] + P_c[position] + side)           [characters, D]
//   H_w = Transformer_w(E_w[word] + P_w[position] + side + mean of the word's H_c)      [words, D]
//   h_c = mean of a text's H_c,  h_w = H_w                               without words: h_w is that mean;
//                                                                        without characters: h_c = mean of H_w
//
// All of that is learned from labelled pairs, which must be many. The other kind knows from the texts alone which terms
// are akin (nn/latent.h), and reads a text as a bag of its words and phrases; there is no h_w:
//
//   h_c = Σ_t idf_t E_t, of length one                                   E is not trained
#pragma once

#include <optional>

#include "core/parallel.h"
#include "nn/bag.h"
#include "nn/pairs.h"
#include "nn/transformer.h"

namespace steelyard {

struct EncoderConfig {
  std::string kind = "transformer";
  int width = 64;
  int heads = 4;
  int character_layers = 1;
  int word_layers = 1;
  int words = 30'000;
  int max_words = 32;
  int max_characters = 96;
  double dropout = 0.1;

  template <class F>
  void fields(F&& f) {
    f("kind", kind,
      "transformer: over characters and words; latent: a bag of terms whose kinship texts tell");
    f("width", width, "numbers per character, word or term; a multiple of heads");
    f("heads", heads, "transformer: heads of attention");
    f("character_layers", character_layers, "transformer: layers over characters; 0: no characters");
    f("word_layers", word_layers, "transformer: layers over words; 0: no words");
    f("words", words,
      "most frequent words (latent: words and phrases) with a vector of their own; others share some by "
      "hash (latent: have none)");
    f("max_words", max_words, "transformer: words that are read of a text");
    f("max_characters", max_characters, "transformer: characters that are read of a text");
    f("dropout", dropout, "transformer: rate in training");
  }
  void validate() const;
};

struct Encoded {
  Var text;         // [n, D]  h_c
  Var words;        // [w, D]  h_w; latent: none
  Var word_shares;  // [w, D]  of word_shares(); latent: none
};

class Encoder {
 public:
  Encoder(Parameters::Scope at, const EncoderConfig& config, const Vocabulary& vocabulary);

  bool latent() const { return config_.kind == "latent"; }
  // latent: the vectors of the terms, unless an older model had some.
  void pretrain(const PairRows& pairs, const Workers& workers);

  // Appends to `out` the words and characters of a text, which ends at max_words and max_characters; latent: its
  // terms that have a vector.
  void read(const Bag& bag, TextColumns& out) const;
  Encoded operator()(Tape& tape, Side side, const TextBatch& texts) const;
  // What each word adds to h_c: they sum to it, or to what has its direction.      [w, D]
  Var word_shares(Tape& tape, Side side, const TextBatch& texts) const;

  int64_t width() const { return config_.width; }
  // The words with a vector of their own: their rows in the table and their ids in the vocabulary, both ascending.
  int32_t words() const { return static_cast<int32_t>(ids_.size()); }
  int32_t id(int32_t row) const { return ids_[static_cast<size_t>(row - all_rows_.front())]; }
  Ids all_rows() const { return all_rows_; }
  int32_t row(int32_t id) const {  // −1: none of its own
    return static_cast<size_t>(id) < rows_.size() ? rows_[static_cast<size_t>(id)] : -1;
  }
  const Parameter& table() const { return *words_; }

 private:
  Var idf(Tape& tape, Ids rows) const;

  EncoderConfig config_;
  const Vocabulary& vocabulary_;
  std::vector<int32_t> ids_, all_rows_;  // by word
  std::vector<int32_t> rows_;            // by id
  std::vector<real> idf_;                // latent: by row
  const Parameter* characters_ = nullptr;
  Parameter* words_ = nullptr;
  const Parameter *character_places_ = nullptr, *word_places_ = nullptr;
  const Parameter* sides_[2];
  std::optional<Transformer> over_characters_, over_words_;
};

}  // namespace steelyard
