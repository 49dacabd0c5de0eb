// The inner part of every matrix product: c = a · b for some rows and for columns that fill packets, the sums in
// registers. Each element is one chain of multiply-adds in the order of k, so its bits do not depend on the shape
// around it. A b that several products share is packed once.
#pragma once

#include <utility>

#include <Eigen/Core>

#include "core/tensor.h"

namespace steelyard {

using Packet = Eigen::internal::packet_traits<real>::type;
constexpr int64_t kPacket = Eigen::internal::packet_traits<real>::size;
constexpr int64_t kPanel = 2 * kPacket;

struct Factor {  // element (i, k) is data[i · row + k · col]
  const real* data;
  int64_t row, col;
  Factor from(int64_t i, int64_t k) const { return {data + i * row + k * col, row, col}; }
};
// Row k is at data + k · stride, kPanel columns at a time, `next` from one such panel to the next.
struct Rows {
  const real* data;
  int64_t stride, next = kPanel;
  Rows from(int64_t j) const { return {data + j / kPanel * next + j % kPanel, stride, next}; }
};

// A square of packets: to[k,i] = factor · from[i,k] for the first `rows` rows i, perhaps none, and 0 for the others.
// P is Packet; g++ warns where a class is given it by name.
template <class P>
void transpose(P factor, Rows from, int64_t rows, real* to, int64_t stride) {
  using Eigen::internal::pmul, Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  Eigen::internal::PacketBlock<P, kPacket> square;
  for (int64_t i = 0; i < kPacket; ++i)
    square.packet[i] = i < rows ? pmul(factor, ploadu<P>(from.data + i * from.stride)) : pset1<P>(0);
  Eigen::internal::ptranspose(square);
  for (int64_t k = 0; k < kPacket; ++k) pstoreu(to + k * stride, square.packet[k]);
}

// c [kRows, kPackets packets] = a [kRows,inner] · b + beta · c; beta 0 assigns. Unrolled, or the sums would pass
// through memory.
template <int kRows, int kPackets>
void tile(Factor a, Rows b, int64_t inner, real beta, real* c, int64_t stride) {
  using Eigen::internal::ploadu, Eigen::internal::pmadd, Eigen::internal::pset1, Eigen::internal::pstoreu;
  Packet sums[kRows][kPackets], of_b[kPackets];
  const auto for_sums = [&](auto f) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int p = 0; p < kPackets; ++p) f(sums[r][p], c + r * stride + p * kPacket);
  };
  for_sums([](Packet& sum, real*) { sum = pset1<Packet>(0); });
  for (int r = 0; r < kRows; ++r) __builtin_prefetch(c + r * stride, 1);
  for (int64_t k = 0; k < inner; ++k) {
#pragma GCC unroll 8
    for (int p = 0; p < kPackets; ++p)
      of_b[p] = ploadu<Packet>(b.data + p / 2 * b.next + p % 2 * kPacket + k * b.stride);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Packet of_a = pset1<Packet>(a.data[r * a.row + k * a.col]);
#pragma GCC unroll 8
      for (int p = 0; p < kPackets; ++p) sums[r][p] = pmadd(of_a, of_b[p], sums[r][p]);
    }
  }
  const Packet scale = pset1<Packet>(beta);
  if (beta == 0)
    for_sums([](Packet& sum, real* to) { pstoreu(to, sum); });
  else
    for_sums([&](Packet& sum, real* to) { pstoreu(to, pmadd(scale, ploadu<Packet>(to), sum)); });
}

// c [kRows,cols] = a · b + beta · c; cols is a multiple of kPacket. At most twelve sums: with packets of b and a they
// fit in sixteen registers. Meanwhile the rows of a below these, which are likely to be next, are on their way.
template <int kRows>
void strip(Factor a, Rows b, int64_t inner, real beta, real* c, int64_t stride, int64_t cols) {
  constexpr int kMost = kRows == 1 ? 8 : kRows == 2 ? 4 : 2;
  int64_t j = 0;
  const auto tiles = [&]<int kPackets>(std::integral_constant<int, kPackets>) {
    constexpr int64_t kWidth = kPackets * kPacket, kLine = 64 / sizeof(real);
    for (; j + kWidth <= cols; j += kWidth) {
      if (a.col == 1)
        for (int r = 0; r < kRows; ++r)
          for (int64_t k = inner * j / cols; k < inner * (j + kWidth) / cols; k += kLine)
            __builtin_prefetch(a.data + (kRows + r) * a.row + k);
      tile<kRows, kPackets>(a, b.from(j), inner, beta, c + j, stride);
    }
  };
  tiles(std::integral_constant<int, kMost>());
  if constexpr (kMost > 2) tiles(std::integral_constant<int, 2>());
  tiles(std::integral_constant<int, 1>());
}

// f(height, first row) for strips of at most six rows, as equal in height as can be; the height is a constant.
template <class F>
void for_strips(int64_t rows, F f) {
  constexpr int kMost = 6;
  int64_t first = 0;
  for (int64_t strips = (rows + kMost - 1) / kMost; strips > 0; --strips) {
    const int64_t height = (rows - first + strips - 1) / strips;
    [&]<int... n>(std::integer_sequence<int, n...>) {
      ((height == n + 1 ? f(std::integral_constant<int, n + 1>(), first) : void()), ...);
    }
    (std::make_integer_sequence<int, kMost>());
    first += height;
  }
}

// A matrix as the right factor of several products: blocks of kDeep rows, in each the panels, zeros behind the last.
constexpr int64_t kDeep = 384;
constexpr int64_t kFew = 64;  // rows of a that do not repay packing
struct Packed {
  static int64_t size(Shape b) { return b.rows() * ((b.cols() + kPanel - 1) / kPanel * kPanel); }
  Packed(const Mat& b, real* to);  // fills size(b) numbers, which stay the caller's
  const real* data;
  int64_t rows, cols;
};
void multiply(const Mat& a, const Packed& b, real beta, Tensor c);  // c = a · b + beta · c; beta 0 assigns

}  // namespace steelyard
