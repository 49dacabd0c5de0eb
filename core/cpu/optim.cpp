#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"

namespace steelyard {

namespace {

void adam_span(const AdamStep& step, int64_t n, real* w, real* m, real* v, const real* g) {
  for_lanes(n, [&](auto i) {
    Lane ww = i.load(w), mm = i.load(m), vv = i.load(v);
    step(ww, mm, vv, i.load(g));
    i.store(w, ww), i.store(m, mm), i.store(v, vv);
  });
}

void adagrad_span(const AdagradStep& step, int64_t n, real* w, real* sum, const real* g) {
  for_lanes(n, [&](auto i) {
    Lane ww = i.load(w), ss = i.load(sum);
    step(ww, ss, i.load(g));
    i.store(w, ww), i.store(sum, ss);
  });
}

}  // namespace

void CpuBackend::adam(const AdamStep& step, Tensor w, Tensor m, Tensor v, Tensor g) {
  adam_span(step, w.size(), w.data, m.data, v.data, g.data);
}

void CpuBackend::adagrad(const AdagradStep& step, Tensor w, Tensor sum, Tensor g) {
  adagrad_span(step, w.size(), w.data, sum.data, g.data);
}

void CpuBackend::adam_rows(const AdamStep& step, Tensor w, Tensor m, Tensor v, Ids rows, Tensor g) {
  const int64_t cols = w.cols();
  if (cols == 1) {  // a table of one number per row: no lane would be full
    for (size_t i = 0; i < rows.size(); ++i) step(w.data[rows[i]], m.data[rows[i]], v.data[rows[i]], g.data[i]);
    return;
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t at = rows[i] * cols;
    adam_span(step, cols, w.data + at, m.data + at, v.data + at, g.data + static_cast<int64_t>(i) * cols);
  }
}

void CpuBackend::adagrad_rows(const AdagradStep& step, Tensor w, Tensor sum, Ids rows, Tensor g) {
  const int64_t cols = w.cols();
  if (cols == 1) {
    for (size_t i = 0; i < rows.size(); ++i) step(w.data[rows[i]], sum.data[rows[i]], g.data[i]);
    return;
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t at = rows[i] * cols;
    adagrad_span(step, cols, w.data + at, sum.data + at, g.data + static_cast<int64_t>(i) * cols);
  }
}

void CpuBackend::row_adagrad(const AdagradStep& step, Tensor w, Tensor sum, Ids rows, Tensor g) {
  const int64_t cols = w.cols();
  for (size_t i = 0; i < rows.size(); ++i) {
    const real* gradient = g.data + static_cast<int64_t>(i) * cols;
    real* weights = w.data + rows[i] * cols;
    real& state = sum.data[rows[i]];
    state += static_cast<real>(sum_lanes(cols, [&](auto k) { return k.load(gradient).square(); }) /
                               static_cast<double>(cols));
    const real rate = step.rate / (std::sqrt(state) + step.epsilon);
    for_lanes(cols, [&](auto k) {
      const Lane ww = k.load(weights);
      k.store(weights, Lane(ww - step.decay * ww - rate * k.load(gradient)));
    });
  }
}

}  // namespace steelyard
