#include "optim/lagrangian.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/check.h"

namespace steelyard {

void LagrangianConfig::validate() const {
  const auto require = [](bool holds, const char* key, const auto& value, const char* expected) {
    if (!holds) fail(Fault::usage, "nmt.", key, ": ", value, "; expected ", expected);
  };
  require(rule == "ascent" || rule == "damped" || rule == "augmented" || rule == "pi", "rule", rule,
          "ascent, damped, augmented or pi");
  require(rescale == "sum" || rescale == "largest" || rescale == "none", "rescale", rescale,
          "sum, largest or none");
  require(rate > 0 && std::isfinite(rate), "rate", rate, "more than 0");
  require(largest > 0, "largest", largest, "more than 0");
  require(first >= 0 && first <= largest, "first", first, "0 … nmt.largest");
  require(damping >= 0 && std::isfinite(damping), "damping", damping, "0 or more");
  require(growth >= 1 && std::isfinite(growth), "growth", growth, "1 or more");
  require(proportional >= 0 && std::isfinite(proportional), "proportional", proportional, "0 or more");
  require(smoothing >= 0 && smoothing < 1, "smoothing", smoothing, "0 ≤ smoothing < 1");
}

Lagrangian::Lagrangian(const LagrangianConfig& config, std::vector<double> bounds)
    : config_(config), bounds_(std::move(bounds)), state_(5 * bounds_.size()) {
  const std::span<double> state = state_;
  std::ranges::fill(state.first(size()), config_.first);
  std::ranges::fill(state.subspan(2 * size(), size()), std::numeric_limits<double>::quiet_NaN());
  std::ranges::fill(state.subspan(3 * size(), size()), config_.rate);
  std::ranges::fill(state.subspan(4 * size(), size()), std::numeric_limits<double>::quiet_NaN());
}

void Lagrangian::ascend(std::span<const double> losses, bool smooth) {
  for (size_t j = 0; j < size(); ++j) {
    if (std::isnan(losses[j])) continue;
    double &lambda = state_[j], &violation = state_[size() + j], &xi = state_[2 * size() + j],
           &rho = state_[3 * size() + j], &loss = state_[4 * size() + j];
    loss = smooth && !std::isnan(loss) ? config_.smoothing * loss + (1 - config_.smoothing) * losses[j]
                                       : losses[j];
    const double v = loss - bounds_[j], scale = bounds_[j] != 0 ? std::abs(bounds_[j]) : 1;
    violation = config_.relative ? std::clamp(v / scale, -1.0, 1.0) : v;
    double step = config_.rate * violation;
    if (config_.rule == "pi") {
      // The first one has nothing to differ from.
      const double before = std::isnan(xi) ? violation : xi;
      xi = config_.smoothing * before + (1 - config_.smoothing) * violation;
      step += config_.rate * config_.proportional * (xi - before);
    } else if (config_.rule == "augmented") {
      step = rho * violation;
      rho = violation > 0 ? std::min(rho * config_.growth, config_.largest) : config_.rate;
    }
    lambda = std::clamp(lambda + step, 0.0, config_.largest);
  }
}

std::vector<double> Lagrangian::weights() const {
  std::vector<double> weights(multipliers().begin(), multipliers().end());
  for (size_t j = 0; j < size(); ++j) {
    const double extra = config_.rule == "damped"      ? config_.damping
                         : config_.rule == "augmented" ? state_[3 * size() + j]
                                                       : 0;
    const double scale = config_.relative && bounds_[j] != 0 ? std::abs(bounds_[j]) : 1;
    weights[j] = std::max(0.0, weights[j] + extra * violations()[j]) / scale;
  }
  weights.push_back(1 / size_);
  const double scale = config_.rescale == "sum"       ? std::accumulate(weights.begin(), weights.end(), 0.0)
                       : config_.rescale == "largest" ? *std::ranges::max_element(weights)
                                                      : 1;
  for (double& w : weights) w /= scale;
  return weights;
}

}  // namespace steelyard
