// The number type of every tensor. The library is built with `float`; the gradient-check build of the tests
// compiles the same sources with -DREAL_DOUBLE. Nothing is templated over number types. Next: core/check.h,
// core/shape.h.
#pragma once

#include <cstdint>

namespace steelyard {

#ifdef REAL_DOUBLE
using real = double;
#else
using real = float;
#endif

}  // namespace steelyard

// The one macro of the library: a formula that CUDA threads and CPU lanes share.
#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif
