#include "tools/probe.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "data/batches.h"

namespace steelyard {

namespace {

using Matrix = std::vector<std::vector<double>>;

// Solves A X = B in place of B; A is symmetric and positive definite (Cholesky).
void solve(Matrix& A, Matrix& B) {
  const size_t n = A.size(), m = B[0].size();
  for (size_t j = 0; j < n; ++j)
    for (size_t i = j; i < n; ++i) {
      double sum = A[i][j];
      for (size_t k = 0; k < j; ++k) sum -= A[i][k] * A[j][k];
      A[i][j] = i == j ? std::sqrt(sum) : sum / A[j][j];
    }
  for (size_t c = 0; c < m; ++c) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t k = 0; k < i; ++k) B[i][c] -= A[i][k] * B[k][c];
      B[i][c] /= A[i][i];
    }
    for (size_t i = n; i-- > 0;) {
      for (size_t k = i + 1; k < n; ++k) B[i][c] -= A[k][i] * B[k][c];
      B[i][c] /= A[i][i];
    }
  }
}

}  // namespace

double probe(const std::vector<std::vector<real>>& vectors, const std::vector<int>& labels,
             uint64_t shuffled) {
  check(vectors.size() == labels.size() && vectors.size() >= 4, "probe: ", vectors.size(), " vectors, ",
        labels.size(), " labels");
  const size_t width = vectors[0].size() + 1,
               classes = static_cast<size_t>(*std::ranges::max_element(labels)) + 1;
  const size_t half = (vectors.size() + 1) / 2;  // even-numbered
  const Permutation deal(static_cast<int64_t>(half), shuffled);
  const auto label = [&](size_t i) {
    return static_cast<size_t>(
        labels[shuffled ? 2 * static_cast<size_t>(deal(static_cast<int64_t>(i / 2))) : i]);
  };
  // Columns of mean 0 and variance 1 over the vectors that are fitted; the last column is 1.
  std::vector<double> mean(width - 1), scale(width - 1);
  for (size_t j = 0; j + 1 < width; ++j) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < vectors.size(); i += 2) sum += static_cast<double>(vectors[i][j]);
    mean[j] = sum / static_cast<double>(half);
    for (size_t i = 0; i < vectors.size(); i += 2)
      squares += std::pow(static_cast<double>(vectors[i][j]) - mean[j], 2);
    scale[j] = 1 / std::sqrt(squares / static_cast<double>(half) + 1e-12);
  }
  const auto row = [&](size_t i) {
    std::vector<double> x(width, 1);
    for (size_t j = 0; j + 1 < width; ++j) x[j] = (static_cast<double>(vectors[i][j]) - mean[j]) * scale[j];
    return x;
  };
  Matrix A(width, std::vector<double>(width)), W(width, std::vector<double>(classes));
  for (size_t i = 0; i < vectors.size(); i += 2) {
    const std::vector<double> x = row(i);
    for (size_t j = 0; j < width; ++j) {
      for (size_t k = 0; k <= j; ++k) A[j][k] += x[j] * x[k];
      W[j][label(i)] += x[j];
    }
  }
  for (size_t j = 0; j < width; ++j) A[j][j] += 1e-3 * static_cast<double>(half) + 1e-9;
  solve(A, W);
  size_t right = 0, asked = 0;
  for (size_t i = 1; i < vectors.size(); i += 2, ++asked) {
    const std::vector<double> x = row(i);
    std::vector<double> scores(classes);
    for (size_t j = 0; j < width; ++j)
      for (size_t c = 0; c < classes; ++c) scores[c] += x[j] * W[j][c];
    right += std::ranges::max_element(scores) - scores.begin() == labels[i];
  }
  return static_cast<double>(right) / static_cast<double>(asked);
}

}  // namespace steelyard
