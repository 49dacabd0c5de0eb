// BM25 (Robertson et al. 1995) as a pair of bags, for comparison with what is learned:
//
//   w_Q(t) = idf(t) · tf_Q(t)
//   w_P(t) = tf_P(t) (k1 + 1) / (tf_P(t) + k1 (1 − b + b · |P| / mean |P|))     |P| in words
#pragma once

#include <cmath>

#include "nn/bag_model.h"

namespace steelyard {

struct Bm25Config {
  double k1 = 1.2, b = 0.75;
  bool normalised = false;
  double mean_length = 0;

  template <class F>
  void fields(F&& f) {
    f("k1", k1, "saturation of a term's frequency in the product");
    f("b", b, "how much a product's length counts, 0 … 1");
    f("normalised", normalised,
      "divide by the query's sum of idf, so that scores of different queries compare");
    f("mean_length", mean_length, "mean words of a product; 0: measured on the training rows");
  }
  void validate() const {
    require(k1 >= 0 && std::isfinite(k1), "bm25.k1", k1, "0 or more");
    require(b >= 0 && b <= 1, "bm25.b", b, "0 … 1");
    require(mean_length >= 0 && std::isfinite(mean_length), "bm25.mean_length", mean_length, "0 or more");
  }
};

class Bm25 final : public BagModel {
 public:
  Bm25(const Bm25Config& config, const Vocabulary& vocabulary) : config_(config), vocabulary_(vocabulary) {}

  // The place of a term is its frequency in the text.
  void read(Side side, const Bag& bag, TextColumns& out) const override;
  Weights weigh(Tape& tape, Side side, const TextBatch& texts) const override;
  Scores scores(Tape& tape, const PairBatch& pairs, double progress) const override;

 private:
  const Bm25Config& config_;
  const Vocabulary& vocabulary_;
};

}  // namespace steelyard
