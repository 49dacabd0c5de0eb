// The inner part of every matrix product: c = a · b for some rows and for columns that fill packets, the sums in
// registers. Each element is one chain of multiply-adds in the order of k, so its bits do not depend on the shape
// around it.
#pragma once

#include <utility>

#include <Eigen/Core>

#include "core/real.h"

namespace steelyard {

using Packet = Eigen::internal::packet_traits<real>::type;
constexpr int64_t kPacket = Eigen::internal::packet_traits<real>::size;

struct Factor {  // element (i, k) is data[i · row + k · col]
  const real* data;
  int64_t row, col;
  Factor from(int64_t i, int64_t k) const { return {data + i * row + k * col, row, col}; }
};
struct Rows {
  const real* data;
  int64_t stride;
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

// c [kRows, kPackets packets] = a [kRows,inner] · b + beta · c; beta 0 assigns.
template <int kRows, int kPackets>
void tile(Factor a, Rows b, int64_t inner, real beta, real* c, int64_t stride) {
  using Eigen::internal::ploadu, Eigen::internal::pmadd, Eigen::internal::pset1, Eigen::internal::pstoreu;
  for (int r = 0; r < kRows; ++r) __builtin_prefetch(c + r * stride, 1);
  Packet sums[kRows][kPackets], of_b[kPackets];
  for (auto& row : sums)
    for (Packet& sum : row) sum = pset1<Packet>(0);
  for (int64_t k = 0; k < inner; ++k) {
    for (int p = 0; p < kPackets; ++p) of_b[p] = ploadu<Packet>(b.data + k * b.stride + p * kPacket);
    for (int r = 0; r < kRows; ++r) {
      const Packet of_a = pset1<Packet>(a.data[r * a.row + k * a.col]);
      for (int p = 0; p < kPackets; ++p) sums[r][p] = pmadd(of_a, of_b[p], sums[r][p]);
    }
  }
  const Packet scale = pset1<Packet>(beta);
  for (int r = 0; r < kRows; ++r)
    for (int p = 0; p < kPackets; ++p) {
      real* const to = c + r * stride + p * kPacket;
      pstoreu(to, beta == 0 ? sums[r][p] : pmadd(scale, ploadu<Packet>(to), sums[r][p]));
    }
}

// c [kRows,cols] = a · b + beta · c; cols is a multiple of kPacket. At most twelve sums: with packets of b and a they
// fit in sixteen registers.
template <int kRows>
void strip(Factor a, Rows b, int64_t inner, real beta, real* c, int64_t stride, int64_t cols) {
  constexpr int kMost = kRows == 1 ? 8 : kRows == 2 ? 4 : 2;
  int64_t j = 0;
  for (; j + kMost * kPacket <= cols; j += kMost * kPacket)
    tile<kRows, kMost>(a, {b.data + j, b.stride}, inner, beta, c + j, stride);
  if constexpr (kMost > 2)
    for (; j + 2 * kPacket <= cols; j += 2 * kPacket)
      tile<kRows, 2>(a, {b.data + j, b.stride}, inner, beta, c + j, stride);
  if (j < cols) tile<kRows, 1>(a, {b.data + j, b.stride}, inner, beta, c + j, stride);
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

}  // namespace steelyard
