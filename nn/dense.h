// The dense two-tower, for comparison: a text is one vector on the same encoder, and relevance is the cosine of
// two. Written as a bag over D dimensions without names, signed weights and all, it is served and explained like
// the others: what it lacks is anything to read.
//
//   w(d) = x_d / ‖x‖,  x = O_side h_c
#pragma once

#include "nn/bag_model.h"
#include "nn/encoder.h"

namespace steelyard {

class Dense final : public BagModel {
 public:
  Dense(Parameters::Scope at, const EncoderConfig& config, const Vocabulary& vocabulary);

  void read(Side, const Bag& bag, TextColumns& out) const override { encoder_.read(bag, out); }
  Weights weigh(Tape& tape, Side side, const TextBatch& texts) const override;
  int32_t expansion_id(Side, int64_t column) const override { return first_ + static_cast<int32_t>(column); }
  void pretrain(const PairRows& pairs, const Workers& workers) override { encoder_.pretrain(pairs, workers); }
  Scores scores(Tape& tape, const PairBatch& pairs, double progress) const override;

 private:
  Var vectors(Tape& tape, Side side, const TextBatch& texts) const;  // [n, D], of length 1

  int32_t first_;  // id of the first dimension: behind the vocabulary's
  Encoder encoder_;
  const Parameter &query_, &product_;
};

}  // namespace steelyard
