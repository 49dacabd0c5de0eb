#include <algorithm>

#include "autograd/ops.h"
#include "core/backend.h"

namespace steelyard {

namespace {

// dx += a · b
void add_product(Mat a, Mat b, Var x) {
  if (!x.needs_grad()) return;
  const auto [dx, beta] = x.grad_so_far();
  x.backend().gemm(a, b, beta, dx);
}

}  // namespace

// c = a · b                       a [M,K]   b [K,N]   c [M,N]
Var matmul(Var a, Var b) {
  check(a.cols() == b.rows(), "matmul: the inner sizes differ: ", a.shape(), " · ", b.shape());
  const Tensor c = a.tape->alloc({a.rows(), b.cols()});
  a.backend().gemm(a.value(), b.value(), 0, c);
  return a.tape->record("matmul", c, {a, b}, [a, b](Tensor dc) {
    add_product(dc, transposed(b.value()), a);  // da += dc · bᵀ
    add_product(transposed(a.value()), dc, b);  // db += aᵀ · dc
  });
}

// c = a · bᵀ                      a [M,K]   b [N,K]   c [M,N]
Var matmul_transposed(Var a, Var b) {
  check(a.cols() == b.cols(), "matmul_transposed: the inner sizes differ: ", a.shape(), " · ", b.shape(),
        "ᵀ");
  const Tensor c = a.tape->alloc({a.rows(), b.rows()});
  a.backend().gemm(a.value(), transposed(b.value()), 0, c);
  return a.tape->record("matmul_transposed", c, {a, b}, [a, b](Tensor dc) {
    add_product(dc, b.value(), a);              // da += dc · b
    add_product(transposed(dc), a.value(), b);  // db += dcᵀ · a
  });
}

// y = f(z), z = x · W + b         x [..,K]   W [K,N]   b [N]   y [..,N]
Var linear(Var x, Var W, Var b, UnaryId f) {
  check(x.cols() == W.rows(), "linear: the inner sizes differ: ", x.shape(), " · ", W.shape());
  check(b.size() == W.cols(), "linear: a bias of shape ", b.shape(), " for ", W.cols(), " columns");
  const bool plain = f == unary_id<Identity>;
  check(plain || f == unary_id<Tanh> || f == unary_id<Sigmoid> || f == unary_id<Relu>,
        "linear: an activation whose slope does not follow from its output");
  const Tensor y = x.tape->alloc(x.shape().rank() ? x.shape().with_cols(W.cols()) : Shape{1, W.cols()});
  x.backend().gemm(x.value(), W.value(), 0, y);
  x.backend().activate(f, b.value(), y);
  return x.tape->record("linear", y, {x, W, b}, [x, W, b, f, plain, y](Tensor dy) {
    Tensor dz = dy;
    if (!plain) {
      dz = x.tape->scratch().tensor(y.shape);
      x.backend().unary_grad(f, y, y, dy, 0, dz);  // these slopes read only the output
    }
    add_product(dz, transposed(W.value()), x);               // dx += dz · Wᵀ
    add_product(transposed(x.value()), dz, W);               // dW += xᵀ · dz
    if (b.needs_grad()) x.backend().sum_rows(dz, b.grad());  // db += Σ_r dz[r]
  });
}

Var add_row(Var x, Var b) {
  check(b.size() == x.cols(), "add_row: a row of shape ", b.shape(), " for ", x.shape());
  const Tensor y = x.tape->alloc(x.shape());
  x.backend().add_row(x.value(), b.value(), y);
  return x.tape->record("add_row", y, {x, b}, [x, b](Tensor dy) {
    if (x.needs_grad()) x.backend().axpy(1, dy, x.grad());
    if (b.needs_grad()) x.backend().sum_rows(dy, b.grad());
  });
}

Var scale_rows(Var x, Var w) {
  check(w.size() == x.rows(), "scale_rows: ", w.shape(), " weights for the rows of ", x.shape());
  const Tensor y = x.tape->alloc(x.shape());
  x.backend().zero(y);
  x.backend().scale_rows(x.value(), w.value(), y);
  return x.tape->record("scale_rows", y, {x, w}, [x, w](Tensor dy) {
    if (x.needs_grad()) x.backend().scale_rows(dy, w.value(), x.grad());  // dx[r] += w[r] · dy[r]
    if (w.needs_grad()) x.backend().dot_rows(x.value(), dy, w.grad());    // dw[r] += ⟨x[r], dy[r]⟩
  });
}

Var dot_rows(Var a, Var b) {
  check(a.shape() == b.shape(), "dot_rows: the shapes differ: ", a.shape(), " and ", b.shape());
  const Tensor y = a.tape->alloc({a.rows()});
  a.backend().zero(y);
  a.backend().dot_rows(a.value(), b.value(), y);
  return a.tape->record("dot_rows", y, {a, b}, [a, b](Tensor dy) {
    if (a.needs_grad()) a.backend().scale_rows(b.value(), dy, a.grad());
    if (b.needs_grad()) a.backend().scale_rows(a.value(), dy, b.grad());
  });
}

Var concat(std::span<const Var> parts) {
  check(!parts.empty(), "concat: nothing to join");
  Tape& tape = *parts[0].tape;
  int64_t cols = 0;
  for (const Var& part : parts) {
    check(part.rows() == parts[0].rows(), "concat: ", part.rows(), " rows beside ", parts[0].rows());
    cols += part.cols();
  }
  const Tensor y = tape.alloc({parts[0].rows(), cols});
  const std::span<Var> kept = tape.array<Var>(static_cast<int64_t>(parts.size()));
  std::copy(parts.begin(), parts.end(), kept.begin());
  int64_t to = 0;
  for (const Var& part : kept) {
    tape.backend().copy_columns(part.value(), 0, y, to, part.cols());
    to += part.cols();
  }
  return tape.record("concat", y, parts, [kept](Tensor dy) {
    int64_t from = 0;
    for (const Var& part : kept) {
      if (part.needs_grad()) part.backend().add_columns(dy, from, part.grad(), 0, part.cols());
      from += part.cols();
    }
  });
}

Var slice_columns(Var x, int64_t begin, int64_t count) {
  check(begin >= 0 && count >= 0 && begin + count <= x.cols(), "slice_columns: columns ", begin, " … ",
        begin + count, " of ", x.shape());
  const Tensor y = x.tape->alloc({x.rows(), count});
  x.backend().copy_columns(x.value(), begin, y, 0, count);
  return x.tape->record("slice_columns", y, {x}, [x, begin, count](Tensor dy) {
    x.backend().add_columns(dy, 0, x.grad(), begin, count);
  });
}

Var reshape(Var x, Shape shape) {
  return x.tape->record("reshape", x.value().reshape(shape), {x},
                        [x](Tensor dy) { x.backend().axpy(1, dy, x.grad()); });
}

}  // namespace steelyard
