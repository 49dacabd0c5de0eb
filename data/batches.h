// Which rows a training step sees, as a pure function of (seed, step, shard): to resume, a run needs only the
// number of its step. Nothing is stored and nothing is drawn in turn; an epoch's order is a keyed permutation
// that is computed where it is asked. Next: data/row_cache.h, which holds the rows themselves.
//
// Why a Feistel network: it is a bijection whatever its round function is, so a few rounds of mixing permute
// 2^k numbers without a table; numbers ≥ n are mapped again until one below n comes out ("cycle walking",
// Black and Rogaway 2002). A shuffled vector would cost 8 bytes per row and a pass over all of them at each
// epoch.
#pragma once

#include <cstdint>
#include <vector>

namespace steelyard {

// A permutation of 0 … n−1 chosen by the key. Expected cost: below 4 rounds of mixing the whole network.
class Permutation {
 public:
  Permutation(int64_t n, uint64_t key);
  int64_t operator()(int64_t i) const;  // 0 ≤ i < n
  int64_t size() const { return n_; }

 private:
  int64_t n_;
  uint64_t key_;
  int half_bits_ = 1;  // the network permutes 2^(2·half_bits) ≥ n numbers
};

// Epochs of steps of shards. Each epoch visits every row exactly once, in an order of its own. Its rows are
// spread over its steps evenly: batches differ by at most one row and none is larger than `batch`. Why not a
// short last batch: its few rows would weigh more than the others'.
struct BatchPlan {
  int64_t rows = 0;   // of the training data, at least 1
  int64_t batch = 1;  // at most so many rows per step, at least 1
  int shards = 1;     // a batch is cut into so many parts, which may be empty if it has fewer rows
  uint64_t seed = 0;

  int64_t steps_per_epoch() const;

  // Fills `out` with the numbers of the rows of this shard of this step; the vector is reused. step ≥ 0.
  void rows_of(int64_t step, int shard, std::vector<int64_t>& out) const;
};

}  // namespace steelyard
