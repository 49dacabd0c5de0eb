// Look-ups in tables, segments and softmax. A table is no Var: its gradient is a list of touched rows that
// goes straight to the Gradients of the backward pass.
#include <algorithm>
#include <numeric>

#include "autograd/ops.h"
#include "core/backend.h"

namespace steelyard {

namespace {

void check_ids(const char* op, Ids ids, int64_t rows) {
  for (int32_t id : ids) check(id >= 0 && id < rows, op, ": row ", id, " of a table of ", rows);
}

void read_table(const char* op, const Parameter& table, const RowIndex& index) {
  check(table.table, op, ": \"", table.path, "\" is no table");
  check_ids(op, index.ids, table.shape.rows());
  table.touch(index.rows.empty() ? index.ids : index.rows);
}

// owner[j] is the segment of position j, −1 if it is in none.
Ids owners(Tape& tape, const Segments& segments, int64_t positions) {
  const std::span<int32_t> owner = tape.array<int32_t>(positions);
  std::fill(owner.begin(), owner.end(), -1);
  for (size_t i = 0; i < segments.begins.size(); ++i)
    for (int32_t j = segments.begins[i]; j < segments.ends[i]; ++j) {
      int32_t& segment = owner[static_cast<size_t>(j)];
      check(segment < 0, "bag: position ", j, " is in two segments");
      segment = static_cast<int32_t>(i);
    }
  return tape.upload(owner);
}

void check_segments(const char* op, const Segments& segments, int64_t positions) {
  check(segments.begins.size() == segments.ends.size(), op, ": as many begins as ends");
  for (size_t i = 0; i < segments.begins.size(); ++i)
    check(segments.begins[i] >= 0 && segments.begins[i] <= segments.ends[i] && segments.ends[i] <= positions,
          op, ": segment ", segments.begins[i], " … ", segments.ends[i], " of ", positions, " positions");
}

Var bag_of(Tape& tape, const Parameter& table, const RowIndex& index, const Segments& segments,
           const Var* weights) {
  read_table("bag", table, index);
  const auto positions = static_cast<int64_t>(index.ids.size());
  check_segments("bag", segments, positions);
  const Tensor w = weights ? weights->value() : Tensor{};
  check(!weights || w.size() == positions, "bag: ", w.shape, " weights for ", positions, " positions");
  const Tensor y = tape.alloc({segments.size(), table.shape.cols()});
  tape.backend().bag(table.value(), index.ids, w, segments, y);
  const Ids owner = tape.mode() == Mode::train ? owners(tape, segments, positions) : Ids{};
  const Var weight = weights ? *weights : Var{};
  const auto backward = [&tape, &table, index, owner, w, weight](Tensor dy) {
    const Tensor values = table.fixed ? Tensor{} : tape.sink().add_rows(table, index.rows);
    tape.backend().bag_grad(table.value(), index, w, owner, dy, values,
                            weight.tape ? weight.grad() : Tensor{});
  };
  const std::span<const Var> inputs(&weight, weights ? 1 : 0);
  return tape.record("bag", y, inputs, backward, !table.fixed);
}

}  // namespace

Var rows(Tape& tape, const Parameter& table, const RowIndex& index) {
  read_table("rows", table, index);
  const Tensor y = tape.alloc({static_cast<int64_t>(index.ids.size()), table.shape.cols()});
  tape.backend().gather(table.value(), index.ids, y);
  const auto backward = [&tape, &table, index](Tensor dy) {
    tape.backend().sum_groups(dy, index, tape.sink().add_rows(table, index.rows));
  };
  return tape.record("rows", y, {}, backward, !table.fixed);
}

Var bag(Tape& tape, const Parameter& table, const RowIndex& index, const Segments& segments) {
  return bag_of(tape, table, index, segments, nullptr);
}

Var bag(const Parameter& table, const RowIndex& index, const Segments& segments, Var w) {
  return bag_of(*w.tape, table, index, segments, &w);
}

Var field_linear(Var x, const FieldRows& fields, Var W, Var b, UnaryId f) {
  const int64_t F = std::ssize(fields.blocks) - 1, D = x.cols(), N = W.cols();
  check(x.rows() == std::ssize(fields.index.rows) && W.rows() == F * D, "field_linear: ", x.shape(), " and ",
        W.shape(), " for ", fields.index.rows.size(), " rows of ", F, " fields");
  if (b.tape) check(b.size() == N, "field_linear: a bias of shape ", b.shape(), " for ", N, " columns");
  check(f == unary_id<Identity> || f == unary_id<Relu>, "field_linear: another activation than relu");
  const auto each_field = [F, D](Ids blocks, auto use) {  // (its rows, those of W)
    for (int64_t k = 0; k < F; ++k) {
      const int32_t first = blocks[static_cast<size_t>(k)], end = blocks[static_cast<size_t>(k) + 1];
      use([first, end](Tensor t) { return t.slice(first, end - first); },
          [k, D](Tensor t) { return t.slice(k * D, D); });
    }
  };
  Backend& backend = x.backend();
  const Tensor products = x.tape->alloc({x.rows(), N}), y = x.tape->alloc({fields.lists.size(), N});
  each_field(fields.blocks, [&](auto rows, auto part) {
    backend.gemm(rows(x.value()), part(W.value()), 0, rows(products));
  });
  backend.bag(products, fields.places.ids, {}, fields.lists, y);
  if (b.tape || f != unary_id<Identity>) backend.activate(f, b.tape ? b.value() : Tensor{}, y);
  const auto backward = [x, W, b, f, fields, each_field, y](Tensor dy) {
    Backend& backend = x.backend();
    Arena& scratch = x.tape->scratch();
    Tensor dz = dy;
    if (f != unary_id<Identity>) {
      dz = scratch.tensor(y.shape);
      backend.unary_grad(f, y, y, dy, 0, dz);
    }
    if (b.tape && b.needs_grad()) backend.sum_rows(dz, b.grad());
    const Tensor dproducts = scratch.tensor({x.rows(), W.cols()});
    backend.zero(dproducts);
    backend.bag_grad(dproducts, fields.places, {}, fields.owner, dz, dproducts, {});
    if (x.needs_grad()) {
      const auto [dx, beta] = x.grad_so_far();
      each_field(fields.blocks, [&, dx = dx, beta = beta](auto rows, auto part) {
        backend.gemm(rows(dproducts), transposed(part(W.value())), beta, rows(dx));
      });
    }
    if (W.needs_grad()) {
      const auto [dW, beta] = W.grad_so_far();
      each_field(fields.blocks, [&, dW = dW, beta = beta](auto rows, auto part) {
        backend.gemm(transposed(rows(x.value())), rows(dproducts), beta, part(dW));
      });
    }
  };
  if (!b.tape) return x.tape->record("field_linear", y, {x, W}, backward);
  return x.tape->record("field_linear", y, {x, W, b}, backward);
}

// The blocks are rows, and g the weights of a bag.
Var mix(Var x, Var g) {
  const int64_t R = g.rows(), E = g.cols();
  check(x.rows() == R && E > 0 && x.cols() % E == 0, "mix: ", g.shape(), " weights for ", x.shape());
  Tape& tape = *x.tape;
  check_count("mix", R * E + 1);
  const std::span<int32_t> numbers = tape.array<int32_t>(R * E + 1), starts = tape.array<int32_t>(R + 1);
  const Segments lists = Segments::even(starts, E);
  std::iota(numbers.begin(), numbers.end(), 0);
  const Ids all = tape.upload(numbers), blocks = all.first(static_cast<size_t>(R * E));
  const RowIndex index{blocks, blocks, all, blocks};
  const Ids owner = tape.mode() == Mode::train ? owners(tape, lists, R * E) : Ids{};
  const Shape by_block{R * E, x.cols() / E};
  const Tensor y = tape.alloc({R, x.cols() / E});
  tape.backend().bag(x.value().reshape(by_block), blocks, g.value(), Segments::between(tape.upload(starts)),
                     y);
  return tape.record("mix", y, {x, g}, [x, g, index, owner, by_block](Tensor dy) {
    x.backend().bag_grad(x.value().reshape(by_block), index, g.value(), owner, dy,
                         x.needs_grad() ? x.grad().reshape(by_block) : Tensor{},
                         g.needs_grad() ? g.grad() : Tensor{});
  });
}

Var gather(Var x, Ids ids) {
  check_ids("gather", ids, x.rows());
  const Ids kept = x.tape->upload(ids);
  const Tensor y = x.tape->alloc({static_cast<int64_t>(ids.size()), x.cols()});
  x.backend().gather(x.value(), kept, y);
  return x.tape->record("gather", y, {x}, [x, kept](Tensor dy) {
    x.backend().scatter_add(dy, kept, x.grad());  // dx[ids[j]] += dy[j]
  });
}

Var segment_sum(Var x, const Segments& segments) {
  check_segments("segment_sum", segments, x.rows());
  const Tensor y = x.tape->alloc({segments.size(), x.cols()});
  x.backend().segment_sum(x.value(), segments, y);
  return x.tape->record("segment_sum", y, {x},
                        [x, segments](Tensor dy) { x.backend().segment_sum_grad(segments, dy, x.grad()); });
}

Var softmax(Var x, const Segments& segments) {
  check_segments("softmax", segments, x.size());
  const Tensor y = x.tape->alloc(x.shape());
  x.backend().softmax(x.value(), segments, y);
  return x.tape->record("softmax", y, {x},
                        [x, segments, y](Tensor dy) { x.backend().softmax_grad(y, segments, dy, x.grad()); });
}

Var softmax(Var x, Ids lengths) {
  check(lengths.empty() || static_cast<int64_t>(lengths.size()) == x.rows(), "softmax: ", lengths.size(),
        " lengths for ", x.rows(), " rows");
  check_count("softmax", x.size());
  const std::span<int32_t> begins = x.tape->array<int32_t>(x.rows()), ends = x.tape->array<int32_t>(x.rows());
  for (int64_t r = 0; r < x.rows(); ++r) {
    const auto at = static_cast<size_t>(r);
    const int64_t length = lengths.empty() ? x.cols() : lengths[at];
    check(length >= 0 && length <= x.cols(), "softmax: length ", length, " in a row of ", x.cols());
    begins[at] = static_cast<int32_t>(r * x.cols());
    ends[at] = static_cast<int32_t>(r * x.cols() + length);
  }
  return softmax(x, Segments{x.tape->upload(begins), x.tape->upload(ends)});
}

Var softmax(Var x) { return softmax(x, Ids{}); }

}  // namespace steelyard
