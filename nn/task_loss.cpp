#include "nn/task_loss.h"

#include <cmath>

#include "autograd/ops.h"
#include "core/backend.h"
#include "nn/list.h"

namespace steelyard {

TaskLoss task_loss(const Task& task, Var z, std::span<const real> labels, std::span<const real> importance) {
  Tape& tape = *z.tape;
  const auto m = std::ssize(labels);
  const bool classes = task.kind == "classes";
  List of_classes(tape, m);
  const std::span<real> targets = tape.array<real>(m), factors = tape.array<real>(m);
  int64_t asked = 0;
  double total = 0;  // of the factors
  for (size_t i = 0; i < labels.size(); ++i) {
    const bool answered = !std::isnan(labels[i]);
    targets[i] = answered ? labels[i] : 0;
    if (classes) of_classes.add(static_cast<int32_t>(targets[i]));
    factors[i] = !answered ? real(0) : importance.empty() ? real(1) : importance[i];
    asked += answered, total += static_cast<double>(factors[i]);
  }
  const auto target = [&] { return tape.constant({m, 1}, targets); };
  const Var losses = classes                 ? cross_entropy(z, of_classes)
                     : task.kind == "number" ? squared_error(z, target())
                                             : bce(z, target());
  const Var loss = weighted_mean(losses, {factors.data(), losses.value().shape, &cpu()});
  const double scale = asked > 0 ? total / static_cast<double>(asked) : 1;
  return {task.name, affine(loss, static_cast<real>(scale)), asked};
}

TaskLoss no_loss(Tape& tape, const Task& task) {
  const std::span<real> nothing = tape.array<real>(1);
  nothing[0] = 0;
  return {task.name, tape.constant(Shape{}, nothing), 0};
}

}  // namespace steelyard
