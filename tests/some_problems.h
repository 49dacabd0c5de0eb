// Constrained problems whose solutions and multipliers are known by hand, and descent and ascent that solve them.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "optim/lagrangian.h"

namespace steelyard::test {

using Vector = std::vector<double>;

struct Problem {
  const char* name;
  std::function<Vector(const Vector&)> gradient;                // of f
  std::vector<std::function<double(const Vector&)>> goals;      // f_j
  std::vector<std::function<Vector(const Vector&)>> gradients;  // and theirs
  Vector bounds, start, solution, multipliers;
};

inline double squared_distance(const Vector& x, const Vector& to) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - to[i]) * (x[i] - to[i]);
  return sum;
}

inline Vector from(const Vector& x, const Vector& to) {  // the gradient of half the squared distance
  Vector d(x.size());
  for (size_t i = 0; i < x.size(); ++i) d[i] = x[i] - to[i];
  return d;
}

// Nearest points: f = ½|x − a|², goals ½|x − b|² ≤ c or linear ones.
inline std::vector<Problem> problems() {
  const auto half_distance = [](Vector to) {
    return [to](const Vector& x) { return squared_distance(x, to) / 2; };
  };
  const auto towards = [](Vector to) { return [to](const Vector& x) { return from(x, to); }; };
  const auto linear = [](Vector a) {
    return [a](const Vector& x) {
      double sum = 0;
      for (size_t i = 0; i < x.size(); ++i) sum += a[i] * x[i];
      return sum;
    };
  };
  const auto constant = [](Vector a) { return [a](const Vector&) { return a; }; };
  // By hand, in optim/README.md: minimise ½(x − 2)² + ½(y − 1)² such that ½x² + ½y² ≤ ½. The solution is (2, 1)/√5,
  // and from x − 2 + λx = 0 λ = √5 − 1.
  const double root = std::sqrt(5.0);
  std::vector<Problem> list = {
      {"a circle, from inside",
       towards({2, 1}),
       {half_distance({0, 0})},
       {towards({0, 0})},
       {0.5},
       {0, 0},
       {2 / root, 1 / root},
       {root - 1}},
      {"a circle, from outside",
       towards({2, 1}),
       {half_distance({0, 0})},
       {towards({0, 0})},
       {0.5},
       {5, -4},
       {2 / root, 1 / root},
       {root - 1}},
      {"a circle that holds the optimum",
       towards({2, 1}),
       {half_distance({0, 0})},
       {towards({0, 0})},
       {8},
       {5, -4},
       {2, 1},
       {0}},
      // ½(x − 3)² + ½(y − 2)² such that x ≤ 1 and y ≤ 1: both prices are what is left of the gradient.
      {"two lines, both in the way",
       towards({3, 2}),
       {linear({1, 0}), linear({0, 1})},
       {constant({1, 0}), constant({0, 1})},
       {1, 1},
       {0, 0},
       {1, 1},
       {2, 1}},
      {"two lines, one in the way",
       towards({3, 0.5}),
       {linear({1, 0}), linear({0, 1})},
       {constant({1, 0}), constant({0, 1})},
       {1, 1},
       {4, 4},
       {1, 0.5},
       {2, 0}},
      // x + y ≤ 1 and x − y ≤ 0 at the corner (½, ½): λ₁ + λ₂ = 2.5, λ₁ − λ₂ = 0.5.
      {"a corner",
       towards({3, 1}),
       {linear({1, 1}), linear({1, -1})},
       {constant({1, 1}), constant({1, -1})},
       {1, 0},
       {0, 2},
       {0.5, 0.5},
       {1.5, 1}},
  };
  return list;
}

struct Solved {
  Vector x, multipliers;
  double violation = 0;
};

inline Solved solve(const Problem& p, LagrangianConfig config, int steps, double step_size) {
  config.relative = false;
  config.largest = 100;
  Lagrangian lagrangian(config, p.bounds);
  Solved out{p.start, {}, 0};
  for (int step = 0; step < steps; ++step) {
    Vector losses;
    for (const auto& goal : p.goals) losses.push_back(goal(out.x));
    lagrangian.ascend(losses);
    const Vector weights = lagrangian.weights();
    Vector d = p.gradient(out.x);
    for (double& value : d) value *= weights.back();
    for (size_t j = 0; j < p.goals.size(); ++j) {
      const Vector g = p.gradients[j](out.x);
      for (size_t i = 0; i < d.size(); ++i) d[i] += weights[j] * g[i];
    }
    for (size_t i = 0; i < d.size(); ++i) out.x[i] -= step_size * d[i];
  }
  out.multipliers.assign(lagrangian.multipliers().begin(), lagrangian.multipliers().end());
  for (size_t j = 0; j < p.goals.size(); ++j)
    out.violation = std::max(out.violation, p.goals[j](out.x) - p.bounds[j]);
  return out;
}

}  // namespace steelyard::test
