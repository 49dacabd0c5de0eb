#include "data/batches.h"

#include "core/check.h"
#include "core/random.h"

namespace steelyard {
namespace {

// The first of the numbers that part `part` owns when `total` are spread evenly over `parts`.
int64_t part_start(int64_t total, int64_t parts, int64_t part) {
  const int64_t each = total / parts, left = total % parts;
  return part * each + (part < left ? part : left);
}

}  // namespace

Permutation::Permutation(int64_t n, uint64_t key) : n_(n), key_(key) {
  check(n >= 0 && n <= int64_t{1} << 62, "Permutation: size out of range; got ", n, "; expected 0 to 2^62");
  while (half_bits_ < 31 && int64_t{1} << (2 * half_bits_) < n) ++half_bits_;
}

int64_t Permutation::operator()(int64_t i) const {
  check(i >= 0 && i < n_, "Permutation: no such number; got ", i, "; expected 0 to ", n_ - 1);
  // Four rounds are a pseudorandom permutation (Luby and Rackoff 1988) when the halves are large; for n of
  // ten or so, six are measurably uneven and eight are not.
  constexpr uint64_t rounds = 8;
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t x = static_cast<uint64_t>(i);
  do {
    uint64_t left = x >> half_bits_, right = x & mask;
    for (uint64_t round = 0; round < rounds; ++round) {
      const uint64_t next = left ^ (random_bits(key_, right * rounds + round) & mask);
      left = right;
      right = next;
    }
    x = left << half_bits_ | right;
  } while (x >= static_cast<uint64_t>(n_));
  return static_cast<int64_t>(x);
}

int64_t BatchPlan::steps_per_epoch() const {
  check(rows >= 1 && batch >= 1 && shards >= 1, "BatchPlan: got rows ", rows, ", batch ", batch, ", shards ",
        shards, "; expected at least 1 of each");
  return (rows - 1) / batch + 1;
}

void BatchPlan::rows_of(int64_t step, int shard, std::vector<int64_t>& out) const {
  const int64_t steps = steps_per_epoch();
  check(step >= 0 && shard >= 0 && shard < shards, "BatchPlan: no step ", step, ", shard ", shard,
        "; expected a shard from 0 to ", shards - 1);
  const int64_t epoch = step / steps, place = step % steps;
  const int64_t begin = part_start(rows, steps, place);
  const int64_t size = part_start(rows, steps, place + 1) - begin;
  const Permutation order(rows, key_of(seed, "epoch", epoch));
  out.clear();
  for (int64_t i = part_start(size, shards, shard); i < part_start(size, shards, shard + 1); ++i)
    out.push_back(order(begin + i));
}

}  // namespace steelyard
