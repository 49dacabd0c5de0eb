// Random numbers of one purpose and item of the simulated shop: a function of (seed, purpose, item, how many
// were drawn). A stream of its own for each item keeps the catalogue when only the number of queries changes.
#pragma once

#include <cstdint>
#include <iterator>
#include <numeric>
#include <string_view>

#include "core/random.h"

namespace steelyard {

class Dice {
 public:
  Dice(int64_t seed, std::string_view purpose, int64_t item)
      : key_(key_of(static_cast<uint64_t>(seed), purpose, item)) {}

  uint64_t bits() { return random_bits(key_, drawn_++); }
  int below(int n) { return static_cast<int>((bits() >> 32) * static_cast<uint64_t>(n) >> 32); }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }  // [0, 1)
  bool chance(double p) { return uniform() < p; }
  template <class Range>
  const auto& one_of(const Range& range) {
    return range[static_cast<size_t>(below(static_cast<int>(std::size(range))))];
  }
  // In proportion to weight(element).
  template <class Range, class Weight>
  auto& one_of(Range& range, const Weight& weight) {
    double left = uniform() * std::accumulate(range.begin(), range.end(), 0.0,
                                              [&](double sum, const auto& x) { return sum + weight(x); });
    for (auto& x : range)
      if ((left -= weight(x)) < 0) return x;
    return range.back();
  }

 private:
  uint64_t key_, drawn_ = 0;
};

}  // namespace steelyard
