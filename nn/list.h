// A list in the tape's memory, written from its beginning.
#pragma once

#include "autograd/tape.h"

namespace steelyard {

class List {
 public:
  List(Tape& tape, int64_t most) : values_(tape.array<int32_t>(most)) {}
  void add(int32_t value) { values_[size_++] = value; }
  int32_t size() const { return static_cast<int32_t>(size_); }
  operator Ids() const { return values_.first(size_); }  // NOLINT

 private:
  std::span<int32_t> values_;
  size_t size_ = 0;
};

}  // namespace steelyard
