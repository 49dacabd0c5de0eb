// What a model does that turns texts into bags: it gives weights to terms. The same function serves one text
// and weighs thousands. Implementations: nn/deepbow.h, nn/bm25.h and, as a bag without words, nn/dense.h.
// nn/relevance.h does everything around them.
#pragma once

#include "autograd/ops.h"
#include "core/parallel.h"
#include "nn/bag.h"
#include "nn/pairs.h"

namespace steelyard {

struct Weights {
  Var own;             // [m,1] one per term of the batch
  Var expansion = {};  // [n,E] of E words that a text need not hold; none: empty
};

struct Scores {
  Var scores;         // [pairs,1]
  Var penalty = {};   // [] of weights that are too large; none: empty
  Var sparsity = {};  // [] of words that are too many; none: empty
};

class BagModel {
 public:
  virtual ~BagModel() = default;

  // Appends to `out` what the model reads of a text beside its terms: places, words, characters.
  virtual void read(Side side, const Bag& bag, TextColumns& out) const = 0;
  virtual Weights weigh(Tape& tape, Side side, const TextBatch& texts) const = 0;

  // The expansion's entries by column, ascending. An id behind the vocabulary's is no word: it has a name, and every
  // bag keeps it.
  virtual int32_t expansion_id(Side, int64_t /*column*/) const { return -1; }
  virtual std::string_view name(int32_t /*id*/) const { return "(dimension)"; }
  virtual int64_t names() const { return 0; }  // how many ids these are, of a model whose bags are words
  // Of each of these words of the expansion, the word of the only text of a batch that brought it in.
  virtual std::vector<int32_t> sources(Tape&, Side, const TextBatch&, Ids /*ids*/) const { return {}; }

  // ---- training. `progress` is the share of the steps that are done, 0 … 1.
  virtual void pretrain(const PairRows&, const Workers&) {
  }                                                 // what texts teach without labels, if there is a need
  virtual double first_score() const { return 0; }  // of a pair without matches, before the first step
  virtual Scores scores(Tape& tape, const PairBatch& pairs, double progress) const = 0;
  virtual PairOptions pair_options() const { return {}; }
};

// Σ over the matches of each pair of query weight · product weight      [mq,1], [mp,1] → [pairs,1]
Var match_scores(const PairBatch& pairs, Var query, Var product);

}  // namespace steelyard
