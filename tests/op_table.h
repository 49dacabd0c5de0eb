// The op table: every differentiable function of the library, as rows that can be run. A row says what goes
// in and which function is called; it knows nothing of what is checked. tests/op_test.cpp checks gradients,
// repeated backward passes and the independence of a row from its batch; tests/twin_test.cpp and
// tests/tape_test.cpp use the same rows. A row runs on any Backend, and its numbers are drawn from (seed,
// input, position), so two devices see the same ones.
//
// How to add a row: tests/op_table.cpp. A function of autograd/ops.h without a row fails op_test.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "autograd/parameter.h"
#include "core/backend.h"

namespace steelyard::test {

// What the function of a row works on.
struct Operands {
  Tape& tape;
  std::vector<Var> inputs;
  std::vector<const Parameter*> tables;
  Ids ids;            // in host memory: rows to look up, lengths or labels, as the function takes them
  Segments segments;  // in the device's memory

  Var operator[](size_t i) const { return inputs[i]; }
  RowIndex index() const { return tape.index(ids); }
};

// Which operands are cut into rows, so that row r of the result follows from their row r alone.
struct ByRow {
  std::vector<size_t> inputs = {};
  bool ids = false, segments = false;
};

struct OpCase {
  // "FUNCTION FUNCTOR, what is special": the words before the comma are what the row covers.
  std::string name;
  std::vector<Shape> inputs;  // drawn uniformly from [low, high], then moved away from 0 by `avoid`
  std::function<Var(const Operands&)> f;
  std::vector<Shape> tables = {};
  std::vector<int32_t> ids = {};
  std::vector<int32_t> begins = {}, ends = {};  // segments
  double low = -1, high = 1;
  double avoid = 0;               // where the function has a kink at 0
  std::vector<size_t> flat = {};  // inputs on which the result does not depend: a gradient of zeros
  std::optional<ByRow> by_row = {};
  bool random = false;  // two calls give different results
};

const std::vector<OpCase>& op_table();

// The numbers of one row on one device. The dense inputs come first in `parameters`, then the tables.
class OpSetup {
 public:
  OpSetup(const OpCase& row, Backend& backend, uint64_t seed = 1);

  // The function. Its inputs are results of another op: a leaf's gradient is always added to, theirs may be assigned
  // by who comes first.
  Var run(Tape& tape) const;
  Var run_row(Tape& tape, int64_t number) const;  // the same for one row alone; needs `by_row`
  int64_t rows() const;                           // how many rows `by_row` cuts

  const OpCase& row;
  Parameters parameters;

 private:
  Operands operands(Tape& tape, Ids ids, Ids begins, Ids ends) const;
};

// The numbers of a tensor, brought to the host.
std::vector<real> numbers(Tensor x);
// ∂L/∂p with all its zeros, for a dense parameter or for a table.
std::vector<real> gradient(const Gradients& gradients, const Parameter& p);
// Σ r ⊙ y with a fixed random r in [−1, 1]: a loss that sees every element differently.
Var projection(Var y, uint64_t seed = 1);

}  // namespace steelyard::test
