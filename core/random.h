// Counter-based random numbers: every number is a pure function of (key, index), so it does not depend on
// threads, order, batch or device, and resuming needs no generator state. A key is made from the seed and the
// name of what it is for. The function is SplitMix64 (Steele, Lea & Flood 2014) evaluated at a position of
// its stream, mixed once more with the key so that neighbouring keys give unrelated streams.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "core/real.h"

namespace steelyard {

HD inline uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

HD inline uint64_t random_bits(uint64_t key, uint64_t index) {
  return mix64(mix64(key + 0x9e3779b97f4a7c15u * (index + 1)) ^ key);
}

// Uniform in [0, 1), a multiple of 2⁻²⁴: exact in float and in double, the same in both builds.
HD inline real random_uniform(uint64_t key, uint64_t index) {
  return static_cast<real>(random_bits(key, index) >> 40) * static_cast<real>(0x1p-24);
}

// Standard normal (Box & Muller 1958).
inline real random_normal(uint64_t key, uint64_t index) {
  const uint64_t bits = random_bits(key, index);
  const double u = (static_cast<double>(bits >> 32) + 1) * 0x1p-32;  // in (0, 1]
  const double v = static_cast<double>(bits & 0xffffffffu) * 0x1p-32;
  return static_cast<real>(std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v));
}

// Keys. `key_of(seed, "dropout", step, shard)`: a chain of mixes over numbers and names (FNV-1a for the
// bytes).
inline uint64_t key_part(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}
inline uint64_t key_part(const char* name) { return key_part(std::string_view(name)); }
inline uint64_t key_part(uint64_t number) { return number; }
inline uint64_t key_part(int64_t number) { return static_cast<uint64_t>(number); }
inline uint64_t key_part(int number) { return static_cast<uint64_t>(number); }

template <class... Parts>
uint64_t key_of(uint64_t seed, const Parts&... parts) {
  uint64_t key = mix64(seed + 0x9e3779b97f4a7c15u);
  ((key = mix64(key ^ mix64(key_part(parts) + 0x9e3779b97f4a7c15u))), ...);
  return key;
}

}  // namespace steelyard
