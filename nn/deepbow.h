// DeepBoW (Lin et al. 2024, arXiv 2407.09395), the lexical half: both sides are bags of their own words,
// phrases and runs of characters, each with a learned weight.
//
//   w_Q(t) = softmax over the query's terms of  θ_t + β_place(t)      θ starts at log idf
//   w_P(t) = softplus(φ_t) · exp(γ_place(t))                          φ starts where the softplus is 1
//
// The query's weights sum to one, so a score is an expectation of the product's weights over the query's
// words. The *places* are few and shared by all terms; they say what the term itself cannot: of which kind it
// is, how long the query is and how far from its last word the term stands (the head noun of English is the
// last), how rare the word around a run of characters is, and on the product's side where the term stands
// relative to the head of the title.
//
// Source of the pattern: softmax term weights and N-gram hashing are the paper's; places are ours (models are
// told apart by their ablation in nn/README.md).
#pragma once

#include "nn/bag_model.h"

namespace steelyard {

struct DeepBowConfig {
  bool query_places = true;
  bool product_places = true;
  double query_dropout = 0.1;

  template <class F>
  void fields(F&& f) {
    f("query_places", query_places, "learn where in a query words matter");
    f("product_places", product_places, "learn where in a title words matter");
    f("query_dropout", query_dropout, "rate of query terms left out in training");
  }
  void validate() const {
    if (!(query_dropout >= 0 && query_dropout < 1))
      fail(Fault::usage, "deepbow.query_dropout: ", query_dropout, "; expected 0 ≤ rate < 1");
  }
};

class DeepBow final : public BagModel {
 public:
  DeepBow(Parameters::Scope at, const DeepBowConfig& config, const Vocabulary& vocabulary);

  Var query_weights(Tape& tape, const TermBatch& terms) const override;
  Var product_weights(Tape& tape, const TermBatch& terms) const override;
  int places_per_term(Side side) const override;
  void places(Side side, const Bag& bag, std::vector<int32_t>& out) const override;

 private:
  DeepBowConfig config_;
  const Vocabulary& vocabulary_;
  Parameter &query_term_, &query_place_, &product_term_, &product_place_;
};

}  // namespace steelyard
