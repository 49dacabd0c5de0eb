#include "nn/texts.h"

#include <algorithm>

#include "autograd/ops.h"

namespace steelyard {

namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

int64_t total(const Ragged<int32_t>& lists, std::span<const int64_t> texts) {
  int64_t sum = 0;
  for (int64_t text : texts) sum += static_cast<int64_t>(lists[text].size());
  return sum;
}

}  // namespace

Var unit_rows(Var x) {
  constexpr real kTiny = real(1e-12);
  return scale_rows(x, exp(affine(log(affine(dot_rows(x, x), 1, kTiny)), real(-0.5))));
}

TextRows::TextRows(TextColumns& columns) {
  for (size_t i = 0; i < kTextLists.size(); ++i) *all()[i] = columns.all()[i]->ragged();
}

TextRows::TextRows(const RowCache& cache, const std::string& prefix) {
  for (size_t i = 0; i < kTextLists.size(); ++i) *all()[i] = cache.ragged(prefix + kTextLists[i]);
}

TextBatch gather_texts(Tape& tape, const TextRows& rows, std::span<const int64_t> texts,
                       const Ragged<int32_t>* kept) {
  const auto n = static_cast<int64_t>(texts.size());
  const int64_t m = kept ? static_cast<int64_t>(kept->values.size()) : total(rows.terms, texts);
  const int64_t w = total(rows.words, texts), c = total(rows.characters, texts);
  check(std::max({m, w, c}) < INT32_MAX, "gather_texts: too many numbers for one batch");
  const bool placed = !rows.places.values.empty(), encoded = !rows.words.values.empty();
  List lengths(tape, n), terms(tape, m), places(tape, placed ? m : 0);
  List term_texts(tape, m), term_words(tape, encoded ? m : 0);
  List words(tape, w), word_positions(tape, w), characters(tape, c), character_positions(tape, c);
  List texts_at(tape, n + 1), words_at(tape, n + 1), characters_at(tape, n + 1), spelling_at(tape, w + 1);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t text = texts[at(i)];
    texts_at.add(terms.size()), words_at.add(words.size()), characters_at.add(characters.size());
    lengths.add(rows.lengths[text].front());
    const auto add_term = [&](size_t j) {
      terms.add(rows.terms[text][j]);
      if (placed) places.add(rows.places[text][j]);
      term_texts.add(static_cast<int32_t>(i));
      if (encoded) term_words.add(words.size() + rows.term_words[text][j]);
    };
    if (kept)
      for (int32_t j : (*kept)[i]) add_term(static_cast<size_t>(j));
    else
      for (size_t j = 0; j < rows.terms[text].size(); ++j) add_term(j);

    int32_t spelling = characters.size();
    for (int32_t length : rows.word_lengths[text]) spelling_at.add(spelling), spelling += length;
    for (int32_t j = 0; int32_t word : rows.words[text]) words.add(word), word_positions.add(j++);
    for (int32_t j = 0; int32_t character : rows.characters[text])
      characters.add(character), character_positions.add(j++);
  }
  texts_at.add(terms.size()), words_at.add(words.size()), characters_at.add(characters.size());
  spelling_at.add(characters.size());
  return {.lengths = lengths,
          .terms = terms,
          .places = places,
          .term_texts = term_texts,
          .term_words = term_words,
          .words = words,
          .characters = characters,
          .word_positions = word_positions,
          .character_positions = character_positions,
          .texts = Segments::between(texts_at),
          .text_words = Segments::between(words_at),
          .text_characters = Segments::between(characters_at),
          .word_characters = Segments::between(spelling_at)};
}

}  // namespace steelyard
