// What a model learns. `Parameters` is an ordered store of named blocks; a name is the path where the object
// was built (root() / "encoder" / "0", add("W", …) → "encoder/0/W"). The same constructors build a new model
// and load an old one: `add` draws initial values from (seed, path, index), or finds them in a file. Strict
// both ways: a missing, misshapen or left-over array is an error that names it.
//
// A *table* is a parameter that is read by rows only (autograd/ops.h: rows, bag); its gradient and its
// optimiser touch only the rows that a batch used. A table with `first_touch` draws a row when it is first
// read, so that a large one costs memory only for the rows that exist.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/arena.h"
#include "core/batch.h"
#include "core/random.h"
#include "core/tensor_file.h"

namespace steelyard {

// The initial value of element `index` of a block: a pure function.
using Init = std::function<real(uint64_t key, int64_t index)>;

Init constant(real value);
Init uniform(real low, real high);
Init normal(real deviation);
Init glorot(int64_t in, int64_t out);  // uniform in ±√(6 / (in + out))   (Glorot & Bengio 2010)
Init values(std::function<double(int64_t)> f);

struct Parameter {
  std::string path;
  Shape shape;
  bool table = false;
  bool fixed = false;        // no part of training: it gets no gradient and the optimiser has no state for it
  int64_t index = 0;         // position in the store
  int64_t dense_offset = 0;  // where its gradient begins in the dense block (tables have none)
  Buffer buffer;

  Tensor value() const { return buffer.tensor(); }
  // Draws those of the rows that nobody has read yet. Thread-safe; nothing to do without `first_touch`.
  void touch(Ids rows) const;
  void touch_all() const;

 private:
  friend class Parameters;
  void draw_rows(int64_t begin, int64_t end) const;
  void take(const Parameter& older, const Init& grown);
  Init init_;
  uint64_t key_ = 0;
  mutable std::vector<std::atomic<uint8_t>> touched_;  // per row: 0 not yet, 1 being drawn, 2 there
};

struct TableOptions {
  bool first_touch = false;
  bool fixed = false;
  Init grown = {};  // of the rows behind those of an older model; empty: as any row
};

class Parameters {
 public:
  Parameters(Backend& backend, uint64_t seed) : backend_(&backend), seed_(seed) {}
  // A new model that goes on from an older one, which must stay until it is built: what the older one has is taken from
  // it, of a table that has grown the first rows. Error(usage) names a parameter of another shape.
  Parameters(Backend& backend, uint64_t seed, const Parameters& older)
      : backend_(&backend), seed_(seed), older_(&older) {}
  // Loads from the arrays "parameters/PATH" of a file, which must stay open until the model is built.
  Parameters(Backend& backend, const TensorFile& file) : backend_(&backend), seed_(0), file_(&file) {}

  class Scope {
   public:
    Scope operator/(const std::string& name) const { return {*store_, path_ + name + "/"}; }
    Parameter& add(const std::string& name, Shape shape, Init init) const {
      return store_->add(path_ + name, shape, std::move(init), false, {});
    }
    Parameter& table(const std::string& name, Shape shape, Init init, TableOptions options = {}) const {
      return store_->add(path_ + name, shape, std::move(init), true, options);
    }

   private:
    friend class Parameters;
    Scope(Parameters& store, std::string path) : store_(&store), path_(std::move(path)) {}
    Parameters* store_;
    std::string path_;
  };
  Scope root() { return {*this, ""}; }

  // After building. Error(input) if it was from a file that has a parameter which nobody asked for.
  void finish();

  Backend& backend() const { return *backend_; }
  const std::deque<Parameter>& all() const { return all_; }
  std::deque<Parameter>& all() { return all_; }
  const Parameter* find(std::string_view path) const;  // nullptr: there is none
  int64_t dense_size() const { return dense_size_; }
  int64_t size() const;  // numbers in all blocks

  // Views for a model file or a checkpoint, named PREFIX + path, and back. Draws every row first.
  std::vector<NamedArray> arrays(const std::string& prefix = "parameters/") const;
  void assign(const TensorFile& file, const std::string& prefix = "parameters/");

 private:
  Parameter& add(const std::string& path, Shape shape, Init init, bool table, TableOptions options);

  Backend* backend_;
  uint64_t seed_;
  const TensorFile* file_ = nullptr;
  const Parameters* older_ = nullptr;
  std::deque<Parameter> all_;  // a deque: references stay valid while it grows
  int64_t dense_size_ = 0;
};

// The values of an array in a file as reals of this build. Error(input) names both shapes if they differ. Of what has
// `grown` the array may have fewer rows: the first ones.
void read_array(const TensorFile& file, const std::string& name, const Shape& shape, std::span<real> into,
                bool grown = false);
NamedArray named_array(std::string name, const Shape& shape, std::span<const real> values);

}  // namespace steelyard
