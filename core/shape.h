// Up to four sizes. Every op sees a tensor as a matrix: `cols()` is the last size, `rows()` the product of
// the others.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "core/check.h"

namespace steelyard {

class Shape {
 public:
  Shape() = default;  // a scalar: one element
  Shape(std::initializer_list<int64_t> sizes) {
    check(sizes.size() <= sizes_.size(), "shape: at most 4 sizes, got ", sizes.size());
    for (int64_t size : sizes) {
      check(size >= 0, "shape: negative size ", size);
      sizes_[static_cast<size_t>(rank_++)] = size;
    }
  }

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return sizes_[static_cast<size_t>(axis)]; }
  int64_t size() const {
    int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) product *= (*this)[axis];
    return product;
  }
  int64_t cols() const { return rank_ == 0 ? 1 : (*this)[rank_ - 1]; }
  int64_t rows() const {
    int64_t product = 1;
    for (int axis = 0; axis + 1 < rank_; ++axis) product *= (*this)[axis];
    return product;
  }
  // The same shape with another last size.
  Shape with_cols(int64_t cols) const {
    check(rank_ > 0, "shape: a scalar has no columns");
    Shape shape = *this;
    shape.sizes_[static_cast<size_t>(rank_ - 1)] = cols;
    return shape;
  }

  bool operator==(const Shape&) const = default;

 private:
  std::array<int64_t, 4> sizes_{};
  int rank_ = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis ? "," : "") << shape[axis];
  return out << ']';
}

}  // namespace steelyard
