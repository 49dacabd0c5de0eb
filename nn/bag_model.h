// What a model does that turns texts into bags: it gives every term a weight. It sees a list of terms, each
// with an id and a few *places*, small numbers that say where in its text the term stands; the same functions
// serve one text and train on thousands. Two implementations: nn/deepbow.h and nn/bm25.h. nn/relevance.h does
// everything around them.
#pragma once

#include <vector>

#include "autograd/ops.h"
#include "nn/bag.h"

namespace steelyard {

// The terms of some texts, one after the other, as views of host memory.
struct TermBatch {
  Ids ids;         // [m]
  Ids places;      // [m · places_per_term]
  Segments texts;  // the terms of each text
};

class BagModel {
 public:
  virtual ~BagModel() = default;

  // [m,1] ≥ 0. A query's weights may depend on all its terms, a product's only on the term and its places:
  // training weighs those terms of a product alone that match.
  virtual Var query_weights(Tape& tape, const TermBatch& terms) const = 0;
  virtual Var product_weights(Tape& tape, const TermBatch& terms) const = 0;

  virtual int places_per_term(Side side) const = 0;
  // Appends the places of all terms of a text.
  virtual void places(Side side, const Bag& bag, std::vector<int32_t>& out) const = 0;
};

}  // namespace steelyard
