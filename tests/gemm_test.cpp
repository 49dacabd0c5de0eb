// The matrix product of the processor, on shapes on both sides of every border inside it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "core/backend.h"
#include "core/cpu/product.h"
#include "core/random.h"

using namespace steelyard;

namespace {

std::vector<real> draw(const char* name, int64_t size) {
  std::vector<real> x(static_cast<size_t>(size));
  for (size_t i = 0; i < x.size(); ++i) x[i] = random_normal(key_of(1, name), i);
  return x;
}

Tensor view(std::vector<real>& x, int64_t rows, int64_t cols) { return {x.data(), {rows, cols}, &cpu()}; }

}  // namespace

TEST_CASE("gemm: c is a b + beta c, transposed or not, and 0 takes nothing from c") {
  for (int64_t m : {1, 2, 5, 7, 33, 70})
    for (int64_t n : {1, 8, 17, 80, 259})
      for (int64_t k : {0, 1, 9, 400})
        for (bool turn_a : {false, true})
          for (bool turn_b : {false, true})
            for (real beta : {real(0), real(1), real(0.5)}) {
              std::vector<real> a = draw("a", m * k), b = draw("b", k * n), before = draw("c", m * n);
              if (beta == 0) before.assign(before.size(), std::nanf(""));
              std::vector<real> c = before;
              cpu().gemm(Mat(turn_a ? view(a, k, m) : view(a, m, k), turn_a),
                         Mat(turn_b ? view(b, n, k) : view(b, k, n), turn_b), beta, view(c, m, n));
              double worst = 0;
              for (int64_t i = 0; i < m; ++i)
                for (int64_t j = 0; j < n; ++j) {
                  const auto at = static_cast<size_t>(i * n + j);
                  double sum = beta == 0 ? 0 : static_cast<double>(beta) * static_cast<double>(before[at]),
                         size = 1;
                  for (int64_t l = 0; l < k; ++l) {
                    const auto x =
                        static_cast<double>(a[static_cast<size_t>(turn_a ? l * m + i : i * k + l)]);
                    const auto y =
                        static_cast<double>(b[static_cast<size_t>(turn_b ? j * k + l : l * n + j)]);
                    sum += x * y, size += std::abs(x * y);
                  }
                  const double error = std::abs(sum - static_cast<double>(c[at])) / size;
                  worst = std::max(worst, std::isnan(error) ? 1 : error);
                }
              CAPTURE(m);
              CAPTURE(n);
              CAPTURE(k);
              CAPTURE(turn_a);
              CAPTURE(turn_b);
              CAPTURE(beta);
              CHECK(worst < 40 * static_cast<double>(std::numeric_limits<real>::epsilon()));
            }
}

TEST_CASE("gemm: a row has the same bits alone, among few and among many") {
  constexpr int64_t kRows = 700, kInner = 520;
  for (int64_t cols : {1, 16, 37, 300})
    for (bool turned : {false, true}) {
      std::vector<real> a = draw("a", kRows * kInner), b = draw("b", kInner * cols);
      const Mat right(turned ? view(b, cols, kInner) : view(b, kInner, cols), turned);
      const auto product = [&](int64_t first, int64_t rows) {
        std::vector<real> c(static_cast<size_t>(rows * cols));
        cpu().gemm(view(a, kRows, kInner).slice(first, rows), right, 0, view(c, rows, cols));
        return c;
      };
      const std::vector<real> whole = product(0, kRows);
      for (int64_t rows : {1, 2, 3, 4, 5, 6, 13, 64, 65}) {
        const std::vector<real> part = product(11, rows);
        CAPTURE(cols);
        CAPTURE(rows);
        CAPTURE(turned);
        CHECK(std::memcmp(part.data(), whole.data() + 11 * cols, part.size() * sizeof(real)) == 0);
      }
    }
}

TEST_CASE("gemm: a b that was packed once gives the same bits") {
  constexpr int64_t kRows = 100, kInner = 800;
  for (int64_t cols : {1, 16, 37, 300})
    for (bool turned : {false, true})
      for (real beta : {real(0), real(0.5)}) {
        std::vector<real> a = draw("a", kRows * kInner), b = draw("b", kInner * cols);
        const Mat right(turned ? view(b, cols, kInner) : view(b, kInner, cols), turned);
        std::vector<real> c = draw("c", kRows * cols), expected = c;
        cpu().gemm(view(a, kRows, kInner), right, beta, view(expected, kRows, cols));
        std::vector<real> panels(static_cast<size_t>(Packed::size({kInner, cols})));
        multiply(view(a, kRows, kInner), Packed(right, panels.data()), beta, view(c, kRows, cols));
        CAPTURE(cols);
        CAPTURE(turned);
        CHECK(std::memcmp(c.data(), expected.data(), c.size() * sizeof(real)) == 0);
      }
}
