// What every model of several tasks makes of a task's logits. Next: nn/dupn.h, nn/multitask.h.
#pragma once

#include "autograd/objective.h"
#include "data/tasks.h"

namespace steelyard {

// Of rows with these labels, NaN where nothing is asked, and factors of their losses, or none: Σ factor · loss / rows
// that are asked, cross-entropy of binary and classes, squared error of number.      z [m,1], of classes [m,C]
TaskLoss task_loss(const Task& task, Var z, std::span<const real> labels, std::span<const real> importance);
TaskLoss no_loss(Tape& tape, const Task& task);  // 0, of no rows

}  // namespace steelyard
