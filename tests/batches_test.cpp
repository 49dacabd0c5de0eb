#include "data/batches.h"

#include <algorithm>
#include <set>

#include "tests/support.h"

namespace steelyard {
namespace {

TEST_CASE("a permutation visits every number once") {
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 4097, 65536, 100003}) {
    for (const uint64_t seed : {0, 1, 2}) {
      const Permutation permutation(n, seed);
      std::vector<bool> seen(static_cast<size_t>(n));
      bool once = true;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t j = permutation(i);
        REQUIRE(j >= 0);
        REQUIRE(j < n);
        once = once && !seen[static_cast<size_t>(j)];
        seen[static_cast<size_t>(j)] = true;
      }
      CAPTURE(n);
      CHECK(once);
    }
  }
}

TEST_CASE("large sizes: in range, and no two alike among many") {
  const int64_t n = (int64_t{1} << 61) + 12345;
  const Permutation permutation(n, 9);
  std::set<int64_t> images;
  for (int64_t i = 0; i < 10000; ++i) images.insert(permutation(n - 1 - i));
  CHECK(images.size() == 10000);
  CHECK(*images.begin() >= 0);
  CHECK(*images.rbegin() < n);
}

TEST_CASE("a permutation is uniform over seeds and without visible order") {
  // Where 0 … 9 go under many seeds: each place should be hit equally often. 99 degrees of freedom, of which
  // 9 + 9 + 1 are bound: chi-square has mean 81 and deviation sqrt(162) ≈ 12.7.
  constexpr int64_t n = 10;
  constexpr int seeds = 20000;
  std::vector<int> hits(n * n);
  for (int seed = 0; seed < seeds; ++seed) {
    const Permutation permutation(n, static_cast<uint64_t>(seed));
    for (int64_t i = 0; i < n; ++i) ++hits[static_cast<size_t>(i * n + permutation(i))];
  }
  double chi_square = 0;
  for (const int hit : hits) chi_square += (hit - seeds / 10.0) * (hit - seeds / 10.0) / (seeds / 10.0);
  CHECK(chi_square < 81 + 5 * 12.7);

  // Neighbours: half of the steps go up, and the correlation with the identity is small (deviation 1/sqrt(n)
  // = 0.01).
  const Permutation permutation(10000, 3);
  int ups = 0;
  double product = 0;
  for (int64_t i = 0; i < 10000; ++i) {
    if (i > 0) ups += permutation(i) > permutation(i - 1);
    product += (static_cast<double>(i) - 4999.5) * (static_cast<double>(permutation(i)) - 4999.5);
  }
  CHECK(std::abs(ups - 5000) < 200);
  CHECK(std::abs(product / (10000.0 * (1e8 - 1) / 12)) < 0.05);
}

TEST_CASE("wrong arguments are refused") {
  test::check_fails(
      Fault::bug, [] { Permutation(-1, 0); }, "Permutation", "-1");
  test::check_fails(
      Fault::bug, [] { Permutation(3, 0)(3); }, "got 3; expected 0 to 2");
  test::check_fails(
      Fault::bug, [] { BatchPlan{.rows = 0, .batch = 2}.steps_per_epoch(); }, "rows 0");
  std::vector<int64_t> out;
  test::check_fails(
      Fault::bug, [&] { BatchPlan{.rows = 5, .shards = 2}.rows_of(0, 2, out); }, "shard 2");
}

TEST_CASE("an epoch visits every row once, in even batches and shards") {
  for (const BatchPlan plan : {BatchPlan{.rows = 1, .batch = 8, .shards = 4, .seed = 1},
                               BatchPlan{.rows = 103, .batch = 10, .shards = 4, .seed = 2},
                               BatchPlan{.rows = 100, .batch = 10, .shards = 3, .seed = 3},
                               BatchPlan{.rows = 101, .batch = 100, .shards = 1, .seed = 4},
                               BatchPlan{.rows = 7, .batch = 1, .shards = 2, .seed = 5},
                               BatchPlan{.rows = 5, .batch = 1000, .shards = 8, .seed = 6}}) {
    CAPTURE(plan.rows);
    const int64_t steps = plan.steps_per_epoch();
    CHECK(steps == (plan.rows + plan.batch - 1) / plan.batch);
    std::vector<std::vector<int64_t>> epochs;
    std::vector<int64_t> shard_rows;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int64_t> order;
      for (int64_t step = epoch * steps; step < (epoch + 1) * steps; ++step) {
        int64_t size = 0, least = plan.rows, most = 0;
        for (int shard = 0; shard < plan.shards; ++shard) {
          plan.rows_of(step, shard, shard_rows);
          const int64_t count = static_cast<int64_t>(shard_rows.size());
          size += count;
          least = std::min(least, count);
          most = std::max(most, count);
          order.insert(order.end(), shard_rows.begin(), shard_rows.end());
        }
        CHECK(most - least <= 1);
        CHECK(size <= plan.batch);
        CHECK(size >= plan.rows / steps);
      }
      epochs.push_back(order);
      std::sort(order.begin(), order.end());
      REQUIRE(static_cast<int64_t>(order.size()) == plan.rows);
      for (int64_t i = 0; i < plan.rows; ++i) REQUIRE(order[static_cast<size_t>(i)] == i);
    }
    if (plan.rows > 50) {
      CHECK(epochs[0] != epochs[1]);
      CHECK(epochs[1] != epochs[2]);
    }
  }
}

TEST_CASE("the order depends on the seed, the batch on nothing else") {
  const BatchPlan plan{.rows = 1000, .batch = 64, .shards = 4, .seed = 11};
  BatchPlan other = plan;
  other.seed = 12;
  std::vector<int64_t> first, again, different;
  plan.rows_of(37, 2, first);
  plan.rows_of(5, 0, again);  // what was asked before does not matter
  plan.rows_of(37, 2, again);
  other.rows_of(37, 2, different);
  CHECK(first == again);
  CHECK(first != different);

  // The rows of a step are the same however many shards they are cut into.
  BatchPlan whole = plan;
  whole.shards = 1;
  std::vector<int64_t> joined, part, all;
  for (int shard = 0; shard < 4; ++shard) {
    plan.rows_of(37, shard, part);
    joined.insert(joined.end(), part.begin(), part.end());
  }
  whole.rows_of(37, 0, all);
  CHECK(joined == all);
}

}  // namespace
}  // namespace steelyard
