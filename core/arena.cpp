#include "core/arena.h"

#include <algorithm>
#include <utility>

#include "core/backend.h"

namespace steelyard {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmallestChunk = size_t{1} << 16;

size_t rounded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Buffer::Buffer(Backend& backend, Shape shape)
    : tensor_{static_cast<real*>(backend.allocate(sizeof(real) * static_cast<size_t>(shape.size()))), shape,
              &backend} {}

Buffer::~Buffer() {
  if (tensor_.backend) tensor_.backend->deallocate(tensor_.data);
}

Buffer::Buffer(Buffer&& other) noexcept : tensor_(std::exchange(other.tensor_, {})) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(tensor_, other.tensor_);
  return *this;
}

std::span<real> Buffer::host() const {
  check(!tensor_.backend || tensor_.backend->on_host(), "buffer: not in host memory");
  return {tensor_.data, static_cast<size_t>(tensor_.size())};
}

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) backend_->deallocate(chunk.data);
}

void* Arena::allocate(size_t bytes) {
  const size_t wanted = rounded(std::max<size_t>(bytes, 1));
  while (chunk_ < chunks_.size() && used_ + wanted > chunks_[chunk_].size) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) add_chunk(wanted);
  void* place = chunks_[chunk_].data + used_;
  used_ += wanted;
  return place;
}

Tensor Arena::tensor(Shape shape) {
  return {static_cast<real*>(allocate(sizeof(real) * static_cast<size_t>(shape.size()))), shape, backend_};
}

void Arena::rewind(Mark mark) {
  chunk_ = mark.chunk;
  used_ = mark.used;
}

void Arena::reset() {
  rewind({0, 0});
  if (chunks_.size() < 2) return;
  const size_t total = capacity();
  for (const Chunk& chunk : chunks_) backend_->deallocate(chunk.data);
  chunks_.clear();
  add_chunk(total);
}

size_t Arena::capacity() const {
  size_t total = 0;
  for (const Chunk& chunk : chunks_) total += chunk.size;
  return total;
}

void Arena::add_chunk(size_t bytes) {
  const size_t size =
      std::max({bytes, kSmallestChunk, capacity()});  // doubling: few chunks before the first reset
  chunks_.push_back({static_cast<std::byte*>(backend_->allocate(size)), size});
}

}  // namespace steelyard
