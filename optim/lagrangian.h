// Goals that come first, as constraints on the one that is learned (Cheng et al. 2024):
//
//   minimise f(θ) such that f_j(θ) ≤ c_j;   L(θ, λ) = f(θ) + Σ_j λ_j (f_j(θ) − c_j),   λ_j ≥ 0
//
// θ descends on L with any optimiser while λ ascends on what is measured (Platt & Barr 1987): a multiplier grows
// as long as its goal is missed and shrinks to 0 while there is room. A model's gradient is a weighted sum, of
// the goal that is learned with 1, of the others with
//
//   ascent     λ_j,                  λ ← [λ + η v]₊
//   damped     [λ_j + d v_j]₊,       λ ← [λ + η v]₊                                     (MDMM, there)
//   augmented  [λ_j + ρ_j v_j]₊,     λ ← [λ + ρ v]₊, ρ_j grows while its goal is missed   (Hestenes, Powell, Rockafellar)
//   pi         λ_j,                  λ ← [λ + η (v + κ (ξ − ξ₋₁))]₊, ξ ← ν ξ₋₁ + (1 − ν) v     (Sohrabi et al. 2024)
//
// v_j is the violation f_j − c_j; measured relative to |c_j| and cut at ±1 unless `relative` is off, so that η has
// no unit. λ_j is the price of goal j: by how much f rises per unit by which c_j falls. Next: optim/priorities.h.
//
// Rescaling divides all weights by 1 + Σ, their sum, so that a step does not grow with the multipliers. What is
// solved stays the same.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace steelyard {

struct LagrangianConfig {
  std::string rule = "ascent", rescale = "sum";
  double rate = 1, largest = 1000, damping = 10, growth = 1.01, proportional = 10, smoothing = 0.9;
  bool relative = true;

  template <class F>
  void fields(F&& f) {
    f("rule", rule, "of the multipliers: ascent, damped, augmented or pi");
    f("rate", rate, "η of the multipliers, of augmented the ρ that it begins with");
    f("relative", relative, "violations in parts of the bound, at most 1; else as they are");
    f("rescale", rescale, "of the weights: sum, by 1 + Σλ; largest, by max(1, Σλ); or none");
    f("largest", largest, "multiplier; one that reaches it says that the bound cannot be held");
    f("damping", damping, "d of damped");
    f("growth", growth,
      "factor of ρ of augmented with each step that a goal is missed; ρ falls back when it is held");
    f("proportional", proportional, "κ of pi");
    f("smoothing", smoothing, "ν of pi, and of the losses of minibatches");
  }
  void validate() const;  // Error(usage) names the key
};

class Lagrangian {
 public:
  Lagrangian(const LagrangianConfig& config, std::vector<double> bounds);

  size_t size() const { return bounds_.size(); }
  std::span<const double> bounds() const { return bounds_; }
  std::span<const double> multipliers() const { return std::span(state_).first(size()); }
  std::span<const double> violations() const { return std::span(state_).subspan(size(), size()); }

  // What the goals' losses were found to be, perhaps on a batch so small that they are smoothed; the multipliers take
  // a step. NaN: not measured, no step.
  void ascend(std::span<const double> losses, bool smooth = false);
  // The weights of the goals' gradients, and behind them that of the loss that is minimised.
  std::vector<double> weights() const;

  std::span<double> state() { return state_; }

 private:
  LagrangianConfig config_;
  std::vector<double> bounds_;
  std::vector<double> state_;  // multipliers | violations | ξ | ρ | smoothed losses; NaN before there is one
};

}  // namespace steelyard
