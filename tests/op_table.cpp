// To add a row, append it to the group of its function: its name, the shapes of the inputs, the call. Give a
// function the shapes that could break it: one element, sizes that no lane of 16 divides, no rows at all, two
// and three sizes, the same Var twice, repeated ids, empty segments.
#include "tests/op_table.h"

#include <algorithm>

#include "core/random.h"

namespace steelyard::test {

namespace {

using Table = std::vector<OpCase>;

// ---- element-wise

void add_unary(Table& table, const std::string& name, Var (*f)(Var), double low = -3, double high = 3,
               double avoid = 0) {
  for (const Shape& shape : {Shape{3, 37}, Shape{1}, Shape{}, Shape{2, 3, 5}, Shape{0, 4}})
    table.push_back({.name = text(name, ", ", shape),
                     .inputs = {shape},
                     .f = [f](const Operands& x) { return f(x[0]); },
                     .low = low,
                     .high = high,
                     .avoid = avoid,
                     .by_row = ByRow{{0}}});
}

// `flat_itself`: f(x, x) does not depend on x.
void add_binary(Table& table, const std::string& name, Var (*f)(Var, Var), bool flat_itself, double low = -3,
                double high = 3) {
  for (const Shape& shape : {Shape{3, 37}, Shape{1}, Shape{2, 3, 5}, Shape{0, 4}})
    table.push_back({.name = text(name, ", ", shape),
                     .inputs = {shape, shape},
                     .f = [f](const Operands& x) { return f(x[0], x[1]); },
                     .low = low,
                     .high = high,
                     .by_row = ByRow{{0, 1}}});
  table.push_back({.name = name + ", both inputs the same",
                   .inputs = {{3, 7}},
                   .f = [f](const Operands& x) { return f(x[0], x[0]); },
                   .low = low,
                   .high = high,
                   .flat = flat_itself ? std::vector<size_t>{0} : std::vector<size_t>{},
                   .by_row = ByRow{{0}}});
}

void add_elementwise(Table& table) {
  const double kink = 0.01;
  add_unary(table, "unary identity", [](Var x) { return unary(unary_id<Identity>, x); });
  add_unary(table, "neg", neg);
  add_unary(table, "exp", exp);
  add_unary(table, "log", log, 0.5, 3);
  add_unary(table, "square", square);
  add_unary(table, "tanh", tanh);
  add_unary(table, "sigmoid", sigmoid);
  add_unary(table, "relu", relu, -3, 3, kink);
  add_unary(table, "softplus", softplus);
  add_unary(table, "log_relu", log_relu, -3, 3, kink);
  add_unary(table, "gelu", gelu);
  add_unary(table, "affine", [](Var x) { return affine(x, real(-1.5), real(0.25)); });

  add_binary(
      table, "binary operator+ add", [](Var a, Var b) { return a + b; }, false);
  add_binary(
      table, "operator- sub", [](Var a, Var b) { return a - b; }, true);
  add_binary(
      table, "operator* mul", [](Var a, Var b) { return a * b; }, false);
  add_binary(
      table, "operator/ div", [](Var a, Var b) { return a / b; }, true, 0.5, 3);
  add_binary(table, "bce", bce, false);
  add_binary(table, "squared_error", squared_error, true);

  table.push_back({.name = "dropout",
                   .inputs = {{7, 13}},
                   .f = [](const Operands& x) { return dropout(x[0], real(0.3)); },
                   .random = true});
  table.push_back({.name = "dropout, no rows",
                   .inputs = {{0, 13}},
                   .f = [](const Operands& x) { return dropout(x[0], real(0.3)); },
                   .random = true});
}

// ---- matrices

void add_products(Table& table) {
  struct Sizes {
    int64_t m, k, n;
  };
  for (const auto [m, k, n] : {Sizes{3, 5, 7}, Sizes{1, 1, 1}, Sizes{17, 33, 19}, Sizes{8, 4, 16},
                               Sizes{0, 5, 7}, Sizes{3, 0, 7}, Sizes{3, 5, 0}}) {
    const std::string sizes = text(m, "×", k, "×", n);
    table.push_back({.name = "matmul, " + sizes,
                     .inputs = {{m, k}, {k, n}},
                     .f = [](const Operands& x) { return matmul(x[0], x[1]); },
                     .by_row = ByRow{{0}}});
    table.push_back({.name = "matmul_transposed, " + sizes,
                     .inputs = {{m, k}, {n, k}},
                     .f = [](const Operands& x) { return matmul_transposed(x[0], x[1]); },
                     .by_row = ByRow{{0}}});
    for (const UnaryId f : {unary_id<Identity>, unary_id<Tanh>, unary_id<Sigmoid>, unary_id<Relu>})
      table.push_back({.name = text("linear, activation ", static_cast<int>(f), ", ", sizes),
                       .inputs = {{m, k}, {k, n}, {n}},
                       .f = [f](const Operands& x) { return linear(x[0], x[1], x[2], f); },
                       .by_row = ByRow{{0}}});
  }
  table.push_back({.name = "matmul, three sizes",
                   .inputs = {{2, 3, 5}, {5, 4}},
                   .f = [](const Operands& x) { return matmul(x[0], x[1]); },
                   .by_row = ByRow{{0}}});
  table.push_back({.name = "matmul, both inputs the same", .inputs = {{5, 5}}, .f = [](const Operands& x) {
                     return matmul(x[0], x[0]);
                   }});
  table.push_back({.name = "matmul_transposed, both inputs the same",
                   .inputs = {{5, 7}},
                   .f = [](const Operands& x) { return matmul_transposed(x[0], x[0]); }});
  table.push_back({.name = "linear, three sizes",
                   .inputs = {{2, 3, 5}, {5, 4}, {4}},
                   .f = [](const Operands& x) { return linear(x[0], x[1], x[2], unary_id<Tanh>); },
                   .by_row = ByRow{{0}}});
  table.push_back({.name = "linear, one size", .inputs = {{5}, {5, 4}, {4}}, .f = [](const Operands& x) {
                     return linear(x[0], x[1], x[2]);
                   }});
}

void add_matrices(Table& table) {
  for (const Shape& shape : {Shape{3, 37}, Shape{1, 1}, Shape{2, 3, 5}, Shape{0, 4}}) {
    table.push_back({.name = text("add_row, ", shape),
                     .inputs = {shape, {shape.cols()}},
                     .f = [](const Operands& x) { return add_row(x[0], x[1]); },
                     .by_row = ByRow{{0}}});
    table.push_back({.name = text("scale_rows, ", shape),
                     .inputs = {shape, {shape.rows(), 1}},
                     .f = [](const Operands& x) { return scale_rows(x[0], x[1]); },
                     .by_row = ByRow{{0, 1}}});
    table.push_back({.name = text("dot_rows, ", shape),
                     .inputs = {shape, shape},
                     .f = [](const Operands& x) { return dot_rows(x[0], x[1]); },
                     .by_row = ByRow{{0, 1}}});
    table.push_back({.name = text("concat, ", shape),
                     .inputs = {shape, {shape.rows(), 6}, {shape.rows(), 16}},
                     .f =
                         [](const Operands& x) {
                           return concat({x[0], x[1], x[2]});
                         },
                     .by_row = ByRow{{0, 1, 2}}});
    table.push_back(
        {.name = text("slice_columns, ", shape),
         .inputs = {shape},
         .f = [](const Operands& x) { return slice_columns(x[0], x[0].cols() / 3, (x[0].cols() + 1) / 2); },
         .by_row = ByRow{{0}}});
  }
  table.push_back({.name = "dot_rows, both inputs the same",
                   .inputs = {{3, 7}},
                   .f = [](const Operands& x) { return dot_rows(x[0], x[0]); },
                   .by_row = ByRow{{0}}});
  table.push_back({.name = "concat, one input twice",
                   .inputs = {{3, 5}, {3, 0}},
                   .f =
                       [](const Operands& x) {
                         return concat(std::vector<Var>{x[0], x[1], x[0]});
                       },
                   .by_row = ByRow{{0, 1}}});
  table.push_back({.name = "slice_columns, none", .inputs = {{3, 5}}, .f = [](const Operands& x) {
                     return slice_columns(x[0], 5, 0);
                   }});
  table.push_back({.name = "reshape", .inputs = {{6, 4}}, .f = [](const Operands& x) {
                     return reshape(x[0], {2, 3, 4});
                   }});
  table.push_back({.name = "reshape, to a scalar", .inputs = {{1, 1}}, .f = [](const Operands& x) {
                     return reshape(x[0], {});
                   }});
  table.push_back({.name = "reshape, no rows", .inputs = {{0, 4}}, .f = [](const Operands& x) {
                     return reshape(x[0], {2, 0});
                   }});
}

// ---- look-ups

void add_look_ups(Table& table) {
  const std::vector<int32_t> repeated = {4, 0, 4, 8, 4, 1, 0};
  for (const int64_t width : {5, 1, 16}) {
    table.push_back({.name = text("rows, width ", width),
                     .inputs = {},
                     .f = [](const Operands& x) { return rows(x.tape, *x.tables[0], x.index()); },
                     .tables = {{9, width}},
                     .ids = repeated,
                     .by_row = ByRow{.ids = true}});
    table.push_back({.name = text("bag, width ", width),
                     .inputs = {},
                     .f = [](const Operands& x) { return bag(x.tape, *x.tables[0], x.index(), x.segments); },
                     .tables = {{9, width}},
                     .ids = repeated,
                     .begins = {0, 3, 3, 5},
                     .ends = {3, 3, 5, 7},
                     .by_row = ByRow{.segments = true}});
    table.push_back({.name = text("bag, weights and gaps, width ", width),
                     .inputs = {{7}},
                     .f = [](const Operands& x) { return bag(*x.tables[0], x.index(), x.segments, x[0]); },
                     .tables = {{9, width}},
                     .ids = repeated,
                     .begins = {1, 4, 4},
                     .ends = {3, 4, 6},
                     .by_row = ByRow{.segments = true}});
    table.push_back({.name = text("gather, width ", width),
                     .inputs = {{9, width}},
                     .f = [](const Operands& x) { return gather(x[0], x.index().ids); },
                     .ids = repeated,
                     .by_row = ByRow{.ids = true}});
  }
  table.push_back({.name = "rows, none",
                   .inputs = {},
                   .f = [](const Operands& x) { return rows(x.tape, *x.tables[0], x.index()); },
                   .tables = {{9, 5}}});
  table.push_back({.name = "rows, one table read twice",
                   .inputs = {},
                   .f =
                       [](const Operands& x) {
                         return rows(x.tape, *x.tables[0], x.index()) * rows(x.tape, *x.tables[0], x.index());
                       },
                   .tables = {{9, 5}},
                   .ids = repeated,
                   .by_row = ByRow{.ids = true}});
  table.push_back({.name = "bag, no segments",
                   .inputs = {{0}},
                   .f = [](const Operands& x) { return bag(*x.tables[0], x.index(), x.segments, x[0]); },
                   .tables = {{9, 5}}});
  for (const bool bias : {true, false})
    table.push_back({.name = text("field_linear, bias ", bias),
                     .inputs = {{7, 4}, {12, 9}, {9}},
                     .f =
                         [=](const Operands& x) {
                           const FieldRows fields = x.tape.fields(x.ids, 3);
                           return field_linear(x[0], fields, x[1], bias ? x[2] : Var{},
                                               bias ? unary_id<Relu> : unary_id<Identity>);
                         },
                     .ids = {0, 3, 5, 1, 3, 6, 0, 4, 5, 2, 3, 5},
                     .flat = bias ? std::vector<size_t>{} : std::vector<size_t>{2}});
  for (const int64_t blocks : {1, 3})
    table.push_back({.name = text("mix, blocks ", blocks),
                     .inputs = {{5, blocks * 6}, {5, blocks}},
                     .f = [](const Operands& x) { return mix(x[0], x[1]); },
                     .by_row = ByRow{.inputs = {0, 1}}});
  table.push_back({.name = "gather, none", .inputs = {{4, 5}}, .f = [](const Operands& x) {
                     return gather(x[0], x.index().ids);
                   }});
}

// ---- segments and softmax

void add_segments(Table& table) {
  for (const int64_t width : {5, 1, 16})
    table.push_back({.name = text("segment_sum, gaps and an empty one, width ", width),
                     .inputs = {{8, width}},
                     .f = [](const Operands& x) { return segment_sum(x[0], x.segments); },
                     .begins = {1, 4, 4},
                     .ends = {4, 4, 7},
                     .by_row = ByRow{.segments = true}});
  table.push_back({.name = "segment_sum, none", .inputs = {{8, 5}}, .f = [](const Operands& x) {
                     return segment_sum(x[0], x.segments);
                   }});
  table.push_back({.name = "softmax, segments with gaps",
                   .inputs = {{40}},
                   .f = [](const Operands& x) { return softmax(x[0], x.segments); },
                   .begins = {1, 6, 6, 20},
                   .ends = {4, 6, 18, 40}});
  for (const Shape& shape : {Shape{3, 37}, Shape{2, 3, 5}, Shape{1, 16}, Shape{0, 4}})
    table.push_back({.name = text("softmax, ", shape),
                     .inputs = {shape},
                     .f = [](const Operands& x) { return softmax(x[0]); },
                     .by_row = ByRow{{0}}});
  table.push_back({.name = "softmax, one column",
                   .inputs = {{3, 1}},
                   .f = [](const Operands& x) { return softmax(x[0]); },
                   .flat = {0},
                   .by_row = ByRow{{0}}});
  table.push_back({.name = "softmax, lengths",
                   .inputs = {{4, 19}},
                   .f = [](const Operands& x) { return softmax(x[0], x.ids); },
                   .ids = {19, 0, 1, 7},
                   .by_row = ByRow{{0}, true}});
  for (const Shape& shape : {Shape{4, 19}, Shape{2, 3, 8}, Shape{1, 16}, Shape{0, 5}})
    table.push_back({.name = text("layer_norm, ", shape),
                     .inputs = {shape, {shape.cols()}, {shape.cols()}},
                     .f = [](const Operands& x) { return layer_norm(x[0], x[1], x[2]); },
                     .by_row = ByRow{{0}}});
  table.push_back({.name = "layer_norm, one column",
                   .inputs = {{3, 1}, {1}, {1}},
                   .f = [](const Operands& x) { return layer_norm(x[0], x[1], x[2]); },
                   .flat = {0, 1},
                   .by_row = ByRow{{0}}});
}

void add_attention(Table& table) {
  struct Case {
    const char* what;
    int64_t n, depth, heads;
    std::vector<int32_t> begins, ends;
  };
  for (const Case& c :
       {Case{"one text", 5, 4, 2, {0}, {5}}, Case{"a text of one row", 1, 16, 1, {0}, {1}},
        Case{"several texts, an empty one, rows of none", 33, 17, 1, {1, 23, 24, 24}, {22, 24, 24, 32}},
        Case{"texts in any order", 12, 32, 4, {7, 0}, {12, 7}},
        Case{"columns of one", 7, 3, 3, {0, 4}, {4, 7}}, Case{"no rows", 0, 4, 2, {0}, {0}}})
    table.push_back({.name = text("attention, ", c.heads, " heads, ", c.what),
                     .inputs = {{c.n, 3 * c.depth}},
                     .f = [heads = c.heads](const Operands& x) { return attention(x[0], x.segments, heads); },
                     .begins = c.begins,
                     .ends = c.ends});
  table.push_back({.name = "attention, 2 heads, no text",
                   .inputs = {{3, 12}},
                   .f = [](const Operands& x) { return attention(x[0], x.segments, 2); },
                   .flat = {0}});
}

// ---- recurrence

void add_recurrence(Table& table) {
  const auto run = [](const Operands& x) { return lstm(x[0], x[1], x[2], x.segments); };
  const auto from_states = [](const Operands& x) { return lstm(x[0], x[1], x[2], x.segments, x[3]); };
  for (const int64_t H : {1, 5, 19})
    table.push_back({.name = text("lstm, H ", H, ", rows of none, an empty sequence"),
                     .inputs = {{13, 3 * H}, {13, H}, {H, 4 * H}, {5, 2 * H}},
                     .f = from_states,
                     .begins = {8, 3, 3, 0, 11},
                     .ends = {9, 7, 3, 3, 13}});
  table.push_back({.name = "lstm, without states",
                   .inputs = {{9, 12}, {9, 4}, {4, 16}},
                   .f = run,
                   .begins = {0, 4},
                   .ends = {4, 9}});
  table.push_back({.name = "lstm, more rows than repay packing U",
                   .inputs = {{75, 15}, {75, 5}, {5, 20}, {2, 10}},
                   .f = from_states,
                   .begins = {0, 40},
                   .ends = {40, 75}});
  table.push_back({.name = "lstm, single steps",
                   .inputs = {{3, 6}, {3, 2}, {2, 8}, {3, 4}},
                   .f = from_states,
                   .begins = {0, 1, 2},
                   .ends = {1, 2, 3}});
  table.push_back({.name = "lstm, no rows", .inputs = {{0, 6}, {0, 2}, {2, 8}}, .f = run, .flat = {2}});
}

// ---- losses

Var weighted(const Operands& x, std::initializer_list<real> weights) {
  const std::span<real> w = x.tape.array<real>(static_cast<int64_t>(weights.size()));
  std::copy(weights.begin(), weights.end(), w.begin());
  return weighted_mean(x[0], {w.data(), {static_cast<int64_t>(w.size())}, &cpu()});
}

void add_losses(Table& table) {
  const auto entropy = [](const Operands& x) { return cross_entropy(x[0], x.ids); };
  table.push_back({.name = "cross_entropy, a row without a label",
                   .inputs = {{4, 19}},
                   .f = entropy,
                   .ids = {18, 0, -1, 7},
                   .by_row = ByRow{{0}, true}});
  table.push_back({.name = "cross_entropy, three sizes",
                   .inputs = {{2, 2, 5}},
                   .f = entropy,
                   .ids = {4, 0, -1, 2},
                   .by_row = ByRow{{0}, true}});
  table.push_back(
      {.name = "cross_entropy, one class", .inputs = {{2, 1}}, .f = entropy, .ids = {0, 0}, .flat = {0}});
  table.push_back(
      {.name = "cross_entropy, no label", .inputs = {{2, 3}}, .f = entropy, .ids = {-1, -1}, .flat = {0}});
  table.push_back({.name = "cross_entropy, no rows", .inputs = {{0, 3}}, .f = entropy});
  for (const Shape& shape : {Shape{3, 37}, Shape{1}, Shape{2, 3, 5}, Shape{0, 4}}) {
    table.push_back(
        {.name = text("sum, ", shape), .inputs = {shape}, .f = [](const Operands& x) { return sum(x[0]); }});
    table.push_back({.name = text("mean, ", shape), .inputs = {shape}, .f = [](const Operands& x) {
                       return mean(x[0]);
                     }});
  }
  table.push_back({.name = "weighted_mean", .inputs = {{4}}, .f = [](const Operands& x) {
                     return weighted(x, {real(0.5), 0, 2, 1});
                   }});
  table.push_back({.name = "weighted_mean, all weights 0",
                   .inputs = {{3}},
                   .f =
                       [](const Operands& x) {
                         return weighted(x, {0, 0, 0});
                       },
                   .flat = {0}});
  table.push_back({.name = "weighted_mean, none", .inputs = {{0}}, .f = [](const Operands& x) {
                     return weighted(x, {});
                   }});
}

Table make_table() {
  Table table;
  add_elementwise(table);
  add_products(table);
  add_matrices(table);
  add_look_ups(table);
  add_segments(table);
  add_attention(table);
  add_recurrence(table);
  add_losses(table);
  return table;
}

Init draw(const OpCase& row) {
  const auto low = static_cast<real>(row.low), high = static_cast<real>(row.high),
             avoid = static_cast<real>(row.avoid);
  return [=](uint64_t key, int64_t index) {
    const real x = low + (high - low) * random_uniform(key, static_cast<uint64_t>(index));
    return x < 0 ? x - avoid : x + avoid;
  };
}

Ids one(Ids list, int64_t number) { return list.subspan(static_cast<size_t>(number), 1); }

}  // namespace

const std::vector<OpCase>& op_table() {
  static const Table table = make_table();
  return table;
}

OpSetup::OpSetup(const OpCase& row, Backend& backend, uint64_t seed) : row(row), parameters(backend, seed) {
  for (const Shape& shape : row.inputs)
    parameters.root().add(text("input", parameters.all().size()), shape, draw(row));
  for (const Shape& shape : row.tables)
    parameters.root().table(text("table", parameters.all().size()), shape, draw(row));
}

Operands OpSetup::operands(Tape& tape, Ids ids, Ids begins, Ids ends) const {
  Operands operands{tape, {}, {}, ids, {tape.upload(begins), tape.upload(ends)}};
  for (const Parameter& p : parameters.all())
    if (p.table)
      operands.tables.push_back(&p);
    else
      operands.inputs.push_back(unary(unary_id<Identity>, tape.leaf(p)));  // see op_table.h
  return operands;
}

Var OpSetup::run(Tape& tape) const { return row.f(operands(tape, row.ids, row.begins, row.ends)); }

int64_t OpSetup::rows() const {
  if (row.by_row->segments) return static_cast<int64_t>(row.begins.size());
  if (row.by_row->ids) return static_cast<int64_t>(row.ids.size());
  return row.inputs[row.by_row->inputs[0]].rows();
}

Var OpSetup::run_row(Tape& tape, int64_t number) const {
  const ByRow& by_row = *row.by_row;
  Operands alone = operands(tape, by_row.ids ? one(row.ids, number) : Ids(row.ids),
                            by_row.segments ? one(row.begins, number) : Ids(row.begins),
                            by_row.segments ? one(row.ends, number) : Ids(row.ends));
  for (size_t i : by_row.inputs) alone.inputs[i] = tape.constant(alone.inputs[i].value().slice(number, 1));
  return row.f(alone);
}

std::vector<real> numbers(Tensor x) {
  std::vector<real> host(static_cast<size_t>(x.size()));
  if (!host.empty()) x.backend->download(x.data, host.data(), host.size() * sizeof(real));
  return host;
}

std::vector<real> gradient(const Gradients& gradients, const Parameter& p) {
  if (!p.table) return numbers(gradients.dense(p));
  std::vector<real> all(static_cast<size_t>(p.shape.size()));
  const auto cols = static_cast<size_t>(p.shape.cols());
  for (const RowGrad& grad : gradients.rows(p)) {
    std::vector<int32_t> rows(grad.rows.size());
    p.buffer.tensor().backend->download(grad.rows.data(), rows.data(), grad.rows.size_bytes());
    const std::vector<real> values = numbers(grad.values);
    for (size_t i = 0; i < values.size(); ++i)
      all[static_cast<size_t>(rows[i / cols]) * cols + i % cols] += values[i];
  }
  return all;
}

Var projection(Var y, uint64_t seed) {
  const uint64_t key = key_of(seed, "projection");
  std::vector<real> r(static_cast<size_t>(y.size()));
  for (size_t i = 0; i < r.size(); ++i) r[i] = 2 * random_uniform(key, i) - 1;
  return sum(y * y.tape->constant(y.shape(), r));
}

}  // namespace steelyard::test
