// A list in the tape's memory, written from its beginning.
#pragma once

#include <utility>

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

// The lists of some ids, one behind the other, and where each lies.
template <class Id>
std::pair<Ids, Segments> gather_lists(Tape& tape, const Ragged<int32_t>& lists, std::span<const Id> of) {
  int64_t n = 0;
  for (const Id id : of) n += std::ssize(lists[id]);
  check_count("gather_lists", n);
  List values(tape, n), starts(tape, std::ssize(of) + 1);
  for (const Id id : of) {
    starts.add(values.size());
    for (const int32_t value : lists[id]) values.add(value);
  }
  starts.add(values.size());
  return {values, Segments::between(starts)};
}

}  // namespace steelyard
