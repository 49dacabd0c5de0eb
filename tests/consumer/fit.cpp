// A small network learns y = sin x: everything a training program of one's own needs.
#include <cmath>
#include <iostream>

#include "autograd/ops.h"
#include "core/backend.h"
#include "optim/optimizer.h"

using namespace steelyard;

int main() {
  constexpr int kPoints = 64, kHidden = 16, kSteps = 500;
  std::vector<real> x, y;
  for (int i = 0; i < kPoints; ++i) {
    x.push_back(real(0.1) * static_cast<real>(i - kPoints / 2));
    y.push_back(std::sin(x.back()));
  }

  Parameters parameters(cpu(), /*seed=*/1);
  const auto root = parameters.root();
  const Parameter& W1 = root.add("W1", {1, kHidden}, glorot(1, kHidden));
  const Parameter& b1 = root.add("b1", {kHidden}, uniform(-1, 1));
  const Parameter& W2 = root.add("W2", {kHidden, 1}, glorot(kHidden, 1));
  const Parameter& b2 = root.add("b2", {1}, constant(0));

  Tape tape(cpu());
  Gradients gradients(parameters);
  Optimizer optimizer(parameters, {.dense = "adam", .rate = 0.02});
  const Workers workers(/*threads=*/1);
  real first = 0, last = 0;
  for (int step = 0; step < kSteps; ++step) {
    tape.reset();
    const Var hidden = linear(tape.constant({kPoints, 1}, x), tape.leaf(W1), tape.leaf(b1), unary_id<Tanh>);
    const Var out = linear(hidden, tape.leaf(W2), tape.leaf(b2));
    const Var loss = mean(squared_error(out, tape.constant({kPoints, 1}, y)));
    gradients.clear();
    tape.backward(loss, gradients);
    optimizer.step(gradients, /*factor=*/1, workers);
    last = loss.value().data[0];
    if (step == 0) first = last;
  }
  std::cout << "mean squared error of sin x: " << first << " before, " << last << " after\n";
  return last < first / 100 ? 0 : 1;
}
