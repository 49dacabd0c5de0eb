// Constrained problems whose solutions and multipliers are known (optim/lagrangian.h): they are found by descent on
// the model's side and ascent on the multipliers', from inside and from outside of what is allowed.
#include "optim/lagrangian.h"

#include <cmath>

#include "tests/some_problems.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

TEST_CASE("lagrangian: solutions and multipliers that are known, by every rule and rescaling") {
  for (const char* rule : {"ascent", "damped", "augmented", "pi"})
    for (const char* rescale : {"sum", "largest", "none"})
      for (const Problem& p : problems()) {
        CAPTURE(rule);
        CAPTURE(rescale);
        CAPTURE(p.name);
        const Solved found =
            solve(p, {.rule = rule, .rescale = rescale, .rate = 0.1, .damping = 1, .growth = 1}, 20000, 0.05);
        CHECK(found.violation <= 1e-6);
        for (size_t i = 0; i < found.x.size(); ++i) CHECK(std::abs(found.x[i] - p.solution[i]) <= 1e-3);
        for (size_t j = 0; j < found.multipliers.size(); ++j)
          CHECK(std::abs(found.multipliers[j] - p.multipliers[j]) <= 1e-3);
      }
}

TEST_CASE("lagrangian: plain ascent circles where damping and pi settle") {
  // f = x, goal −x ≤ 0: linear, so nothing but the rule damps. The solution is 0, the multiplier 1.
  const Problem p{"a line",
                  [](const Vector&) { return Vector{1}; },
                  {[](const Vector& x) { return -x[0]; }},
                  {[](const Vector&) { return Vector{-1}; }},
                  {0},
                  {1},
                  {0},
                  {1}};
  const auto away = [&](const char* rule) {
    const Solved s =
        solve(p, {.rule = rule, .rescale = "none", .rate = 0.1, .damping = 1, .growth = 1}, 4000, 0.1);
    return std::abs(s.x[0]) + std::abs(s.multipliers[0] - 1);
  };
  CHECK(away("ascent") > 0.1);
  for (const char* rule : {"damped", "augmented", "pi"}) {
    CAPTURE(rule);
    CHECK(away(rule) < 1e-6);
  }
}

TEST_CASE("lagrangian: weights sum to 1, multipliers are cut, what is not measured does not count") {
  Lagrangian lagrangian({.rate = 1, .first = 0, .largest = 3}, {1, 2});
  lagrangian.ascend(std::vector<double>{1.5, NAN});
  CHECK(lagrangian.multipliers()[0] == 0.5);  // relative
  CHECK(lagrangian.multipliers()[1] == 0);
  CHECK(lagrangian.weights() == std::vector<double>{0.5 / 1.5, 0, 1 / 1.5});
  for (int i = 0; i < 10; ++i) lagrangian.ascend(std::vector<double>{1000, 0});
  CHECK(lagrangian.multipliers()[0] == 3);  // each step was cut at 1
  CHECK(lagrangian.violations()[0] == 1);
  CHECK(lagrangian.multipliers()[1] == 0);
  CHECK(lagrangian.violations()[1] == -1);

  Lagrangian smoothed({.rate = 1, .first = 0, .smoothing = 0.5, .relative = false}, {0});
  smoothed.ascend(std::vector<double>{4}, true);
  smoothed.ascend(std::vector<double>{2}, true);
  CHECK(smoothed.violations()[0] == 3);
  CHECK(smoothed.multipliers()[0] == 7);
}

TEST_CASE("lagrangian: losses may have any size, and weights are cut as configured") {
  Lagrangian lagrangian({.rate = 1, .first = 2}, {0.5});
  lagrangian.set_size(100);
  CHECK(lagrangian.weights() == std::vector<double>{4 / 4.01, 0.01 / 4.01});
  lagrangian.ascend(std::vector<double>{0.55});
  CHECK(lagrangian.multipliers()[0] == doctest::Approx(2.1));
  Lagrangian largest({.rescale = "largest", .first = 2}, {0.5}), none({.rescale = "none", .first = 2}, {0.5});
  CHECK(largest.weights() == std::vector<double>{1, 0.25});
  CHECK(none.weights() == std::vector<double>{4, 1});
  Lagrangian absolute({.rescale = "none", .first = 2, .relative = false}, {0.5});
  absolute.set_size(100);
  CHECK(absolute.weights() == std::vector<double>{2, 1});
}

TEST_CASE("lagrangian: what cannot be meant is refused") {
  const auto refused = [](auto change, const char* expected) {
    LagrangianConfig config;
    change(config);
    check_fails(
        Fault::usage, [&] { config.validate(); }, std::string(expected));
  };
  refused([](auto& c) { c.rule = "adam"; }, "nmt.rule: adam; expected ascent");
  refused([](auto& c) { c.rescale = "yes"; }, "nmt.rescale: yes; expected sum");
  refused([](auto& c) { c.rate = 0; }, "nmt.rate: 0; expected more than 0");
  refused([](auto& c) { c.first = -1; }, "nmt.first: -1");
  refused([](auto& c) { c.first = 2000; }, "nmt.first: 2000; expected 0 … nmt.largest");
  refused([](auto& c) { c.largest = -1; }, "nmt.largest: -1");
  refused([](auto& c) { c.damping = -1; }, "nmt.damping: -1");
  refused([](auto& c) { c.growth = 0.5; }, "nmt.growth: 0.5");
  refused([](auto& c) { c.proportional = -1; }, "nmt.proportional: -1");
  refused([](auto& c) { c.smoothing = 1; }, "nmt.smoothing: 1");
}
