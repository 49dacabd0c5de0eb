// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. Two readers stand on it. The
// table reader refuses a line that is not valid and names the place; the tokenizer, which must score whatever
// it is given, takes each byte that is no part of a valid character for a separator. Next: tokenizer.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace steelyard {

struct CodePoint {
  int32_t value;   // −1: the byte here begins no valid character
  int32_t length;  // in bytes; 1 for an invalid byte
};

// The character that begins at text[at]; at < text.size().
inline CodePoint decode_utf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(at);
  if (first < 0x80) return {first, 1};
  const int length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() - at < static_cast<size_t>(length)) return {-1, 1};
  int32_t value = first & (0x7F >> length);
  for (int i = 1; i < length; ++i) {
    const uint8_t next = byte(at + static_cast<size_t>(i));
    if ((next & 0xC0) != 0x80) return {-1, 1};
    value = value << 6 | (next & 0x3F);
  }
  const int32_t smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < smallest || value > 0x10FFFF || surrogate) return {-1, 1};
  return {value, length};
}

inline void append_utf8(std::string& out, int32_t value) {
  const auto put = [&](int32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) return put(value);
  if (value < 0x800) {
    put(0xC0 | value >> 6);
  } else {
    if (value < 0x10000) {
      put(0xE0 | value >> 12);
    } else {
      put(0xF0 | value >> 18);
      put(0x80 | (value >> 12 & 0x3F));
    }
    put(0x80 | (value >> 6 & 0x3F));
  }
  put(0x80 | (value & 0x3F));
}

// If not valid, *position (where given) is the first byte that begins no valid character.
inline bool valid_utf8(std::string_view text, size_t* position = nullptr) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    if (point.value < 0) {
      if (position) *position = at;
      return false;
    }
    at += static_cast<size_t>(point.length);
  }
  return true;
}

}  // namespace steelyard
