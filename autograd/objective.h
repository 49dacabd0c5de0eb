// What a model hands to an optimiser for one shard of one step: the mean loss of each task over the rows that
// have its label, and a regulariser that belongs to no task. Only Vars, so that `nn` and `optim` need not
// know each other.
#pragma once

#include <string>
#include <vector>

#include "autograd/tape.h"

namespace steelyard {

struct TaskLoss {
  std::string name;
  Var loss;          // [] mean over `rows` rows
  int64_t rows = 0;  // rows of this shard that have the task's label
};

struct Objective {
  std::vector<TaskLoss> tasks;  // the same names in the same order in every shard
  Var regulariser = {};         // [] or none
};

}  // namespace steelyard
