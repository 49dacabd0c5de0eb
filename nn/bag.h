// A bag is a text as words with weights. Relevance is the sum over the words that two bags share of the
// product of their weights, so every score explains itself: the matches are the score.
//
// The sum is taken in double, in the order of the query's terms. A product of two floats is exact in double,
// so whoever adds the listed contributions in their order gets the score to the last bit.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "core/real.h"
#include "data/vocabulary.h"

namespace steelyard {

enum class Side { query, product };

// Reuse it: after the longest text has passed, filling it allocates nothing.
struct Bag {
  Tokens tokens;
  Terms terms;                // in the order of the text
  std::vector<real> weights;  // one per term
};

struct Match {
  int32_t query_term, product_term;  // positions in the two bags
  double contribution;               // query weight · product weight
};

// The matches in the order of the query's terms.
void match(const Bag& query, const Bag& product, std::vector<Match>& out);

// s(Q, P) = Σ_{t ∈ Q ∩ P} w_Q(t) · w_P(t)   (DeepBoW, Lin et al. 2024)
double score(const Bag& query, const Bag& product);

}  // namespace steelyard
