// What `data` hands to the models: plain views of integer ids. They own nothing; the producer keeps them alive for the
// step. `Ragged` is the CSR layout that everything of variable length shares: item i owns values[starts[i] … starts[i+1]).
#pragma once

#include <cstdint>
#include <span>

namespace steelyard {

using Ids = std::span<const int32_t>;

template <class T>
struct Ragged {
  std::span<const int64_t> starts;  // [n+1], ascending, starts[0] = 0
  std::span<const T> values;        // [starts[n]]

  int64_t size() const { return static_cast<int64_t>(starts.size()) - 1; }
  std::span<const T> operator[](int64_t i) const {
    return values.subspan(static_cast<size_t>(starts[i]), static_cast<size_t>(starts[i + 1] - starts[i]));
  }
};

}  // namespace steelyard
