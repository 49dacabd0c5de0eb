// Texts as models read them: lists of small numbers, one text after the other. A model writes a text into
// TextColumns once (BagModel::read); TextRows are views of such columns, in memory or in a row cache; a
// TextBatch is some of them gathered for one step. Serving is a batch of one.
#pragma once

#include <array>

#include "data/row_cache.h"
#include "nn/list.h"

namespace steelyard {

// One list per line, an entry per text. What no model asked for is empty.
template <class List>
struct TextLists {
  List lengths;       // one: the words of the text
  List terms;         // ids of the text's terms
  List places;        // one per term, or none at all
  List term_words;    // the word in which each term begins
  List words;         // rows of the encoder's table of words
  List characters;    // rows of the encoder's table of characters
  List word_lengths;  // characters of each word

  std::array<List*, 7> all() {
    return {&lengths, &terms, &places, &term_words, &words, &characters, &word_lengths};
  }
};
inline constexpr std::array<const char*, 7> kTextLists = {
    "lengths", "terms", "places", "term_words", "words", "characters", "word_lengths"};

struct TextColumns : TextLists<RowColumns::Lists> {
  void end_text() {
    for (RowColumns::Lists* list : all()) list->end();
  }
  void clear() {
    for (RowColumns::Lists* list : all()) list->clear();
  }
};

struct TextRows : TextLists<Ragged<int32_t>> {
  explicit TextRows(TextColumns& columns);
  TextRows(const RowCache& cache, const std::string& prefix);
  int64_t size() const { return terms.size(); }
};

// Views of the tape's memory. Positions count through the batch.
struct TextBatch {
  Ids lengths;                              // [n] words of each text
  Ids terms;                                // [m] ids
  Ids places;                               // [m]
  Ids term_texts, term_words;               // [m] the text and the word of each term
  Ids words, characters;                    // [w], [c] rows of the encoder's tables
  Ids word_positions, character_positions;  // [w], [c] in their text
  Segments texts;                           // [n] the terms of each text
  Segments text_words, text_characters;     // [n]
  Segments word_characters;                 // [w]
};

Var unit_rows(Var x);  // y[r] = x[r] / ‖x[r]‖; 0 where x[r] is 0      [R,C] → [R,C]

// Texts by their numbers, in this order; `kept`: the terms to keep of each, positions in it; nullptr: all.
TextBatch gather_texts(Tape& tape, const TextRows& rows, std::span<const int64_t> texts,
                       const Ragged<int32_t>* kept = nullptr);

}  // namespace steelyard
