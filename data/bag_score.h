// One query against given products of a BagStore. Every word of the query is broadcast and compared with the block of
// each product in which it could be; what matches is multiplied and added, in whole numbers, so every way to
// compute a score gives the same bits.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "data/bag_store.h"

namespace steelyard {

// A query's words, as impacts from 1 to 32767 of a scale of their own, by block. Reuse it: after the longest query has
// passed, setting it allocates nothing.
class BagQuery {
 public:
  // Words that no product can hold, with ids from store.ids() on, are left out, as are those of weight 0. Error(input):
  // a weight that is negative or no number.
  void set(const BagStore& store, std::span<const BagWord> words);

  double scale() const { return scale_; }  // weight = scale · impact; ten significant bits
  std::span<const StoredWord> words() const { return words_; }  // ascending by block, then by id

  // For scoring: the words of block b are those from starts[b] to starts[b+1].
  struct Broadcast {
    alignas(32) uint16_t key[16];
    alignas(32) int16_t impact[16];
  };
  std::span<const Broadcast> broadcast() const { return broadcast_; }
  std::span<const int32_t> starts() const { return starts_; }
  std::pair<const StoredWord*, const StoredWord*> block(int32_t b) const {
    return {words_.data() + starts_[static_cast<size_t>(b)],
            words_.data() + starts_[static_cast<size_t>(b) + 1]};
  }
  int64_t ids() const { return ids_; }  // of the store that it was set for
  // False: no word has this id. Of a query of ten words true for one in four hundred others.
  bool perhaps(int32_t id) const { return filter_[static_cast<size_t>(id / 64 % 64)] >> (id % 64) & 1; }

 private:
  double scale_ = 1;
  int64_t ids_ = -1;
  std::vector<StoredWord> words_;
  std::vector<Broadcast> broadcast_;
  std::vector<int32_t> starts_;
  std::array<uint64_t, 64> filter_{};
};

// sums[j] = Σ over the words that the query and products[j] share of impact · impact. The score is sum · query.scale() ·
// store.scale(), exact in double. Thread-safe, allocates nothing. Error(bug): a query that was set for another store, a product
// that is not there.
void score(const BagStore& store, const BagQuery& query, std::span<const int32_t> products,
           std::span<int32_t> sums);
// The same for all products from `first` on.
void score_from(const BagStore& store, const BagQuery& query, int64_t first, std::span<int32_t> sums);

struct BagMatch {
  int32_t id;
  double query_weight, product_weight, contribution;  // exact: in any order they sum to the score
};
// Heaviest contribution first.
void match(const BagStore& store, const BagQuery& query, int64_t product, std::vector<BagMatch>& out);

}  // namespace steelyard
