#include "autograd/tape.h"

#include <cmath>
#include <utility>

#include "core/backend.h"

namespace steelyard {

Tape::Tape(Backend& backend, Mode mode)
    : mode_(mode), values_(backend), temporary_(backend), closures_(cpu()) {}

const Tape::Record& Tape::at(const Var& v) const {
  check(v.generation == generation_ && v.index < static_cast<int32_t>(records_.size()),
        "tape: a stale Var: it was made before reset()");
  return records_[static_cast<size_t>(v.index)];
}

Tensor Var::value() const { return tape->at(*this).value; }
Shape Var::shape() const { return tape->at(*this).value.shape; }
bool Var::needs_grad() const { return tape->at(*this).needs_grad; }
Backend& Var::backend() const { return tape->backend(); }
Tensor Var::grad() const {
  const auto [grad, beta] = grad_so_far();
  if (beta == 0 && !grad.empty()) backend().zero(grad);
  return grad;
}
Var::Sum Var::grad_so_far() const {
  if (!needs_grad()) return {};
  return tape->grad_so_far(index);
}

Var Tape::append(Record record) {
  check(record.value.backend == &backend(), record.op, ": a tensor of another device");
  if (record.needs_grad && !record.parameter) {
    record.grad_offset = grad_size_;
    grad_size_ += record.value.size();
  }
  check_count("tape", size() + 1);
  records_.push_back(record);
  return {this, static_cast<int32_t>(records_.size()) - 1, generation_};
}

Var Tape::leaf(const Parameter& p) {
  check(!p.table, "tape: \"", p.path, "\" is a table: read it by rows");
  return append({.op = "leaf", .value = p.value(), .parameter = &p, .needs_grad = mode_ == Mode::train});
}

Var Tape::constant(Tensor x) { return append({.op = "constant", .value = x}); }

Var Tape::constant(Shape shape, std::span<const real> host) {
  check(shape.size() == static_cast<int64_t>(host.size()), "constant: ", host.size(),
        " numbers for the shape ", shape);
  const Tensor x = alloc(shape);
  backend().upload(host.data(), x.data, host.size_bytes());
  return constant(x);
}

Var::Sum Tape::grad_so_far(int32_t index) {
  Record& record = records_[static_cast<size_t>(index)];
  const bool reached = std::exchange(record.reached, true);
  if (record.parameter) return {sink_->dense(*record.parameter), 1};
  return {{grads_.data + record.grad_offset, record.value.shape, &backend()}, real(reached)};
}

void Tape::backward(Var loss, Gradients& into, real scale) {
  check(mode_ == Mode::train, "backward: the tape is in Mode::score");
  check(loss.tape == this, "backward: a Var of another tape");
  check(loss.size() == 1, "backward: the loss has shape ", loss.shape(), "; expected one element");
  if (!loss.needs_grad()) return;  // it depends on no parameter
  temporary_.reset();
  sink_ = &into;
  grads_ = temporary_.tensor({grad_size_});
  for (Record& record : records_) record.reached = false;
  const Tensor seed = loss.grad();
  backend().affine(0, scale, seed, seed);
  for (int32_t i = loss.index; i >= 0; --i) {
    const Record& record = records_[static_cast<size_t>(i)];
    if (record.reached && record.run) record.run(record.closure, grad_so_far(i).grad);
  }
  sink_ = nullptr;
}

Ids Tape::upload(Ids host) {
  if (backend().on_host()) {
    std::span<int32_t> copy = closures_.array<int32_t>(static_cast<int64_t>(host.size()));
    std::copy(host.begin(), host.end(), copy.begin());
    return copy;
  }
  std::span<int32_t> copy = values_.array<int32_t>(static_cast<int64_t>(host.size()));
  backend().upload(host.data(), copy.data(), host.size_bytes());
  return copy;
}

RowIndex Tape::index(Ids host) {
  if (mode_ == Mode::score) return {upload(host), {}, {}, {}};
  const RowIndex index = index_rows(upload(host), closures_);
  if (backend().on_host()) return index;
  return {upload(index.ids), upload(index.rows), upload(index.starts), upload(index.order)};
}

FieldRows Tape::fields(Ids host, int64_t count) { return index_fields(upload(host), count, closures_); }

Steps Tape::steps(const Segments& sequences, int64_t count) {
  const Steps steps = cut_into_steps(sequences, count, closures_);
  if (backend().on_host()) return steps;
  return {upload(steps.sequences), steps.starts, upload(steps.rows)};
}

void Tape::reset() {
  records_.clear();
  values_.reset();
  closures_.reset();
  grad_size_ = 0;
  random_calls_ = 0;
  ++generation_;
}

const char* Tape::first_not_finite() const {
  for (const Record& record : records_)
    if (!std::isfinite(backend().sum_squares(record.value))) return record.op;
  return nullptr;
}

}  // namespace steelyard
