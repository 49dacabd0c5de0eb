// All products of a BagStore that share a word with a query, best first. Of each word the index lists the products that
// hold it and its impacts there; a query adds up those of its words, a window of products at a time, so that the sums stay in the
// cache. Words that many products hold, such as priors, have a column with a number for every product instead.
#pragma once

#include <span>
#include <vector>

#include "data/bag_score.h"

namespace steelyard {

struct BagHit {
  int32_t product, sum;  // as of score() in data/bag_score.h
  bool operator==(const BagHit&) const = default;
};

class BagIndex {
 public:
  // Of a store that must outlive it; five to eight bytes of memory for each word of each product.
  explicit BagIndex(const BagStore& store);

  // What a thread needs for searching: after the first search of an index it allocates nothing.
  struct Workspace {
    std::vector<int32_t> sums;
    struct List {
      int64_t next, end;
      int32_t impact;
    };
    std::vector<List> lists, columns;
    std::vector<BagHit> heap;
  };
  // The `most` products with the greatest sums, of equal ones those that come first; none with sum 0. `allowed`: product i
  // only if bit i % 64 of word i / 64 is set; empty: every one.
  void search(const BagQuery& query, int64_t most, std::span<const uint64_t> allowed, Workspace& work,
              std::vector<BagHit>& out) const;

 private:
  const BagStore* store_;
  std::vector<int64_t> starts_;  // [ids+1] of each word's list
  std::vector<int32_t> products_;
  std::vector<uint8_t> impacts_;
  std::vector<int32_t> columns_;  // [ids] −1: a list; else its column
  std::vector<uint8_t> dense_;    // [columns, n]
};

}  // namespace steelyard
