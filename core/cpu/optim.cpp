#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"

namespace steelyard {

namespace {

template <class Step>
void update_span(const Step& step, int64_t n, real* w, real* state1, real* state2, const real* g) {
  for_lanes(n, [&](auto i) {
    Lane weight = i.load(w), s1 = Lane::Zero(), s2 = Lane::Zero();
    if constexpr (Step::kStates > 0) s1 = i.load(state1);
    if constexpr (Step::kStates > 1) s2 = i.load(state2);
    step(weight, s1, s2, i.load(g));
    i.store(w, weight);
    if constexpr (Step::kStates > 0) i.store(state1, s1);
    if constexpr (Step::kStates > 1) i.store(state2, s2);
  });
}

// A table of one number per row: no lane would be full.
template <class Step>
void update_numbers(const Step& step, Ids rows, real* w, real* state1, real* state2, const real* g) {
  real unused = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const int32_t r = rows[i];
    step(w[r], Step::kStates > 0 ? state1[r] : unused, Step::kStates > 1 ? state2[r] : unused, g[i]);
  }
}

}  // namespace

void CpuBackend::update(const UpdateStep& step, Tensor w, Tensor state1, Tensor state2, Tensor g) {
  std::visit([&](const auto& s) { update_span(s, w.size(), w.data, state1.data, state2.data, g.data); },
             step);
}

void CpuBackend::update_rows(const UpdateStep& step, Tensor w, Tensor state1, Tensor state2, Ids rows,
                             Tensor g) {
  const int64_t cols = w.cols();
  const auto row_of = [](Tensor state, int64_t at) { return state.empty() ? nullptr : state.data + at; };
  std::visit(
      [&](const auto& s) {
        if (cols == 1) return update_numbers(s, rows, w.data, state1.data, state2.data, g.data);
        for (size_t i = 0; i < rows.size(); ++i) {
          const int64_t at = rows[i] * cols;
          update_span(s, cols, w.data + at, row_of(state1, at), row_of(state2, at),
                      g.data + static_cast<int64_t>(i) * cols);
        }
      },
      step);
}

void CpuBackend::row_adagrad(const AdagradStep& step, Tensor w, Tensor sum, Ids rows, Tensor g) {
  const int64_t cols = w.cols();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i + kAhead < rows.size()) {
      prefetch_row(w.data + rows[i + kAhead] * cols, cols);
      prefetch_row(sum.data + rows[i + kAhead], 1);
    }
    const real* gradient = g.data + static_cast<int64_t>(i) * cols;
    real* weights = w.data + rows[i] * cols;
    real& state = sum.data[rows[i]];
    state += static_cast<real>(sum_lanes(cols, [&](auto k) { return Lane(k.load(gradient).square()); }) /
                               static_cast<double>(cols));
    const real rate = step.rate / (std::sqrt(state) + step.epsilon);
    for_lanes(cols, [&](auto k) {
      const Lane ww = k.load(weights);
      k.store(weights, Lane(ww - step.decay * ww - rate * k.load(gradient)));
    });
  }
}

}  // namespace steelyard
