// Every fused function equals its twin of tests/twins.h: values and all gradients, to 1e-9 in double and 1e-5
// in float.
#include <cmath>

#include "tests/op_table.h"
#include "tests/support.h"
#include "tests/twins.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

constexpr double kTolerance = sizeof(real) == 8 ? 1e-9 : 1e-5;

using Function = std::function<Var(const Operands&)>;

void check_close(const char* what, const std::vector<real>& a, const std::vector<real>& b) {
  CHECK(a.size() == b.size());
  double largest = 1;
  for (real x : b) largest = std::max(largest, std::abs(static_cast<double>(x)));
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) <= kTolerance * largest))
      FAIL_CHECK(std::string(what), ", element ", i, ": fused ", a[i], ", twin ", b[i]);
}

// The operands are those of the case, whose own function is the fused one.
void check_twin(const OpCase& fused, Function twin) {
  CAPTURE(fused.name);
  OpCase composed = fused;
  composed.f = std::move(twin);
  const OpSetup a(fused, cpu()), b(composed, cpu());
  Tape tape_a(cpu()), tape_b(cpu());
  const Var y_a = a.run(tape_a), y_b = b.run(tape_b);
  check_close("value", numbers(y_a.value()), numbers(y_b.value()));
  Gradients of_a(a.parameters), of_b(b.parameters);
  tape_a.backward(projection(y_a), of_a);
  tape_b.backward(projection(reshape(y_b, y_a.shape())), of_b);
  for (size_t i = 0; i < a.parameters.all().size(); ++i)
    check_close(a.parameters.all()[i].path.c_str(), gradient(of_a, a.parameters.all()[i]),
                gradient(of_b, b.parameters.all()[i]));
}

}  // namespace

TEST_CASE("twins: linear with each activation") {
  for (const UnaryId f : {unary_id<Identity>, unary_id<Tanh>, unary_id<Sigmoid>, unary_id<Relu>})
    for (const auto& [m, k, n] :
         {std::array<int64_t, 3>{17, 33, 19}, {1, 1, 1}, {8, 64, 16}, {3, 0, 5}, {0, 3, 5}})
      check_twin({.name = text("linear ", m, "×", k, "×", n),
                  .inputs = {{m, k}, {k, n}, {n}},
                  .f = [f](const Operands& x) { return linear(x[0], x[1], x[2], f); }},
                 [f](const Operands& x) { return linear_twin(x[0], x[1], x[2], f); });
}

TEST_CASE("twins: bag with and without weights") {
  for (const int64_t width : {1, 5, 32}) {
    OpCase fused{.name = text("bag of width ", width),
                 .inputs = {{9}},
                 .f = [](const Operands& x) { return bag(*x.tables[0], x.index(), x.segments, x[0]); },
                 .tables = {{20, width}},
                 .ids = {3, 3, 19, 0, 3, 7, 7, 0, 1},
                 .begins = {1, 4, 4, 7},
                 .ends = {4, 4, 6, 9}};
    check_twin(fused, [](const Operands& x) { return bag_twin(*x.tables[0], x.index(), x.segments, x[0]); });
    fused.inputs.clear();
    fused.f = [](const Operands& x) { return bag(x.tape, *x.tables[0], x.index(), x.segments); };
    check_twin(fused,
               [](const Operands& x) { return bag_twin(x.tape, *x.tables[0], x.index(), x.segments); });
  }
}

TEST_CASE("twins: cross entropy") {
  check_twin({.name = "cross_entropy",
              .inputs = {{5, 37}},
              .f = [](const Operands& x) { return cross_entropy(x[0], x.ids); },
              .ids = {36, 0, -1, 7, 7},
              .low = -4,
              .high = 4},
             [](const Operands& x) { return cross_entropy_twin(x[0], x.ids); });
}

TEST_CASE("twins: layer norm") {
  const real epsilon = real(1e-3);
  for (const Shape& shape : {Shape{4, 19}, Shape{1, 16}, Shape{2, 3, 40}})
    check_twin({.name = text("layer_norm ", shape),
                .inputs = {shape, {shape.cols()}, {shape.cols()}},
                .f = [=](const Operands& x) { return layer_norm(x[0], x[1], x[2], epsilon); }},
               [=](const Operands& x) { return layer_norm_twin(x[0], x[1], x[2], epsilon); });
}

TEST_CASE("twins: softmax over segments") {
  check_twin({.name = "softmax",
              .inputs = {{40}},
              .f = [](const Operands& x) { return softmax(x[0], x.segments); },
              .begins = {1, 6, 6, 20},
              .ends = {4, 6, 18, 40},
              .low = -4,
              .high = 4},
             [](const Operands& x) { return softmax_twin(x[0], x.segments); });
}

TEST_CASE("twins: attention") {
  for (const auto& [depth, heads] : {std::array<int64_t, 2>{64, 4}, {32, 4}, {10, 2}, {48, 1}})
    check_twin({.name = text("attention of ", depth, " columns, ", heads, " heads"),
                .inputs = {{120, 3 * depth}},
                .f = [heads = heads](const Operands& x) { return attention(x[0], x.segments, heads); },
                .begins = {1, 66, 66, 70, 83},
                .ends = {66, 66, 67, 82, 120},
                .low = -3,
                .high = 3},
               [heads = heads](const Operands& x) { return attention_twin(x[0], x.segments, heads); });
}

TEST_CASE("twins: lstm") {
  for (const int64_t H : {1, 16, 19, 40})
    check_twin({.name = text("lstm of ", H, " units"),
                .inputs = {{70, 3 * H}, {70, H}, {H, 4 * H}, {5, 2 * H}},
                .f = [](const Operands& x) { return lstm(x[0], x[1], x[2], x.segments, x[3]); },
                .begins = {40, 1, 1, 20, 69},
                .ends = {69, 1, 18, 40, 70}},
               [](const Operands& x) { return lstm_twin(x[0], x[1], x[2], x.segments, x[3]); });
}
