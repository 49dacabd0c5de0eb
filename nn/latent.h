// What texts teach without labels: terms that stand in the same texts, or in a query and its products, are akin.
// Latent semantic analysis (Deerwester et al. 1990) of the matrix A with a row for each pair, the sum of the idf of
// its two texts, each of length one. The vectors of terms are an orthonormal basis X of the space of A's greatest right
// singular vectors, found by subspace iteration, X ← orthonormal(AᵀA X), and then taken to length one. Only their
// cosines mean anything, and those are the same in any basis: no singular value is computed.
#pragma once

#include <vector>

#include "core/batch.h"
#include "core/parallel.h"

namespace steelyard {

struct LatentTexts {
  Ragged<int32_t> queries, products;  // ids of their terms
  Ids query, product;                 // [pairs]
};

// The terms that take part: their rows by id, −1 for the others, and the weight of each row (its idf).
struct LatentTerms {
  Ids rows;
  std::span<const real> weights;
};

// [weights, width]; rows of terms that no text holds are 0. The same bits for any number of threads.
std::vector<real> latent_vectors(const LatentTexts& texts, const LatentTerms& terms, int64_t width,
                                 const Workers& workers);

}  // namespace steelyard
