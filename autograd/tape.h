// The tape: everything that happened in one step, in order. Calling an op (autograd/ops.h) computes it now
// and appends one record; backward walks the records from the last to the first and runs their closures. The
// order of recording is the order of the graph: no sort, no recursion. After reset() the memory is used
// again; a Var of before is stale and says so.
//
// A closure adds to the gradients of its inputs, writes nothing that it captured, and may run again for
// another loss of the same recording. There are no second derivatives. In Mode::score nothing is recorded but
// values.
#pragma once

#include <initializer_list>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

#include "autograd/gradients.h"
#include "core/arena.h"

namespace steelyard {

class Tape;

enum class Mode { train, score };

// A handle on one record of a tape; cheap to copy.
struct Var {
  Tape* tape = nullptr;
  int32_t index = -1;
  uint32_t generation = 0;

  Tensor value() const;
  Tensor grad() const;  // the place to add ∂L/∂this to; empty if nobody needs it. Only inside backward.
  // The same for a kernel that can assign: beta is 0 if nobody has added yet, and the numbers are anything. Who asks
  // writes all of it before anyone asks again: this Var may be the other input, too.
  struct Sum {
    Tensor grad;
    real beta;
  };
  Sum grad_so_far() const;
  bool needs_grad() const;
  Shape shape() const;
  int64_t rows() const { return shape().rows(); }
  int64_t cols() const { return shape().cols(); }
  int64_t size() const { return shape().size(); }
  Backend& backend() const;
};

class Tape {
 public:
  explicit Tape(Backend& backend, Mode mode = Mode::train);
  Tape(const Tape&) = delete;  // every Var points to it

  Mode mode() const { return mode_; }
  Backend& backend() const { return values_.backend(); }

  Var leaf(const Parameter& p);  // a dense parameter; its gradient goes to the Gradients of backward
  Var constant(Tensor x);        // x must live until the last backward
  Var constant(Shape shape, std::span<const real> host);  // copied

  // Appends a record with its backward closure f(dy). Recorded only in Mode::train and if an input needs a
  // gradient, or if `reads_table` says that a parameter is read without being an input. The closure lives in
  // an arena: its captures must be trivially destructible (Vars, Tensors, spans, numbers).
  template <class F>
  Var record(const char* op, Tensor value, std::span<const Var> inputs, F backward,
             bool reads_table = false) {
    static_assert(std::is_trivially_destructible_v<F>, "a closure's captures must be trivially destructible");
    bool needs = reads_table;
    for (const Var& input : inputs) {
      check(input.tape == this, op, ": a Var of another tape");
      needs = input.needs_grad() || needs;
    }
    if (mode_ == Mode::score || !needs) return append({.op = op, .value = value});
    void* place = closures_.allocate(sizeof(F));
    return append({.op = op,
                   .value = value,
                   .closure = new (place) F(backward),
                   .run = [](const void* f, Tensor dy) { (*static_cast<const F*>(f))(dy); },
                   .needs_grad = true});
  }
  template <class F>
  Var record(const char* op, Tensor value, std::initializer_list<Var> inputs, F backward,
             bool reads_table = false) {
    return record(op, value, std::span<const Var>(inputs.begin(), inputs.size()), backward, reads_table);
  }

  // Adds scale · ∂loss/∂parameters to `into`. The loss has one element.
  void backward(Var loss, Gradients& into, real scale = 1);
  // Where a closure puts the rows of a table; only inside backward.
  Gradients& sink() const { return *sink_; }

  Tensor alloc(Shape shape) { return values_.tensor(shape); }  // uninitialised, until reset
  Ids upload(Ids host);                                        // ids in the device's memory, until reset
  RowIndex index(Ids host);                                    // grouped by row; only the ids in Mode::score
  FieldRows fields(Ids host, int64_t count);                   // grouped by field as well; on the CPU
  Steps steps(const Segments& sequences, int64_t count);       // segments of the host, of `count` rows
  template <class T>
  std::span<T> array(int64_t count) {  // host memory, until reset
    return closures_.array<T>(count);
  }
  Arena& scratch() { return temporary_; }  // until the next backward

  void reset();
  // Dropout masks are functions of this key and of the number of the call.
  void set_random_key(uint64_t key) { random_key_ = key; }
  uint64_t next_random_key() { return key_of(random_key_, random_calls_++); }

  // For the NaN guard: the name of the first op whose value is not finite, or nullptr.
  const char* first_not_finite() const;
  int64_t size() const { return static_cast<int64_t>(records_.size()); }
  size_t capacity() const { return values_.capacity() + temporary_.capacity() + closures_.capacity(); }

 private:
  friend struct Var;
  struct Record {
    const char* op;
    Tensor value;
    const void* closure = nullptr;
    void (*run)(const void*, Tensor) = nullptr;
    const Parameter* parameter = nullptr;  // of a leaf
    int64_t grad_offset = 0;               // in the gradient block
    bool needs_grad = false;
    bool reached = false;  // some closure, or the loss, asked for its gradient
  };
  Var append(Record record);
  const Record& at(const Var& v) const;
  Var::Sum grad_so_far(int32_t index);

  Mode mode_;
  Arena values_;     // until reset
  Arena temporary_;  // gradients and scratch: until the next backward
  Arena closures_;   // host memory, until reset
  std::vector<Record> records_;
  int64_t grad_size_ = 0;
  Tensor grads_;
  Gradients* sink_ = nullptr;
  uint32_t generation_ = 0;
  uint64_t random_key_ = 0;
  int64_t random_calls_ = 0;
};

}  // namespace steelyard
