// The primal step: dense parameters and tables, each with a rule of its own.
//
//   sgd          w ← w − η g
//   adagrad      s ← s + g²,  w ← w − η g / (√s + ε)            (Duchi, Hazan & Singer 2011)
//   adam         means of g and g², bias-corrected              (Kingma & Ba 2015)
//                with decoupled weight decay                    (AdamW: Loshchilov & Hutter 2019)
//   row_adagrad  tables only: one s per row, s ← s + mean g²
//
// A table's rule touches only the rows of the batch. For adam that makes it the lazy one: the moments of other
// rows do not decay, the bias correction counts global steps, the weight decay reaches only rows that are used.
#pragma once

#include <string>
#include <vector>

#include "autograd/gradients.h"
#include "core/functors.h"

namespace steelyard {

struct OptimizerConfig {
  std::string dense = "adam";
  std::string tables = "row_adagrad";
  double rate = 1e-3;
  double table_rate = 0;
  double weight_decay = 0;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double clip = 0;

  template <class F>
  void fields(F&& f) {
    f("dense", dense, "rule for dense parameters: sgd, adagrad or adam");
    f("tables", tables, "rule for tables: sgd, adagrad, adam or row_adagrad");
    f("rate", rate, "learning rate");
    f("table_rate", table_rate, "learning rate of tables; 0: the same");
    f("weight_decay", weight_decay, "decoupled weight decay per step, times the learning rate");
    f("beta1", beta1, "adam: decay of the mean of gradients");
    f("beta2", beta2, "adam: decay of the mean of squared gradients");
    f("epsilon", epsilon, "adam, adagrad: added to the root");
    f("clip", clip, "largest global norm of the gradient; 0: no limit");
  }
  void validate() const;  // Error(usage) names the key
};

class Optimizer {
 public:
  Optimizer(Parameters& parameters, const OptimizerConfig& config);

  // One step of the chosen parameters with merged gradients; every learning rate is multiplied by `factor` (the
  // schedule).
  void step(const Gradients& gradients, double factor, const Workers& workers, Chosen chosen = {});

  // The state as arrays for a checkpoint, "optimizer/steps", "optimizer/1/PATH" and "optimizer/2/PATH", and back.
  // Rows by which a table has `grown` since begin without a past.
  std::vector<NamedArray> arrays() const;
  void assign(const TensorFile& file, bool grown = false);

 private:
  UpdateStep rule(const std::string& name, double rate) const;

  Parameters* parameters_;
  OptimizerConfig config_;
  std::vector<Buffer> state1_, state2_;  // by the index of the parameter
  int64_t steps_ = 0;
};

}  // namespace steelyard
