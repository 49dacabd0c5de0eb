// DeepBoW (Lin et al. 2024, arXiv 2407.09395): a query and a product become bags of weighted words, apart from
// each other. Two kinds of bag, one for each side:
//
//   weighting   the text's own terms; their weights sum to one
//       w(t) = softmax over the text of  θ_t + β_place(t) + ⟨A h_c, h_w⟩ / √D
//   expansion   the text's own terms and words that it does not hold
//       w(t) = V_w(t)                            = softplus(φ_t + ⟨u, h_w⟩) · exp(γ_place(t))
//       w(t) = p V_c(t) + (1 − p) V_w(t)         of the text's words,  p = σ(⟨v, [h_c; h_w]⟩ + b)
//       w(t) = V_c(t)                            = log(1 + relu(⟨E_t, O h_c⟩ + b_t)) of the other words
//
// h_c and h_w come from nn/encoder.h: the text, and the word that holds the term. E is the encoder's own table
// of words. A, u and v start at zero, so training begins at the lexical model, which is what remains on a side
// without the encoder: there a bag is a look-up. θ starts at log idf, φ where the softplus is 1. With latent vectors
// (encoder.kind) there is no h_w, so a bag's own terms are looked up on every side; O starts as a multiple of the identity and
// b_t as a bound, so training begins where words of a certain kinship are brought in, of those that the other side held.
//
// Two entries of every bag are no words, the *priors*: "(product)" weighs 1 in a query and tells in a product how
// well it is liked whatever was asked for; "(query)" the other way round. Of m terms and l words, on either side:
//
//       w = softplus(c + λ_l + Σ_t ω_t / √m)
//
// The *places* are few and shared by all terms; they say what the term itself cannot: of which kind it is, how
// long the query is and how far from its last word the term stands (the head noun of English is the last), how
// rare the word around a run of characters is, and on the product's side where the term stands relative to the
// head of the title.
//
// The two kinds of bag, the gate and the two levels of text are the paper's; how V_c, V_w and p are computed, the
// places and the priors are ours (their worth: the ablations in nn/README.md).
#pragma once

#include "nn/bag_model.h"
#include "nn/encoder.h"

namespace steelyard {

struct DeepBowConfig {
  std::string query_bag = "weighting", product_bag = "expansion";
  bool query_encoder = false, product_encoder = false;
  bool query_places = true, product_places = true;
  bool priors = true;
  bool gate = true;
  double query_dropout = 0.1;
  double prior_penalty = 0.03;
  std::string penalty = "flops";
  double query_penalty = 0, product_penalty = 0;
  double negatives = 0;

  template <class F>
  void fields(F&& f) {
    f("query_bag", query_bag, "weighting: the query's own terms; expansion: other words too");
    f("product_bag", product_bag, "weighting or expansion");
    f("query_encoder", query_encoder, "read the whole query; false: look its terms up");
    f("product_encoder", product_encoder, "read the whole product; false: look its terms up");
    f("query_places", query_places, "learn where in a query words matter");
    f("product_places", product_places, "learn where in a title words matter");
    f("priors", priors, "learn which queries and products are liked, whatever the other is");
    f("gate", gate, "of a text's own words mix V_c and V_w; false: V_w alone");
    f("query_dropout", query_dropout, "rate of query terms left out in training");
    f("prior_penalty", prior_penalty, "its factor for Σ ω² of a text");
    f("penalty", penalty, "of many words: flops, Σ (mean weight)², or l1, Σ mean weight");
    f("query_penalty", query_penalty,
      "its factor for the words of queries, reached after a third of the steps");
    f("product_penalty", product_penalty, "its factor for the words of products");
    f("negatives", negatives, "weight of as many pairs of a query with another row's product, as irrelevant");
  }
  void validate() const;
};

class DeepBow final : public BagModel {
 public:
  DeepBow(Parameters::Scope at, const DeepBowConfig& config, const EncoderConfig& encoder,
          const Vocabulary& vocabulary);

  void read(Side side, const Bag& bag, TextColumns& out) const override;
  Weights weigh(Tape& tape, Side side, const TextBatch& texts) const override;
  int32_t expansion_id(Side side, int64_t column) const override;
  std::string_view name(int32_t id) const override;
  int64_t names() const override;
  std::vector<int32_t> sources(Tape& tape, Side side, const TextBatch& texts, Ids ids) const override;

  void pretrain(const PairRows& pairs, const Workers& workers) override;
  Scores scores(Tape& tape, const PairBatch& pairs, double progress) const override;
  PairOptions pair_options() const override;
  double first_score() const override;

 private:
  // One side of the model.
  struct Bags {
    bool weighting, encoded, expands;
    double penalty;
    const Parameter *term, *place = nullptr;
    const Parameter *prior_term = nullptr, *prior_length = nullptr, *prior_bias = nullptr;  // ω, λ, c
    const Parameter* attention = nullptr;                                                   // A
    const Parameter* context = nullptr;                                                     // u
    const Parameter* output = nullptr;                                                      // O
    Parameter* bias = nullptr;                                                              // b_t
    const Parameter *gate = nullptr, *gate_bias = nullptr;                                  // v, b
    std::vector<int32_t> words = {};  // that it may bring in: rows of the encoder's table, ascending
  };
  Bags make(Parameters::Scope at, Side side) const;
  void choose_words(Bags& bags) const;  // those whose b_t says so
  const Bags& of(Side side) const { return side == Side::query ? query_ : product_; }

  // A batch of one side, with what several of its weights need.
  struct Reading {
    const Bags& bags;
    const TextBatch& texts;
    RowIndex terms;
    Encoded encoded = {};
    Var output = {};  // [n,D]  O h_c
  };
  Reading reading(Tape& tape, Side side, const TextBatch& texts) const;

  Scores prior(Tape& tape, const Reading& of) const;  // [n,1]
  Var own(Tape& tape, const Reading& of) const;       // [m,1]
  Var mixed(Tape& tape, const Reading& of, Var own) const;
  // V_c of words, given as rows of the encoder's table: for every text, or words[j] for texts[j].
  Var expansion(Tape& tape, const Reading& of, Ids words) const;             // [n, words]
  Var expansion(Tape& tape, const Reading& of, Ids texts, Ids words) const;  // [words, 1]
  // What the expansion of one side adds to the scores, by the terms of the other that it does not hold.
  Scores expanded_scores(Tape& tape, const Reading& of, const PairBatch& pairs, Side side, Var other,
                         double progress) const;
  Var shared_expansion(Tape& tape, const Reading& query, const Reading& product,
                       const PairBatch& pairs) const;  // [pairs,1]

  DeepBowConfig config_;
  const Vocabulary& vocabulary_;
  std::optional<Encoder> encoder_;
  Bags query_, product_;
};

}  // namespace steelyard
