#include "optim/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "autograd/ops.h"
#include "core/backend.h"
#include "core/file.h"
#include "core/text.h"

namespace steelyard {

namespace {

constexpr const char* kFormat = "steelyard-state-2";

std::string members(const Metrics& metrics) {
  std::string text;
  for (const auto& [name, value] : metrics)
    text += (text.empty() ? "\"" : ",\"") + name + "\":" + number(value);
  return text;
}

double value_of(const Metrics& metrics, const std::string& name) {
  std::string known;
  for (const auto& [key, value] : metrics) {
    if (key == name) return value;
    known += (known.empty() ? "" : ", ") + key;
  }
  fail(Fault::usage, "trainer.criterion: no metric \"", name, "\"; expected one of ", known);
}

bool minimised(const std::string& metric) {
  return metric.ends_with("logloss") || metric.ends_with("rmse") || metric.ends_with("ece") ||
         metric.ends_with("loss");
}

}  // namespace

void TrainerConfig::validate() const {
  require(epochs >= 0 && epochs <= 1'000'000, "trainer.epochs", static_cast<double>(epochs), "0 … 1000000");
  require(batch >= 1, "trainer.batch", static_cast<double>(batch), "1 or more");
  require(shards >= 1 && shards <= 64, "trainer.shards", shards, "1 … 64");
  require(evaluate_every >= 0, "trainer.evaluate_every", static_cast<double>(evaluate_every), "0 or more");
  require(patience >= 0, "trainer.patience", patience, "0 or more");
  require(collapse >= 0, "trainer.collapse", collapse, "0 or more");
  require(log_every >= 1, "trainer.log_every", static_cast<double>(log_every), "1 or more");
  require(checkpoint_steps >= 0, "trainer.checkpoint_steps", static_cast<double>(checkpoint_steps),
          "0 or more");
  require(checkpoint_seconds >= 0, "trainer.checkpoint_seconds", checkpoint_seconds, "0 or more");
}

Trainer::Trainer(Parameters& parameters, Training training, const TrainerConfig& config,
                 const OptimizerConfig& optimizer, const ScheduleConfig& schedule, const Workers& workers,
                 std::filesystem::path folder)
    : parameters_(parameters),
      training_(std::move(training)),
      config_(config),
      schedule_(schedule),
      workers_(workers),
      folder_(std::move(folder)),
      optimizer_(parameters, optimizer),
      clip_(optimizer.clip),
      merged_(parameters) {
  config.validate();
  schedule.validate();
  for (int shard = 0; shard < config.shards; ++shard) {
    tapes_.push_back(std::make_unique<Tape>(parameters.backend()));
    gradients_.emplace_back(parameters);
  }
}

Outcome Trainer::run() {
  using Clock = std::chrono::steady_clock;
  if (!at_.finished && at_.step == 0 && !std::ofstream(metrics_path(), std::ios::trunc))
    fail(Fault::resources, metrics_path().string(), ": cannot be written");
  const int64_t interval = config_.evaluate_every > 0 ? config_.evaluate_every : training_.steps_per_epoch;
  if (training_.trained && at_.step == 0 && !at_.finished) evaluate();
  auto saved = Clock::now();
  while (!at_.finished && at_.step < steps()) {
    const StepRecord record = do_step();
    ++at_.step;
    if (at_.step % config_.log_every == 0)
      log("{\"step\":" + std::to_string(at_.step) + ",\"loss\":" + number(record.loss) +
          ",\"norm\":" + number(record.norm) + ",\"rate\":" + number(record.rate) + "}");
    if (on_step) on_step(record);
    if (at_.step % interval == 0 || at_.step == steps()) evaluate();
    if (out_of_patience()) break;
    const bool stopping = stop && *stop;
    const std::chrono::duration<double> elapsed = Clock::now() - saved;
    if (stopping || (config_.checkpoint_steps > 0 && at_.step % config_.checkpoint_steps == 0) ||
        (config_.checkpoint_seconds > 0 && elapsed.count() >= config_.checkpoint_seconds)) {
      checkpoint();
      saved = Clock::now();
    }
    if (stopping)
      fail(Fault::interrupted, "interrupted at step ", at_.step, " of ", steps(),
           " after a clean checkpoint; --resume continues");
  }
  if (!at_.finished) {
    if (at_.best.empty()) {  // nothing was evaluated: the last weights are the model
      check_weights();
      training_.save(folder_ / "model.safetensors");
      at_.best_step = at_.step;
    }
    at_.finished = 1;
    checkpoint();
  }
  return {at_.step, at_.best_step, at_.best};
}

StepRecord Trainer::do_step() {
  const auto shards = static_cast<int64_t>(tapes_.size());
  std::vector<Objective> objectives(tapes_.size());
  workers_.each(shards, [&](int64_t s) {
    Tape& tape = *tapes_[static_cast<size_t>(s)];
    tape.reset();
    tape.set_random_key(key_of(static_cast<uint64_t>(config_.seed), "tape", at_.step, s));
    objectives[static_cast<size_t>(s)] = training_.objective(tape, at_.step, static_cast<int>(s));
  });

  // A task's loss is the mean over the batch: each shard counts by its rows.
  const size_t tasks = objectives[0].tasks.size();
  std::vector<double> rows(tasks);
  for (const Objective& objective : objectives)
    for (size_t k = 0; k < tasks; ++k) rows[k] += static_cast<double>(objective.tasks[k].rows);
  std::vector<double> losses(objectives.size());
  workers_.each(shards, [&](int64_t s) {
    const auto at = static_cast<size_t>(s);
    const Objective& objective = objectives[at];
    gradients_[at].clear();
    Var total;
    const auto add = [&](Var loss, double weight) {
      if (!loss.tape || weight == 0) return;
      const Var part = affine(loss, static_cast<real>(weight));
      total = total.tape ? total + part : part;
    };
    for (size_t k = 0; k < tasks; ++k)
      add(objective.tasks[k].loss, rows[k] > 0 ? static_cast<double>(objective.tasks[k].rows) / rows[k] : 0);
    add(objective.regulariser, 1 / static_cast<double>(shards));
    if (!total.tape) return;
    real loss = 0;
    parameters_.backend().download(total.value().data, &loss, sizeof loss);
    losses[at] = loss;
    tapes_[at]->backward(total, gradients_[at]);
  });

  const double loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  if (!std::isfinite(loss)) diverged(at_.step);
  merged_.merge(gradients_, workers_);
  const double norm = merged_.norm();
  if (!std::isfinite(norm)) diverged(at_.step);
  if (clip_ > 0 && norm > clip_) merged_.scale(static_cast<real>(clip_ / norm));
  const double rate =
      schedule_.factor(at_.step, steps()) * std::pow(schedule_.drop, static_cast<double>(at_.drops));
  optimizer_.step(merged_, rate, workers_);
  return {at_.step + 1, steps(), loss, norm, rate};
}

std::string Trainer::kept() const {
  return std::filesystem::exists(state_path()) ? "the last checkpoint is " + state_path().string()
                                               : std::string("there is no checkpoint yet");
}

void Trainer::check_weights() const {
  for (const Parameter& p : parameters_.all()) {
    p.touch_all();
    if (!std::isfinite(parameters_.backend().sum_squares(p.value())))
      fail(Fault::diverged, "diverged: after ", at_.step, " steps parameter \"", p.path, "\" is not finite; ",
           kept());
  }
}

void Trainer::diverged(int64_t step) const {
  check_weights();
  for (size_t s = 0; s < tapes_.size(); ++s)
    if (const char* op = tapes_[s]->first_not_finite())
      fail(Fault::diverged, "diverged at step ", step, ", shard ", s,
           ": the first value that is not finite comes from \"", op, "\"; ", kept());
  for (size_t s = 0; s < tapes_.size(); ++s)
    if (!std::isfinite(gradients_[s].norm()))
      fail(Fault::diverged, "diverged at step ", step, ", shard ", s,
           ": a gradient is not finite, all values are; ", kept());
  fail(Fault::diverged, "diverged at step ", step, ": the sum of the gradients is not finite; ", kept());
}

bool Trainer::better(double value) const {
  if (at_.best.empty()) return true;
  const double best = value_of(at_.best, config_.criterion);
  if (std::isnan(best)) return true;  // undefined so far: whatever comes is better
  return minimised(config_.criterion) ? value < best : value > best;
}

void Trainer::evaluate() {
  if (!training_.evaluate) return;
  check_weights();
  const Findings found = training_.evaluate();
  const bool collapsed = config_.collapse > 0 && !found.collapsed.empty();
  const bool best = better(value_of(found.metrics, config_.criterion)) && !collapsed;
  const bool counts = at_.step > 0;  // what a run begins with, it may mend
  at_.collapsed = collapsed && counts ? at_.collapsed + 1 : 0;
  if (best) {
    training_.save(folder_ / "model.safetensors");
    at_.best = found.metrics;
    at_.best_step = at_.step;
    at_.bad_evaluations = 0;
  } else if (counts) {
    ++at_.bad_evaluations;
    if (schedule_.plateau > 0 && at_.bad_evaluations % schedule_.plateau == 0) ++at_.drops;
  }
  log("{\"step\":" + std::to_string(at_.step) + ",\"dev\":{" + members(found.metrics) + "}" +
      (found.figures.empty() ? "" : ",\"model\":{" + members(found.figures) + "}") +
      ",\"best\":" + (best ? "true}" : "false}"));
  if (on_evaluate) on_evaluate(at_.step, found, best);
  const bool last = at_.step == steps() || out_of_patience();
  if (collapsed && (at_.collapsed >= config_.collapse || (last && at_.best.empty())))
    fail(Fault::diverged, "diverged: at step ", at_.step, " the model has collapsed (", at_.collapsed,
         " evaluations in a row): ", found.collapsed, "; ",
         at_.best.empty() ? "no model was saved" : text("the model of step ", at_.best_step, " stands"));
}

void Trainer::log(const std::string& line) {
  std::ofstream out(metrics_path(), std::ios::app | std::ios::binary);
  out << line << '\n';
  out.flush();
  if (!out) fail(Fault::resources, metrics_path().string(), ": cannot be written");
  at_.metrics_bytes += static_cast<int64_t>(line.size()) + 1;
}

void Trainer::checkpoint() {
  check_weights();
  flush_file(metrics_path());  // the lines first: the state counts them
  std::vector<NamedArray> arrays = parameters_.arrays();
  for (NamedArray& array : optimizer_.arrays()) arrays.push_back(std::move(array));
  const int64_t numbers[] = {at_.step,  at_.best_step,     at_.bad_evaluations, at_.collapsed,
                             at_.drops, at_.metrics_bytes, at_.finished};
  std::vector<double> best;
  std::string names;
  for (const auto& [name, value] : at_.best) {
    names += (names.empty() ? "" : " ") + name;
    best.push_back(value);
  }
  arrays.push_back(NamedArray::of("trainer/position", std::span<const int64_t>(numbers)));
  arrays.push_back(NamedArray::of("trainer/best", std::span<const double>(best)));
  write_tensor_file(state_path(), std::move(arrays),
                    {{"format", kFormat}, {"identity", training_.identity}, {"best", names}});
}

Trainer::Position Trainer::Position::read(const TensorFile& file) {
  const auto expect = [&](bool holds, const char* what) {
    if (!holds) fail(Fault::input, file.path().string(), ": ", what);
  };
  expect(file.metadata("format") == kFormat, "not a training state of this version");
  const std::span<const int64_t> numbers = file.at("trainer/position").values<int64_t>();
  expect(numbers.size() == 7, "trainer/position: expected 7 numbers");
  Position at{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], {}};
  std::istringstream names(file.metadata("best"));
  for (double value : file.at("trainer/best").values<double>()) {
    std::string name;
    names >> name;
    at.best.emplace_back(name, value);
  }
  return at;
}

std::optional<Outcome> Trainer::finished_run(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / kStateFile)) return {};
  const Position at = Position::read(TensorFile(folder / kStateFile));
  if (!at.finished) return {};
  return Outcome{at.step, at.best_step, at.best};
}

bool Trainer::resume() {
  if (!std::filesystem::exists(state_path())) return false;
  const TensorFile file(state_path());
  at_ = Position::read(file);
  if (file.metadata("identity") != training_.identity)
    fail(Fault::usage, folder_.string(),
         ": the checkpoint belongs to another configuration or other data; expected a new folder");
  if (!at_.best.empty() && !std::filesystem::exists(folder_ / "model.safetensors"))
    fail(Fault::input, (folder_ / "model.safetensors").string(),
         ": missing; expected the best model of the run so far");
  parameters_.assign(file);
  optimizer_.assign(file);
  if (at_.finished) return true;
  std::error_code error;
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(metrics_path(), error));
  if (error)
    fail(Fault::input, metrics_path().string(), ": ", error.message(),
         "; expected the file of the checkpoint");
  if (bytes < at_.metrics_bytes)
    fail(Fault::input, metrics_path().string(), ": ", bytes, " bytes; expected at least ", at_.metrics_bytes,
         ", which the checkpoint has counted");
  std::filesystem::resize_file(metrics_path(), static_cast<uintmax_t>(at_.metrics_bytes), error);
  if (error)
    fail(Fault::resources, metrics_path().string(), ": cannot cut back to the checkpoint: ", error.message());
  return true;
}

}  // namespace steelyard
