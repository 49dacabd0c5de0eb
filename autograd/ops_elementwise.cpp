#include "autograd/ops.h"
#include "core/backend.h"

namespace steelyard {

namespace {

template <class Ops, class Id>
const char* name_of(Ops ops, Id op) {
  const char* name = nullptr;
  with_op(ops, op, [&]<class Op>() { name = Op::name; });
  return name;
}
const char* name(UnaryId op) { return name_of(UnaryOps{}, op); }
const char* name(BinaryId op) { return name_of(BinaryOps{}, op); }

}  // namespace

Var unary(UnaryId op, Var x) {
  const Tensor y = x.tape->alloc(x.shape());
  x.backend().unary(op, x.value(), y);
  return x.tape->record(name(op), y, {x}, [op, x, y](Tensor dy) {
    const auto [dx, beta] = x.grad_so_far();
    x.backend().unary_grad(op, x.value(), y, dy, beta, dx);  // dx += dy · f′(x, y)
  });
}

Var binary(BinaryId op, Var a, Var b) {
  check(a.shape() == b.shape(), name(op), ": the shapes differ: ", a.shape(), " and ", b.shape());
  const Tensor c = a.tape->alloc(a.shape());
  a.backend().binary(op, a.value(), b.value(), c);
  return a.tape->record(name(op), c, {a, b}, [op, a, b](Tensor dc) {
    a.backend().binary_grad(op, a.value(), b.value(), dc, a.grad(), b.grad());
  });
}

Var affine(Var x, real scale, real shift) {
  const Tensor y = x.tape->alloc(x.shape());
  x.backend().affine(scale, shift, x.value(), y);
  return x.tape->record("affine", y, {x}, [scale, x](Tensor dy) { x.backend().axpy(scale, dy, x.grad()); });
}

Var dropout(Var x, real rate) {
  check(rate >= 0 && rate < 1, "dropout: rate ", rate, "; expected 0 ≤ rate < 1");
  if (rate == 0 || x.tape->mode() == Mode::score) return x;
  const uint64_t key = x.tape->next_random_key();
  const Tensor y = x.tape->alloc(x.shape());
  x.backend().zero(y);
  x.backend().dropout(key, rate, x.value(), y);
  return x.tape->record("dropout", y, {x}, [key, rate, x](Tensor dy) {
    x.backend().dropout(key, rate, dy, x.grad());  // the mask is a function of the key: nothing is saved
  });
}

}  // namespace steelyard
