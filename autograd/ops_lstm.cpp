// Recurrence over ragged sequences: no padding, no masks. What enters the gates is the caller's: two linear
// functions.
#include "autograd/ops.h"
#include "core/backend.h"

namespace steelyard {

Var lstm(Var gates, Var content, Var U, const Segments& sequences, Var first, Tensor last) {
  Tape& tape = *gates.tape;
  const int64_t n = content.rows(), H = content.cols(), count = sequences.size();
  check(gates.shape() == Shape{n, 3 * H}, "lstm: gates of shape ", gates.shape(), " for content of ",
        content.shape());
  check(U.shape() == Shape{H, 4 * H}, "lstm: U of shape ", U.shape(), "; expected ", Shape{H, 4 * H});
  const Tensor before = first.tape ? first.value() : Tensor{};
  for (const Tensor& state : {before, last})
    check(state.empty() || state.shape == Shape{count, 2 * H}, "lstm: states of shape ", state.shape,
          "; expected ", Shape{count, 2 * H});
  const Steps steps = tape.steps(sequences, n);
  const auto positions = static_cast<int64_t>(steps.rows.size());
  const LstmTrace trace = {tape.alloc({positions, 4 * H}), tape.alloc({count + positions, H}),
                           tape.alloc({count + positions, H})};
  const Tensor h = tape.alloc({n, H});
  tape.backend().lstm(gates.value(), content.value(), U.value(), steps, before, trace, tape.scratch(), last,
                      h);
  const auto backward = [&tape, gates, content, U, first, steps, trace](Tensor dh) {
    const auto [dgates, beta_gates] = gates.grad_so_far();
    const auto [dcontent, beta_content] = content.grad_so_far();
    tape.backend().lstm_grad(U.value(), steps, trace, dh, tape.scratch(), beta_gates, dgates, beta_content,
                             dcontent, U.grad(), first.tape ? first.grad() : Tensor{});
  };
  const Var inputs[] = {gates, content, U, first};
  return tape.record("lstm", h, std::span(inputs, first.tape ? 4 : 3), backward);
}

}  // namespace steelyard
