#include "core/tensor_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include <nlohmann/json.hpp>
#include <xxhash.h>

namespace steelyard {

static_assert(std::endian::native == std::endian::little, "the data of a tensor file are little-endian");

namespace {

using nlohmann::json;

constexpr std::array kTypes = {ElementType::f64, ElementType::i64, ElementType::f32, ElementType::i32,
                               ElementType::u8};
constexpr size_t kAlignment = 64;
constexpr const char* kMetadata = "__metadata__";
const std::string kChecksum = "xxh3:";
const std::string kHeaderName = "header";
const std::string kNoDigits(16, '0');

std::string checksum(const void* bytes, size_t size) {
  uint64_t hash = XXH3_64bits(bytes, size);
  std::string digits = kNoDigits;
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, hash >>= 4)
    *digit = "0123456789abcdef"[hash & 15];
  return digits;
}

std::string checksum(const NamedArray& array) {
  return checksum(array.data, static_cast<size_t>(array.size() * width(array.type)));
}

// As a JSON string. Throws nlohmann's exception if the text is not UTF-8.
std::string quoted(const std::string& text) { return json(text).dump(); }

// A name or value out of a file, for a message of one readable line.
std::string shown(const std::string& text) {
  constexpr size_t kLongest = 80;
  const auto replace = json::error_handler_t::replace;
  if (text.size() <= kLongest) return json(text).dump(-1, ' ', false, replace);
  return json(text.substr(0, kLongest)).dump(-1, ' ', false, replace) + "…";
}

// Number of elements; nothing if a size is negative or the number of bytes does not fit.
std::optional<int64_t> elements(const NamedArray& array) {
  int64_t n = 1;
  for (const int64_t size : array.shape)
    if (size < 0 || __builtin_mul_overflow(n, size, &n)) return {};
  int64_t bytes = 0;
  if (__builtin_mul_overflow(n, width(array.type), &bytes)) return {};
  return n;
}

// Where the digits of the header's own checksum stand. The text is found once at most, because quotes within
// JSON strings are escaped and a second key of this name is refused. Nothing if there is no such text.
std::optional<size_t> own_digits(std::string_view header) {
  const std::string before = "\"" + kChecksum + kHeaderName + "\":\"";
  const size_t at = header.find(before);
  if (at == header.npos || header.size() - at < before.size() + kNoDigits.size()) return {};
  return at + before.size();
}

// The checksum of the header as if its own digits were zeros.
std::string own_checksum(std::string_view header, size_t digits) {
  std::string zeroed(header);
  zeroed.replace(digits, kNoDigits.size(), kNoDigits);
  return checksum(zeroed.data(), zeroed.size());
}

// Understands the header while it is being parsed, so that nothing is stored that does not belong there: no
// tree of values, no unknown keys, no depth beyond the format's. Every array must begin where the one before
// ended, which excludes holes, overlaps and another order at once. nlohmann's names for the events.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::string& path, std::span<const std::byte> data, Metadata& metadata,
               std::vector<NamedArray>& arrays, std::map<std::string, size_t>& places)
      : path_(path), data_(data), metadata_(metadata), arrays_(arrays), places_(places) {}

  bool start_object(std::size_t) override {
    if (place_ == Place::start) {
      place_ = Place::file;
    } else if (place_ == Place::file && key_ == kMetadata) {
      if (std::exchange(has_metadata_, true)) reject("\"__metadata__\" is given twice; expected once");
      place_ = Place::metadata;
    } else if (place_ == Place::file) {
      if (key_.empty() || key_ == kHeaderName)
        reject("an array is named ", shown(key_), "; expected another name");
      if (!places_.emplace(key_, arrays_.size()).second)
        reject("array ", shown(key_), " is given twice; expected unique names");
      arrays_.push_back({.name = key_, .type = ElementType::u8, .shape = {}, .data = nullptr});
      has_type_ = has_shape_ = has_offsets_ = false;
      place_ = Place::array;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(string_t& key) override {
    key_ = key;
    if (place_ == Place::metadata && metadata_.contains(key_))
      reject("metadata ", shown(key_), " is given twice; expected unique keys");
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      metadata_.emplace(key_, value);
    } else if (place_ == Place::array && key_ == "dtype") {
      once(has_type_);
      const auto type =
          std::find_if(kTypes.begin(), kTypes.end(), [&](ElementType t) { return value == name(t); });
      if (type == kTypes.end())
        reject(where(), ": unknown type ", shown(value), "; expected F64, I64, F32, I32 or U8");
      arrays_.back().type = *type;
    } else {
      unexpected("a text");
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::array && key_ == "shape") {
      once(has_shape_);
      place_ = Place::shape;
    } else if (place_ == Place::array && key_ == "data_offsets") {
      once(has_offsets_);
      offsets_count_ = 0;
      place_ = Place::offsets;
    } else {
      unexpected("a list");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      if (value > INT64_MAX) reject(where(), ": a size of ", value, "; expected less than 2^63");
      if (arrays_.back().shape.size() == kMaxSizes)
        reject(where(), ": more than ", kMaxSizes, " sizes; expected ", kMaxSizes, " at most");
      arrays_.back().shape.push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::offsets) {
      if (offsets_count_ == offsets_.size())
        reject(where(), ": more than two offsets; expected [begin, end]");
      offsets_[offsets_count_++] = value;
    } else {
      unexpected("a number");
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::offsets && offsets_count_ != offsets_.size())
      reject(where(), ": less than two offsets; expected [begin, end]");
    place_ = Place::array;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::array) finish(arrays_.back());
    place_ = place_ == Place::file ? Place::end : Place::file;
    return true;
  }

  bool number_integer(number_integer_t value) override { return unexpected(text("the number ", value)); }
  bool number_float(number_float_t, const string_t& digits) override {
    return unexpected("the number " + digits.substr(0, 40));
  }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool null() override { return unexpected("null"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    reject("the header is no JSON at byte ", position + 7, "; expected the header of a tensor file");
  }

  uint64_t end() const { return end_; }  // of the last array

 private:
  enum class Place { start, file, metadata, array, shape, offsets, end };

  template <class... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(Fault::input, path_, ": ", parts...);
  }

  // What the next value would belong to, for messages.
  std::string where() const {
    if (place_ == Place::start || place_ == Place::end) return "the header";
    if (place_ == Place::metadata) return "metadata " + shown(key_);
    if (place_ == Place::file) return shown(key_);
    return "array " + shown(arrays_.back().name);
  }

  [[noreturn]] bool unexpected(const std::string& what) const {
    const char* expected = nullptr;
    switch (place_) {
      case Place::start:
      case Place::file:
      case Place::end:
        expected = "an object";
        break;
      case Place::metadata:
        expected = "a text";
        break;
      case Place::array:
        expected = "\"dtype\", \"shape\" and \"data_offsets\" only";
        break;
      case Place::shape:
      case Place::offsets:
        expected = "whole numbers from 0 on";
        break;
    }
    const std::string at = place_ == Place::array ? " at " + shown(key_) : "";
    reject(where(), ": ", what, at, "; expected ", expected);
  }

  void once(bool& given) const {
    if (std::exchange(given, true)) reject(where(), ": ", shown(key_), " is given twice; expected once");
  }

  void finish(NamedArray& array) {
    if (!has_type_ || !has_shape_ || !has_offsets_)
      reject(where(), ": incomplete; expected \"dtype\", \"shape\" and \"data_offsets\"");
    const auto n = elements(array);
    if (!n) reject(where(), ": its size does not fit into 63 bits; expected a real shape");
    const auto [begin, end] = offsets_;
    const uint64_t bytes = static_cast<uint64_t>(*n * width(array.type));
    if (begin != end_)
      reject(where(), ": begins at ", begin, "; expected ", end_, ", the end of the one before");
    if (end < begin || end - begin != bytes)
      reject(where(), ": lies from ", begin, " to ", end, "; expected ", bytes, " bytes by type and shape");
    if (end > data_.size())
      reject(where(), ": ends at ", end, "; expected ", data_.size(),
             " at most, the bytes that the file has");
    if (arrays_.size() > 1 && arrays_[arrays_.size() - 2].type > array.type)
      reject(where(), ": ", name(array.type), " after ", name(arrays_[arrays_.size() - 2].type),
             "; expected the order F64, I64, F32, I32, U8");
    array.data = data_.data() + begin;
    end_ = end;
  }

  const std::string& path_;
  std::span<const std::byte> data_;
  Metadata& metadata_;
  std::vector<NamedArray>& arrays_;
  std::map<std::string, size_t>& places_;

  Place place_ = Place::start;
  std::string key_;  // the last one read
  bool has_metadata_ = false;
  bool has_type_ = false, has_shape_ = false, has_offsets_ = false;  // of the present array
  std::array<uint64_t, 2> offsets_ = {};
  size_t offsets_count_ = 0;
  uint64_t end_ = 0;
};

}  // namespace

const char* name(ElementType type) {
  switch (type) {
    case ElementType::f64:
      return "F64";
    case ElementType::i64:
      return "I64";
    case ElementType::f32:
      return "F32";
    case ElementType::i32:
      return "I32";
    case ElementType::u8:
      return "U8";
  }
  return "?";
}

int64_t width(ElementType type) {
  switch (type) {
    case ElementType::f64:
    case ElementType::i64:
      return 8;
    case ElementType::f32:
    case ElementType::i32:
      return 4;
    case ElementType::u8:
      return 1;
  }
  return 0;
}

int64_t NamedArray::size() const {
  const auto n = elements(*this);
  check(n.has_value(), "array ", shown(name), ": a negative or impossible size");
  return *n;
}

void NamedArray::check_type(ElementType expected) const {
  if (type != expected)
    fail(Fault::input, "array ", shown(name), " is ", steelyard::name(type), "; expected ",
         steelyard::name(expected));
}

void write_tensor_file(const std::filesystem::path& path, std::vector<NamedArray> arrays,
                       const Metadata& metadata) {
  std::stable_sort(arrays.begin(), arrays.end(),
                   [](const NamedArray& a, const NamedArray& b) { return a.type < b.type; });

  Metadata described = metadata;
  for (const auto& [key, value] : metadata)
    check(!key.starts_with(kChecksum), "tensor file: metadata ", shown(key),
          "; expected no key of a checksum");
  described[kChecksum + kHeaderName] = kNoDigits;
  for (const NamedArray& array : arrays) {
    check(!array.name.empty() && array.name != kMetadata && array.name != kHeaderName,
          "tensor file: an array is named ", shown(array.name), "; expected another name");
    check(array.shape.size() <= kMaxSizes, "tensor file: array ", shown(array.name), " has ",
          array.shape.size(), " sizes; expected ", kMaxSizes, " at most");
    check(array.data || array.size() == 0, "tensor file: array ", shown(array.name), " has no data");
    check(described.emplace(kChecksum + array.name, checksum(array)).second, "tensor file: array ",
          shown(array.name), " is given twice; expected unique names");
  }

  std::string header;
  try {
    header = text("{", quoted(kMetadata), ":{");
    const char* comma = "";
    for (const auto& [key, value] : described) {
      header += text(comma, quoted(key), ":", quoted(value));
      comma = ",";
    }
    header += "}";
    int64_t begin = 0;
    for (const NamedArray& array : arrays) {
      const int64_t end = begin + array.size() * width(array.type);
      header += text(",", quoted(array.name), ":{\"dtype\":\"", name(array.type),
                     "\",\"shape\":", json(array.shape).dump(), ",\"data_offsets\":[", begin, ",", end, "]}");
      begin = end;
    }
    header += "}";
  } catch (const json::exception&) {
    check(false, "tensor file: a name or a value of the metadata is not UTF-8");
  }
  uint64_t length = header.size();
  length += (kAlignment - (sizeof length + length) % kAlignment) % kAlignment;
  check(static_cast<int64_t>(length) <= kMaxHeader, "tensor file: a header of ", length, " bytes; expected ",
        kMaxHeader, " at most: keep what is large in an array");
  header.resize(length, ' ');
  const size_t digits = *own_digits(header);
  header.replace(digits, kNoDigits.size(), own_checksum(header, digits));

  write_atomically(path, [&](const Append& append) {
    append(std::as_bytes(std::span(&length, 1)));
    append(std::as_bytes(std::span(header)));
    for (const NamedArray& array : arrays)
      append(
          {static_cast<const std::byte*>(array.data), static_cast<size_t>(array.size() * width(array.type))});
  });
}

TensorFile::TensorFile(const std::filesystem::path& path) : path_(path), file_(path) { parse(file_.bytes()); }

TensorFile::TensorFile(std::span<const std::byte> bytes, std::filesystem::path path)
    : path_(std::move(path)) {
  check(reinterpret_cast<uintptr_t>(bytes.data()) % sizeof(double) == 0,
        "tensor file: bytes in memory at an odd address; expected a multiple of ", sizeof(double));
  parse(bytes);
}

void TensorFile::parse(std::span<const std::byte> bytes) {
  const std::string path = path_.string();
  const auto reject = [&](const auto&... parts) { fail(Fault::input, path, ": ", parts...); };

  uint64_t length = 0;
  if (bytes.size() < sizeof length)
    reject("a file of ", bytes.size(), " bytes; expected a tensor file, of more than ", sizeof length);
  std::memcpy(&length, bytes.data(), sizeof length);
  bytes = bytes.subspan(sizeof length);
  if (length > static_cast<uint64_t>(kMaxHeader))
    reject("a header of ", length, " bytes; expected a tensor file, with ", kMaxHeader, " at most");
  if (length > bytes.size())
    reject("a header of ", length, " bytes; expected ", bytes.size(),
           " at most, the bytes that the file has");
  if ((sizeof length + length) % kAlignment != 0)
    reject("the data begin at byte ", sizeof length + length, "; expected a multiple of ", kAlignment);

  const std::string_view header(reinterpret_cast<const char*>(bytes.data()), length);
  const std::span<const std::byte> data = bytes.subspan(length);
  // nlohmann takes a zero byte for the end of the text and would ignore what follows.
  if (header.empty() || header.front() != '{' || header.find('\0') != header.npos)
    reject("the header is no JSON object; expected the header of a tensor file");
  HeaderReader reader(path, data, metadata_, arrays_, places_);
  json::sax_parse(header.begin(), header.end(), &reader);
  if (reader.end() != data.size())
    reject("the arrays end at ", reader.end(), "; expected ", data.size(), ", the end of the data");

  // Every array has a checksum of its own, and every checksum belongs to an array: what is taken out here may
  // not be missing, and nothing of this kind may be left.
  const auto take = [&](const std::string& name) {
    const auto found = metadata_.find(kChecksum + name);
    if (found == metadata_.end())
      reject("no checksum of ", shown(name), "; expected a file written by Steelyard");
    return metadata_.extract(found);
  };
  const auto compare = [&](const std::string& name, const std::string& given, const std::string& right) {
    if (given != right)
      reject("the checksum of ", shown(name), " is ", right, "; expected ", shown(given),
             ": the file is damaged");
  };
  const auto given = take(kHeaderName);
  const auto digits = own_digits(header);
  if (!digits || given.mapped() != header.substr(*digits, kNoDigits.size()))
    reject("the header's checksum is ", shown(given.mapped()), "; expected 16 digits without escapes");
  compare(kHeaderName, given.mapped(), own_checksum(header, *digits));
  digits_ = given.mapped();
  for (const NamedArray& array : arrays_) compare(array.name, take(array.name).mapped(), checksum(array));
  const auto extra = metadata_.lower_bound(kChecksum);
  if (extra != metadata_.end() && extra->first.starts_with(kChecksum))
    reject("checksum ", shown(extra->first), " belongs to no array; expected none");
}

const std::string& TensorFile::metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end())
    fail(Fault::input, path_.string(), ": no metadata ", shown(key), "; expected it");
  return found->second;
}

const NamedArray* TensorFile::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &arrays_[found->second];
}

const NamedArray& TensorFile::at(const std::string& name) const {
  const NamedArray* array = find(name);
  if (!array) fail(Fault::input, path_.string(), ": no array ", shown(name), "; expected it");
  return *array;
}

}  // namespace steelyard
