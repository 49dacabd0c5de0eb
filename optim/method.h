// How the losses of several tasks become one step: a method looks at them, and perhaps at how their gradients lie
// to each other, and says how much each task's gradient counts. Below are those that know no constraint; the
// one that does is in optim/lagrangian.h. In the formulas: L_k loss of task k of T, g_k its gradient on what
// tasks share, w_k its weight.
//
//   equal        w_k = 1
//   weighted     w_k as configured
//   uncertainty  w_k = 1 / 2e^s_k, and s_k descends on L_k / 2e^s_k + s_k / 2        (Kendall, Gal & Cipolla 2018)
//   dwa          w = T softmax(r / temperature), r_k = L_k of the last epoch / of the one before (Liu et al. 2019)
//   gradnorm     w = T softmax(s), and s descends on Σ |w_k‖g_k‖ − mean · r_k^α|,
//                r_k = (L_k / L_k of the first step) / their mean                           (Chen et al. 2018)
//   pcgrad       g_i loses what is against each other g_j, in random order                    (Yu et al. 2020)
//   cagrad       d = g₀ + c g_w / ‖g_w‖ with g₀ the mean gradient, c = α‖g₀‖, g_w = Σ w_k g_k and
//                w = argmin over the simplex of ⟨g_w, g₀⟩ + c‖g_w‖                            (Liu et al. 2021)
//   mgda         w = argmin over the simplex of ‖Σ w_k g_k‖²                        (Désidéri 2012; Sener & Koltun 2018)
//   famo         z = softmax(ξ), w_k ∝ z_k / L_k, and ξ follows how log L_k fell           (Liu et al. 2023)
//   one_sided    pcgrad with an order: g_i loses what is against a g_j of higher priority, the first one last
//   barrier      from the last goal up, d = d + λ_j g_j with the least λ_j ≥ 0 that makes ⟨d, g_j⟩ ≥ β‖g_j‖²
//                                                              (dynamic barrier; Gong, Liu & Liu 2021)
//
// All that looks at gradients needs only their inner products: what it makes of them is again a sum of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace steelyard {

// A task as training sees it.
struct Goal {
  std::string name;
  int priority = 0;  // from 1 on; 0: none
  double weight = 1;
  bool own = true;  // it has parameters that no other task reads
};

struct MethodConfig {
  double dwa_temperature = 2, gradnorm_alpha = 1.5, gradnorm_rate = 0.025, cagrad_alpha = 0.5,
         famo_rate = 0.025, famo_decay = 1e-3, barrier_beta = 1;

  template <class F>
  void fields(F&& f) {
    f("dwa_temperature", dwa_temperature, "of the softmax of dwa");
    f("gradnorm_alpha", gradnorm_alpha, "how strongly gradnorm pulls tasks back that learn faster");
    f("gradnorm_rate", gradnorm_rate, "learning rate of its weights");
    f("cagrad_alpha", cagrad_alpha, "how far cagrad goes from the mean gradient; less than 1");
    f("famo_rate", famo_rate, "learning rate of famo's weights");
    f("famo_decay", famo_decay, "their weight decay");
    f("barrier_beta", barrier_beta, "how fast barrier makes the goals before fall");
  }
  void validate() const;  // Error(usage) names the key
};

// ⟨g_i, g_j⟩ of the tasks' gradients on the parameters that they share.
class Products {
 public:
  explicit Products(size_t tasks) : tasks_(tasks), values_(tasks * tasks) {}
  double operator()(size_t i, size_t j) const { return values_[i * tasks_ + j]; }
  void set(size_t i, size_t j, double value) { values_[i * tasks_ + j] = values_[j * tasks_ + i] = value; }
  size_t tasks() const { return tasks_; }

 private:
  size_t tasks_;
  std::vector<double> values_;
};

class Method {
 public:
  virtual ~Method() = default;

  // What it wants to see beside the losses: the products of gradients, and the losses behind the step.
  virtual bool wants_products() const { return false; }
  virtual bool wants_losses_behind() const { return false; }
  // Are its weights for what tasks share alone, and 1 for what belongs to one of them?
  virtual bool for_shared_only() const { return wants_products(); }

  // The weight of each task's gradient; 0 of a task whose loss is NaN: it has no rows in this step.
  virtual void weigh(int64_t step, std::span<const double> losses, const Products* products,
                     std::span<double> weights) = 0;
  virtual void look_behind(std::span<const double>) {}  // the losses of the same rows behind the step

  // Whatever it remembers from step to step.
  std::span<double> state() { return state_; }

 protected:
  std::vector<double> state_;
};

// `rate`: of numbers that are learned at the side of the model's. Error(usage): goals without an order, where the
// method needs one.
std::unique_ptr<Method> make_method(const std::string& name, const MethodConfig& config,
                                    std::span<const Goal> goals, double rate, int64_t steps_per_epoch,
                                    uint64_t seed);
std::vector<std::string> method_names();  // those above

// argmin of bᵀ w + c √(wᵀ A w) over w ≥ 0, Σ w = 1, for a positive semidefinite A.
std::vector<double> least_on_simplex(const Products& A, std::span<const double> b, double c);

}  // namespace steelyard
