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

Steps cut_into_steps(const Segments& sequences, int64_t count, Arena& host) {
  const size_t n = sequences.begins.size();
  check(n == sequences.ends.size(), "sequences: as many begins as ends");
  check_count("sequences", count);
  const std::span<bool> taken = host.array<bool>(count);
  std::fill(taken.begin(), taken.end(), false);
  int32_t longest = 0;
  for (size_t s = 0; s < n; ++s) {
    const int32_t begin = sequences.begins[s], end = sequences.ends[s];
    check(begin >= 0 && begin <= end && end <= count, "sequences: ", begin, " … ", end, " of ", count,
          " rows");
    for (int32_t row = begin; row < end; ++row)
      check(!std::exchange(taken[static_cast<size_t>(row)], true), "sequences: row ", row, " is in two");
    longest = std::max(longest, end - begin);
  }
  // How many reach each step; then a counting sort by length, the longest first.
  const std::span<int32_t> starts = host.array<int32_t>(longest + 1), next = host.array<int32_t>(longest + 1);
  std::fill(next.begin(), next.end(), 0);
  const auto length = [&](size_t s) { return static_cast<size_t>(sequences.ends[s] - sequences.begins[s]); };
  for (size_t s = 0; s < n; ++s) ++next[length(s)];
  int32_t longer = 0;
  for (size_t t = next.size(); t-- > 0;) longer += std::exchange(next[t], longer);
  int32_t sum = 0;
  for (size_t t = 0; t < starts.size(); ++t) {
    starts[t] = sum;
    sum += next[t];  // those longer than t
  }
  const std::span<int32_t> order = host.array<int32_t>(static_cast<int64_t>(n)),
                           rows = host.array<int32_t>(sum);
  for (size_t s = 0; s < n; ++s) order[static_cast<size_t>(next[length(s)]++)] = static_cast<int32_t>(s);
  for (size_t t = 0; t + 1 < starts.size(); ++t)
    for (int32_t k = starts[t]; k < starts[t + 1]; ++k) {
      const int32_t sequence = order[static_cast<size_t>(k - starts[t])];
      rows[static_cast<size_t>(k)] =
          sequences.begins[static_cast<size_t>(sequence)] + static_cast<int32_t>(t);
    }
  return {order, starts, rows};
}

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

FieldRows index_fields(Ids ids, int64_t fields, Arena& host) {
  const RowIndex index = index_rows(ids, host);
  const auto m = std::ssize(index.ids), n = fields > 0 ? m / fields : 0, u = std::ssize(index.rows);
  check(n * fields == m, "index_fields: ", m, " positions of ", fields, " fields");
  const std::span<int32_t> places = host.array<int32_t>(m), owner = host.array<int32_t>(m),
                           all = host.array<int32_t>(u), blocks = host.array<int32_t>(fields + 1);
  size_t block = 0;
  for (size_t i = 0; i < index.rows.size(); ++i) {
    all[i] = static_cast<int32_t>(i);
    const auto field = static_cast<size_t>(index.order[static_cast<size_t>(index.starts[i])] % fields);
    check(field + 1 >= block, "index_fields: row ", index.rows[i], " of field ", field, " behind later ones");
    while (block <= field) blocks[block++] = all[i];
    for (int32_t k = index.starts[i]; k < index.starts[i + 1]; ++k) {
      const int32_t position = index.order[static_cast<size_t>(k)];
      check(position % fields == static_cast<int64_t>(field), "index_fields: row ", index.rows[i],
            " of two fields");
      places[static_cast<size_t>(position)] = all[i];
    }
  }
  while (block < blocks.size()) blocks[block++] = static_cast<int32_t>(u);
  for (int64_t j = 0; j < m; ++j) owner[static_cast<size_t>(j)] = static_cast<int32_t>(j / fields);
  const Segments lists = Segments::even(host.array<int32_t>(n + 1), fields);
  return {index, blocks, {places, all, index.starts, index.order}, lists, owner};
}

}  // namespace steelyard
