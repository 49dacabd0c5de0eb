// A run of training as tools/train.cpp sees it: what the loop needs of a kind of model. relevance_job.cpp,
// users_job.cpp and table_job.cpp are the kinds that there are.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "core/fields.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace steelyard {

using Say = std::function<void(const std::string&)>;

// Where a job does its work.
struct Workshop {
  const TrainOptions& options;
  std::filesystem::path cache;  // a folder for encoded rows
  Say say;
  const std::atomic<bool>* stop;
  const Workers& workers;
};

class Job {
 public:
  virtual ~Job() = default;
  virtual std::unique_ptr<Job> fresh() const = 0;  // of the same kind, with a configuration of defaults

  // ---- the configuration
  virtual Fields fields() = 0;
  virtual TrainingConfig& training() = 0;
  virtual PlaceConfig& place() = 0;
  virtual void validate() const = 0;  // Error(usage) names the key
  std::string data_path(const std::string& file);

  // ---- the model, once `prepare` has read the data
  virtual void prepare(const Workshop& shop) = 0;
  virtual Parameters& parameters() = 0;
  virtual void pretrain(const Workers& workers) = 0;
  virtual int64_t rows() const = 0;
  virtual int64_t dev_rows() const = 0;  // 0: nothing to evaluate on
  virtual std::vector<Goal> goals() const = 0;
  virtual std::string identity() const = 0;  // of model and rows
  // Of rows of training and of dev rows; `tasks`: as optim/trainer.h: Training.
  virtual Objective objective(Tape& tape, std::span<const int64_t> rows, double progress,
                              uint64_t tasks) const = 0;
  virtual Objective dev_objective(Tape& tape, std::span<const int64_t> rows, uint64_t tasks) const = 0;
  virtual Findings evaluate(const Workers& workers,
                            std::span<const int64_t> rows) const = 0;  // of dev
  virtual void save(const std::filesystem::path& path, const Metadata& more) const = 0;

  // ---- for people
  virtual void report(const std::filesystem::path&, Report&, const std::atomic<bool>*) {}  // adds to it
  virtual std::string vocabulary() const = 0;                       // lines about what it knows by name
  virtual std::string in_words(std::span<const int64_t> rows) = 0;  // what a batch begins with
};

// By the value of the key `model`.
std::unique_ptr<Job> make_job(const std::string& model);
std::unique_ptr<Job> relevance_job(const RunConfig& config);
std::unique_ptr<Job> users_job();
std::unique_ptr<Job> table_job();

// Is a dev row, by its place, of the share on which bounds of goals are measured (NmtConfig::held_out)? The others choose the
// model, whatever the method and the seed of a run.
bool measures_bounds(int64_t row, double share);

// Names those of `ours` that an older model lacks; empty: none.
std::string new_parameters(const Parameters& ours, const Parameters& older);
// Error(usage): `key` differs from an older model.
[[noreturn]] void refuse_difference(const std::string& key, const std::filesystem::path& older);
// The part of an older model's configuration that its optimiser's state depends on is ours.
void check_optimizer(const Metadata& older, const OptimizerConfig& ours, const std::filesystem::path& path);

}  // namespace steelyard
