// Look-ups in tables, segments and softmax. A table is no Var: its gradient is a list of touched rows that
// goes straight to the Gradients of the backward pass.
#include <algorithm>

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
