// Pairs of query and product as training reads them: encoded once into a row cache, gathered batch by batch.
// A match is a term of the query that the product has too.
#pragma once

#include "nn/texts.h"

namespace steelyard {

struct PairRows {
  TextRows queries, products;                      // every text once
  Ragged<int32_t> query_matches, product_matches;  // positions in the two texts, in the query's order
  Ids query, product;                              // [rows] their texts
  std::span<const float> labels;                   // 0 … 1
  std::span<const float> grades;                   // as in the file
  Ids groups;                                      // which rows rank against each other

  explicit PairRows(const RowCache& cache);
  int64_t size() const { return static_cast<int64_t>(labels.size()); }
};

// What a model wants of a training batch.
struct PairOptions {
  double query_dropout = 0;   // the rate at which terms of the queries are left out, in Mode::train
  bool all_products = false;  // all terms of the products, not only those that match
  bool negatives = false;     // behind the n pairs n others: each query with the product of the next row
};

// Some pairs in the tape's memory. Positions count through the batch.
struct PairBatch {
  TextBatch queries, products;
  Ids query, product;                  // [pairs] texts
  Segments matches;                    // [pairs]
  Ids query_matches, product_matches;  // terms

  int64_t size() const { return static_cast<int64_t>(query.size()); }
};

PairBatch gather_pairs(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows,
                       const PairOptions& options);

}  // namespace steelyard
