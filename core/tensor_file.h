// Named arrays and text metadata in one file of safetensors layout: a model, a training state, a row cache.
//
//   8 bytes  length of the header, little-endian
//   header   JSON: {"__metadata__": {text: text}, NAME: {"dtype", "shape", "data_offsets": [begin, end]}, …}
//            padded with blanks so that the data begin at a multiple of 64
//   data     the arrays back to back, little-endian, without holes, widest element type first
//
// `__metadata__` also holds "xxh3:NAME" for every array and "xxh3:header" for the header itself (computed
// with its own sixteen digits zeroed), so every flipped bit and every cut is found when the file is opened.
// Written atomically and read by memory map (core/file.h): opening allocates no more than the header needs,
// whatever the header says.
//
// Why a limit for the header: parsing multiplies it, and opening promises to stay below the file's size + 64
// MiB. Whatever is large (a vocabulary, an item table) is an array of bytes, not metadata.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/file.h"

namespace steelyard {

enum class ElementType { f64, i64, f32, i32, u8 };  // widest first: the order of the data in the file

template <class T>
constexpr ElementType element_type();
template <>
constexpr ElementType element_type<double>() {
  return ElementType::f64;
}
template <>
constexpr ElementType element_type<int64_t>() {
  return ElementType::i64;
}
template <>
constexpr ElementType element_type<float>() {
  return ElementType::f32;
}
template <>
constexpr ElementType element_type<int32_t>() {
  return ElementType::i32;
}
template <>
constexpr ElementType element_type<uint8_t>() {
  return ElementType::u8;
}

const char* name(ElementType type);  // "F64" "I64" "F32" "I32" "U8"
int64_t width(ElementType type);     // bytes per element

// One named array, as it is written and as it is found. A view.
struct NamedArray {
  std::string name;
  ElementType type = ElementType::u8;
  std::vector<int64_t> shape;
  const void* data = nullptr;

  template <class T>
  static NamedArray of(std::string name, std::span<const T> values) {
    return {std::move(name), element_type<T>(), {static_cast<int64_t>(values.size())}, values.data()};
  }
  int64_t size() const;  // number of elements
  template <class T>
  std::span<const T> values() const {  // Error(input) if the type is another
    check_type(element_type<T>());
    return {static_cast<const T*>(data), static_cast<size_t>(size())};
  }

 private:
  void check_type(ElementType expected) const;
};

using Metadata = std::map<std::string, std::string>;  // keys beginning with "xxh3:" are reserved

constexpr int64_t kMaxHeader = 2 << 20;  // bytes
constexpr size_t kMaxSizes = 8;          // numbers in a shape

// Atomic: PATH holds the old content or the whole new one, whatever happens. Equal input gives equal bytes;
// arrays of one type keep their order. Names are UTF-8, unique, and neither "__metadata__" nor "header".
// Error(resources) if the disk refuses.
void write_tensor_file(const std::filesystem::path& path, std::vector<NamedArray> arrays,
                       const Metadata& metadata);

// An open file, verified completely by the constructor; Error(input) names what is wrong. Movable, not
// copyable; the arrays are views and stay valid in the object that is moved to.
class TensorFile {
 public:
  explicit TensorFile(const std::filesystem::path& path);
  // The content of a file in memory, at a multiple of 8, where it must stay. `path` is for messages.
  TensorFile(std::span<const std::byte> bytes, std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  const std::string& digits() const { return digits_; }  // the checksum of all of it, sixteen of them
  const Metadata& metadata() const { return metadata_; }             // without the checksums
  const std::string& metadata(const std::string& key) const;         // Error(input) if missing
  const std::vector<NamedArray>& arrays() const { return arrays_; }  // in the order of the file
  const NamedArray* find(const std::string& name) const;             // nullptr if missing
  const NamedArray& at(const std::string& name) const;               // Error(input) if missing

 private:
  void parse(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  MappedFile file_;
  std::string digits_;
  Metadata metadata_;
  std::vector<NamedArray> arrays_;
  std::map<std::string, size_t> places_;  // name → index in arrays_
};

}  // namespace steelyard
