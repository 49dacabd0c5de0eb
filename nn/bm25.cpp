#include "nn/bm25.h"

namespace steelyard {

namespace {

std::span<real> weights_of(Tape& tape, const TermBatch& terms) {
  return tape.array<real>(static_cast<int64_t>(terms.ids.size()));
}

Var column(Tape& tape, std::span<const real> weights) {
  return tape.constant({static_cast<int64_t>(weights.size()), 1}, weights);
}

}  // namespace

Var Bm25::query_weights(Tape& tape, const TermBatch& terms) const {
  const std::span<real> weights = weights_of(tape, terms);
  for (size_t text = 0; text < terms.texts.begins.size(); ++text) {
    double sum = 0;
    const auto begin = static_cast<size_t>(terms.texts.begins[text]),
               end = static_cast<size_t>(terms.texts.ends[text]);
    for (size_t i = begin; i < end; ++i) {
      const double weight = vocabulary_.idf(terms.ids[i]) * terms.places[2 * i];
      weights[i] = static_cast<real>(weight);
      sum += weight;
    }
    if (config_.normalised && sum > 0)
      for (size_t i = begin; i < end; ++i) weights[i] = static_cast<real>(weights[i] / sum);
  }
  return column(tape, weights);
}

Var Bm25::product_weights(Tape& tape, const TermBatch& terms) const {
  const std::span<real> weights = weights_of(tape, terms);
  for (size_t i = 0; i < weights.size(); ++i) {
    const double frequency = terms.places[2 * i], length = terms.places[2 * i + 1];
    const double relative = config_.mean_length > 0 ? length / config_.mean_length : 1;
    const double norm = 1 - config_.b + config_.b * relative;
    weights[i] = static_cast<real>(frequency * (config_.k1 + 1) / (frequency + config_.k1 * norm));
  }
  return column(tape, weights);
}

void Bm25::places(Side, const Bag& bag, std::vector<int32_t>& out) const {
  for (const Term& term : bag.terms.all()) {
    out.push_back(term.count);
    out.push_back(static_cast<int32_t>(bag.tokens.size()));
  }
}

}  // namespace steelyard
