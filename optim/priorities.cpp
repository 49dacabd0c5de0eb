#include "optim/priorities.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/text.h"

namespace steelyard {

namespace {

constexpr const char *kRecord = "goals/record", *kPending = "goals/pending", *kState = "goals/state";
constexpr size_t kFacts = 4;  // of a goal's record

void refuse(const std::string& key, const auto& value, const std::string& expected) {
  fail(Fault::usage, key, ": ", value, "; expected ", expected);
}

uint64_t bit(size_t goal) { return uint64_t{1} << goal; }

}  // namespace

void NmtConfig::validate() const {
  LagrangianConfig::validate();
  if (!(slack >= 0 && slack < 1)) refuse("nmt.slack", slack, "0 ≤ slack < 1");
  if (!(slack_absolute >= 0 && std::isfinite(slack_absolute)))
    refuse("nmt.slack_absolute", slack_absolute, "0 or more");
  if (!(held_out > 0 && held_out < 1)) refuse("nmt.held_out", held_out, "0 < held_out < 1");
  if (!(later_rate > 0 && later_rate <= 1)) refuse("nmt.later_rate", later_rate, "more than 0, at most 1");
  if (estimator != "heldout" && estimator != "minibatch")
    refuse("nmt.estimator", estimator, "heldout or minibatch");
  if (bounds != "fixed" && bounds != "monotone") refuse("nmt.bounds", bounds, "fixed or monotone");
  if (every < 1) refuse("nmt.every", every, "1 or more");
  if (min_rows < 0) refuse("nmt.min_rows", min_rows, "0 or more");
  if (warmup < 0) refuse("nmt.warmup", warmup, "0 or more");
}

void PrioritiesConfig::validate() const {
  nmt.validate();
  methods.validate();
  std::vector<std::string> known = method_names();
  known.insert(known.end(), {"nmt", "single"});
  if (std::ranges::count(known, method) == 0) refuse("method", '"' + method + '"', "one of " + joined(known));
  for (const auto& [name, value] : bound)
    if (!std::isfinite(value)) refuse("bound." + name, value, "a number");
}

Priorities::Priorities(const PrioritiesConfig& config, std::vector<Goal> goals, double rate,
                       int64_t steps_per_epoch, uint64_t seed)
    : config_(config),
      goals_(std::move(goals)),
      order_(goals_.size()),
      rate_(rate),
      steps_per_epoch_(steps_per_epoch),
      seed_(seed),
      record_(kFacts * goals_.size(), std::numeric_limits<double>::quiet_NaN()) {
  config.validate();
  check(goals_.size() <= 64, "goals: ", goals_.size(), "; expected at most 64");
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::ranges::stable_sort(order_, {}, [&](size_t k) { return goals_[k].priority; });
  int expected = 0;
  for (const size_t k : order_) {
    const Goal& goal = goals_[k];
    if (by_priority() && goal.priority != ++expected)
      refuse("tasks." + goal.name + ".priority", goal.priority,
             text("the priorities 1 … ", goals_.size(), ", each once, for method nmt"));
    if (!by_priority() && goal.priority > 0) {
      const auto same = [&](const Goal& other) { return other.priority == goal.priority; };
      if (std::ranges::count_if(goals_, same) > 1)
        refuse("tasks." + goal.name + ".priority", goal.priority, "another than that of other tasks");
    }
  }
  for (const auto& [name, value] : config.bound) {
    const auto found = std::ranges::find(goals_, name, &Goal::name);
    if (found == goals_.end()) refuse("bound." + name, value, "the name of a task");
    if (by_priority() && static_cast<size_t>(found->priority) == goals_.size())
      refuse("bound." + name, value, "none: the last goal is not bounded");
  }
  begin(0);
}

void Priorities::begin(int64_t phase) {
  phase_ = phase;
  bounded_ = 0;
  if (!one_by_one()) {
    goal_ = -1;
    tasks_ = goals_.size() == 64 ? ~uint64_t{0} : bit(goals_.size()) - 1;
    method_ = make_method(config_.method, config_.methods, goals_, rate_, steps_per_epoch_, seed_);
    return;
  }
  const auto at = static_cast<size_t>(phase);
  goal_ = static_cast<int64_t>(order_[at]);
  tasks_ = bit(order_[at]);
  if (!by_priority() || phase == 0) return;
  std::vector<double> targets;
  for (const size_t k : std::span(order_).first(at)) {
    bounded_ |= bit(k);
    targets.push_back(target(k));
  }
  tasks_ |= bounded_;
  warmup_ = goals_[order_[at]].own ? std::min(config_.nmt.warmup, steps_per_epoch_) : 0;
  const std::optional<Lagrangian> before = std::move(lagrangian_);
  lagrangian_.emplace(config_.nmt, std::move(targets));
  pending_.assign(2 * at + 1, 0);
  pending_.back() = 1;
  if (before && config_.nmt.keep_multipliers)
    std::ranges::copy(before->multipliers(), lagrangian_->state().begin());
}

double Priorities::limit(size_t goal) const {
  const double bound = record_[kFacts * goal];
  return bound + std::abs(bound) * config_.nmt.slack + config_.nmt.slack_absolute;
}

double Priorities::target(size_t goal) const { return (record_[kFacts * goal] + limit(goal)) / 2; }

void Priorities::end(std::span<const Measured> values) {
  for (size_t k = 0; k < goals_.size(); ++k) {
    if ((tasks_ & bit(k)) == 0) continue;
    const std::span<double> record = std::span(record_).subspan(kFacts * k, kFacts);
    record[1] = values[k].mean, record[2] = values[k].error, record[3] = static_cast<double>(values[k].rows);
    if (!by_priority()) continue;
    const bool own = goal_ == static_cast<int64_t>(k);
    if (own && phase_ + 1 < phases()) {
      const auto given = config_.bound.find(goals_[k].name);
      if (given != config_.bound.end() && given->second < values[k].mean)
        refuse("bound." + goals_[k].name, given->second,
               text("at least ", values[k].mean, ", which is the best that was reached"));
      record[0] = given != config_.bound.end() ? given->second : values[k].mean;
    } else if (!own && config_.nmt.bounds == "monotone") {
      record[0] = std::min(record[0], values[k].mean);
    }
  }
}

std::vector<GoalResult> Priorities::results() const {
  std::vector<GoalResult> results;
  for (const size_t k : order_) {
    const double* record = &record_[kFacts * k];
    GoalResult& result = results.emplace_back();
    result.name = goals_[k].name, result.priority = goals_[k].priority;
    if (!std::isnan(record[0])) result.bound = record[0], result.limit = limit(k);
    result.value = {record[1], record[2], std::isnan(record[3]) ? 0 : static_cast<int64_t>(record[3])};
  }
  return results;
}

uint64_t Priorities::wanted(int64_t step) const {
  if (bounded_ == 0 || warming(step)) return 0;
  if (step == warmup_) return tasks_;  // how large the goal's own loss is, too
  return config_.nmt.estimator == "heldout" && (step - warmup_) % config_.nmt.every == 0 ? bounded_ : 0;
}

// The loss of each bounded goal over the rows that were looked at since it was last judged; NaN: too few.
std::vector<double> Priorities::gathered(std::span<const Measured> values) {
  std::vector<double> list(lagrangian_->size(), std::numeric_limits<double>::quiet_NaN());
  for (size_t j = 0; j < list.size(); ++j) {
    const Measured& value = values[order_[j]];
    double &rows = pending_[2 * j], &sum = pending_[2 * j + 1];
    if (value.rows == 0) continue;
    rows += static_cast<double>(value.rows), sum += static_cast<double>(value.rows) * value.mean;
    if (rows < static_cast<double>(config_.nmt.min_rows)) continue;
    list[j] = sum / rows;
    rows = sum = 0;
  }
  return list;
}

void Priorities::observe(int64_t step, std::span<const Measured> values) {
  const Measured& own = values[static_cast<size_t>(goal_)];
  if (step == warmup_ && own.rows > 0) lagrangian_->set_size(pending_.back() = own.mean);
  if (config_.nmt.estimator == "heldout") lagrangian_->ascend(gathered(values));
}

std::vector<double> Priorities::weigh(int64_t step, std::span<const Measured> losses,
                                      const Products* products) {
  std::vector<double> weights(goals_.size());
  if (method_) {
    std::vector<double> means;
    for (const Measured& loss : losses) means.push_back(loss.mean);
    method_->weigh(step, means, products, weights);
    return weights;
  }
  weights[static_cast<size_t>(goal_)] = 1;
  if (bounded_ != 0 && !warming(step)) {
    if (config_.nmt.estimator == "minibatch") lagrangian_->ascend(gathered(losses), true);
    const std::vector<double> of_bounds = lagrangian_->weights();
    for (size_t j = 0; j < of_bounds.size(); ++j) weights[order_[j]] = of_bounds[j];
  }
  for (size_t k = 0; k < weights.size(); ++k)
    if (losses[k].rows == 0) weights[k] = 0;
  return weights;
}

double Priorities::excess(std::span<const Measured> values) const {
  double worst = -std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < goals_.size(); ++k)
    if (bounded_ & bit(k)) {
      const double over = values[k].mean - limit(k), scale = std::abs(limit(k));
      worst = std::max(worst, scale > 0 ? over / scale : over);
    }
  return worst;
}

std::optional<Priorities::Path> Priorities::path(size_t goal) const {
  if ((bounded_ & bit(goal)) == 0) return {};
  const auto j = static_cast<size_t>(goals_[goal].priority) - 1;
  return Path{lagrangian_->multipliers()[j], lagrangian_->violations()[j]};
}

std::vector<NamedArray> Priorities::arrays() {
  const std::span<double> state = method_         ? method_->state()
                                  : bounded_ != 0 ? lagrangian_->state()
                                                  : std::span<double>();
  return {NamedArray::of(kRecord, std::span<const double>(record_)),
          NamedArray::of(kPending, std::span<const double>(pending_)),
          NamedArray::of(kState, std::span<const double>(state))};
}

void Priorities::assign(const TensorFile& file) {
  const auto take = [&](const char* name, std::span<double> into) {
    const std::span<const double> values = file.at(name).values<double>();
    if (values.size() != into.size())
      fail(Fault::input, file.path().string(), ": ", name, ": expected ", into.size(), " numbers");
    std::ranges::copy(values, into.begin());
  };
  take(kRecord, record_);
  begin(phase_);  // with the bounds that are known now
  take(kPending, pending_);
  if (bounded_ != 0) lagrangian_->set_size(pending_.back());
  take(kState, method_ ? method_->state() : bounded_ != 0 ? lagrangian_->state() : std::span<double>());
}

}  // namespace steelyard
