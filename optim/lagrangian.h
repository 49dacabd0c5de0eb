// Goals that come first, as constraints on the one that is learned (Cheng et al. 2024):
//
//   minimise f(θ) such that f_j(θ) ≤ c_j;   L(θ, λ) = f(θ) / s + Σ_j λ_j (f_j(θ) − c_j) / |c_j|,   λ_j ≥ 0
//
// θ descends on L with any optimiser while λ ascends on what is measured (Platt & Barr 1987): a multiplier grows
// as long as its goal is missed and shrinks to 0 while there is room. s is the size of f where descent begins, so
// that no loss has a unit: λ_j is the price of goal j, by how many per cent of s f rises per per cent by which c_j
// falls. With `relative` off s and |c_j| are 1. With v_j, the violation (f_j − c_j) / |c_j|, cut at ±1, gradients have
// the weights 1 / s and, of goal j, 1 / |c_j| times
//
//   ascent     λ_j,                  λ ← [λ + η v]₊
//   damped     [λ_j + d v_j]₊,       λ ← [λ + η v]₊                                     (MDMM, there)
//   augmented  [λ_j + ρ_j v_j]₊,     λ ← [λ + ρ v]₊, ρ_j grows while its goal is missed   (Hestenes, Powell, Rockafellar)
//   pi         λ_j,                  λ ← [λ + η (v + κ (ξ − ξ₋₁))]₊, ξ ← ν ξ₋₁ + (1 − ν) v     (Sohrabi et al. 2024)
//
// Rescaling divides all weights by their sum, so that a step does not grow with the multipliers. What is solved
// stays the same. Next: optim/priorities.h.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace steelyard {

struct LagrangianConfig {
  std::string rule = "ascent", rescale = "sum";
  double rate = 1, first = 1, largest = 1000, damping = 10, growth = 1.01, proportional = 10, smoothing = 0.9;
  bool relative = true;

  template <class F>
  void fields(F&& f) {
    f("rule", rule, "of the multipliers: ascent, damped, augmented or pi");
    f("rate", rate, "η of the multipliers, of augmented the ρ that it begins with");
    f("first", first, "where multipliers begin");
    f("relative", relative,
      "losses in parts of the bounds and, of the one that is minimised, of where it begins; else as they "
      "are");
    f("rescale", rescale, "weights by: sum, their sum; largest, the largest of them; or none");
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
  // s; 1 before it is known.
  void set_size(double size) { size_ = config_.relative && size != 0 ? std::abs(size) : 1; }

  std::span<double> state() { return state_; }

 private:
  LagrangianConfig config_;
  std::vector<double> bounds_;
  double size_ = 1;            // s
  std::vector<double> state_;  // multipliers | violations | ξ | ρ | smoothed losses; NaN before there is one
};

}  // namespace steelyard
