// Fuzzes the reader of tensor files. The first byte of an input chooses what happens to the rest: as it is,
// or with length and checksums put right, so that mutations get past them and reach what lies behind. What is
// accepted must keep the promises of core/tensor_file.h.
#include <cstring>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <xxhash.h>

#include "core/tensor_file.h"

using namespace steelyard;

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

void put_digits(std::string& bytes, size_t begin, size_t end, const std::string& key,
                std::string_view hashed) {
  const std::string before = "\"xxh3:" + key + "\":\"";
  const size_t at = std::string_view(bytes).substr(begin, end - begin).find(before);
  if (at == std::string::npos || begin + at + before.size() + 16 > end) return;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(hashed.data(), hashed.size())));
  bytes.replace(begin + at + before.size(), 16, digits, 16);
}

// Puts right what can be put right: the header ends after its last closing brace and is padded, checksums are
// those of the arrays that the header describes.
void put_right(std::string& bytes) {
  uint64_t length = 0;
  if (bytes.size() < 8) return;
  std::memcpy(&length, bytes.data(), 8);
  if (length > bytes.size() - 8) length = bytes.size() - 8;
  std::string header = bytes.substr(8, length);
  const std::string data = bytes.substr(8 + length);
  header.resize(header.find_last_of('}') + 1);
  while ((8 + header.size()) % 64 != 0) header += ' ';
  length = header.size();
  bytes = std::string(reinterpret_cast<const char*>(&length), 8) + header + data;

  const auto described = nlohmann::json::parse(header, nullptr, false);
  if (!described.is_object()) return;
  for (const auto& [name, array] : described.items()) {
    if (!array.is_object() || !array.contains("data_offsets") || name == "header") continue;
    const auto& offsets = array["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2) continue;
    if (!offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) continue;
    const auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data.size()) continue;
    put_digits(bytes, 8, 8 + length, name, std::string_view(data).substr(begin, end - begin));
  }
  header = bytes.substr(8, length);
  const std::string before = "\"xxh3:header\":\"";
  const size_t at = header.find(before);
  if (at == header.npos || at + before.size() + 16 > header.size()) return;
  header.replace(at + before.size(), 16, 16, '0');
  put_digits(bytes, 8, 8 + length, "header", header);
}

void check_promises(const TensorFile& file, std::span<const std::byte> bytes) {
  size_t total = 0;
  unsigned sum = 0;
  for (const NamedArray& array : file.arrays()) {
    const auto size = static_cast<size_t>(array.size() * width(array.type));
    const auto* begin = static_cast<const std::byte*>(array.data);
    require(begin >= bytes.data() && size <= bytes.size());
    require(static_cast<size_t>(begin - bytes.data()) + size <= bytes.size());
    require(reinterpret_cast<uintptr_t>(begin) % static_cast<uintptr_t>(width(array.type)) == 0);
    require(file.find(array.name) == &array);
    require(array.shape.size() <= kMaxSizes);
    for (size_t i = 0; i < size; i++) sum += static_cast<unsigned>(begin[i]);
    total += size;
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  require(8 + length + total == bytes.size());
  for (const auto& [key, value] : file.metadata()) require(!key.starts_with("xxh3:"));
  asm volatile("" : : "r"(sum));  // the bytes have been read
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size == 0) return 0;
  std::string content(reinterpret_cast<const char*>(input + 1), size - 1);
  if (input[0] & 1) put_right(content);
  // Exactly as long as the content, so that the address sanitizer sees a read behind its end.
  const auto copy = std::make_unique<std::byte[]>(content.size());
  std::memcpy(copy.get(), content.data(), content.size());
  const std::span<const std::byte> bytes(copy.get(), content.size());
  try {
    check_promises(TensorFile(bytes, "fuzz"), bytes);
  } catch (const Error& error) {
    require(error.fault == Fault::input);
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
