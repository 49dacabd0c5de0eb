// Matrix products. A sum is cut into blocks of kDeep terms whatever the shape, so a row has the same bits in every
// batch, and scoring one pair gives those of training. Many rows, or a transposed b, repay packing b into panels.
// Parallelism is over shards.
#include <algorithm>
#include <cstring>

#include "core/arena.h"
#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"
#include "core/cpu/product.h"

namespace steelyard {

namespace {

constexpr int64_t kWide = 16 * kPanel;  // columns of a block of b: kDeep rows of it fit in the second cache
constexpr int64_t kTall = 48;           // rows of a transposed a that are turned at once

Factor factor(const Mat& m) {
  const int64_t stride = m.x.cols();
  return m.transposed ? Factor{m.x.data, 1, stride} : Factor{m.x.data, stride, 1};
}

// f(first column, columns, first row, rows) of each block of b
template <class F>
void for_blocks(int64_t rows, int64_t cols, F f) {
  for (int64_t j = 0; j < cols; j += kWide)
    for (int64_t k = 0; k < rows; k += kDeep) f(j, std::min(kWide, cols - j), k, std::min(kDeep, rows - k));
}

// Columns first … end of b as panels, zeros behind the last. P is Packet.
template <class P>
Rows pack(Factor b, int64_t inner, int64_t first, int64_t end, real* to) {
  const Rows panels = {to, kPanel, inner * kPanel};
  if (b.col == 1) {  // row by row, as it lies
    for (int64_t k = 0; k < inner; ++k)
      for (int64_t j = first; j < end; j += kPanel) {
        real* const row = to + (j - first) * inner + k * kPanel;
        const real* const from = b.data + k * b.row + j;
        if (end - j >= kPanel)
          std::memcpy(row, from, kPanel * sizeof(real));
        else
          std::fill(std::copy_n(from, end - j, row), row + kPanel, real(0));
      }
    return panels;
  }
  const int64_t squares = inner / kPacket * kPacket;
  for (int64_t j = first; j < end; j += kPanel, to += inner * kPanel) {
    for (int64_t x = 0; x < kPanel; x += kPacket)
      for (int64_t k = 0; k < squares; k += kPacket)
        transpose(Eigen::internal::pset1<P>(1), {b.data + (j + x) * b.col + k, b.col}, end - j - x,
                  to + k * kPanel + x, kPanel);
    for (int64_t k = squares; k < inner; ++k)
      for (int64_t x = 0; x < kPanel; ++x) to[k * kPanel + x] = j + x < end ? b.data[(j + x) * b.col + k] : 0;
  }
  return panels;
}

// c [rows,cols] = a · b + beta · c; what of the columns does not fill a panel is in `rest`.
void multiply(Factor a, int64_t rows, int64_t inner, Rows b, Rows rest, int64_t cols, real beta, real* c,
              int64_t stride) {
  const int64_t whole = cols / kPanel * kPanel;
  const auto strips = [&](auto height, Factor of_a, real* to) {
    strip<height>(of_a, b, inner, beta, to, stride, whole);
    if (whole == cols) return;
    real padded[height * kPanel] = {};
    for (int64_t i = 0; beta != 0 && i < height; ++i)
      std::copy_n(to + i * stride + whole, cols - whole, padded + i * kPanel);
    strip<height>(of_a, rest, inner, beta, padded, kPanel, kPanel);
    for (int64_t i = 0; i < height; ++i)
      std::copy_n(padded + i * kPanel, cols - whole, to + i * stride + whole);
  };
  if (a.col == 1)
    return for_strips(rows, [&](auto height, int64_t i) {
      strips(height, {a.from(i, 0).data, a.row, 1}, c + i * stride);
    });
  thread_local const Buffer buffer(cpu(), {kTall, kDeep});
  real* const turned = buffer.tensor().data;
  for (int64_t first = 0; first < rows; first += kTall) {
    const int64_t count = std::min(kTall, rows - first);
    for_strips(count, [&](auto height, int64_t i) {
      for (int64_t k = 0; k < inner; ++k)
        std::memcpy(turned + i * inner + k * height, a.from(first + i, k).data, height * sizeof(real));
    });
    for_strips(count, [&](auto height, int64_t i) {
      strips(height, {turned + i * inner, 1, height}, c + (first + i) * stride);
    });
  }
}

}  // namespace

Packed::Packed(const Mat& b, real* to) : data(to), rows(b.rows()), cols(b.cols()) {
  const Factor from = factor(b);
  for (int64_t k = 0; k < rows; k += kDeep) {
    const int64_t deep = std::min(kDeep, rows - k);
    pack<Packet>(from.from(k, 0), deep, 0, cols, to);
    to += size({deep, cols});
  }
}

void multiply(const Mat& a, const Packed& b, real beta, Tensor c) {
  check(b.rows > 0, "multiply: a packed matrix without rows");
  for_blocks(b.rows, b.cols, [&](int64_t j, int64_t cols, int64_t k, int64_t inner) {
    const Rows panels = {b.data + Packed::size({k, b.cols}) + j * inner, kPanel, inner * kPanel};
    multiply(factor(a).from(0, k), c.rows(), inner, panels, panels.from(cols / kPanel * kPanel), cols,
             k == 0 ? beta : 1, c.data + j, c.cols());
  });
}

void CpuBackend::gemm(Mat a, Mat b, real beta, Tensor c) {
  if (b.rows() == 0)
    return beta == 0 ? zero(c) : affine(beta, 0, c, c);  // c may be uninitialised: 0 · NaN is NaN
  const bool in_place = !b.transposed && c.rows() <= kFew;
  thread_local const Buffer buffer(*this, {kDeep, kWide});
  for_blocks(b.rows(), b.cols(), [&](int64_t j, int64_t cols, int64_t k, int64_t inner) {
    const Factor of_b = factor(b).from(k, j);
    const int64_t packed =
        in_place ? cols / kPanel * kPanel : 0;  // columns before it are read where they are
    const Rows panels = pack<Packet>(of_b, inner, packed, cols, buffer.tensor().data);
    multiply(factor(a).from(0, k), c.rows(), inner, in_place ? Rows{of_b.data, of_b.row} : panels,
             in_place ? panels : panels.from(cols / kPanel * kPanel), cols, k == 0 ? beta : 1, c.data + j,
             c.cols());
  });
}

void CpuBackend::activate(UnaryId op, Tensor bias, Tensor y) {
  const int64_t rows = y.rows(), cols = y.cols();
  with_op(UnaryOps{}, op, [&]<class Op>() {
    for (int64_t r = 0; r < rows; ++r) {
      real* row = y.data + r * cols;
      for_lanes(cols, [&](auto i) {
        const Lane x = bias.empty() ? i.load(row) : Lane(i.load(row) + i.load(bias.data));
        i.store(row, Op::f(x));
      });
    }
  });
}

}  // namespace steelyard
