#include "tests/allocation_counter.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> count{0}, bytes{0};

void add(size_t size) {
  count.fetch_add(1, std::memory_order_relaxed);
  bytes.fetch_add(static_cast<int64_t>(size), std::memory_order_relaxed);
}

}  // namespace

namespace steelyard::test {

int64_t allocations() { return count.load(std::memory_order_relaxed); }
int64_t allocated_bytes() { return bytes.load(std::memory_order_relaxed); }

}  // namespace steelyard::test

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define STEELYARD_THREAD_SANITIZER
#endif
#endif

#ifdef STEELYARD_THREAD_SANITIZER

// Its operators cannot be replaced; it tells of every allocation instead.
extern "C" void __sanitizer_malloc_hook(const volatile void*, size_t size) { add(size); }

#else

namespace {

void* allocate(size_t size, size_t alignment) noexcept {
  add(size);
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size ? size : 1);
  void* memory = nullptr;
  return posix_memalign(&memory, alignment, size ? size : 1) == 0 ? memory : nullptr;
}

void* allocate_or_throw(size_t size, size_t alignment) {
  void* memory = allocate(size, alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The array forms call these, by the standard's default definitions. The nothrow forms are replaced too: a sanitizer
// brings its own, whose memory must not reach our delete.
void* operator new(size_t size) { return allocate_or_throw(size, 1); }
void* operator new(size_t size, std::align_val_t align) {
  return allocate_or_throw(size, static_cast<size_t>(align));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

#endif
