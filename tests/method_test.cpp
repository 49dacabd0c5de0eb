// Every method (optim/method.h) on a problem whose answer is known: from the paper's formula, by hand, or by trying all
// weights.
#include "optim/method.h"

#include <cmath>
#include <limits>

#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

using Vector = std::vector<double>;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Products products_of(const std::vector<Vector>& gradients) {
  Products products(gradients.size());
  for (size_t i = 0; i < gradients.size(); ++i)
    for (size_t j = 0; j <= i; ++j) products.set(i, j, dot(gradients[i], gradients[j]));
  return products;
}

Vector sum_of(const std::vector<Vector>& gradients, const Vector& weights) {
  Vector sum(gradients[0].size());
  for (size_t k = 0; k < gradients.size(); ++k)
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += weights[k] * gradients[k][i];
  return sum;
}

std::unique_ptr<Method> method(const std::string& name, size_t tasks = 2, const MethodConfig& config = {}) {
  std::vector<Goal> goals;
  for (size_t k = 0; k < tasks; ++k)
    goals.push_back({"t" + std::to_string(k), static_cast<int>(k) + 1, static_cast<double>(k + 2)});
  return make_method(name, config, goals, 0.01, 10, 7);
}

Vector weights_of(Method& m, const Vector& losses, const Products* products = nullptr, int64_t step = 0) {
  Vector weights(losses.size());
  m.weigh(step, losses, products, weights);
  return weights;
}

// The direction that a method makes of these gradients.
Vector direction(const std::string& name, const std::vector<Vector>& gradients,
                 const MethodConfig& config = {}, int64_t step = 0) {
  const Products products = products_of(gradients);
  const auto m = method(name, gradients.size(), config);
  CHECK(m->wants_products());
  return sum_of(gradients, weights_of(*m, Vector(gradients.size(), 1), &products, step));
}

void check_near(const Vector& a, const Vector& b, double tolerance = 1e-9) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    CHECK(a[i] == doctest::Approx(b[i]).epsilon(tolerance).scale(1));
  }
}

}  // namespace

TEST_CASE("methods: equal and weighted") {
  CHECK(weights_of(*method("equal"), {5, 7}) == Vector{1, 1});
  CHECK(weights_of(*method("weighted"), {5, 7}) == Vector{2, 3});
  CHECK(weights_of(*method("weighted"), {5, kNone}) == Vector{2, 0});
}

TEST_CASE("methods: uncertainty ends where s = log L") {
  const auto m = method("uncertainty");
  CHECK(weights_of(*m, {1, 1})[0] == doctest::Approx(0.5 / std::exp(-0.5)));
  for (int i = 0; i < 3000; ++i) weights_of(*m, {0.25, 4});
  check_near(weights_of(*m, {0.25, 4}), {2, 0.125}, 1e-3);
  CHECK(weights_of(*m, {kNone, 4})[0] == 0);
}

TEST_CASE("methods: dwa weighs by how little the losses fell over the last epochs") {
  const auto m = method("dwa");
  const Vector epochs[] = {{4, 1}, {2, 1}, {1, 1}};  // ten steps each
  int64_t step = 0;
  for (const Vector& losses : epochs)
    for (int i = 0; i < 10; ++i, ++step) {
      const Vector w = weights_of(*m, losses, nullptr, step);
      if (step < 20) CHECK(w == Vector{1, 1});
      if (step < 20) continue;
      const double a = std::exp(0.5 / 2), b = std::exp(1.0 / 2);
      check_near(w, {2 * a / (a + b), 2 * b / (a + b)});
    }
}

TEST_CASE("methods: gradnorm makes the norms equal of tasks that learn alike, and larger of one that lags") {
  const std::vector<Vector> gradients = {{1, 0}, {0, 4}};
  const Products products = products_of(gradients);
  const auto m = method("gradnorm", 2, {.gradnorm_rate = 0.001});
  for (int i = 0; i < 5000; ++i) weights_of(*m, {1, 1}, &products);
  check_near(weights_of(*m, {1, 1}, &products), {1.6, 0.4}, 0.01);
  CHECK_FALSE(m->for_shared_only());
  // The second one is where it began, the first has halved: r = 2/3 and 4/3. The norms' mean times r^1.5 is what the
  // larger one becomes; both cannot, since the weights' sum is fixed.
  for (int i = 0; i < 5000; ++i) weights_of(*m, {0.5, 1}, &products);
  const Vector w = weights_of(*m, {0.5, 1}, &products);
  const double target = std::pow(4.0 / 3, 1.5);
  CHECK(w[1] * 4 / w[0] == doctest::Approx(target / (2 - target)).epsilon(0.01));
}

TEST_CASE("methods: pcgrad takes out what is against others") {
  check_near(direction("pcgrad", {{1, 0}, {1, 1}}), {2, 1});  // nothing is
  // g₁ = (1, 0) − (−½)(−1, 1), g₂ = (−1, 1) − (−1)(1, 0)
  check_near(direction("pcgrad", {{1, 0}, {-1, 1}}), {0.5, 1.5});
  // Of three the order counts, and it is drawn anew in each step.
  const std::vector<Vector> three = {{1, 0, 0.2}, {-1, 1, 0}, {0.3, -1, 0.5}};
  bool differs = false;
  const Vector first = direction("pcgrad", three, {}, 0);
  for (int64_t step = 1; step < 20; ++step)
    differs = differs || direction("pcgrad", three, {}, step) != first;
  CHECK(differs);
  CHECK(direction("pcgrad", three, {}, 0) == first);
}

TEST_CASE("methods: one_sided and barrier leave the first goal its descent") {
  const std::vector<Vector> against = {{1, 0}, {-3, 1}};
  check_near(direction("one_sided", against), {1, 1});  // g₂ without its part along g₁
  // d = g₂ + λ g₁ with ⟨d, g₁⟩ = β‖g₁‖²
  check_near(direction("barrier", against), {1, 1});
  check_near(direction("barrier", against, {.barrier_beta = 0.5}), {0.5, 1});
  check_near(direction("barrier", {{1, 0}, {3, 1}}), {3, 1});  // falls fast enough by itself
  const std::vector<Vector> three = {{1, 0, 0}, {-1, 1, 0}, {-2, -3, 1}};
  const Vector d = direction("barrier", three);
  CHECK(dot(d, three[0]) >= 1 - 1e-9);
  // Whatever the others are, what one_sided adds does not make the first rise.
  CHECK(dot(direction("one_sided", three), three[0]) >= 1 - 1e-9);
}

TEST_CASE("methods: mgda finds the shortest of all mixtures") {
  // Two: w = (g₂ − g₁)·g₂ / ‖g₁ − g₂‖², cut
  check_near(direction("mgda", {{1, 0}, {0, 2}}), {0.8, 0.4}, 1e-6);
  check_near(direction("mgda", {{1, 0}, {3, 1}}), {1, 0}, 1e-6);
  check_near(direction("mgda", {{1, 0}, {-1, 0}}), {0, 0}, 1e-6);
  // Three around the origin: it is one of the mixtures.
  check_near(direction("mgda", {{1, 0}, {-1, 1}, {-1, -2}}), {0, 0}, 1e-6);
  // ‖w‖² of (1, 1, 3) along the axes is least at w ∝ 1 / a².
  const double s = 1 + 1 + 1 / 9.0;
  check_near(direction("mgda", {{1, 0, 0}, {0, 1, 0}, {0, 0, 3}}), {1 / s, 1 / s, 1 / (3 * s)}, 1e-6);
}

TEST_CASE("methods: cagrad's direction helps the worst-off task as much as its ball allows") {
  const std::vector<Vector> gradients = {{1, 0.2}, {-0.8, 1}};
  const Vector mean = sum_of(gradients, {0.5, 0.5});
  for (const double alpha : {0.0, 0.4, 0.9}) {
    CAPTURE(alpha);
    const Vector d = direction("cagrad", gradients, {.cagrad_alpha = alpha});
    const double radius = alpha * std::sqrt(dot(mean, mean));
    const auto worst = [&](const Vector& x) { return std::min(dot(x, gradients[0]), dot(x, gradients[1])); };
    const Vector away = {d[0] - mean[0], d[1] - mean[1]};
    CHECK(std::sqrt(dot(away, away)) <= radius + 1e-9);
    for (int i = 0; i < 3600; ++i) {
      const double angle = i * M_PI / 1800;
      CHECK(worst({mean[0] + radius * std::cos(angle), mean[1] + radius * std::sin(angle)}) <=
            worst(d) + 1e-6);
    }
  }
}

TEST_CASE("methods: famo weighs by 1 / L and moves to the task that falls slowest") {
  const auto m = method("famo");
  CHECK(m->wants_losses_behind());
  check_near(weights_of(*m, {1, 4}), {0.8, 0.2}, 1e-6);
  m->look_behind(Vector{0.5, 4});  // only the first one fell
  const Vector w = weights_of(*m, {1, 4});
  CHECK(w[0] < 0.8);
  CHECK(w[0] + w[1] == doctest::Approx(1));
  // The first step of Adam is its rate, one way and the other: z = softmax(−rate, rate).
  const double z = 1 / (1 + std::exp(2 * 0.025));
  CHECK(w[0] == doctest::Approx(z / (z + (1 - z) / 4)).epsilon(1e-6));
}

TEST_CASE("methods: of tasks without rows nothing is asked") {
  const std::vector<Vector> gradients = {{1, 0}, {0, 0}, {-1, 1}};
  const Products products = products_of(gradients);
  for (const std::string& name : method_names()) {
    CAPTURE(name);
    const auto m = method(name, 3);
    const Vector w = weights_of(*m, {1, kNone, 2}, &products);
    CHECK(w[1] == 0);
    for (const double weight : w) CHECK(std::isfinite(weight));
    CHECK(w[0] > 0);
    const Vector none = weights_of(*m, {kNone, kNone, kNone}, &products, 1);
    CHECK(none == Vector{0, 0, 0});
  }
}

TEST_CASE("methods: state goes on where it was") {
  const std::vector<Vector> gradients = {{1, 0}, {-0.5, 2}};
  const Products products = products_of(gradients);
  for (const std::string& name : method_names()) {
    CAPTURE(name);
    const auto run = [&](Method& m, int64_t begin, int64_t end) {
      Vector w;
      for (int64_t step = begin; step < end; ++step) {
        const double a = 1 / (1 + 0.1 * static_cast<double>(step));
        w = weights_of(m, {a, 2 - a / 2}, &products, step);
        if (m.wants_losses_behind()) m.look_behind(Vector{a * 0.9, 2 - a / 2});
      }
      return w;
    };
    const auto whole = method(name), first = method(name), second = method(name);
    run(*first, 0, 25);
    std::ranges::copy(first->state(), second->state().begin());
    CHECK(run(*whole, 0, 50) == run(*second, 25, 50));
  }
}

TEST_CASE("methods: what cannot be meant is refused") {
  const auto refused = [](auto change, const char* expected) {
    MethodConfig config;
    change(config);
    check_fails(
        Fault::usage, [&] { config.validate(); }, std::string(expected));
  };
  refused([](auto& c) { c.dwa_temperature = 0; }, "methods.dwa_temperature: 0");
  refused([](auto& c) { c.gradnorm_alpha = -1; }, "methods.gradnorm_alpha: -1");
  refused([](auto& c) { c.gradnorm_rate = 0; }, "methods.gradnorm_rate: 0");
  refused([](auto& c) { c.cagrad_alpha = 1; }, "methods.cagrad_alpha: 1");
  refused([](auto& c) { c.famo_rate = 0; }, "methods.famo_rate: 0");
  refused([](auto& c) { c.famo_decay = -1; }, "methods.famo_decay: -1");
  refused([](auto& c) { c.barrier_beta = 0; }, "methods.barrier_beta: 0");
  for (const char* name : {"one_sided", "barrier"})
    check_fails(
        Fault::usage,
        [&] {
          make_method(name, {}, std::vector<Goal>{{"a", 1}, {"b", 0}}, 1, 1, 0);
        },
        std::string("method: ") + name + "; expected a priority of every task");
}
