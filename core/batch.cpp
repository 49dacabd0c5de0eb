#include "core/batch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace steelyard {

namespace {

constexpr int kDigitBits = 11;

// One pass of a least-significant-digit radix sort by the `width` bits from `shift` on.
void sort_by_digit(std::span<const uint64_t> from, int shift, int width, std::span<uint64_t> to) {
  std::array<int32_t, 1 << kDigitBits> next;
  const std::span<int32_t> used(next.data(), size_t{1} << width);
  std::fill(used.begin(), used.end(), 0);
  const auto digit = [&](uint64_t key) { return (key >> shift) & (used.size() - 1); };
  for (uint64_t key : from) ++used[digit(key)];
  int32_t sum = 0;
  for (int32_t& count : used) sum += std::exchange(count, sum);
  for (uint64_t key : from) to[static_cast<size_t>(used[digit(key)]++)] = key;
}

}  // namespace

RowIndex index_rows(Ids ids, Arena& host) {
  const auto m = static_cast<int64_t>(ids.size());
  check_count("index_rows", m);
  std::span<uint64_t> keys = host.array<uint64_t>(m), spare = host.array<uint64_t>(m);  // id, then position
  uint32_t largest = 0;
  for (size_t j = 0; j < ids.size(); ++j) {
    check(ids[j] >= 0, "index_rows: negative id ", ids[j], " at position ", j);
    largest = std::max(largest, static_cast<uint32_t>(ids[j]));
    keys[j] = static_cast<uint64_t>(ids[j]) << 32 | j;
  }
  const int bits = std::bit_width(largest), passes = (bits + kDigitBits - 1) / kDigitBits;
  for (int pass = 0; pass < passes; ++pass) {
    const int begin = pass * bits / passes, end = (pass + 1) * bits / passes;
    sort_by_digit(keys, 32 + begin, end - begin, spare);
    std::swap(keys, spare);
  }
  const std::span<int32_t> order = host.array<int32_t>(m), rows = host.array<int32_t>(m);
  const std::span<int32_t> starts = host.array<int32_t>(m + 1);
  size_t n = 0;
  for (size_t j = 0; j < keys.size(); ++j) {
    const auto id = static_cast<int32_t>(keys[j] >> 32);
    order[j] = static_cast<int32_t>(keys[j] & 0xffffffffu);
    if (n > 0 && rows[n - 1] == id) continue;
    rows[n] = id;
    starts[n++] = static_cast<int32_t>(j);
  }
  starts[n] = static_cast<int32_t>(m);
  return {ids, rows.first(n), starts.first(n + 1), order};
}

}  // namespace steelyard
