// The loop: record the shards, weigh the tasks, merge the gradients, clip, step, log, evaluate, keep the best, save.
// It knows no model and no data: a model comes as a few functions. Several tasks train together, in one phase, or
// one after the other (optim/priorities.h), and each phase goes on from the best model of the one before.
// Everything that influences later steps is in the state file, so a run that was stopped at any moment and resumed
// ends in the same bytes as one that was not.
//
// A parameter below heads/TASK/ belongs to that task alone; all others are shared.
//
// The run folder:  state.safetensors   current weights, moments, position (the checkpoint)
//                  model.safetensors   the best model so far, written by Training::save
//                  metrics.jsonl       a line per log interval and per evaluation; cut back to the checkpoint
//                  on resume
#pragma once

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/objective.h"
#include "optim/optimizer.h"
#include "optim/priorities.h"
#include "optim/schedule.h"

namespace steelyard {

struct TrainerConfig {
  int64_t epochs = 10;
  int64_t batch = 256;
  int shards = 4;
  int64_t seed = 1;
  int64_t evaluate_every = 0;
  std::string criterion = "logloss";
  int patience = 0;
  int collapse = 3;
  int64_t log_every = 100;
  int64_t checkpoint_steps = 0;
  double checkpoint_seconds = 30;

  template <class F>
  void fields(F&& f) {
    f("epochs", epochs, "passes over the training rows, of each phase");
    f("batch", batch, "rows per step");
    f("shards", shards,
      "fixed parts of a batch that threads take whole; more threads than shards do not help");
    f("seed", seed, "of initial values, shuffling and dropout");
    f("evaluate_every", evaluate_every, "steps between evaluations; 0: once per epoch");
    f("criterion", criterion,
      "dev metric that chooses the best model, of several tasks also their loss; in a phase of one task, "
      "that of the "
      "task. loss, logloss, rmse and ece are minimised");
    f("patience", patience, "evaluations without improvement before the run ends; 0: never");
    f("collapse", collapse,
      "evaluations in a row of a model that tells nothing apart before the run ends as diverged; 0: never");
    f("log_every", log_every, "steps between lines of metrics.jsonl");
    f("checkpoint_steps", checkpoint_steps, "steps between checkpoints; 0: by time only");
    f("checkpoint_seconds", checkpoint_seconds, "seconds between checkpoints; 0: by steps only");
  }
  void validate() const;
};

using Metrics = std::vector<std::pair<std::string, double>>;

// What an evaluation on the dev rows finds.
struct Findings {
  Metrics metrics;             // one of them chooses the best model
  Metrics figures = {};        // of the model itself, logged beside them
  std::string collapsed = {};  // why the model tells nothing apart, and the key to blame; empty: it does
};

// Rows that are not trained on: the losses of the rows begin … end of them. Called from several threads.
struct HeldOut {
  int64_t rows = 0;
  std::function<Objective(Tape& tape, int64_t begin, int64_t end, uint64_t tasks)> objective = {};
};

// What the loop needs of a model. `objective` is called from several threads, one shard each; of a task whose bit is
// not set it need not compute the loss.
struct Training {
  int64_t steps_per_epoch = 0;
  std::vector<Goal> goals;  // the tasks, in the order of the objective's
  std::function<Objective(Tape& tape, int64_t step, int shard, uint64_t tasks)> objective;
  std::function<Findings()> evaluate;  // on the dev rows; may be empty: no dev rows
  HeldOut choosing = {},
          bounding = {};  // of the dev rows, those that choose a model and those that bounds are of
  std::function<void(const std::filesystem::path& path)>
      save;              // writes a model file from the current parameters
  std::string identity;  // of configuration and data: a checkpoint of another identity is not resumed
  bool trained =
      false;  // by an earlier run: what it was before the first step is evaluated and may be the best
};

// What happened in one step, for a progress bar.
struct StepRecord {
  int64_t step, steps;  // done; of, with this phase
  double loss;
  double norm;  // of the gradient, before clipping
  double rate;  // factor of the schedule
};

struct Outcome {
  int64_t steps = 0;                   // done
  int64_t best_step = 0;               // after which step the model was saved
  Metrics best;                        // dev metrics of the saved model
  std::vector<GoalResult> goals = {};  // of several, by method nmt
  bool held() const { return std::ranges::all_of(goals, &GoalResult::held); }
};

class Trainer {
 public:
  Trainer(Parameters& parameters, Training training, const TrainerConfig& config,
          const OptimizerConfig& optimizer, const ScheduleConfig& schedule,
          const PrioritiesConfig& priorities, const Workers& workers, std::filesystem::path folder);

  std::function<void(const StepRecord&)> on_step;
  std::function<void(int64_t step, const Findings&, bool best)> on_evaluate;
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler: a checkpoint, then Error(interrupted)

  // Continues from the checkpoint in the folder. False if there is none; Error(usage) if it belongs to
  // another run.
  bool resume();
  // Takes the optimiser's state from the checkpoint of an earlier run, whose tables may have been shorter.
  void go_on(const TensorFile& state) { optimizer_.assign(state, true); }
  // Error(input): by priority, no held-out row that chooses a model, or that a bound is measured on, asks a goal.
  void check_goals() const;
  // How the run in this folder ended; nothing if it has not.
  static std::optional<Outcome> finished_run(const std::filesystem::path& folder);
  int64_t step() const { return at_.step; }

  // Error(diverged) if a loss or a gradient is not finite, or the model has collapsed: nothing is saved, the last
  // checkpoint and the last good model stand.
  Outcome run();

 private:
  int64_t phase_steps() const { return config_.epochs * training_.steps_per_epoch; }
  int64_t phase_step() const { return at_.step - at_.phase_begin; }
  int64_t last_step() const { return at_.phase_begin + phase_steps(); }  // of this phase
  bool several() const { return training_.goals.size() > 1; }
  std::string criterion() const;

  void begin_phase();
  void end_phase();
  StepRecord do_step();
  void record();
  std::vector<Measured> losses() const;  // of the recorded step
  std::vector<double> weigh();
  Products products();
  void backward(std::span<const double> weights, bool regularised);
  std::vector<Measured> measure(const HeldOut& rows, uint64_t tasks, int64_t look = -1) const;
  void evaluate();
  std::string goal_members(std::span<const Measured> values) const;
  void checkpoint();
  void log(const std::string& line);
  [[noreturn]] void diverged(int64_t step) const;
  void check_weights() const;  // before anything is made of them: what is not finite is never saved
  std::string kept() const;    // where the last checkpoint is
  bool better(double value, double excess) const;
  bool out_of_patience() const { return config_.patience > 0 && at_.bad_evaluations >= config_.patience; }
  std::filesystem::path state_path() const { return folder_ / kStateFile; }
  std::filesystem::path metrics_path() const { return folder_ / "metrics.jsonl"; }

  Parameters& parameters_;
  Training training_;
  TrainerConfig config_;
  OptimizerConfig optimizer_config_;
  ScheduleConfig schedule_;
  Priorities priorities_;
  const Workers& workers_;
  std::filesystem::path folder_;
  Optimizer optimizer_;
  std::vector<int> owners_;  // of each parameter: its task, −1: shared
  std::vector<uint8_t> shared_, stepped_,
      fresh_;  // chosen parameters: shared; of this phase; of its goal alone

  std::vector<std::unique_ptr<Tape>> tapes_;                // one per shard
  mutable std::vector<std::unique_ptr<Tape>> score_tapes_;  // and so for held-out rows
  std::vector<Objective> objectives_;                       // one per shard
  std::vector<Measured> losses_;                            // of this step
  std::vector<double> shard_losses_;                        // of what was run backward
  std::vector<Gradients> gradients_;                        // one per shard
  std::vector<Gradients> of_tasks_;                         // merged, where the method looks at them
  Gradients merged_;

  static constexpr const char* kStateFile = "state.safetensors";

  // Where a run stands; in the checkpoint, beside the weights and the moments.
  struct Position {
    int64_t step = 0;
    int64_t best_step = 0;
    int64_t bad_evaluations = 0;  // since the best
    int64_t collapsed = 0;        // evaluations in a row
    int64_t drops = 0;            // of the learning rate
    int64_t metrics_bytes = 0;
    int64_t finished = 0;
    int64_t phase = 0, phase_begin = 0;  // its first step
    double excess = 0;                   // of the best model over the limits of goals
    Metrics best;

    static Position read(const TensorFile& file);
  };
  Position at_;
};

}  // namespace steelyard
