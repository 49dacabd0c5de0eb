// Matrix products by Eigen. An Eigen product gives a row other bits when the number of rows or columns
// changes the kernel that handles it (tail rows, single rows, other blocking). It does not if the number of
// rows is a multiple of 8, the number of columns a multiple of 16, and the cache sizes are fixed; so odd
// shapes are padded, and scoring one pair gives the same bits as scoring a batch. Eigen's own threads are
// off: parallelism is over shards.
#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"

namespace steelyard {

namespace {

using Matrix = Eigen::Matrix<real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Stride = Eigen::OuterStride<>;
using View = Eigen::Map<Matrix, Eigen::Unaligned, Stride>;
using ConstView = Eigen::Map<const Matrix, Eigen::Unaligned, Stride>;

constexpr int64_t kRowPad = 8, kColPad = 16;

int64_t padded(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A factor as it is stored: rows × cols with a leading dimension, transposed or not when used.
struct Factor {
  const real* data;
  int64_t rows, cols, stride;
  bool transposed;
  ConstView view() const { return {data, rows, cols, Stride(stride)}; }
};

Factor factor(const Mat& m) { return {m.x.data, m.x.rows(), m.x.cols(), m.x.cols(), m.transposed}; }

// The rows first … first + count − 1 of the factor as it is used.
Factor rows_of(Factor f, int64_t first, int64_t count) {
  f.data += f.transposed ? first : first * f.stride;
  (f.transposed ? f.cols : f.rows) = count;
  return f;
}

// Grows the factor with zeros in `scratch` until its used rows and columns reach the wanted numbers.
Factor pad(Factor f, int64_t rows, int64_t cols, std::vector<real>& scratch) {
  if (f.transposed) std::swap(rows, cols);
  if (rows == f.rows && cols == f.cols) return f;
  scratch.assign(static_cast<size_t>(rows * cols), 0);
  View(scratch.data(), rows, cols, Stride(cols)).topLeftCorner(f.rows, f.cols) = f.view();
  return {scratch.data(), rows, cols, cols, f.transposed};
}

// c = alpha · a · b + beta · c, sizes multiples of the pads. The only place where Eigen's product is
// instantiated.
void gemm_block(real alpha, const Factor& a, const Factor& b, real beta, View c) {
  if (beta == 0)
    c.setZero();
  else if (beta != 1)
    c *= beta;
  if (!a.transposed && !b.transposed)
    c.noalias() += alpha * (a.view() * b.view());
  else if (!a.transposed)
    c.noalias() += alpha * (a.view() * b.view().transpose());
  else if (!b.transposed)
    c.noalias() += alpha * (a.view().transpose() * b.view());
  else
    c.noalias() += alpha * (a.view().transpose() * b.view().transpose());
}

}  // namespace

CpuBackend::CpuBackend() { Eigen::setCpuCacheSizes(32 << 10, 1 << 20, 32 << 20); }

void CpuBackend::gemm(real alpha, Mat a, Mat b, real beta, Tensor c) {
  const int64_t rows = c.rows(), cols = c.cols(), inner = a.cols();
  if (rows == 0 || cols == 0) return;
  if (inner == 0)
    return beta == 0 ? zero(c) : affine(beta, 0, c, c);  // c may be uninitialised: 0 · NaN is NaN
  const int64_t n = padded(cols, kColPad);
  thread_local std::vector<real> a_scratch, b_scratch, c_scratch;  // kept: a steady step allocates nothing
  const Factor right = pad(factor(b), inner, n, b_scratch);
  const auto product = [&](int64_t first, int64_t count) {
    const int64_t m = padded(count, kRowPad);
    const Factor left = pad(rows_of(factor(a), first, count), m, inner, a_scratch);
    View result(c.data + first * cols, count, cols, Stride(cols));
    if (m == count && n == cols) return gemm_block(alpha, left, right, beta, result);
    c_scratch.resize(static_cast<size_t>(m * n));
    View whole(c_scratch.data(), m, n, Stride(n));
    if (beta != 0) {
      whole.setZero();
      whole.topLeftCorner(count, cols) = result;
    }
    gemm_block(alpha, left, right, beta, whole);
    result = whole.topLeftCorner(count, cols);
  };
  const int64_t whole_lanes = rows / kRowPad * kRowPad;  // only the rows behind them are padded
  if (whole_lanes > 0) product(0, whole_lanes);
  if (whole_lanes < rows) product(whole_lanes, rows - whole_lanes);
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
