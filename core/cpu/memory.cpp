#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "core/cpu/cpu_backend.h"

namespace steelyard {

void* CpuBackend::allocate(size_t bytes) {
  constexpr size_t kAlignment = 64;
  void* data =
      std::aligned_alloc(kAlignment, (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment);
  if (!data) fail(Fault::resources, "out of memory: ", bytes, " bytes wanted");
  return data;
}

void CpuBackend::deallocate(void* data) { std::free(data); }
void CpuBackend::upload(const void* host, void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);  // null is no address, even of nothing
}
void CpuBackend::download(const void* device, void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}
void CpuBackend::zero(Tensor x) { std::fill_n(x.data, x.size(), real(0)); }
void CpuBackend::copy(Tensor from, Tensor to) { std::copy_n(from.data, from.size(), to.data); }

Backend& cpu() {
  static CpuBackend backend;
  return backend;
}

}  // namespace steelyard
