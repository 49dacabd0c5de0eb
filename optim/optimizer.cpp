#include "optim/optimizer.h"

#include <cmath>

#include "core/backend.h"

namespace steelyard {

namespace {

constexpr const char* kSteps = "optimizer/steps";

constexpr int64_t kGrain = 1 << 13;  // numbers per piece of work

int states_of(const std::string& rule) {
  if (rule == "sgd") return 0;
  return rule == "adam" ? 2 : 1;
}

Shape state_shape(const Parameter& p, const std::string& rule) {
  return rule == "row_adagrad" ? Shape{p.shape.rows()} : p.shape;
}

Tensor part(Tensor x, int64_t begin, int64_t end) {
  return x.empty() ? x : Tensor{x.data + begin, {end - begin}, x.backend};
}

void check_rule(const char* key, const std::string& rule, std::initializer_list<const char*> known) {
  std::string list;
  for (const char* name : known) {
    if (rule == name) return;
    list += list.empty() ? name : std::string(", ") + name;
  }
  fail(Fault::usage, "optimizer.", key, ": unknown rule \"", rule, "\"; expected one of ", list);
}

}  // namespace

void OptimizerConfig::validate() const {
  check_rule("dense", dense, {"sgd", "adagrad", "adam"});
  check_rule("tables", tables, {"sgd", "adagrad", "adam", "row_adagrad"});
  const auto require = [](bool holds, const char* key, double value, const char* expected) {
    if (!holds || !std::isfinite(value))
      fail(Fault::usage, "optimizer.", key, ": ", value, "; expected ", expected);
  };
  require(rate > 0, "rate", rate, "more than 0");
  require(table_rate >= 0, "table_rate", table_rate, "0 or more");
  require(weight_decay >= 0, "weight_decay", weight_decay, "0 or more");
  require(beta1 >= 0 && beta1 < 1, "beta1", beta1, "0 ≤ beta1 < 1");
  require(beta2 >= 0 && beta2 < 1, "beta2", beta2, "0 ≤ beta2 < 1");
  require(epsilon > 0, "epsilon", epsilon, "more than 0");
  require(clip >= 0, "clip", clip, "0 or more");
}

Optimizer::Optimizer(Parameters& parameters, const OptimizerConfig& config)
    : parameters_(&parameters), config_(config) {
  config.validate();
  for (const Parameter& p : parameters.all()) {
    const std::string& rule = p.table ? config.tables : config.dense;
    const auto state = [&](int number) {
      if (p.fixed || states_of(rule) < number) return Buffer();
      Buffer buffer(parameters.backend(), state_shape(p, rule));
      parameters.backend().zero(buffer.tensor());
      return buffer;
    };
    state1_.push_back(state(1));
    state2_.push_back(state(2));
  }
}

UpdateStep Optimizer::rule(const std::string& name, double rate) const {
  const auto r = static_cast<real>(rate), decay = static_cast<real>(rate * config_.weight_decay);
  const auto epsilon = static_cast<real>(config_.epsilon);
  if (name == "sgd") return SgdStep{r, decay};
  if (name != "adam") return AdagradStep{r, decay, epsilon};
  const auto correction = [&](double beta) {
    return static_cast<real>(1 / (1 - std::pow(beta, static_cast<double>(steps_))));
  };
  return AdamStep{.rate = r,
                  .decay = decay,
                  .epsilon = epsilon,
                  .beta1 = static_cast<real>(config_.beta1),
                  .beta2 = static_cast<real>(config_.beta2),
                  .correction1 = correction(config_.beta1),
                  .correction2 = correction(config_.beta2)};
}

void Optimizer::step(const Gradients& gradients, double factor, const Workers& workers, Chosen chosen) {
  ++steps_;
  Backend& backend = parameters_->backend();
  const UpdateStep dense = rule(config_.dense, factor * config_.rate);
  const UpdateStep tables =
      rule(config_.tables, factor * (config_.table_rate > 0 ? config_.table_rate : config_.rate));
  for (const Parameter& p : parameters_->all()) {
    if (p.fixed || !is_chosen(chosen, p)) continue;
    const auto at = static_cast<size_t>(p.index);
    const Tensor w = p.value(), state1 = state1_[at].tensor(), state2 = state2_[at].tensor();
    if (!p.table) {
      const Tensor g = gradients.dense(p);
      workers.rows(w.size(), kGrain, [&](int64_t begin, int64_t end) {
        backend.update(dense, part(w, begin, end), part(state1, begin, end), part(state2, begin, end),
                       part(g, begin, end));
      });
      continue;
    }
    const std::vector<RowGrad>& grads = gradients.rows(p);
    workers.each(static_cast<int64_t>(grads.size()), [&](int64_t piece) {
      const auto& [rows, g] = grads[static_cast<size_t>(piece)];
      if (config_.tables == "row_adagrad")
        backend.row_adagrad(std::get<AdagradStep>(tables), w, state1, rows, g);
      else
        backend.update_rows(tables, w, state1, state2, rows, g);
    });
  }
}

std::vector<NamedArray> Optimizer::arrays() const {
  std::vector<NamedArray> list = {NamedArray::of(kSteps, std::span(&steps_, 1))};
  for (const Parameter& p : parameters_->all()) {
    const auto at = static_cast<size_t>(p.index);
    const auto add = [&](const char* prefix, const Buffer& state) {
      if (!state.tensor().empty())
        list.push_back(named_array(prefix + p.path, state.tensor().shape, state.host()));
    };
    add("optimizer/1/", state1_[at]);
    add("optimizer/2/", state2_[at]);
  }
  return list;
}

void Optimizer::assign(const TensorFile& file, bool grown) {
  const auto steps = file.at(kSteps).values<int64_t>();
  if (steps.size() != 1) fail(Fault::input, file.path().string(), ": ", kSteps, ": expected one number");
  steps_ = steps[0];
  for (const Parameter& p : parameters_->all()) {
    const auto at = static_cast<size_t>(p.index);
    const auto read = [&](const char* prefix, const Buffer& state) {
      if (!state.tensor().empty())
        read_array(file, prefix + p.path, state.tensor().shape, state.host(), grown && p.table);
    };
    read("optimizer/1/", state1_[at]);
    read("optimizer/2/", state2_[at]);
  }
}

}  // namespace steelyard
