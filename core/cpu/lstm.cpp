// Long short-term memory. At each step the sequences that reach it are one matrix, and the states stand step
// after step: what a step reads is the front of what the step before it wrote. A row has the same bits in any
// batch, so a step more from a saved state gives those of the whole sequence.
#include <algorithm>
#include <optional>

#include "core/arena.h"
#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"
#include "core/cpu/product.h"

namespace steelyard {

namespace {

// Step t of the trace: `count` positions from `at` on in what has one row per position, and in hidden and
// cells from `state` on, those of the step before from `before` on.
struct Step {
  Step(const Steps& steps, int64_t t)
      : at(start(steps, t)),
        count(start(steps, t + 1) - at),
        state(sequences(steps) + at),
        before(t == 0 ? 0 : sequences(steps) + start(steps, t - 1)) {}
  static int64_t start(const Steps& steps, int64_t t) { return steps.starts[static_cast<size_t>(t)]; }
  static int64_t sequences(const Steps& steps) { return static_cast<int64_t>(steps.sequences.size()); }
  int64_t at, count, state, before;
};

// f(position, sequence, row of its last state)
template <class F>
void for_last(const Steps& steps, F f) {
  int64_t reached = 0;
  for (int64_t t = steps.size(); t-- > 0;) {
    const Step step(steps, t);
    for (; reached < step.count; ++reached)
      f(steps.sequences[static_cast<size_t>(reached)], step.state + reached);
  }
  for (; reached < Step::sequences(steps); ++reached)
    f(steps.sequences[static_cast<size_t>(reached)], reached);
}

}  // namespace

void CpuBackend::lstm(Tensor gates, Tensor content, Tensor U, const Steps& steps, Tensor first,
                      LstmTrace trace, Arena& scratch, Tensor last, Tensor h) {
  const int64_t H = U.rows();
  const Arena::Mark mark = scratch.mark();
  std::optional<Packed> packed;  // a few rows read U where it is
  if (trace.activations.rows() > kFew) packed.emplace(U, scratch.tensor({Packed::size(U.shape)}).data);
  for (int64_t s = 0; s < Step::sequences(steps); ++s) {
    real *const hidden = trace.hidden.data + s * H, *const cell = trace.cells.data + s * H;
    if (first.empty()) {
      std::fill_n(hidden, H, real(0)), std::fill_n(cell, H, real(0));
    } else {
      const real* const from = first.data + steps.sequences[static_cast<size_t>(s)] * 2 * H;
      std::copy_n(from, H, hidden), std::copy_n(from + H, H, cell);
    }
  }
  if (static_cast<int64_t>(steps.rows.size()) < h.rows()) zero(h);
  for (int64_t t = 0; t < steps.size(); ++t) {
    const Step step(steps, t);
    const Tensor z = trace.activations.slice(step.at, step.count);
    const Tensor before = trace.hidden.slice(step.before, step.count);
    if (t == 0 && first.empty())
      zero(z);
    else
      packed ? multiply(before, *packed, 0, z) : gemm(before, U, 0, z);
    for (int64_t k = 0; k < step.count; ++k) {
      const int64_t row = steps.rows[static_cast<size_t>(step.at + k)];
      const real *const gate = gates.data + row * 3 * H, *const in = content.data + row * H;
      real *const unit = z.data + k * 4 * H, *const of_row = h.data + row * H;
      real* const hidden = trace.hidden.data + (step.state + k) * H;
      const real* const c_before = trace.cells.data + (step.before + k) * H;
      real* const cell = trace.cells.data + (step.state + k) * H;
      for_lanes(H, [&](auto at) {
        Lane i = at.load(unit) + at.load(gate), f = at.load(unit + H) + at.load(gate + H);
        Lane o = at.load(unit + 2 * H) + at.load(gate + 2 * H), g = at.load(unit + 3 * H) + at.load(in);
        Lane c = at.load(c_before);
        const Lane y = LstmCell::forward(i, f, o, g, c);
        at.store(unit, i), at.store(unit + H, f), at.store(unit + 2 * H, o), at.store(unit + 3 * H, g);
        at.store(cell, c), at.store(hidden, y), at.store(of_row, y);
      });
    }
  }
  scratch.rewind(mark);
  if (last.empty()) return;
  for_last(steps, [&](int64_t sequence, int64_t state) {
    real* const to = last.data + sequence * 2 * H;
    std::copy_n(trace.hidden.data + state * H, H, to), std::copy_n(trace.cells.data + state * H, H, to + H);
  });
}

// forward was, at each step:  z = [gates | content] + h₋₁ · U,  (h, c) = LstmCell(z, c₋₁)
// so now, from the last on:   dz = LstmCell′(dh, dc),  dh₋₁ += dz · Uᵀ;  for all at once dU += h₋₁ᵀ · dz
void CpuBackend::lstm_grad(Tensor U, const Steps& steps, LstmTrace trace, Tensor dh, Arena& scratch,
                           real beta_gates, Tensor dgates, real beta_content, Tensor dcontent, Tensor dU,
                           Tensor dfirst) {
  const int64_t H = U.rows(), sequences = Step::sequences(steps), n = trace.activations.rows();
  const Arena::Mark mark = scratch.mark();
  const Packed turned(transposed(U), scratch.tensor({Packed::size({4 * H, H})}).data);
  const Tensor dz = scratch.tensor({n, 4 * H});
  const Tensor dhidden = scratch.tensor({sequences, H}), dcells = scratch.tensor({sequences, H});
  zero(dhidden), zero(dcells);
  if (beta_gates == 0 && n < dgates.rows()) zero(dgates);
  if (beta_content == 0 && n < dcontent.rows()) zero(dcontent);
  const auto hand_over = [](auto at, const Lane& dz, real beta, Tensor all, int64_t place) {
    if (all.empty()) return;
    real* const to = all.data + place;
    at.store(to, beta == 0 ? dz : Lane(dz + beta * at.load(to)));
  };
  for (int64_t t = steps.size(); t-- > 0;) {
    const Step step(steps, t);
    for (int64_t k = 0; k < step.count; ++k) {
      const int64_t row = steps.rows[static_cast<size_t>(step.at + k)];
      const real* const unit = trace.activations.data + (step.at + k) * 4 * H;
      const real* const before = trace.cells.data + (step.before + k) * H;
      const real* const cell = trace.cells.data + (step.state + k) * H;
      const real *const of_row = dh.data + row * H, *const carried = dhidden.data + k * H;
      real *const dc = dcells.data + k * H, *const to = dz.data + (step.at + k) * 4 * H;
      for_lanes(H, [&](auto at) {
        Lane i = at.load(unit), f = at.load(unit + H), o = at.load(unit + 2 * H), g = at.load(unit + 3 * H);
        Lane of_cell = at.load(dc);
        LstmCell::backward(i, f, o, g, at.load(before), at.load(cell),
                           Lane(at.load(of_row) + at.load(carried)), of_cell);
        at.store(to, i), at.store(to + H, f), at.store(to + 2 * H, o), at.store(to + 3 * H, g);
        at.store(dc, of_cell);
        hand_over(at, i, beta_gates, dgates, row * 3 * H);
        hand_over(at, f, beta_gates, dgates, row * 3 * H + H);
        hand_over(at, o, beta_gates, dgates, row * 3 * H + 2 * H);
        hand_over(at, g, beta_content, dcontent, row * H);
      });
    }
    if (t > 0 || !dfirst.empty())
      multiply(dz.slice(step.at, step.count), turned, 0, dhidden.slice(0, step.count));
  }
  if (!dU.empty() && n > 0) {
    const Tensor hidden = scratch.tensor({n, H});
    for (int64_t t = 0; t < steps.size(); ++t) {
      const Step step(steps, t);
      copy(trace.hidden.slice(step.before, step.count), hidden.slice(step.at, step.count));
    }
    gemm(transposed(hidden), dz, 1, dU);
  }
  if (!dfirst.empty())
    for (int64_t s = 0; s < sequences; ++s) {
      real* const to = dfirst.data + steps.sequences[static_cast<size_t>(s)] * 2 * H;
      for (int64_t i = 0; i < H; ++i) to[i] += dhidden.data[s * H + i], to[H + i] += dcells.data[s * H + i];
    }
  scratch.rewind(mark);
}

}  // namespace steelyard
