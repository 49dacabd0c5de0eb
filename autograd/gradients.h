// The gradients of one backward pass: one flat block for all dense parameters and a list of touched rows per
// table. `merge` adds the gradients of several shards in a fixed order and joins the rows, duplicates summed,
// so that the norm of the whole is right and an optimiser sees every row once.
#pragma once

#include <array>
#include <vector>

#include "autograd/parameter.h"
#include "core/parallel.h"

namespace steelyard {

// Gradient of a table; all other rows are zero.
struct RowGrad {
  Ids rows;       // [n]    ascending, distinct
  Tensor values;  // [n,D]  values[i] = ∂L/∂table[rows[i]]
};

// Of each parameter, by its index: is it meant? Empty: all are.
using Chosen = std::span<const uint8_t>;
inline bool is_chosen(Chosen chosen, const Parameter& p) {
  return chosen.empty() || chosen[static_cast<size_t>(p.index)];
}

class Gradients {
 public:
  explicit Gradients(const Parameters& parameters);

  void clear();  // all zero, no rows

  Tensor dense() const { return dense_.tensor(); }
  Tensor dense(const Parameter& p) const;                          // its part of the block
  const std::vector<RowGrad>& rows(const Parameter& table) const;  // one per look-up; disjoint after merge
  Tensor add_rows(const Parameter& table, Ids rows);               // a new RowGrad's zeroed values

  // Becomes the sum of the parts.
  void merge(std::span<const Gradients> parts, const Workers& workers);

  double norm() const;  // √ Σ g²; NaN or Inf if any gradient is
  void scale(real factor, Chosen chosen = {});
  double dot(const Gradients& other, Chosen chosen = {}) const;  // Σ a · b; of merged gradients

 private:
  void merge_rows(std::span<const Gradients> parts, size_t table, const Workers& workers);

  const Parameters* parameters_;
  Buffer dense_;
  std::vector<std::vector<RowGrad>> rows_;  // by the index of the parameter
  Arena arena_;                             // rows and values outlive the tape's next backward
};

}  // namespace steelyard
