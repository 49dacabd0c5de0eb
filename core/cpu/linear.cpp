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

constexpr int64_t kPanel = 2 * kPacket;  // columns
constexpr int64_t kWide = 16 * kPanel;   // columns of a block of b
constexpr int64_t kDeep = 256;  // and its rows: a panel fits in the first cache, a block in the second
constexpr int64_t kFew = 64;    // rows that do not repay packing

Factor factor(const Mat& m) {
  const int64_t stride = m.x.cols();
  return m.transposed ? Factor{m.x.data, 1, stride} : Factor{m.x.data, stride, 1};
}

// Columns first … end of b as panels, zeros behind the last. P is Packet.
template <class P>
void pack(Factor b, int64_t inner, int64_t first, int64_t end, real* to) {
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
    return;
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
}

// One panel, of which c has `cols` columns.
template <int kRows>
void panel(Factor a, int64_t inner, const real* b, real beta, real* c, int64_t stride, int64_t cols) {
  if (cols == kPanel) return strip<kRows>(a, {b, kPanel}, inner, beta, c, stride, kPanel);
  real whole[kRows * kPanel] = {};
  for (int64_t i = 0; beta != 0 && i < kRows; ++i) std::copy_n(c + i * stride, cols, whole + i * kPanel);
  strip<kRows>(a, {b, kPanel}, inner, beta, whole, kPanel, kPanel);
  for (int64_t i = 0; i < kRows; ++i) std::copy_n(whole + i * kPanel, cols, c + i * stride);
}

}  // namespace

void CpuBackend::gemm(Mat a, Mat b, real beta, Tensor c) {
  const int64_t rows = c.rows(), cols = c.cols(), inner = a.cols();
  if (inner == 0)
    return beta == 0 ? zero(c) : affine(beta, 0, c, c);  // c may be uninitialised: 0 · NaN is NaN
  const Factor left = factor(a), right = factor(b);
  const bool in_place = !b.transposed && rows <= kFew;
  thread_local const Buffer panels(*this, {kDeep, kWide});
  for (int64_t j0 = 0; j0 < cols; j0 += kWide)
    for (int64_t k0 = 0; k0 < inner; k0 += kDeep) {
      const int64_t n = std::min(kWide, cols - j0), k = std::min(kDeep, inner - k0);
      const int64_t packed = in_place ? n / kPanel * kPanel : 0;  // columns before it are read where they are
      const Factor of_b = right.from(k0, j0);
      const real so_far = k0 == 0 ? beta : 1;
      pack<Packet>(of_b, k, packed, n, panels.tensor().data);
      for_strips(rows, [&](auto height, int64_t i) {
        Factor of_a = left.from(i, k0);
        real turned[kDeep * height];  // or a line of memory would serve one term
        if (a.transposed) {
          for (int64_t x = 0; x < k; ++x)
            std::memcpy(turned + x * height, of_a.data + x * of_a.col, height * sizeof(real));
          of_a = {turned, 1, height};
        }
        real* const to = c.data + i * cols + j0;
        strip<height>(of_a, {of_b.data, of_b.row}, k, so_far, to, cols, packed);
        for (int64_t j = packed; j < n; j += kPanel)
          panel<height>(of_a, k, panels.tensor().data + (j - packed) * k, so_far, to + j, cols,
                        std::min(kPanel, n - j));
      });
    }
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
