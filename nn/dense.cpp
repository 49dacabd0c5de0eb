#include "nn/dense.h"

namespace steelyard {

Dense::Dense(Parameters::Scope at, const EncoderConfig& config, const Vocabulary& vocabulary)
    : first_(vocabulary.size()),
      encoder_(at / "encoder", config, vocabulary),
      query_(at.add("query", {config.width, config.width}, glorot(config.width, config.width))),
      product_(at.add("product", {config.width, config.width}, glorot(config.width, config.width))) {}

Var Dense::vectors(Tape& tape, Side side, const TextBatch& texts) const {
  const Var x = matmul(encoder_(tape, side, texts).text, tape.leaf(side == Side::query ? query_ : product_));
  return unit_rows(x);
}

Weights Dense::weigh(Tape& tape, Side side, const TextBatch& texts) const {
  const std::span<real> none = tape.array<real>(std::ssize(texts.terms));
  std::fill(none.begin(), none.end(), real(0));
  return {tape.constant({std::ssize(none), 1}, none), vectors(tape, side, texts)};
}

Scores Dense::scores(Tape& tape, const PairBatch& pairs, double) const {
  const Var queries = vectors(tape, Side::query, pairs.queries);
  const Var products = vectors(tape, Side::product, pairs.products);
  const Var dots = dot_rows(gather(queries, pairs.query), gather(products, pairs.product));
  return {reshape(dots, {pairs.size(), 1})};
}

}  // namespace steelyard
