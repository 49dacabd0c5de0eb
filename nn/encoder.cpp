#include "nn/encoder.h"

#include <algorithm>
#include <numeric>

#include "core/random.h"
#include "data/utf8.h"
#include "nn/latent.h"
#include "nn/segment_mean.h"

namespace steelyard {

namespace {

constexpr int32_t kSharedRows = 1024;   // of words without a vector of their own
constexpr int32_t kCharacters = 16384;  // rows for characters, by hash; there is no list of them

// A character that begins a word is another one than the same inside: so words need no blanks between them.
int32_t character_row(int32_t code, bool begins_word) {
  return static_cast<int32_t>(mix64(static_cast<uint64_t>(code) * 2 + begins_word + 1) % kCharacters);
}

bool is_run(std::string_view surface) { return surface.front() == '*' || surface.front() == '+'; }
bool is_word(std::string_view surface) { return !is_run(surface) && surface.find(' ') == surface.npos; }

}  // namespace

void EncoderConfig::validate() const {
  require(kind == "transformer" || kind == "latent", "encoder.kind", kind, "transformer or latent");
  require(heads >= 1 && heads <= 64, "encoder.heads", heads, "1 … 64");
  require(width >= 1 && width <= 4096 && (kind == "latent" || width % heads == 0), "encoder.width", width,
          "a multiple of heads, up to 4096");
  require(character_layers >= 0 && character_layers <= 24, "encoder.character_layers", character_layers,
          "0 … 24");
  require(word_layers >= 0 && word_layers <= 24, "encoder.word_layers", word_layers, "0 … 24");
  require(character_layers + word_layers > 0, "encoder.word_layers", word_layers,
          "layers over words or characters");
  require(words >= 1 && words <= 10'000'000, "encoder.words", words, "1 … 10000000");
  require(max_words >= 1 && max_words <= 100'000, "encoder.max_words", max_words, "1 … 100000");
  require(max_characters >= 1 && max_characters <= 100'000, "encoder.max_characters", max_characters,
          "1 … 100000");
  require(dropout >= 0 && dropout < 1, "encoder.dropout", dropout, "0 ≤ rate < 1");
}

Encoder::Encoder(Parameters::Scope at, const EncoderConfig& config, const Vocabulary& vocabulary)
    : config_(config), vocabulary_(vocabulary), rows_(static_cast<size_t>(vocabulary.size()), -1) {
  const int32_t shared = latent() ? 1 : kSharedRows;
  for (int32_t id = vocabulary.buckets(); id < vocabulary.size() && words() < config.words; ++id)
    if (latent() ? !is_run(vocabulary.surface(id)) : is_word(vocabulary.surface(id))) {
      rows_[static_cast<size_t>(id)] = shared + words();
      ids_.push_back(id);
    }
  all_rows_.resize(ids_.size());
  std::iota(all_rows_.begin(), all_rows_.end(), shared);
  if (latent()) {
    idf_.push_back(0);  // of row 0, which is nobody's
    for (int32_t id : ids_) idf_.push_back(static_cast<real>(vocabulary.idf(id)));
    words_ =
        &(at / "terms").table("embedding", {shared + words(), config.width}, constant(0), {.fixed = true});
    return;
  }
  const int64_t width = config.width;
  const Init small = normal(real(0.1));
  if (config.character_layers > 0) {
    const Parameters::Scope scope = at / "characters";
    characters_ = &scope.table("embedding", {kCharacters, width}, small);
    character_places_ = &scope.add("position", {config.max_characters, width}, small);
    over_characters_.emplace(scope, config.character_layers, width, config.heads, config.dropout);
  }
  const Parameters::Scope scope = at / "words";
  words_ = &scope.table("embedding", {kSharedRows + words(), width}, small, {.grown = constant(0)});
  if (config.word_layers > 0) {
    word_places_ = &scope.add("position", {config.max_words, width}, small);
    over_words_.emplace(scope, config.word_layers, width, config.heads, config.dropout);
  }
  sides_[0] = &at.add("query", {width}, constant(0));
  sides_[1] = &at.add("product", {width}, constant(0));
}

void Encoder::pretrain(const PairRows& pairs, const Workers& workers) {
  if (!latent() || std::ranges::any_of(words_->buffer.host(), [](real x) { return x != 0; })) return;
  std::ranges::copy(latent_vectors({pairs.queries.terms, pairs.products.terms, pairs.query, pairs.product},
                                   {rows_, idf_}, width(), workers),
                    words_->buffer.host().begin());
}

void Encoder::read(const Bag& bag, TextColumns& out) const {
  if (latent()) {
    for (const Term& term : bag.terms.all()) {
      if (const int32_t own = row(term.id); own >= 0) out.words.add(own);
      out.term_words.add(term.word);
    }
    return;
  }
  const Tokens& words = bag.tokens;
  const auto count = std::min<int64_t>(words.size(), config_.max_words);
  for (const Term& term : bag.terms.all())
    out.term_words.add(static_cast<int32_t>(std::min<int64_t>(term.word, count - 1)));
  int64_t characters = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t own = row(vocabulary_.id(words[i]));
    const auto shared = static_cast<int32_t>(key_part(words[i]) % kSharedRows);
    out.words.add(own >= 0 ? own : shared);
    const int64_t before = characters;
    for (size_t at = 0; at < words[i].size() && characters < config_.max_characters; ++characters) {
      const CodePoint point = decode_utf8(words[i], at);
      out.characters.add(character_row(point.value, at == 0));
      at += static_cast<size_t>(point.length);
    }
    out.word_lengths.add(static_cast<int32_t>(characters - before));
  }
}

Var Encoder::idf(Tape& tape, Ids rows) const {
  const std::span<real> values = tape.array<real>(std::ssize(rows));
  for (size_t i = 0; i < values.size(); ++i) values[i] = idf_[static_cast<size_t>(rows[i])];
  return tape.constant({std::ssize(values)}, values);
}

Var Encoder::word_shares(Tape& tape, Side side, const TextBatch& texts) const {
  if (!latent()) return (*this)(tape, side, texts).word_shares;
  return scale_rows(rows(tape, *words_, tape.index(texts.words)), idf(tape, texts.words));
}

Encoded Encoder::operator()(Tape& tape, Side side, const TextBatch& texts) const {
  Encoded out;
  if (latent()) {
    const RowIndex terms{tape.upload(texts.words), {}, {}, {}};  // no gradient asks for more
    out.text = unit_rows(bag(*words_, terms, texts.text_words, idf(tape, texts.words)));
    return out;
  }
  const auto rate = static_cast<real>(config_.dropout);
  const auto embed = [&](const Parameter& table, Ids ids, const Parameter& places, Ids positions) {
    const Var x = rows(tape, table, tape.index(ids)) + gather(tape.leaf(places), positions);
    return add_row(x, tape.leaf(*sides_[side == Side::query ? 0 : 1]));
  };
  if (over_characters_) {
    const Var x = embed(*characters_, texts.characters, *character_places_, texts.character_positions);
    const Var characters = (*over_characters_)(dropout(x, rate), texts.text_characters);
    out.text = segment_mean(characters, texts.text_characters);
    out.word_shares = segment_sum(characters, texts.word_characters);
    out.words = scale_rows(out.word_shares, inverse_lengths(tape, texts.word_characters));
  }
  if (over_words_) {
    Var x = embed(*words_, texts.words, *word_places_, texts.word_positions);
    if (over_characters_) x = x + out.words;
    out.words = (*over_words_)(dropout(x, rate), texts.text_words);
  }
  if (!over_characters_) {
    out.text = segment_mean(out.words, texts.text_words);
    out.word_shares = out.words;
  }
  return out;
}

}  // namespace steelyard
