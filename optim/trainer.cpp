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

constexpr const char* kFormat = "steelyard-state-3";

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

namespace {

// The task that alone reads a parameter; −1: it is shared.
int owner_of(const Parameter& p, const std::vector<Goal>& goals) {
  for (size_t k = 0; k < goals.size(); ++k)
    if (("/" + p.path).find("/heads/" + goals[k].name + "/") != std::string::npos) return static_cast<int>(k);
  return -1;
}

std::vector<Goal> with_owners(std::vector<Goal> goals, const Parameters& parameters) {
  for (size_t k = 0; k < goals.size(); ++k)
    goals[k].own = std::ranges::any_of(
        parameters.all(), [&](const Parameter& p) { return owner_of(p, goals) == static_cast<int>(k); });
  return goals;
}

}  // namespace

Trainer::Trainer(Parameters& parameters, Training training, const TrainerConfig& config,
                 const OptimizerConfig& optimizer, const ScheduleConfig& schedule,
                 const PrioritiesConfig& priorities, const Workers& workers, std::filesystem::path folder)
    : parameters_(parameters),
      training_(std::move(training)),
      config_(config),
      optimizer_config_(optimizer),
      schedule_(schedule),
      priorities_(priorities, with_owners(training_.goals, parameters), optimizer.rate,
                  training_.steps_per_epoch, static_cast<uint64_t>(config.seed)),
      workers_(workers),
      folder_(std::move(folder)),
      optimizer_(parameters, optimizer),
      merged_(parameters) {
  config.validate();
  schedule.validate();
  if (priorities_.by_priority() && (!training_.evaluate || training_.bounding.rows == 0))
    fail(Fault::usage, "method: nmt; expected dev rows beside it, on which bounds are measured");
  for (int shard = 0; shard < config.shards; ++shard) {
    tapes_.push_back(std::make_unique<Tape>(parameters.backend()));
    score_tapes_.push_back(std::make_unique<Tape>(parameters.backend(), Mode::score));
    gradients_.emplace_back(parameters);
  }
  objectives_.resize(tapes_.size()), shard_losses_.resize(tapes_.size());
  if (priorities_.wants_products())  // and one of the regulariser
    for (size_t k = 0; k <= training_.goals.size(); ++k) of_tasks_.emplace_back(parameters);
  for (const Parameter& p : parameters.all()) {
    owners_.push_back(owner_of(p, training_.goals));
    shared_.push_back(owners_.back() < 0);
  }
  begin_phase();
}

std::string Trainer::criterion() const {
  if (priorities_.goal() < 0) return config_.criterion;
  return training_.goals[static_cast<size_t>(priorities_.goal())].name + "." + config_.criterion;
}

void Trainer::begin_phase() {
  priorities_.begin(at_.phase);
  stepped_.clear(), fresh_.clear();
  for (const int owner : owners_) {
    const bool counts = owner >= 0 && (priorities_.tasks() >> owner & 1) != 0;
    stepped_.push_back(counts || (owner < 0 && !priorities_.alone()));
    fresh_.push_back(owner >= 0 && owner == priorities_.goal());
  }
}

// Goes on from the best model of the phase that is over. A phase begins with a checkpoint, before its first model
// can take the place of that one.
void Trainer::end_phase() {
  if (several() && !at_.best.empty() && (priorities_.phases() > 1)) {
    parameters_.assign(TensorFile(folder_ / "model.safetensors"));
    if (priorities_.by_priority()) priorities_.end(measure(training_.bounding, priorities_.tasks()));
  }
  if (at_.phase + 1 == priorities_.phases()) {
    at_.finished = 1;
  } else {
    ++at_.phase, at_.phase_begin = at_.step;
    at_.best_step = at_.bad_evaluations = at_.collapsed = at_.drops = 0;
    at_.best.clear();
    optimizer_ = Optimizer(parameters_, optimizer_config_);
    begin_phase();
  }
  checkpoint();
}

Outcome Trainer::run() {
  using Clock = std::chrono::steady_clock;
  if (!at_.finished && at_.step == 0 && !std::ofstream(metrics_path(), std::ios::trunc))
    fail(Fault::resources, metrics_path().string(), ": cannot be written");
  const int64_t interval = config_.evaluate_every > 0 ? config_.evaluate_every : training_.steps_per_epoch;
  auto saved = Clock::now();
  while (!at_.finished) {
    if ((training_.trained || at_.phase > 0) && phase_step() == 0) evaluate();
    while (phase_step() < phase_steps()) {
      const StepRecord record = do_step();
      ++at_.step;
      if (at_.step % config_.log_every == 0)
        log("{\"step\":" + std::to_string(at_.step) + ",\"loss\":" + number(record.loss) + ",\"norm\":" +
            number(record.norm) + ",\"rate\":" + number(record.rate) + goal_members(losses_) + "}");
      if (on_step) on_step(record);
      if (phase_step() % interval == 0 || at_.step == last_step()) evaluate();
      if (out_of_patience()) break;
      const bool stopping = stop && *stop;
      const std::chrono::duration<double> elapsed = Clock::now() - saved;
      if (stopping || (config_.checkpoint_steps > 0 && at_.step % config_.checkpoint_steps == 0) ||
          (config_.checkpoint_seconds > 0 && elapsed.count() >= config_.checkpoint_seconds)) {
        checkpoint();
        saved = Clock::now();
      }
      if (stopping)
        fail(Fault::interrupted, "interrupted at step ", at_.step, " of ", last_step(),
             " after a clean checkpoint; --resume continues");
    }
    if (at_.best.empty()) {  // nothing was evaluated: the last weights are the model
      check_weights();
      training_.save(folder_ / "model.safetensors");
      at_.best_step = at_.step;
    }
    end_phase();
  }
  return {at_.step, at_.best_step, at_.best,
          priorities_.by_priority() ? priorities_.results() : std::vector<GoalResult>()};
}

// Every shard on its tape.
void Trainer::record() {
  workers_.each(std::ssize(tapes_), [&](int64_t s) {
    Tape& tape = *tapes_[static_cast<size_t>(s)];
    tape.reset();
    tape.set_random_key(key_of(static_cast<uint64_t>(config_.seed), "tape", at_.step, s));
    objectives_[static_cast<size_t>(s)] =
        training_.objective(tape, at_.step, static_cast<int>(s), priorities_.tasks());
  });
}

namespace {

double value_of(const Var& loss) {
  real value = 0;
  loss.backend().download(loss.value().data, &value, sizeof value);
  return static_cast<double>(value);
}

// The mean of each task over the rows of all parts; its standard error from how the parts differ.
std::vector<Measured> means_of(std::span<const std::vector<Measured>> parts, size_t tasks) {
  std::vector<Measured> means(tasks);
  for (size_t k = 0; k < tasks; ++k) {
    double rows = 0, sum = 0, spread = 0, count = 0;
    for (const std::vector<Measured>& part : parts) {
      if (part[k].rows == 0) continue;
      const auto n = static_cast<double>(part[k].rows);
      rows += n, sum += n * part[k].mean, ++count;
    }
    if (rows == 0) continue;
    means[k].mean = sum / rows, means[k].rows = static_cast<int64_t>(rows);
    for (const std::vector<Measured>& part : parts)
      if (part[k].rows > 0)
        spread += std::pow(static_cast<double>(part[k].rows) * (part[k].mean - means[k].mean), 2);
    if (count > 1) means[k].error = std::sqrt(spread * count / (count - 1)) / rows;
  }
  return means;
}

std::vector<Measured> measured(const Objective& objective, size_t goals) {
  check(objective.tasks.size() == goals, "objective: ", objective.tasks.size(), " tasks; expected ", goals);
  std::vector<Measured> list;
  for (const TaskLoss& task : objective.tasks) {
    list.push_back({.rows = task.rows});
    if (task.rows > 0) list.back().mean = value_of(task.loss);
  }
  return list;
}

}  // namespace

std::vector<Measured> Trainer::losses() const {
  std::vector<std::vector<Measured>> parts;
  for (const Objective& objective : objectives_) parts.push_back(measured(objective, training_.goals.size()));
  return means_of(parts, training_.goals.size());
}

// Of all these rows, or of the next of them in turn, as many as a step has.
std::vector<Measured> Trainer::measure(const HeldOut& rows, uint64_t tasks, int64_t look) const {
  constexpr int64_t kFewest = 32;  // parts, for an error that can be trusted
  const int64_t shards = std::ssize(tapes_), turns = (rows.rows + config_.batch - 1) / config_.batch;
  const int64_t turn = look < 0 ? 0 : look % turns;
  const int64_t begin = look < 0 ? 0 : rows.rows * turn / turns,
                end = look < 0 ? rows.rows : rows.rows * (turn + 1) / turns;
  const int64_t count = look < 0 ? std::max(shards * turns, std::min(kFewest, rows.rows)) : shards;
  std::vector<std::vector<Measured>> parts(static_cast<size_t>(count));
  workers_.each(shards, [&](int64_t s) {
    Tape& tape = *score_tapes_[static_cast<size_t>(s)];
    for (int64_t part = s; part < count; part += shards) {
      const int64_t first = begin + (end - begin) * part / count,
                    last = begin + (end - begin) * (part + 1) / count;
      tape.reset();
      std::vector<Measured>& of_part = parts[static_cast<size_t>(part)];
      if (first < last)
        of_part = measured(rows.objective(tape, first, last, tasks), training_.goals.size());
      else
        of_part.resize(training_.goals.size());
    }
  });
  return means_of(parts, training_.goals.size());
}

void Trainer::check_goals() const {
  if (!priorities_.by_priority()) return;
  const uint64_t all = ~uint64_t{0};
  const std::vector<Measured> choosing = measure(training_.choosing, all),
                              bounding = measure(training_.bounding, all);
  for (size_t k = 0; k < training_.goals.size(); ++k) {
    const Goal& goal = training_.goals[k];
    const bool bounded = static_cast<size_t>(goal.priority) < training_.goals.size();
    for (const auto& [rows, what] : {std::pair{choosing[k].rows, "choose the model"},
                                     {bounded ? bounding[k].rows : 1, "its bound is measured on"}})
      if (rows == 0)
        fail(Fault::input, "goal ", goal.name, ": no label in the dev rows that ", what, "; expected some");
  }
}

std::vector<double> Trainer::weigh() {
  const int64_t step = phase_step();
  if (const uint64_t wanted = priorities_.wanted(step); wanted != 0)
    priorities_.observe(step, measure(training_.bounding, wanted, priorities_.look(step)));
  if (!priorities_.wants_products()) return priorities_.weigh(step, losses_, nullptr);
  const Products of_tasks = products();
  return priorities_.weigh(step, losses_, &of_tasks);
}

// The gradient of Σ w · loss over the tasks, and of the regulariser. A task's loss is the mean over the batch: each
// shard counts by its rows.
void Trainer::backward(std::span<const double> weights, bool regularised) {
  std::vector<double> rows(weights.size());
  for (const Objective& objective : objectives_)
    for (size_t k = 0; k < rows.size(); ++k) rows[k] += static_cast<double>(objective.tasks[k].rows);
  workers_.each(std::ssize(tapes_), [&](int64_t s) {
    const auto at = static_cast<size_t>(s);
    const Objective& objective = objectives_[at];
    gradients_[at].clear(), shard_losses_[at] = 0;
    Var total;
    const auto add = [&](Var loss, double weight) {
      if (!loss.tape || weight == 0) return;
      const Var part = affine(loss, static_cast<real>(weight));
      total = total.tape ? total + part : part;
    };
    for (size_t k = 0; k < rows.size(); ++k)
      if (rows[k] > 0)
        add(objective.tasks[k].loss, weights[k] * (static_cast<double>(objective.tasks[k].rows) / rows[k]));
    if (regularised) add(objective.regulariser, 1 / static_cast<double>(tapes_.size()));
    if (!total.tape) return;
    shard_losses_[at] = value_of(total);
    tapes_[at]->backward(total, gradients_[at]);
  });
}

StepRecord Trainer::do_step() {
  record();
  losses_ = losses();
  for (const Measured& loss : losses_)
    if (loss.rows > 0 && !std::isfinite(loss.mean)) diverged(at_.step);
  const std::vector<double> weights = weigh();
  if (priorities_.wants_products()) {
    for (size_t k = 0; k < weights.size(); ++k)
      of_tasks_[k].scale(static_cast<real>(weights[k]),
                         priorities_.for_shared_only() ? Chosen(shared_) : Chosen());
    backward(std::vector<double>(weights.size()), true);
    of_tasks_.back().merge(gradients_, workers_);
    merged_.merge(of_tasks_, workers_);
  } else {
    backward(weights, true);
    merged_.merge(gradients_, workers_);
  }
  double loss = std::accumulate(shard_losses_.begin(), shard_losses_.end(), 0.0);
  if (priorities_.wants_products())
    for (size_t k = 0; k < weights.size(); ++k)
      if (losses_[k].rows > 0) loss += weights[k] * losses_[k].mean;
  if (!std::isfinite(loss)) diverged(at_.step);
  const double norm = merged_.norm();
  if (!std::isfinite(norm)) diverged(at_.step);
  const double clip = optimizer_config_.clip;
  if (clip > 0 && norm > clip) merged_.scale(static_cast<real>(clip / norm));
  const double rate = priorities_.rate_factor(phase_step()) * schedule_.factor(phase_step(), phase_steps()) *
                      std::pow(schedule_.drop, static_cast<double>(at_.drops));
  optimizer_.step(merged_, rate, workers_,
                  !several()                          ? Chosen()
                  : priorities_.warming(phase_step()) ? Chosen(fresh_)
                                                      : Chosen(stepped_));
  if (priorities_.wants_losses_behind()) {
    record();
    std::vector<double> behind;
    for (const Measured& of_task : losses()) behind.push_back(of_task.mean);
    priorities_.look_behind(behind);
  }
  return {at_.step + 1, last_step(), loss, norm, rate};
}

// Each task's gradient by itself, and how they lie to each other.
Products Trainer::products() {
  Products products(losses_.size());
  std::vector<double> alone(losses_.size());
  for (size_t k = 0; k < alone.size(); ++k) {
    std::ranges::fill(alone, 0.0), alone[k] = 1;
    backward(alone, false);
    of_tasks_[k].merge(gradients_, workers_);
    for (size_t j = 0; j <= k; ++j) products.set(k, j, of_tasks_[k].dot(of_tasks_[j], shared_));
  }
  return products;
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

// A model that holds its bounds is better than one that does not; of those that do not, the one that misses them
// least.
bool Trainer::better(double value, double excess) const {
  if (at_.best.empty()) return true;
  if (excess > 0 || at_.excess > 0) return excess < at_.excess;
  const double best = value_of(at_.best, criterion());
  if (std::isnan(best)) return true;  // undefined so far: whatever comes is better
  return minimised(config_.criterion) ? value < best : value > best;
}

void Trainer::evaluate() {
  if (!training_.evaluate) return;
  check_weights();
  Findings found = training_.evaluate();
  double excess = 0;
  std::vector<Measured> bounded(training_.goals.size());
  if (several() && config_.criterion == "loss") {
    double sum = 0, weights = 0;
    const std::vector<Measured> losses = measure(training_.choosing, priorities_.tasks());
    for (size_t k = 0; k < losses.size(); ++k) {
      const Goal& goal = training_.goals[k];
      if (losses[k].rows == 0) continue;
      found.metrics.emplace_back(goal.name + ".loss", losses[k].mean);
      sum += goal.weight * losses[k].mean, weights += goal.weight;
    }
    found.metrics.emplace_back("loss", sum / weights);
  }
  if (priorities_.bounded() != 0) {
    bounded = measure(training_.bounding, priorities_.bounded());
    excess = std::max(0.0, priorities_.excess(bounded));
  }
  const bool collapsed = config_.collapse > 0 && !found.collapsed.empty();
  const bool best = better(value_of(found.metrics, criterion()), excess) && !collapsed;
  const bool counts = phase_step() > 0;  // what a phase begins with, it may mend
  at_.collapsed = collapsed && counts ? at_.collapsed + 1 : 0;
  if (best) {
    training_.save(folder_ / "model.safetensors");
    at_.best = found.metrics;
    at_.best_step = at_.step;
    at_.excess = excess;
    at_.bad_evaluations = 0;
  } else if (counts && excess == 0) {  // patience is for models that hold their bounds
    ++at_.bad_evaluations;
    if (schedule_.plateau > 0 && at_.bad_evaluations % schedule_.plateau == 0) ++at_.drops;
  }
  log("{\"step\":" + std::to_string(at_.step) + ",\"dev\":{" + members(found.metrics) + "}" +
      (found.figures.empty() ? "" : ",\"model\":{" + members(found.figures) + "}") + goal_members(bounded) +
      ",\"best\":" + (best ? "true}" : "false}"));
  if (on_evaluate) on_evaluate(at_.step, found, best);
  const bool last = at_.step == last_step() || out_of_patience();
  if (collapsed && (at_.collapsed >= config_.collapse || (last && at_.best.empty())))
    fail(Fault::diverged, "diverged: at step ", at_.step, " the model has collapsed (", at_.collapsed,
         " evaluations in a row): ", found.collapsed, "; ",
         at_.best.empty() ? "no model was saved" : text("the model of step ", at_.best_step, " stands"));
}

// What a line of the log says of several goals: their losses, on the rows of the step or on those of bounds, and where
// the multipliers stand.
std::string Trainer::goal_members(std::span<const Measured> values) const {
  if (!several()) return "";
  Metrics losses, multipliers, violations;
  for (size_t k = 0; k < values.size(); ++k) {
    const std::string& name = training_.goals[k].name;
    if (values[k].rows > 0) losses.emplace_back(name, values[k].mean);
    if (const auto path = priorities_.path(k)) {
      multipliers.emplace_back(name, path->multiplier);
      violations.emplace_back(name, path->violation);
    }
  }
  std::string text = losses.empty() ? "" : ",\"losses\":{" + members(losses) + "}";
  if (priorities_.phases() > 1) text += ",\"phase\":" + std::to_string(at_.phase + 1);
  if (!multipliers.empty())
    text += ",\"multipliers\":{" + members(multipliers) + "},\"violations\":{" + members(violations) + "}";
  return text;
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
  for (NamedArray& array : priorities_.arrays()) arrays.push_back(std::move(array));
  const int64_t numbers[] = {at_.step,  at_.best_step,     at_.bad_evaluations, at_.collapsed,  at_.drops,
                             at_.phase, at_.metrics_bytes, at_.finished,        at_.phase_begin};
  std::vector<double> best = {at_.excess};
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
  expect(numbers.size() == 9, "trainer/position: expected 9 numbers");
  const std::span<const double> best = file.at("trainer/best").values<double>();
  expect(!best.empty(), "trainer/best: expected numbers");
  Position at;
  at.step = numbers[0], at.best_step = numbers[1], at.bad_evaluations = numbers[2];
  at.collapsed = numbers[3], at.drops = numbers[4], at.phase = numbers[5];
  at.metrics_bytes = numbers[6], at.finished = numbers[7], at.phase_begin = numbers[8];
  at.excess = best[0];
  std::istringstream names(file.metadata("best"));
  for (const double value : best.subspan(1)) {
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
  if (at_.phase < 0 || at_.phase >= priorities_.phases())
    fail(Fault::input, state_path().string(), ": trainer/position: no phase ", at_.phase);
  parameters_.assign(file);
  optimizer_.assign(file);
  begin_phase();
  priorities_.assign(file);
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
