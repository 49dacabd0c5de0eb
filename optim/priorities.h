// Goals in order of priority, with no weights to tune (No More Tuning: Cheng et al. 2024). One goal after the other:
//
//   step 1   minimise f_1                                        c_1 = f_1 where that ended
//   step k   minimise f_k such that f_j ≤ c_j for all j < k,     c_k = f_k where that ended
//            from where step k − 1 ended, which holds them
//
// A bound has some slack, since no finite multiplier holds a goal at its optimum: f_j ≤ c_j (1 + slack). Multipliers
// pull towards half of it, so that what the estimates wobble breaks no bound. Bounds are measured on held-out rows
// that chose no model. What the multipliers do is optim/lagrangian.h, how other methods weigh is optim/method.h;
// this is who asks whom, and what is remembered. It knows no model and runs no loop. Next: optim/trainer.h.
#pragma once

#include <limits>
#include <map>
#include <optional>

#include "core/tensor_file.h"
#include "optim/lagrangian.h"
#include "optim/method.h"

namespace steelyard {

struct NmtConfig : LagrangianConfig {
  double slack = 0.01, slack_absolute = 0, held_out = 0.5, later_rate = 0.5;
  std::string estimator = "heldout", bounds = "fixed";
  int64_t every = 10, min_rows = 32, warmup = 1000;
  bool keep_multipliers = false;

  template <class F>
  void fields(F&& f) {
    f("slack", slack, "of a bound, in parts of it");
    f("slack_absolute", slack_absolute, "and added to it");
    f("held_out", held_out,
      "share of the dev rows on which bounds are measured, drawn by hash; the others choose the model");
    f("estimator", estimator,
      "of violations: heldout, on those rows, or minibatch, on the training rows of the step");
    f("every", every, "heldout: steps between two looks, each at as many rows as a step has");
    f("min_rows", min_rows,
      "with the label of a goal, that it takes to judge it; looks at fewer are gathered");
    f("warmup", warmup, "steps in which a goal that comes in trains only what is its own; at most an epoch");
    f("later_rate", later_rate,
      "factor of the learning rate in all steps but the first, which begin from a trained model; not in "
      "warm-up");
    f("bounds", bounds, "fixed, where a goal's own step ended; monotone: lower, if a later step ended lower");
    f("keep_multipliers", keep_multipliers, "from one step to the next; else they begin at `first`");
    LagrangianConfig::fields(f);
  }
  void validate() const;  // Error(usage) names the key
};

struct PrioritiesConfig {
  std::string method = "weighted";
  NmtConfig nmt;
  MethodConfig methods;
  std::map<std::string, double> bound;

  template <class F>
  void fields(F&& f) {
    f("method", method,
      "how several tasks train together: nmt, by priority; single, each alone; equal, weighted, uncertainty, "
      "dwa, "
      "gradnorm, pcgrad, cagrad, mgda, famo, one_sided or barrier");
    f("nmt", nmt, "of method nmt: the goals before are bounds on the one that is learned");
    f("methods", methods, "options of the other methods");
    f("bound", bound, "of method nmt, the loss of a task that must be held, instead of the measured one");
  }
  void validate() const;
};

// A mean over held-out rows.
struct Measured {
  double mean = std::numeric_limits<double>::quiet_NaN(), error = 0;  // its standard error
  int64_t rows = 0;
};

// What became of a goal.
struct GoalResult {
  std::string name;
  int priority;
  std::optional<double> bound, limit;  // as measured or given; with its slack. The last goal has none
  Measured value;                      // of the model that was chosen
  bool held() const { return !limit || value.mean <= *limit; }
};

class Priorities {
 public:
  // At most 64 goals. `rate`, `seed`: of what methods learn and draw. Error(usage): an unknown method; of nmt and
  // single, priorities that are not 1, 2, 3 …, each once; a bound of no goal.
  Priorities(const PrioritiesConfig& config, std::vector<Goal> goals, double rate, int64_t steps_per_epoch,
             uint64_t seed);

  const std::vector<Goal>& goals() const { return goals_; }
  bool by_priority() const { return config_.method == "nmt"; }
  bool alone() const { return config_.method == "single"; }  // each goal has a model of its own
  double held_out() const { return config_.nmt.held_out; }

  // ---- phases: one for each goal in the order of priorities, or one for all
  int64_t phases() const { return one_by_one() ? static_cast<int64_t>(goals_.size()) : 1; }
  void begin(int64_t phase);
  int64_t goal() const { return goal_; }         // that is learned in this phase; −1: all
  uint64_t tasks() const { return tasks_; }      // a bit for each goal whose loss counts in this phase
  uint64_t bounded() const { return bounded_; }  // and for each that has a bound
  // Behind a phase, of the model that it chose: what all goals of tasks() are on the held-out rows. Error(usage): a
  // bound was given that is less than what the goal reached.
  void end(std::span<const Measured> values);
  std::vector<GoalResult> results() const;  // in the order of priorities

  // ---- a step of this phase, counted from its begin
  bool warming(int64_t step) const { return goal_ >= 0 && bounded_ != 0 && step < warmup_; }
  bool wants_products() const { return method_ && method_->wants_products(); }
  bool wants_losses_behind() const { return method_ && method_->wants_losses_behind(); }
  bool for_shared_only() const { return method_ && method_->for_shared_only(); }
  // Of the learning rate.
  double rate_factor(int64_t step) const {
    return bounded_ != 0 && !warming(step) ? config_.nmt.later_rate : 1;
  }
  // Which goals it wants to see on held-out rows before this step, a bit for each; the number of that look.
  uint64_t wanted(int64_t step) const;
  int64_t look(int64_t step) const { return (step - warmup_) / config_.nmt.every; }
  void observe(int64_t step, std::span<const Measured> values);  // here they are
  // The weight of each goal in this step, from the losses on its rows.
  std::vector<double> weigh(int64_t step, std::span<const Measured> losses, const Products* products);
  void look_behind(std::span<const double> losses) { method_->look_behind(losses); }

  // ---- an evaluation: the worst violation of a limit, in parts of it; 0 or less: all are held
  double excess(std::span<const Measured> values) const;
  struct Path {
    double multiplier = 0, violation = 0;
  };
  std::optional<Path> path(size_t goal) const;  // where its multiplier stands; none without a bound

  std::vector<NamedArray> arrays();     // for a checkpoint, views; and back, into the same phase
  void assign(const TensorFile& file);  // Error(input)

 private:
  bool one_by_one() const { return by_priority() || alone(); }
  double limit(size_t goal) const;   // of its loss, that must be held
  double target(size_t goal) const;  // that multipliers pull to
  std::vector<double> gathered(std::span<const Measured> values);

  PrioritiesConfig config_;
  std::vector<Goal> goals_;
  std::vector<size_t> order_;  // of priorities
  double rate_;
  int64_t steps_per_epoch_;
  uint64_t seed_;
  int64_t phase_ = 0, goal_ = -1, warmup_ = 0;
  uint64_t tasks_ = 0, bounded_ = 0;
  std::unique_ptr<Method> method_;
  std::optional<Lagrangian> lagrangian_;  // of the goals before, in the order of priorities
  std::vector<double> record_;            // of each goal: bound, mean, error, rows; NaN: not yet
  std::vector<double> pending_;  // of each bound: rows that were looked at, and the sum of their losses
};

}  // namespace steelyard
