// A bag is a text as words with weights. Relevance is the sum over the words that two bags share of the
// product of their weights, so every score explains itself: the matches are the score.
//
// The sum is taken in double, in the order of the query's entries. A product of two floats is exact in double,
// so whoever adds the listed contributions in their order gets the score to the last bit.
#pragma once

#include <vector>

#include "core/real.h"
#include "data/vocabulary.h"

namespace steelyard {

enum class Side { query, product };

struct Entry {
  int32_t id;  // of a term
  real weight;
};

// First the terms of the text, in its order, then the words that a model added. Reuse it: after the longest
// text has passed, filling it allocates nothing.
struct Bag {
  Tokens tokens;
  Terms terms;
  std::vector<real> weights;     // one per term; 0: not kept
  std::vector<Entry> expansion;  // ascending by id; none of them is among the terms

  int64_t size() const { return terms.size() + static_cast<int64_t>(expansion.size()); }
  Entry operator[](int64_t i) const {
    if (i >= terms.size()) return expansion[static_cast<size_t>(i - terms.size())];
    return {terms[i].id, weights[static_cast<size_t>(i)]};
  }
  int64_t find(int32_t id) const;  // −1: not there
};

struct Match {
  int64_t query, product;  // positions in the two bags
  double contribution;     // query weight · product weight, not 0
};

// The matches in the order of the query's entries.
void match(const Bag& query, const Bag& product, std::vector<Match>& out);

// s(Q, P) = Σ_{t ∈ Q ∩ P} w_Q(t) · w_P(t)   (DeepBoW, Lin et al. 2024)
double score(const Bag& query, const Bag& product);

}  // namespace steelyard
