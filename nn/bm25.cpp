#include "nn/bm25.h"

#include <numeric>

namespace steelyard {

void Bm25::read(Side, const Bag& bag, TextColumns& out) const {
  for (const Term& term : bag.terms.all()) out.places.add(term.count);
}

Weights Bm25::weigh(Tape& tape, Side side, const TextBatch& texts) const {
  const std::span<real> weights = tape.array<real>(std::ssize(texts.terms));
  for (size_t i = 0; i < weights.size(); ++i) {
    const double frequency = texts.places[i];
    const double length = texts.lengths[static_cast<size_t>(texts.term_texts[i])];
    const double relative = config_.mean_length > 0 ? length / config_.mean_length : 1;
    const double norm = 1 - config_.b + config_.b * relative;
    weights[i] = static_cast<real>(side == Side::query
                                       ? vocabulary_.idf(texts.terms[i]) * frequency
                                       : frequency * (config_.k1 + 1) / (frequency + config_.k1 * norm));
  }
  for (size_t text = 0; side == Side::query && config_.normalised && text < texts.texts.begins.size();
       ++text) {
    const auto begin = static_cast<size_t>(texts.texts.begins[text]);
    const auto end = static_cast<size_t>(texts.texts.ends[text]);
    const double sum = std::accumulate(weights.begin() + begin, weights.begin() + end, 0.0);
    for (size_t i = begin; i < end && sum > 0; ++i) weights[i] = static_cast<real>(weights[i] / sum);
  }
  return {tape.constant({std::ssize(weights), 1}, weights)};
}

Scores Bm25::scores(Tape& tape, const PairBatch& pairs, double) const {
  return {match_scores(pairs, weigh(tape, Side::query, pairs.queries).own,
                       weigh(tape, Side::product, pairs.products).own)};
}

}  // namespace steelyard
