#include "nn/latent.h"

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace steelyard {

namespace {

constexpr int kIterations = 8;
constexpr int64_t kGrain = 256;  // rows of a piece
constexpr int64_t kAtOnce = 16;  // pieces whose squares are in memory

size_t at(int64_t i) { return static_cast<size_t>(i); }

struct Entry {
  int32_t column;
  real value;
};

// A sparse matrix by rows.
struct Sparse {
  std::vector<int64_t> starts{0};
  std::vector<Entry> entries;

  int64_t rows() const { return std::ssize(starts) - 1; }
  std::span<const Entry> operator[](int64_t row) const {
    return std::span(entries).subspan(at(starts[at(row)]), at(starts[at(row + 1)] - starts[at(row)]));
  }
};

// The texts as rows of length one, the queries before the products.
Sparse texts_of(const LatentTexts& of, const LatentTerms& terms) {
  Sparse texts;
  for (const Ragged<int32_t>* ids : {&of.queries, &of.products})
    for (int64_t text = 0; text < ids->size(); ++text) {
      double squares = 0;
      for (int32_t id : (*ids)[text]) {
        const int32_t row = terms.rows[at(id)];
        if (row < 0) continue;
        const real weight = terms.weights[at(row)];
        texts.entries.push_back({row, weight});
        squares += static_cast<double>(weight) * static_cast<double>(weight);
      }
      const auto scale = static_cast<real>(squares > 0 ? 1 / std::sqrt(squares) : 0);
      for (auto i = at(texts.starts.back()); i < texts.entries.size(); ++i) texts.entries[i].value *= scale;
      texts.starts.push_back(std::ssize(texts.entries));
    }
  return texts;
}

// CᵀC of the matrix C that has a row for each pair, with a 1 for either text.
Sparse company_of(const LatentTexts& of) {
  const int64_t queries = of.queries.size(), texts = queries + of.products.size();
  std::vector<std::vector<int32_t>> partners(at(texts));
  for (size_t i = 0; i < of.query.size(); ++i) {
    const int32_t query = of.query[i], product = static_cast<int32_t>(queries) + of.product[i];
    partners[at(query)].push_back(product);
    partners[at(product)].push_back(query);
  }
  Sparse company;
  for (int64_t text = 0; text < texts; ++text) {
    company.entries.push_back({static_cast<int32_t>(text), static_cast<real>(partners[at(text)].size())});
    for (int32_t partner : partners[at(text)]) company.entries.push_back({partner, 1});
    company.starts.push_back(std::ssize(company.entries));
  }
  return company;
}

Sparse transposed(const Sparse& m, int64_t columns) {
  Sparse t;
  t.starts.assign(at(columns + 1), 0);
  for (const Entry& entry : m.entries) ++t.starts[at(entry.column) + 1];
  for (size_t i = 1; i < t.starts.size(); ++i) t.starts[i] += t.starts[i - 1];
  std::vector<int64_t> next(t.starts.begin(), t.starts.end() - 1);
  t.entries.resize(m.entries.size());
  for (int64_t row = 0; row < m.rows(); ++row)
    for (const Entry& entry : m[row])
      t.entries[at(next[at(entry.column)]++)] = {static_cast<int32_t>(row), entry.value};
  return t;
}

struct Dense {
  int64_t width;
  std::vector<real> values;

  Dense(int64_t rows, int64_t columns) : width(columns), values(at(rows * columns)) {}
  int64_t rows() const { return std::ssize(values) / width; }
  real* operator[](int64_t row) { return values.data() + row * width; }
  const real* operator[](int64_t row) const { return values.data() + row * width; }
};

// y = m · x
void multiply(const Sparse& m, const Dense& x, Dense& y, const Workers& workers) {
  workers.rows(m.rows(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      real* to = y[row];
      std::fill(to, to + y.width, real(0));
      for (const Entry& entry : m[row]) {
        const real* from = x[entry.column];
        for (int64_t j = 0; j < y.width; ++j) to[j] += entry.value * from[j];
      }
    }
  });
}

// x ← x R⁻¹, where RᵀR = xᵀx is Cholesky's factorisation. A column that depends on those before it becomes 0.
void orthonormalise(Dense& x, const Workers& workers) {
  const int64_t k = x.width;
  std::vector<double> r(at(k * k));
  std::vector<std::vector<double>> parts(kAtOnce, r);
  for (int64_t first = 0; first < x.rows(); first += kAtOnce * kGrain) {
    const int64_t rows = std::min(x.rows() - first, kAtOnce * kGrain);
    workers.rows(rows, kGrain, [&](int64_t begin, int64_t end) {
      std::vector<double>& part = parts[at(begin / kGrain)];
      std::ranges::fill(part, 0);
      for (int64_t row = first + begin; row < first + end; ++row)
        for (int64_t i = 0; i < k; ++i)
          for (int64_t j = i; j < k; ++j)
            part[at(i * k + j)] += static_cast<double>(x[row][i]) * static_cast<double>(x[row][j]);
    });
    for (const std::vector<double>& part : std::span(parts).first(at((rows + kGrain - 1) / kGrain)))
      for (size_t i = 0; i < r.size(); ++i) r[i] += part[i];
  }
  constexpr double kTiny = 1e-10;
  for (int64_t i = 0; i < k; ++i) {
    const double square = r[at(i * k + i)];
    double rest = square;
    for (int64_t h = 0; h < i; ++h) rest -= r[at(h * k + i)] * r[at(h * k + i)];
    const double pivot = rest > kTiny * square ? std::sqrt(rest) : 0;
    r[at(i * k + i)] = pivot;
    for (int64_t j = i + 1; j < k; ++j) {
      double sum = r[at(i * k + j)];
      for (int64_t h = 0; h < i; ++h) sum -= r[at(h * k + i)] * r[at(h * k + j)];
      r[at(i * k + j)] = pivot > 0 ? sum / pivot : 0;
    }
  }
  workers.rows(x.rows(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t j = 0; j < k; ++j) {
        double sum = static_cast<double>(x[row][j]);
        for (int64_t i = 0; i < j; ++i) sum -= static_cast<double>(x[row][i]) * r[at(i * k + j)];
        const double pivot = r[at(j * k + j)];
        x[row][j] = static_cast<real>(pivot > 0 ? sum / pivot : 0);
      }
  });
}

}  // namespace

std::vector<real> latent_vectors(const LatentTexts& texts, const LatentTerms& terms, int64_t width,
                                 const Workers& workers) {
  const Sparse by_text = texts_of(texts, terms), company = company_of(texts);
  const Sparse by_term = transposed(by_text, std::ssize(terms.weights));
  Dense x(std::ssize(terms.weights), width), of_texts(by_text.rows(), width), together(by_text.rows(), width);
  const uint64_t key = key_of(1, "latent");
  for (size_t i = 0; i < x.values.size(); ++i) x.values[i] = random_normal(key, i);
  for (int i = 0; i < kIterations; ++i) {
    orthonormalise(x, workers);
    multiply(by_text, x, of_texts, workers);
    multiply(company, of_texts, together, workers);
    multiply(by_term, together, x, workers);
  }
  orthonormalise(x, workers);
  for (int64_t row = 0; row < x.rows(); ++row) {
    double squares = 0;
    for (int64_t j = 0; j < width; ++j)
      squares += static_cast<double>(x[row][j]) * static_cast<double>(x[row][j]);
    const auto scale = static_cast<real>(squares > 0 ? 1 / std::sqrt(squares) : 0);
    for (int64_t j = 0; j < width; ++j) x[row][j] *= scale;
  }
  return x.values;
}

}  // namespace steelyard
