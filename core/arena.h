// Memory on one device. `Buffer` owns one block for as long as it lives: parameters, moments. `Arena` is a
// bump allocator for everything that lives for one step: no frees, one reset; it merges what it needed into
// one block, so a steady step allocates nothing (after DyNet's pools).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace steelyard {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend& backend, Shape shape);  // uninitialised; pages that nobody touches cost nothing
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  Tensor tensor() const { return tensor_; }
  std::span<real> host() const;  // the numbers themselves; only for a buffer in host memory

 private:
  Tensor tensor_;
};

class Arena {
 public:
  explicit Arena(Backend& backend) : backend_(&backend) {}
  ~Arena();
  Arena(Arena&&) noexcept = default;

  Backend& backend() const { return *backend_; }
  void* allocate(size_t bytes);  // aligned to 64 bytes, uninitialised
  Tensor tensor(Shape shape);
  template <class T>
  std::span<T> array(int64_t count) {
    return {static_cast<T*>(allocate(sizeof(T) * static_cast<size_t>(count))), static_cast<size_t>(count)};
  }

  struct Mark {
    size_t chunk, used;
  };
  Mark mark() const { return {chunk_, used_}; }
  void rewind(Mark mark);  // forgets what came after the mark; keeps the memory
  void reset();            // forgets everything and merges all chunks into one
  size_t capacity() const;

 private:
  struct Chunk {
    std::byte* data;
    size_t size;
  };
  void add_chunk(size_t bytes);

  Backend* backend_;
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;  // the chunk in use
  size_t used_ = 0;   // bytes used in it
};

}  // namespace steelyard
