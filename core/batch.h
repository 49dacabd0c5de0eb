// What `data` hands to the models: plain views of integer ids. They own nothing; the producer keeps them
// alive for the step. `Ragged` is the CSR layout that everything of variable length shares: item i owns
// values[starts[i] … starts[i+1]). `RowIndex` groups the look-ups of a table by row, so that its gradient is
// one sum per row in a fixed order: no atomics, no hash table, the same bits every time.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "core/arena.h"

namespace steelyard {

using Ids = std::span<const int32_t>;

// Error(bug) if there are more things than an int32_t counts.
inline void check_count(const char* op, int64_t count) {
  check(count <= std::numeric_limits<int32_t>::max(), op, ": ", count, " in one batch; expected at most ",
        std::numeric_limits<int32_t>::max());
}

template <class T>
struct Ragged {
  std::span<const int64_t> starts;  // [n+1], ascending
  std::span<const T> values;        // [starts[n]]

  int64_t size() const { return static_cast<int64_t>(starts.size()) - 1; }
  std::span<const T> operator[](int64_t i) const {
    const auto at = static_cast<size_t>(i);
    return values.subspan(static_cast<size_t>(starts[at]), static_cast<size_t>(starts[at + 1] - starts[at]));
  }
};

// Item i owns the positions begins[i] … ends[i): a list of texts, the valid part of each row, the matches of
// each pair.
struct Segments {
  Ids begins, ends;  // [n] each

  // The n segments between n + 1 ascending offsets.
  static Segments between(Ids offsets) { return {offsets.first(offsets.size() - 1), offsets.subspan(1)}; }
  // The same, of one length each; writes the offsets.
  static Segments even(std::span<int32_t> offsets, int64_t length) {
    for (size_t i = 0; i < offsets.size(); ++i)
      offsets[i] = static_cast<int32_t>(static_cast<int64_t>(i) * length);
    return between(offsets);
  }
  int64_t size() const { return static_cast<int64_t>(begins.size()); }
};

struct RowIndex {
  Ids ids;     // [m]    the row that each position reads
  Ids rows;    // [n]    the distinct rows, ascending
  Ids starts;  // [n+1]  the positions reading rows[i] are order[starts[i] … starts[i+1]), ascending
  Ids order;   // [m]
};

// Rows that read a table once for each of F fields, which share no row of it.
struct FieldRows {
  RowIndex index;   // of the n·F positions; its rows are grouped by field
  Ids blocks;       // [F+1]  of the host: those of field k are rows[blocks[k] … blocks[k+1])
  RowIndex places;  // the same, by their places among these rows
  Segments lists;   // [n]    the positions of each row that reads
  Ids owner;        // [n·F]  and the row of each position
};

// Sequences cut into steps, longest first: position k of a step is the same sequence in each of them, and those that
// reach a step are the first of it.
struct Steps {
  Ids sequences;  // [s]  position → sequence
  Ids starts;     // [T+1], of the host: step t reads rows[starts[t]] … rows[starts[t+1]−1]
  Ids rows;       // [n]

  int64_t size() const { return static_cast<int64_t>(starts.size()) - 1; }
};

// Sequences are segments of the rows 0 … count that do not overlap; the arrays live in the arena. Error(bug).
Steps cut_into_steps(const Segments& sequences, int64_t count, Arena& host);

// Builds the index by a stable radix sort in O(m); the arrays live in the arena. `ids` are ≥ 0.
RowIndex index_rows(Ids ids, Arena& host);
// Of n·F positions, of each reader one for each field. Error(bug) where the rows of a field do not all come behind those
// of the one before.
FieldRows index_fields(Ids ids, int64_t fields, Arena& host);

}  // namespace steelyard
