// A view of numbers on one device: row-major, contiguous, never owning. The numbers of one step live in an
// Arena, those of parameters and optimisers in a Buffer (core/arena.h). Next: core/backend.h, what a device
// can do with tensors.
//
// Why no strides and no implicit broadcasting: every kernel is written once, a gradient needs no hidden
// reduction, and a wrong shape fails instead of spreading. A transposition exists only as a flag of a matrix
// product (Mat).
#pragma once

#include "core/real.h"
#include "core/shape.h"

namespace steelyard {

class Backend;

struct Tensor {
  real* data = nullptr;
  Shape shape = {0};
  Backend* backend = nullptr;  // where the numbers live

  int64_t size() const { return shape.size(); }
  int64_t rows() const { return shape.rows(); }
  int64_t cols() const { return shape.cols(); }
  bool empty() const { return data == nullptr; }  // also: a gradient that nobody needs

  Tensor reshape(Shape other) const {
    check(other.size() == size(), "reshape: ", shape, " has another number of elements than ", other);
    return {data, other, backend};
  }
  // Rows begin … begin + count, seen as a matrix.
  Tensor slice(int64_t begin, int64_t count) const {
    check(begin >= 0 && count >= 0 && begin + count <= rows(), "slice: rows ", begin, " … ", begin + count,
          " of ", shape);
    return {data + begin * cols(), {count, cols()}, backend};
  }
};

// A tensor as one factor of a matrix product.
struct Mat {
  Mat(Tensor x, bool transposed = false) : x(x), transposed(transposed) {}  // NOLINT: a tensor is a matrix
  Tensor x;
  bool transposed;
  int64_t rows() const { return transposed ? x.cols() : x.rows(); }
  int64_t cols() const { return transposed ? x.rows() : x.cols(); }
};

inline Mat transposed(Tensor x) { return {x, true}; }

}  // namespace steelyard
