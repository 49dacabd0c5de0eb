// A Lane is 16 reals by value: the X of the formulas in core/functors.h. Eigen turns its fixed-size
// arithmetic into packet instructions. `for_lanes` walks n elements in lanes; the tail is a lane too, copied
// in and stored partially, so every element passes through the same instructions wherever it stands.
//
// Only core/cpu/*.cpp include this: mixing Eigen's headers under different processor flags breaks the
// one-definition rule.
#pragma once

#include <algorithm>

#include <Eigen/Core>

#include "core/functors.h"

namespace steelyard {

constexpr int64_t kLane = 16;
using Lane = Eigen::Array<real, kLane, 1>;

template <>
struct Math<Lane> {
  static Lane exp(const Lane& x) { return x.exp(); }
  static Lane log(const Lane& x) { return x.log(); }
  static Lane log1p(const Lane& x) { return x.log1p(); }
  static Lane tanh(const Lane& x) { return x.tanh(); }
  static Lane sqrt(const Lane& x) { return x.sqrt(); }
  static Lane max(const Lane& x, const Lane& y) { return if_positive(Lane(x - y), x, y); }
  // A plain loop: the compilers vectorise it, Eigen's select they do not.
  static Lane if_positive(const Lane& x, const Lane& a, const Lane& b) {
    Lane y;
    for (int i = 0; i < kLane; ++i) y[i] = x[i] > 0 ? a[i] : b[i];
    return y;
  }
};

struct FullLane {
  int64_t at;
  Lane load(const real* x) const { return Eigen::Map<const Lane>(x + at); }
  void store(real* y, const Lane& value) const { Eigen::Map<Lane>(y + at) = value; }
};

struct TailLane {
  int64_t at, count;
  Lane load(const real* x) const {
    Lane lane = Lane::Zero();
    std::copy_n(x + at, count, lane.data());
    return lane;
  }
  void store(real* y, const Lane& value) const { std::copy_n(value.data(), count, y + at); }
};

template <class F>
void for_lanes(int64_t n, F&& f) {
  int64_t at = 0;
  for (; at + kLane <= n; at += kLane) f(FullLane{at});
  if (at < n) f(TailLane{at, n - at});
}

template <class Place>
void add_to(Place place, real* y, const Lane& value) {
  place.store(y, Lane(place.load(y) + value));
}

// Σ of f over the lanes of n elements. Sixteen running sums in double, joined in a fixed order.
template <class F>
double sum_lanes(int64_t n, F&& f) {
  Eigen::Array<double, kLane, 1> sums = Eigen::Array<double, kLane, 1>::Zero();
  for_lanes(n, [&](auto place) {
    static_assert(std::is_same_v<decltype(f(place)), Lane>,
                  "an expression would refer to lanes that are gone");
    sums += f(place).template cast<double>();
  });
  return sums.sum();
}

// Rows of a large table come from far away: asking for one this many look-ups ahead hides most of the way.
constexpr size_t kAhead = 16;
inline void prefetch_row(const real* row, int64_t cols) {
  for (int64_t c = 0; c < cols; c += 64 / static_cast<int64_t>(sizeof(real))) __builtin_prefetch(row + c);
}

}  // namespace steelyard
