#include "nn/deepbow.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace steelyard {

namespace {

// What a place tells apart. A place is one row of a small table.
constexpr int kKinds = 5;      // word, phrase, short and long run inside a word, run across words
constexpr int kLengths = 5;    // words of the query: 0 … 3, more
constexpr int kFromLast = 4;   // words behind the term: 0 … 2, more
constexpr int kRarities = 8;   // training texts with the word at the term's place, in half decades
constexpr int kHeadReach = 5;  // words before and behind the head of a title
constexpr int kHeads = 2 * kHeadReach + 1;
constexpr int kQueryPlaces = kKinds * kLengths * kFromLast * kRarities;

int kind_of(const Bag& bag, int64_t term) {
  switch (bag.terms[term].kind) {
    case TermKind::word:
      return 0;
    case TermKind::phrase:
      return 1;
    case TermKind::subword: {
      const std::string_view surface = bag.terms.surface(term);  // *fau*
      const auto characters =
          std::count_if(surface.begin(), surface.end(), [](char c) { return (c & 0xc0) != 0x80; });
      return characters - 2 <= 3 ? 2 : 3;
    }
    case TermKind::across:
      return 4;
  }
  return 0;
}

int rarity_of(int32_t frequency) {
  constexpr std::array<int32_t, kRarities - 1> kSteps = {1, 3, 10, 30, 100, 300, 1000};
  return static_cast<int>(std::upper_bound(kSteps.begin(), kSteps.end(), frequency) - kSteps.begin());
}

// What a title sells is named before its first preposition, or at its end: "Shower Trim Kit | in Chrome".
int64_t head_of(const Tokens& words) {
  for (int64_t i = 2; i < words.size(); ++i) {
    const std::string_view word = words[i];
    const char before = words[i - 1][0];
    const bool after_number = before >= '0' && before <= '9';  // 3 in: an inch
    if ((word == "in" || word == "with" || word == "for" || word == "w") && !after_number) return i - 1;
  }
  return words.size() - 1;
}

}  // namespace

DeepBow::DeepBow(Parameters::Scope at, const DeepBowConfig& config, const Vocabulary& vocabulary)
    : config_(config),
      vocabulary_(vocabulary),
      query_term_((at / "query").table("term", {vocabulary.size(), 1}, values([&](int64_t id) {
                                         return std::log(vocabulary.idf(static_cast<int32_t>(id)));
                                       }))),
      query_place_((at / "query").add("place", {kQueryPlaces, 1}, constant(0))),
      product_term_(
          (at / "product").table("term", {vocabulary.size(), 1}, constant(std::log(std::exp(real(1)) - 1)))),
      product_place_((at / "product").add("place", {kKinds * kHeads, 1}, constant(0))) {}

int DeepBow::places_per_term(Side) const { return 1; }

void DeepBow::places(Side side, const Bag& bag, std::vector<int32_t>& out) const {
  const auto words = static_cast<int32_t>(bag.tokens.size());
  const int64_t head = side == Side::product ? head_of(bag.tokens) : 0;
  for (int64_t i = 0; i < bag.terms.size(); ++i) {
    const auto& [id, count, term_kind, word, last] = bag.terms[i];
    const int kind = kind_of(bag, i);
    if (side == Side::product) {
      const int64_t to_head = std::clamp<int64_t>(head - last, -kHeadReach, kHeadReach) + kHeadReach;
      out.push_back(kind * kHeads + static_cast<int>(to_head));
      continue;
    }
    const int length = std::min(words, kLengths - 1), from_last = std::min(words - 1 - last, kFromLast - 1);
    const int rarity = rarity_of(vocabulary_.document_frequency(vocabulary_.id(bag.tokens[word])));
    out.push_back(((kind * kLengths + length) * kFromLast + from_last) * kRarities + rarity);
  }
}

Var DeepBow::query_weights(Tape& tape, const TermBatch& terms) const {
  Var logits = rows(tape, query_term_, tape.index(terms.ids));
  if (config_.query_places) logits = logits + gather(tape.leaf(query_place_), terms.places);
  return softmax(logits, terms.texts);
}

Var DeepBow::product_weights(Tape& tape, const TermBatch& terms) const {
  const Var weights = softplus(rows(tape, product_term_, tape.index(terms.ids)));
  return config_.product_places ? weights * exp(gather(tape.leaf(product_place_), terms.places)) : weights;
}

}  // namespace steelyard
