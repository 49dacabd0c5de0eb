#include "core/batch.h"

#include <algorithm>
#include <array>
#include <utility>

namespace steelyard {

namespace {

// One pass of a least-significant-digit radix sort: positions `from`, ordered by the digit of their id, into
// `to`.
void sort_by_digit(Ids ids, int shift, std::span<const int32_t> from, std::span<int32_t> to) {
  constexpr int32_t kDigits = 1 << 11;
  std::array<int32_t, kDigits> next{};
  const auto digit = [&](int32_t position) {
    return static_cast<size_t>((ids[static_cast<size_t>(position)] >> shift) & (kDigits - 1));
  };
  for (int32_t position : from) ++next[digit(position)];
  int32_t sum = 0;
  for (int32_t& count : next) sum += std::exchange(count, sum);
  for (int32_t position : from) to[static_cast<size_t>(next[digit(position)]++)] = position;
}

}  // namespace

RowIndex index_rows(Ids ids, Arena& host) {
  const auto m = static_cast<int64_t>(ids.size());
  std::span<int32_t> order = host.array<int32_t>(m), spare = host.array<int32_t>(m);
  int32_t largest = 0;
  for (int64_t j = 0; j < m; ++j) {
    const int32_t id = ids[static_cast<size_t>(j)];
    check(id >= 0, "index_rows: negative id ", id, " at position ", j);
    largest = std::max(largest, id);
    order[static_cast<size_t>(j)] = static_cast<int32_t>(j);
  }
  for (int shift = 0; shift < 31 && (largest >> shift) > 0; shift += 11) {
    sort_by_digit(ids, shift, order, spare);
    std::swap(order, spare);
  }
  std::span<int32_t> rows = host.array<int32_t>(m), starts = host.array<int32_t>(m + 1);
  size_t n = 0;
  for (size_t j = 0; j < order.size(); ++j) {
    const int32_t id = ids[static_cast<size_t>(order[j])];
    if (n > 0 && rows[n - 1] == id) continue;
    rows[n] = id;
    starts[n++] = static_cast<int32_t>(j);
  }
  starts[n] = static_cast<int32_t>(m);
  return {ids, rows.first(n), starts.first(n + 1), order};
}

}  // namespace steelyard
