// Pairs of query and product as training reads them: encoded once into a row cache, gathered batch by batch.
// A match is a term of the query that the product has too; of a product, training needs no more than its
// matches.
#pragma once

#include "data/row_cache.h"
#include "nn/bag_model.h"

namespace steelyard {

struct PairRows {
  Ragged<int32_t> query_terms;    // ids
  Ragged<int32_t> query_places;   // places_per_term(query) per term
  Ragged<int32_t> matches;        // positions among the query's terms, ascending
  Ragged<int32_t> match_places;   // places_per_term(product) per match
  std::span<const float> labels;  // 0 … 1
  std::span<const float> grades;  // as in the file
  Ids groups;                     // which rows rank against each other

  explicit PairRows(const RowCache& cache);
  int64_t size() const { return query_terms.size(); }
};

// The terms and the matches of some pairs, one after the other, in the tape's memory.
struct PairBatch {
  TermBatch query, product;
  Ids positions;  // of the matches among the query terms
};

// `dropout`: the rate at which terms of the queries are left out, by the tape's random key, in Mode::train.
PairBatch gather_pairs(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows, double dropout);

}  // namespace steelyard
