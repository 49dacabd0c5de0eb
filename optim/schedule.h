// The learning rate over the steps of a run, as a factor of the configured rate: linear warm-up, then a
// decay, and a drop whenever the dev metric has stopped improving (the trainer counts the drops).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "core/check.h"

namespace steelyard {

struct ScheduleConfig {
  int64_t warmup = 0;
  std::string decay = "constant";
  double floor = 0;
  int plateau = 0;
  double drop = 0.5;

  template <class F>
  void fields(F&& f) {
    f("warmup", warmup, "steps of linear warm-up");
    f("decay", decay, "constant, linear or cosine, from the end of the warm-up to the last step");
    f("floor", floor, "factor at the end of the decay");
    f("plateau", plateau, "evaluations without improvement before a drop; 0: never");
    f("drop", drop, "factor of a drop");
  }
  void validate() const {
    if (decay != "constant" && decay != "linear" && decay != "cosine")
      fail(Fault::usage, "schedule.decay: unknown \"", decay, "\"; expected constant, linear or cosine");
    if (warmup < 0) fail(Fault::usage, "schedule.warmup: ", warmup, "; expected 0 or more");
    if (!(floor >= 0 && floor <= 1)) fail(Fault::usage, "schedule.floor: ", floor, "; expected 0 … 1");
    if (!(drop > 0 && drop <= 1))
      fail(Fault::usage, "schedule.drop: ", drop, "; expected more than 0, at most 1");
    if (plateau < 0) fail(Fault::usage, "schedule.plateau: ", plateau, "; expected 0 or more");
  }

  // The factor of step 0 ≤ step < steps.
  double factor(int64_t step, int64_t steps) const {
    if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
    if (decay == "constant") return 1;
    const double done =
        static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(1, steps - warmup));
    const double left = decay == "linear" ? 1 - done : 0.5 * (1 + std::cos(M_PI * done));
    return floor + (1 - floor) * left;
  }
};

}  // namespace steelyard
