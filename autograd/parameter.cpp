#include "autograd/parameter.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/backend.h"

namespace steelyard {

namespace {

// Error(input) names both shapes if they differ.
const NamedArray& array_of(const TensorFile& file, const std::string& name, const Shape& shape, bool grown) {
  const NamedArray& array = file.at(name);
  std::vector<int64_t> expected = named_array(name, shape, {}).shape;
  if (grown && !expected.empty() && !array.shape.empty() && array.shape[0] < expected[0])
    expected[0] = array.shape[0];
  if (array.shape != expected) {
    std::string found;
    for (int64_t size : array.shape) found += (found.empty() ? "" : ",") + std::to_string(size);
    fail(Fault::input, file.path().string(), ": array \"", name, "\" has shape [", found, "]; expected ",
         shape);
  }
  return array;
}

}  // namespace

Init constant(real value) {
  return [value](uint64_t, int64_t) { return value; };
}
Init uniform(real low, real high) {
  return [low, high](uint64_t key, int64_t index) {
    return low + (high - low) * random_uniform(key, static_cast<uint64_t>(index));
  };
}
Init normal(real deviation) {
  return [deviation](uint64_t key, int64_t index) {
    return deviation * random_normal(key, static_cast<uint64_t>(index));
  };
}
Init glorot(int64_t in, int64_t out) {
  const real bound = std::sqrt(real(6) / static_cast<real>(in + out));
  return uniform(-bound, bound);
}
Init values(std::function<double(int64_t)> f) {
  return [f = std::move(f)](uint64_t, int64_t index) { return static_cast<real>(f(index)); };
}

void Parameter::draw_rows(int64_t begin, int64_t end) const {
  std::span<real> numbers = buffer.host();
  for (int64_t i = begin * shape.cols(); i < end * shape.cols(); ++i)
    numbers[static_cast<size_t>(i)] = init_(key_, i);
}

void Parameter::take(const Parameter& older, const Init& grown) {
  const int64_t rows = older.shape.rows();
  if (older.shape.rank() != shape.rank() || older.shape.cols() != shape.cols() || rows > shape.rows() ||
      (rows < shape.rows() && !table))
    fail(Fault::usage, "parameter \"", path, "\" has shape ", older.shape, " in the older model; expected ",
         shape);
  if (grown) init_ = grown;
  draw_rows(rows, shape.rows());
  older.touch_all();
  std::ranges::copy(older.buffer.host(), buffer.host().begin());
}

void Parameter::touch(Ids rows) const {
  if (touched_.empty()) return;
  for (int32_t row : rows) {
    std::atomic<uint8_t>& state = touched_[static_cast<size_t>(row)];
    if (state.load(std::memory_order_acquire) == 2) continue;
    uint8_t untouched = 0;
    if (state.compare_exchange_strong(untouched, 1)) {
      draw_rows(row, row + 1);
      state.store(2, std::memory_order_release);
    } else {
      while (state.load(std::memory_order_acquire) != 2) {
      }
    }
  }
}

void Parameter::touch_all() const {
  for (size_t row = 0; row < touched_.size(); ++row) {
    const auto id = static_cast<int32_t>(row);
    touch({&id, 1});
  }
}

Parameter& Parameters::add(const std::string& path, Shape shape, Init init, bool table,
                           TableOptions options) {
  check(!find(path), "parameters: \"", path, "\" was added twice");
  if (file_) array_of(*file_, "parameters/" + path, shape, false);  // before memory is taken for it
  Parameter& p = all_.emplace_back();
  p.path = path;
  p.shape = shape;
  p.table = table;
  p.fixed = options.fixed;
  p.index = static_cast<int64_t>(all_.size()) - 1;
  p.buffer = Buffer(*backend_, shape);
  p.init_ = std::move(init);
  p.key_ = key_of(seed_, "parameter", std::string_view(path));
  if (!table) {
    p.dense_offset = dense_size_;
    dense_size_ += shape.size();
  }
  const Parameter* older = older_ ? older_->find(path) : nullptr;
  if (file_)
    read_array(*file_, "parameters/" + path, shape, p.buffer.host());
  else if (older)
    p.take(*older, options.grown);
  else if (table && options.first_touch)
    p.touched_ = std::vector<std::atomic<uint8_t>>(static_cast<size_t>(shape.rows()));
  else
    p.draw_rows(0, shape.rows());
  return p;
}

void Parameters::finish() {
  older_ = nullptr;
  if (!file_) return;
  const std::string prefix = "parameters/";
  for (const NamedArray& array : file_->arrays()) {
    if (!array.name.starts_with(prefix)) continue;
    const std::string path = array.name.substr(prefix.size());
    if (!find(path))
      fail(Fault::input, file_->path().string(), ": parameter \"", path, "\" is not part of this model");
  }
  file_ = nullptr;
}

const Parameter* Parameters::find(std::string_view path) const {
  const auto found = std::ranges::find(all_, path, &Parameter::path);
  return found == all_.end() ? nullptr : &*found;
}

int64_t Parameters::size() const {
  return std::accumulate(all_.begin(), all_.end(), int64_t{0},
                         [](int64_t sum, const Parameter& p) { return sum + p.shape.size(); });
}

std::vector<NamedArray> Parameters::arrays(const std::string& prefix) const {
  std::vector<NamedArray> list;
  for (const Parameter& p : all_) {
    p.touch_all();
    list.push_back(named_array(prefix + p.path, p.shape, p.buffer.host()));
  }
  return list;
}

void Parameters::assign(const TensorFile& file, const std::string& prefix) {
  for (Parameter& p : all_) {
    read_array(file, prefix + p.path, p.shape, p.buffer.host());
    p.touched_.clear();
  }
}

NamedArray named_array(std::string name, const Shape& shape, std::span<const real> values) {
  NamedArray array = NamedArray::of(std::move(name), values);
  array.shape.clear();
  for (int axis = 0; axis < shape.rank(); ++axis) array.shape.push_back(shape[axis]);
  return array;
}

void read_array(const TensorFile& file, const std::string& name, const Shape& shape, std::span<real> into,
                bool grown) {
  const NamedArray& array = array_of(file, name, shape, grown);
  // A file of the other build: floats and doubles convert.
  const auto copy = [&](auto values) {
    std::transform(values.begin(), values.end(), into.begin(), [](auto v) { return static_cast<real>(v); });
  };
  if (array.type == ElementType::f64)
    copy(array.values<double>());
  else
    copy(array.values<float>());
}

}  // namespace steelyard
