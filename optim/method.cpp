#include "optim/method.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "core/check.h"
#include "core/random.h"
#include "core/text.h"

namespace steelyard {

namespace {

std::vector<double> softmax(std::span<const double> x) {
  std::vector<double> p(x.begin(), x.end());
  const double most = *std::ranges::max_element(p);
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - most);
  for (double& value : p) value /= sum;
  return p;
}

bool asked(double loss) { return !std::isnan(loss); }

// Adam (Kingma & Ba 2015) on n numbers at the side of a model's: x | mean | mean of squares | steps.
class SideNumbers {
 public:
  SideNumbers(std::vector<double>& state, size_t n) : state_(state), n_(n) {}
  static size_t size(size_t n) { return 3 * n + 1; }
  std::span<double> values() const { return std::span(state_).first(n_); }
  void descend(std::span<const double> gradient, double rate, double decay = 0) const {
    constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
    const double step = ++state_[3 * n_];
    for (size_t i = 0; i < n_; ++i) {
      double &x = state_[i], &mean = state_[n_ + i], &square = state_[2 * n_ + i];
      const double g = gradient[i] + decay * x;
      mean = kBeta1 * mean + (1 - kBeta1) * g;
      square = kBeta2 * square + (1 - kBeta2) * g * g;
      const double m = mean / (1 - std::pow(kBeta1, step)), s = square / (1 - std::pow(kBeta2, step));
      x -= rate * m / (std::sqrt(s) + kEpsilon);
    }
  }

 private:
  std::vector<double>& state_;
  size_t n_;
};

class Weighted final : public Method {
 public:
  explicit Weighted(std::vector<double> weights) : weights_(std::move(weights)) {}
  void weigh(int64_t, std::span<const double> losses, const Products*, std::span<double> out) override {
    for (size_t k = 0; k < out.size(); ++k) out[k] = asked(losses[k]) ? weights_[k] : 0;
  }

 private:
  const std::vector<double> weights_;
};

class Uncertainty final : public Method {
 public:
  Uncertainty(size_t tasks, double rate) : rate_(rate) {
    constexpr double kStart = -0.5;  // as in LibMTL
    state_.resize(SideNumbers::size(tasks));
    std::fill_n(state_.begin(), tasks, kStart);
  }
  void weigh(int64_t, std::span<const double> losses, const Products*, std::span<double> out) override {
    const SideNumbers s(state_, out.size());
    std::vector<double> slopes(out.size());
    for (size_t k = 0; k < out.size(); ++k) {
      if (!asked(losses[k])) {
        out[k] = 0;
        continue;
      }
      out[k] = 1 / (2 * std::exp(s.values()[k]));
      slopes[k] = 0.5 - losses[k] * out[k];
    }
    s.descend(slopes, rate_);
  }

 private:
  const double rate_;
};

// State: sums and counts of this epoch's losses | means of the last epoch | of the one before | epochs done.
class Dwa final : public Method {
 public:
  Dwa(size_t tasks, double temperature, int64_t steps_per_epoch)
      : temperature_(temperature), steps_per_epoch_(steps_per_epoch) {
    state_.resize(4 * tasks + 1);
  }
  void weigh(int64_t step, std::span<const double> losses, const Products*, std::span<double> out) override {
    const size_t T = out.size();
    const std::span<double> sums(state_.data(), T), counts(&state_[T], T), last(&state_[2 * T], T),
        before(&state_[3 * T], T);
    double& epochs = state_[4 * T];
    if (step > 0 && step % steps_per_epoch_ == 0) {
      for (size_t k = 0; k < T; ++k) {
        before[k] = last[k], last[k] = counts[k] > 0 ? sums[k] / counts[k] : 1;
        sums[k] = counts[k] = 0;
      }
      ++epochs;
    }
    std::vector<double> ratios(T, 0);
    if (epochs >= 2)
      for (size_t k = 0; k < T; ++k) ratios[k] = last[k] / before[k] / temperature_;
    const std::vector<double> p = softmax(ratios);
    for (size_t k = 0; k < T; ++k) {
      out[k] = asked(losses[k]) ? static_cast<double>(T) * p[k] : 0;
      if (asked(losses[k])) sums[k] += losses[k], ++counts[k];
    }
  }

 private:
  const double temperature_;
  const int64_t steps_per_epoch_;
};

// State: side numbers | the first loss of each task, 0 before there was one.
class GradNorm final : public Method {
 public:
  GradNorm(size_t tasks, double alpha, double rate) : alpha_(alpha), rate_(rate) {
    state_.resize(SideNumbers::size(tasks) + tasks);
  }
  bool wants_products() const override { return true; }
  bool for_shared_only() const override { return false; }
  void weigh(int64_t, std::span<const double> losses, const Products* products,
             std::span<double> out) override {
    const size_t T = out.size();
    const SideNumbers s(state_, T);
    const std::span<double> first(&state_[SideNumbers::size(T)], T);
    const std::vector<double> p = softmax(s.values());
    std::vector<double> norms(T), ratios(T);  // of w_k g_k; of losses
    double present = 0, ratio_sum = 0, norm_sum = 0;
    for (size_t k = 0; k < T; ++k) {
      out[k] = asked(losses[k]) ? static_cast<double>(T) * p[k] : 0;
      if (!asked(losses[k])) continue;
      if (first[k] == 0) first[k] = std::max(losses[k], 1e-12);
      norms[k] = out[k] * std::sqrt((*products)(k, k));
      ratios[k] = losses[k] / first[k];
      ++present, ratio_sum += ratios[k], norm_sum += norms[k];
    }
    if (present < 2 || ratio_sum <= 0) return;
    std::vector<double> slopes(T);
    for (size_t k = 0; k < T; ++k) {
      if (!asked(losses[k])) continue;
      const double target = norm_sum / present * std::pow(ratios[k] / (ratio_sum / present), alpha_);
      const double sign = norms[k] > target ? 1 : norms[k] < target ? -1 : 0;
      for (size_t m = 0; m < T; ++m)  // ∂w_k/∂s_m = w_k (δ − p_m)
        slopes[m] += sign * norms[k] * ((k == m) - p[m]);
    }
    s.descend(slopes, rate_);
  }

 private:
  const double alpha_, rate_;
};

// Methods that make a new sum of the gradients out of their products.
class OfProducts : public Method {
 public:
  bool wants_products() const final { return true; }
  void weigh(int64_t step, std::span<const double> losses, const Products* products,
             std::span<double> out) final {
    std::vector<size_t> there;
    for (size_t k = 0; k < out.size(); ++k)
      if (asked(losses[k])) there.push_back(k);
    std::ranges::fill(out, 0);
    if (there.empty()) return;
    Products G(there.size());
    for (size_t i = 0; i < there.size(); ++i)
      for (size_t j = 0; j <= i; ++j) G.set(i, j, (*products)(there[i], there[j]));
    const std::vector<double> w = combine(step, G, there);
    for (size_t i = 0; i < there.size(); ++i) out[there[i]] = w[i];
  }

 protected:
  // The factor of each gradient; `tasks` says whose they are.
  virtual std::vector<double> combine(int64_t step, const Products& G,
                                      std::span<const size_t> tasks) const = 0;
};

// ⟨Σ a_i g_i, g_j⟩
double along(std::span<const double> a, const Products& G, size_t j) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * G(i, j);
  return sum;
}

// What is left of g_i after all that is against the others, in this order, has been taken out.
std::vector<double> projected(size_t i, std::span<const size_t> others, const Products& G) {
  std::vector<double> a(G.tasks());
  a[i] = 1;
  for (const size_t j : others)
    if (const double product = along(a, G, j); product < 0 && G(j, j) > 0) a[j] -= product / G(j, j);
  return a;
}

class PcGrad final : public OfProducts {
 public:
  explicit PcGrad(uint64_t seed) : seed_(seed) {}

 protected:
  std::vector<double> combine(int64_t step, const Products& G, std::span<const size_t>) const override {
    std::vector<double> sum(G.tasks());
    for (size_t i = 0; i < G.tasks(); ++i) {
      std::vector<size_t> others;
      for (size_t j = 0; j < G.tasks(); ++j)
        if (j != i) others.push_back(j);
      const uint64_t key = key_of(seed_, "pcgrad", step, static_cast<int64_t>(i));
      for (size_t n = others.size(); n > 1; --n) std::swap(others[n - 1], others[random_bits(key, n) % n]);
      const std::vector<double> a = projected(i, others, G);
      for (size_t j = 0; j < a.size(); ++j) sum[j] += a[j];
    }
    return sum;
  }

 private:
  const uint64_t seed_;
};

class OneSided final : public OfProducts {
 public:
  explicit OneSided(std::vector<int> priorities) : priorities_(std::move(priorities)) {}

 protected:
  std::vector<double> combine(int64_t, const Products& G, std::span<const size_t> tasks) const override {
    std::vector<double> sum(G.tasks());
    for (size_t i = 0; i < G.tasks(); ++i) {
      std::vector<size_t> before;
      for (size_t j = 0; j < G.tasks(); ++j)
        if (priorities_[tasks[j]] < priorities_[tasks[i]]) before.push_back(j);
      // The first goal comes last: nothing is taken out behind it that could turn against it.
      std::ranges::sort(before, std::greater(), [&](size_t j) { return priorities_[tasks[j]]; });
      const std::vector<double> a = projected(i, before, G);
      for (size_t j = 0; j < a.size(); ++j) sum[j] += a[j];
    }
    return sum;
  }

 private:
  const std::vector<int> priorities_;
};

class Barrier final : public OfProducts {
 public:
  Barrier(std::vector<int> priorities, double beta) : priorities_(std::move(priorities)), beta_(beta) {}

 protected:
  std::vector<double> combine(int64_t, const Products& G, std::span<const size_t> tasks) const override {
    std::vector<size_t> order(G.tasks());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, std::greater(), [&](size_t j) { return priorities_[tasks[j]]; });
    std::vector<double> d(G.tasks());
    d[order[0]] = 1;
    for (const size_t j : std::span(order).subspan(1))
      if (G(j, j) > 0) d[j] += std::max(0.0, beta_ - along(d, G, j) / G(j, j));
    return d;
  }

 private:
  const std::vector<int> priorities_;
  const double beta_;
};

class Mgda final : public OfProducts {
 protected:
  std::vector<double> combine(int64_t, const Products& G, std::span<const size_t>) const override {
    return least_on_simplex(G, std::vector<double>(G.tasks()), 1);
  }
};

class CaGrad final : public OfProducts {
 public:
  explicit CaGrad(double alpha) : alpha_(alpha) {}

 protected:
  std::vector<double> combine(int64_t, const Products& G, std::span<const size_t>) const override {
    const size_t T = G.tasks();
    std::vector<double> d(T, 1 / static_cast<double>(T));  // g₀
    std::vector<double> with_mean(T);
    double norm = 0;
    for (size_t k = 0; k < T; ++k) norm += with_mean[k] = along(d, G, k);
    norm = std::sqrt(std::max(0.0, norm / static_cast<double>(T)));
    const double c = alpha_ * norm;
    const std::vector<double> w = least_on_simplex(G, with_mean, c);
    double of_w = 0;
    for (size_t k = 0; k < T; ++k) of_w += w[k] * along(w, G, k);
    if (of_w > 0)
      for (size_t k = 0; k < T; ++k) d[k] += c * w[k] / std::sqrt(of_w);
    return d;
  }

 private:
  const double alpha_;
};

// State: side numbers ξ | log of the losses before the step, NaN of a task without.
class Famo final : public Method {
 public:
  Famo(size_t tasks, double rate, double decay) : rate_(rate), decay_(decay) {
    state_.resize(SideNumbers::size(tasks) + tasks);
  }
  bool wants_losses_behind() const override { return true; }
  void weigh(int64_t, std::span<const double> losses, const Products*, std::span<double> out) override {
    const size_t T = out.size();
    const std::vector<double> z = softmax(SideNumbers(state_, T).values());
    double sum = 0;
    for (size_t k = 0; k < T; ++k) {
      state_[SideNumbers::size(T) + k] = std::log(losses[k] + kEpsilon);
      sum += out[k] = asked(losses[k]) ? z[k] / (losses[k] + kEpsilon) : 0;
    }
    if (sum > 0)
      for (double& w : out) w /= sum;
  }
  void look_behind(std::span<const double> losses) override {
    const size_t T = losses.size();
    const SideNumbers xi(state_, T);
    const std::vector<double> z = softmax(xi.values());
    std::vector<double> fell(T), slopes(T);
    double mean = 0;
    for (size_t k = 0; k < T; ++k) {
      const double before = state_[SideNumbers::size(T) + k];
      if (asked(losses[k]) && asked(before)) fell[k] = before - std::log(losses[k] + kEpsilon);
      mean += z[k] * fell[k];
    }
    for (size_t k = 0; k < T; ++k) slopes[k] = z[k] * (fell[k] - mean);  // of Σ z_k fell_k
    xi.descend(slopes, rate_, decay_);
  }

 private:
  static constexpr double kEpsilon = 1e-8;
  const double rate_, decay_;
};

using Make = std::function<std::unique_ptr<Method>()>;

std::map<std::string, Make> methods(const MethodConfig& config, std::span<const Goal> goals, double rate,
                                    int64_t steps_per_epoch, uint64_t seed) {
  const size_t T = goals.size();
  std::vector<double> weights;
  std::vector<int> priorities;
  for (const Goal& goal : goals) weights.push_back(goal.weight), priorities.push_back(goal.priority);
  const auto in_order = [priorities](const char* method, auto make) {
    return [=] {
      if (std::ranges::count(priorities, 0) > 0)
        fail(Fault::usage, "method: ", method, "; expected a priority of every task beside it");
      return make();
    };
  };
  return {
      {"equal", [=] { return std::make_unique<Weighted>(std::vector<double>(T, 1)); }},
      {"weighted", [=] { return std::make_unique<Weighted>(weights); }},
      {"uncertainty", [=] { return std::make_unique<Uncertainty>(T, rate); }},
      {"dwa", [=] { return std::make_unique<Dwa>(T, config.dwa_temperature, steps_per_epoch); }},
      {"gradnorm",
       [=] { return std::make_unique<GradNorm>(T, config.gradnorm_alpha, config.gradnorm_rate); }},
      {"pcgrad", [=] { return std::make_unique<PcGrad>(seed); }},
      {"cagrad", [=] { return std::make_unique<CaGrad>(config.cagrad_alpha); }},
      {"mgda", [=] { return std::make_unique<Mgda>(); }},
      {"famo", [=] { return std::make_unique<Famo>(T, config.famo_rate, config.famo_decay); }},
      {"one_sided", in_order("one_sided", [=] { return std::make_unique<OneSided>(priorities); })},
      {"barrier",
       in_order("barrier", [=] { return std::make_unique<Barrier>(priorities, config.barrier_beta); })},
  };
}

}  // namespace

void MethodConfig::validate() const {
  const auto require = [](bool holds, const char* key, double value, const char* expected) {
    if (!holds || !std::isfinite(value))
      fail(Fault::usage, "methods.", key, ": ", value, "; expected ", expected);
  };
  require(dwa_temperature > 0, "dwa_temperature", dwa_temperature, "more than 0");
  require(gradnorm_alpha >= 0, "gradnorm_alpha", gradnorm_alpha, "0 or more");
  require(gradnorm_rate > 0, "gradnorm_rate", gradnorm_rate, "more than 0");
  require(cagrad_alpha >= 0 && cagrad_alpha < 1, "cagrad_alpha", cagrad_alpha, "0 ≤ cagrad_alpha < 1");
  require(famo_rate > 0, "famo_rate", famo_rate, "more than 0");
  require(famo_decay >= 0, "famo_decay", famo_decay, "0 or more");
  require(barrier_beta > 0, "barrier_beta", barrier_beta, "more than 0");
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : methods({}, {}, 1, 1, 0)) names.push_back(name);
  return names;
}

std::unique_ptr<Method> make_method(const std::string& name, const MethodConfig& config,
                                    std::span<const Goal> goals, double rate, int64_t steps_per_epoch,
                                    uint64_t seed) {
  const std::map<std::string, Make> known = methods(config, goals, rate, steps_per_epoch, seed);
  const auto found = known.find(name);
  check(found != known.end(), "method: no \"", name, "\"");
  return found->second();
}

// Pairs of weights are moved against each other to where the slope along them is 0, until nothing moves.
std::vector<double> least_on_simplex(const Products& A, std::span<const double> b, double c) {
  const size_t T = A.tasks();
  std::vector<double> w(T, 1 / static_cast<double>(T));
  constexpr int kSweeps = 200, kHalvings = 60;
  constexpr double kStill = 1e-13;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    double moved = 0;
    for (size_t i = 0; i < T; ++i)
      for (size_t j = 0; j < i; ++j) {
        double square = 0;
        for (size_t k = 0; k < T; ++k) square += w[k] * along(w, A, k);
        const double p = along(w, A, i) - along(w, A, j), s = A(i, i) - 2 * A(i, j) + A(j, j);
        const auto slope = [&](double t) {
          const double norm = std::sqrt(std::max(0.0, square + t * (2 * p + t * s)));
          return b[i] - b[j] + (norm > 0 ? c * (p + t * s) / norm : 0);
        };
        double low = -w[i], high = w[j];
        for (int n = 0; n < kHalvings && low < high; ++n) {
          const double middle = (low + high) / 2;
          (slope(middle) > 0 ? high : low) = middle;
        }
        const double t = (low + high) / 2;
        w[i] = std::max(0.0, w[i] + t), w[j] = std::max(0.0, w[j] - t);
        moved = std::max(moved, std::abs(t));
      }
    if (moved < kStill) break;
  }
  return w;
}

}  // namespace steelyard
