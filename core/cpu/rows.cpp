#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"

namespace steelyard {

namespace {

const real* row(Tensor x, int64_t r) { return x.data + r * x.cols(); }
real* row_of(Tensor x, int64_t r) { return x.data + r * x.cols(); }

// Rows of one number, as in a bag of words, are worth a loop of their own.
void add(const real* x, real* y, int64_t cols) {
  if (cols == 1)
    *y += *x;
  else
    for_lanes(cols, [&](auto i) { add_to(i, y, i.load(x)); });
}

void add_scaled(real w, const real* x, real* y, int64_t cols) {
  for_lanes(cols, [&](auto i) { add_to(i, y, Lane(w * i.load(x))); });
}

real dot(const real* a, const real* b, int64_t cols) {
  return static_cast<real>(sum_lanes(cols, [&](auto i) { return Lane(i.load(a) * i.load(b)); }));
}

// y = softmax(x); returns log Σ eˣ.
double softmax_of(const real* x, real* y, int64_t n) {
  if (n == 0) return 0;
  const real largest = *std::max_element(x, x + n);
  for_lanes(n, [&](auto i) { i.store(y, math::exp(Lane(i.load(x) - largest))); });
  const double sum = sum_lanes(n, [&](auto i) { return i.load(y); });
  const real scale = static_cast<real>(1 / sum);
  for_lanes(n, [&](auto i) { i.store(y, Lane(scale * i.load(y))); });
  return std::log(sum) + static_cast<double>(largest);
}

size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

void CpuBackend::add_row(Tensor x, Tensor b, Tensor y) {
  for (int64_t r = 0; r < x.rows(); ++r)
    for_lanes(x.cols(), [&](auto i) { i.store(row_of(y, r), Lane(i.load(row(x, r)) + i.load(b.data))); });
}

void CpuBackend::sum_rows(Tensor x, Tensor y) {
  for (int64_t r = 0; r < x.rows(); ++r) add(row(x, r), y.data, x.cols());
}

void CpuBackend::scale_rows(Tensor x, Tensor w, Tensor y) {
  for (int64_t r = 0; r < x.rows(); ++r) add_scaled(w.data[r], row(x, r), row_of(y, r), x.cols());
}

void CpuBackend::dot_rows(Tensor a, Tensor b, Tensor y) {
  for (int64_t r = 0; r < a.rows(); ++r) y.data[r] += dot(row(a, r), row(b, r), a.cols());
}

void CpuBackend::add_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) {
  for (int64_t r = 0; r < x.rows(); ++r) add(row(x, r) + from, row_of(y, r) + to, count);
}

void CpuBackend::copy_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) {
  for (int64_t r = 0; r < x.rows(); ++r) std::copy_n(row(x, r) + from, count, row_of(y, r) + to);
}

void CpuBackend::gather(Tensor table, Ids ids, Tensor y) {
  const int64_t cols = table.cols();
  if (cols == 1)
    for (size_t j = 0; j < ids.size(); ++j) y.data[j] = table.data[ids[j]];
  else
    for (size_t j = 0; j < ids.size(); ++j)
      std::copy_n(row(table, ids[j]), cols, row_of(y, static_cast<int64_t>(j)));
}

void CpuBackend::sum_groups(Tensor x, const RowIndex& index, Tensor y) {
  const int64_t cols = x.cols();
  for (size_t i = 0; i < index.rows.size(); ++i)
    for (int32_t k = index.starts[i]; k < index.starts[i + 1]; ++k)
      add(row(x, index.order[at(k)]), row_of(y, static_cast<int64_t>(i)), cols);
}

void CpuBackend::scatter_add(Tensor x, Ids rows, Tensor y) {
  const int64_t cols = x.cols();
  for (size_t i = 0; i < rows.size(); ++i) add(row(x, static_cast<int64_t>(i)), row_of(y, rows[i]), cols);
}

void CpuBackend::bag(Tensor table, Ids ids, Tensor w, const Segments& segments, Tensor y) {
  const int64_t cols = table.cols();
  zero(y);
  for (size_t s = 0; s < segments.begins.size(); ++s) {
    real* to = row_of(y, static_cast<int64_t>(s));
    for (int64_t j = segments.begins[s]; j < segments.ends[s]; ++j)
      add_scaled(w.empty() ? 1 : w.data[j], row(table, ids[at(j)]), to, cols);
  }
}

void CpuBackend::bag_grad(Tensor table, const RowIndex& index, Tensor w, Ids owner, Tensor dy, Tensor dvalues,
                          Tensor dw) {
  const int64_t cols = table.cols();
  for (size_t i = 0; i < index.rows.size(); ++i)
    for (int32_t k = index.starts[i]; k < index.starts[i + 1]; ++k) {
      const int32_t j = index.order[at(k)];
      if (owner[at(j)] < 0) continue;
      add_scaled(w.empty() ? 1 : w.data[j], row(dy, owner[at(j)]), row_of(dvalues, static_cast<int64_t>(i)),
                 cols);
    }
  if (dw.empty()) return;
  for (int64_t j = 0; j < dw.size(); ++j)
    if (owner[at(j)] >= 0) dw.data[j] += dot(row(table, index.ids[at(j)]), row(dy, owner[at(j)]), cols);
}

void CpuBackend::segment_sum(Tensor x, const Segments& segments, Tensor y) {
  const int64_t cols = x.cols();
  zero(y);
  for (size_t i = 0; i < segments.begins.size(); ++i)
    for (int64_t j = segments.begins[i]; j < segments.ends[i]; ++j)
      add(row(x, j), row_of(y, static_cast<int64_t>(i)), cols);
}

void CpuBackend::segment_sum_grad(const Segments& segments, Tensor dy, Tensor dx) {
  const int64_t cols = dx.cols();
  for (size_t i = 0; i < segments.begins.size(); ++i)
    for (int64_t j = segments.begins[i]; j < segments.ends[i]; ++j)
      add(row(dy, static_cast<int64_t>(i)), row_of(dx, j), cols);
}

void CpuBackend::softmax(Tensor x, const Segments& segments, Tensor y) {
  zero(y);
  for (size_t s = 0; s < segments.begins.size(); ++s) {
    const int64_t n = segments.ends[s] - segments.begins[s];
    softmax_of(x.data + segments.begins[s], y.data + segments.begins[s], n);
  }
}

void CpuBackend::softmax_grad(Tensor y, const Segments& segments, Tensor dy, Tensor dx) {
  for (size_t s = 0; s < segments.begins.size(); ++s) {
    const int64_t n = segments.ends[s] - segments.begins[s], begin = segments.begins[s];
    const real *p = y.data + begin, *dp = dy.data + begin;
    const auto inner = static_cast<real>(sum_lanes(n, [&](auto i) { return Lane(i.load(p) * i.load(dp)); }));
    for_lanes(n, [&](auto i) { add_to(i, dx.data + begin, Lane(i.load(p) * (i.load(dp) - inner))); });
  }
}

void CpuBackend::cross_entropy(Tensor z, Ids labels, Tensor loss, Tensor p) {
  const int64_t cols = z.cols();
  for (int64_t r = 0; r < z.rows(); ++r) {
    const double log_sum = softmax_of(row(z, r), row_of(p, r), cols);
    const int32_t label = labels[at(r)];
    loss.data[r] = label < 0 ? real(0) : static_cast<real>(log_sum - static_cast<double>(row(z, r)[label]));
  }
}

void CpuBackend::cross_entropy_grad(Tensor p, Ids labels, Tensor dloss, Tensor dz) {
  for (int64_t r = 0; r < p.rows(); ++r) {
    const int32_t label = labels[at(r)];
    if (label < 0) continue;
    const real slope = dloss.data[r];
    for_lanes(p.cols(), [&](auto i) { add_to(i, row_of(dz, r), Lane(slope * i.load(row(p, r)))); });
    row_of(dz, r)[label] -= slope;
  }
}

}  // namespace steelyard
