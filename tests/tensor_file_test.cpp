// The strictness of tensor files: no flipped bit, no cut, no false statement of a header is accepted, and no
// header makes the reader allocate (core/tensor_file.h).
#include "core/tensor_file.h"

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <xxhash.h>

#include "tests/allocation_counter.h"
#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;
using steelyard::test::TempDir;

namespace {

// Bytes at an address that the reader accepts.
class Aligned {
 public:
  explicit Aligned(const std::string& bytes) : words_(bytes.size() / 8 + 1), size_(bytes.size()) {
    std::memcpy(words_.data(), bytes.data(), bytes.size());
  }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(words_)).first(size_); }

 private:
  std::vector<uint64_t> words_;
  size_t size_;
};

TensorFile open(const std::string& bytes) {
  const Aligned aligned(bytes);
  return TensorFile(aligned.bytes(), "memory");  // its arrays are not looked at by the callers of this
}

template <class... Parts>
void check_refused(const std::string& bytes, const Parts&... parts) {
  check_fails(
      Fault::input, [&] { open(bytes); }, "memory: ", parts...);
}

std::string hash_of(const std::string& bytes) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(bytes.data(), bytes.size())));
  return digits;
}

std::string length_of(uint64_t length) {
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}

// A file around this header and these data. The header's checksum is put where "DIGITS" stands, so that what
// is refused is not refused for a wrong checksum.
std::string file_of(std::string header, const std::string& data = "") {
  const std::string mark = "DIGITS";
  const size_t at = header.find(mark);
  if (at != header.npos) header.replace(at, mark.size(), std::string(16, '0'));
  while ((8 + header.size()) % 64 != 0) header += ' ';
  if (at != header.npos) header.replace(at, 16, hash_of(header));
  return length_of(header.size()) + header + data;
}

// A header with these arrays, as JSON members, and the checksums of the data of one array "a".
std::string header_of(const std::string& arrays, const std::string& data) {
  return R"({"__metadata__":{"xxh3:a":")" + hash_of(data) + R"(","xxh3:header":"DIGITS"},)" + arrays + "}";
}

std::string with_array(const std::string& array, const std::string& data = "12345678") {
  return file_of(header_of(R"("a":)" + array, data), data);
}

struct Sample {
  std::vector<float> matrix = {1, 2.5f, -3, 4, 5, 6};
  std::vector<double> moments = {1e-300, 2};
  std::vector<int64_t> starts = {0, 1LL << 40};
  std::vector<int32_t> ids = {7, -7, 9};
  std::vector<uint8_t> bytes = {'w', 'o', 'r', 'd', 0};

  std::vector<NamedArray> arrays() const {
    return {NamedArray::of("vocabulary/字", std::span(bytes)),
            NamedArray::of("ids", std::span(ids)),
            {.name = "W", .type = ElementType::f32, .shape = {2, 3}, .data = matrix.data()},
            NamedArray::of("starts", std::span(starts)),
            NamedArray::of("moments", std::span(moments)),
            {.name = "empty", .type = ElementType::f32, .shape = {0, 3}, .data = nullptr},
            {.name = "scalar", .type = ElementType::i32, .shape = {}, .data = ids.data()}};
  }
  Metadata metadata() const { return {{"format", "1"}, {"config", "{\"a\":\"\\u0001\n\"}"}, {"", ""}}; }
  std::string written() const {
    TempDir folder;
    write_tensor_file(folder / "m", arrays(), metadata());
    return test::read_file(folder / "m");
  }
};

}  // namespace

TEST_CASE("tensor file: what is written is read") {
  const Sample sample;
  TempDir folder;
  write_tensor_file(folder / "m", sample.arrays(), sample.metadata());
  TensorFile opened(folder / "m");
  const TensorFile file = std::move(opened);
  CHECK(file.path() == folder / "m");
  CHECK(file.metadata() == sample.metadata());
  CHECK(file.metadata("format") == "1");
  REQUIRE(file.arrays().size() == 7);

  std::vector<std::string> order;
  for (const NamedArray& array : file.arrays()) {
    order.push_back(array.name);
    CHECK(reinterpret_cast<uintptr_t>(array.data) % static_cast<uintptr_t>(width(array.type)) == 0);
    CHECK(file.find(array.name) == &array);
  }
  CHECK(order ==
        std::vector<std::string>{"moments", "starts", "W", "empty", "ids", "scalar", "vocabulary/字"});

  const auto equal = [&](const char* name, const auto& expected) {
    const auto values = file.at(name).values<typename std::decay_t<decltype(expected)>::value_type>();
    CHECK(std::vector(values.begin(), values.end()) == expected);
  };
  equal("W", sample.matrix);
  equal("moments", sample.moments);
  equal("starts", sample.starts);
  equal("ids", sample.ids);
  equal("vocabulary/字", sample.bytes);
  equal("empty", std::vector<float>());
  equal("scalar", std::vector<int32_t>{7});
  CHECK(file.at("W").shape == std::vector<int64_t>{2, 3});
  CHECK(file.at("empty").shape == std::vector<int64_t>{0, 3});
  CHECK(file.at("scalar").shape.empty());

  CHECK(file.find("w") == nullptr);
  check_fails(
      Fault::input, [&] { file.at("w"); }, (folder / "m").string(), "no array \"w\"");
  check_fails(
      Fault::input, [&] { file.metadata("none"); }, (folder / "m").string(), "no metadata \"none\"");
  check_fails(
      Fault::input, [&] { file.at("W").values<double>(); }, "array \"W\" is F32; expected F64");
}

TEST_CASE("tensor file: equal input gives equal bytes, nothing at all is a file too") {
  const Sample sample;
  CHECK(sample.written() == sample.written());
  CHECK(sample.written().size() % 64 != 0);

  TempDir folder;
  write_tensor_file(folder / "none", {}, {});
  CHECK(TensorFile(folder / "none").arrays().empty());
  CHECK(TensorFile(folder / "none").metadata().empty());
}

TEST_CASE("tensor file: every flipped bit and every cut is refused") {
  const std::string whole = Sample().written();
  open(whole);
  std::string changed = whole;
  int64_t refused = 0;
  const auto refuses = [&](const std::string& bytes) {
    try {
      open(bytes);
    } catch (const Error& error) {
      return error.fault == Fault::input;
    }
    return false;
  };
  for (size_t bit = 0; bit < 8 * whole.size(); bit++) {
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    refused += refuses(changed);
    changed[bit / 8] = whole[bit / 8];
  }
  CHECK(refused == static_cast<int64_t>(8 * whole.size()));
  refused = 0;
  for (size_t size = 0; size < whole.size(); size++) refused += refuses(whole.substr(0, size));
  CHECK(refused == static_cast<int64_t>(whole.size()));
  check_refused(whole + '\0', "the arrays end at");
}

TEST_CASE("tensor file: false statements of a header are refused by name") {
  const std::string good = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  CHECK(open(with_array(good)).arrays().size() == 1);
  check_refused("", "a file of 0 bytes");
  check_refused("1234567", "a file of 7 bytes");
  check_refused(length_of(UINT64_MAX), "a header of 18446744073709551615 bytes");
  check_refused(length_of(kMaxHeader + 56), "bytes; expected a tensor file, with 2097152 at most");
  check_refused(length_of(120) + "{}", "expected 2 at most");
  check_refused(length_of(2) + "{}", "begin at byte 10", "multiple of 64");

  check_refused(file_of(""), "no JSON object");
  check_refused(file_of("[]"), "no JSON object");
  check_refused(file_of(std::string("{}\0", 3)), "no JSON object");
  check_refused(file_of("{}"), "no checksum of \"header\"");
  check_refused(file_of("{} {}"), "no JSON at byte 11");
  check_refused(file_of("{\"a\":"), "no JSON at byte");
  check_refused(file_of("{\"\xff\":1}"), "no JSON at byte");
  check_refused(file_of("{\"a\":" + std::string(100'000, '[')), "\"a\": a list; expected an object");
  check_refused(file_of("{\"a\":" + std::string(100'000, '{')), "no JSON at byte");
  for (const char* value : {"1", "-1", "1.5", "null", "true", "\"x\"", "[]"})
    check_refused(file_of(text("{\"a\":", value, "}")), "\"a\": ", "; expected an object");
  for (const char* value : {"1", "-1", "1.5", "null", "true", "{}", "[]"})
    check_refused(file_of(text("{\"__metadata__\":{\"k\":", value, "}}")),
                  "metadata \"k\": ", "; expected a text");
  check_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})"), "\"__metadata__\" is given twice");
  check_refused(file_of(R"({"__metadata__":{"k":"1","k":"1"}})"), "metadata \"k\" is given twice");

  const auto array = [&](const char* from, const std::string& to) {
    std::string changed = good;
    return with_array(changed.replace(changed.find(from), std::strlen(from), to));
  };
  check_refused(array("F32", "F16"), "array \"a\": unknown type \"F16\"");
  check_refused(array("F32", "f32"), "unknown type");
  check_refused(array("F32", "F64"), "expected 16 bytes by type and shape");
  check_refused(array("\"F32\"", "7"), "a number at \"dtype\"");
  check_refused(array("[2]", "[3]"), "expected 12 bytes");
  check_refused(array("[2]", "[-2]"), "the number -2; expected whole numbers from 0 on");
  check_refused(array("[2]", "[2.0]"), "the number 2.0; expected whole numbers");
  check_refused(array("[2]", "[\"2\"]"), "a text; expected whole numbers");
  check_refused(array("[2]", "[[2]]"), "a list; expected whole numbers");
  check_refused(array("[2]", "[9223372036854775808]"), "less than 2^63");
  check_refused(array("[2]", "[18446744073709551616]"), "expected whole numbers");
  check_refused(array("[2]", "[9223372036854775807]"), "does not fit into 63 bits");
  check_refused(array("[2]", "[4294967296,4294967296]"), "does not fit into 63 bits");
  check_refused(array("[2]", "[4611686018427387904,4,0]"), "does not fit into 63 bits");
  check_refused(array("[2]", "[1,1,1,1,1,1,1,1,2]"), "more than 8 sizes");
  check_refused(array("[0,8]", "[0]"), "less than two offsets");
  check_refused(array("[0,8]", "[0,8,8]"), "more than two offsets");
  check_refused(array("[0,8]", "[0,16]"), "lies from 0 to 16");
  check_refused(array("[0,8]", "[8,0]"), "begins at 8; expected 0");
  check_refused(array("[0,8]", "[0,-8]"), "the number -8");
  check_refused(array("[2],\"data_offsets\":[0,8]", "[4],\"data_offsets\":[0,16]"),
                "ends at 16; expected 8 at most");
  check_refused(array("[2],\"data_offsets\":[0,8]", "[1],\"data_offsets\":[0,4]"),
                "the arrays end at 4; expected 8");
  check_refused(array("\"shape\":[2],", ""), "incomplete");
  check_refused(array("\"dtype\":\"F32\",", ""), "incomplete");
  check_refused(array(",\"data_offsets\":[0,8]", ""), "incomplete");
  check_refused(array("\"shape\":[2]", "\"shape\":[2],\"shape\":[2]"), "\"shape\" is given twice");
  check_refused(array("\"shape\":[2]", "\"dtype\":\"F32\",\"shape\":[2]"), "\"dtype\" is given twice");
  check_refused(array("[0,8]", "[0,8],\"data_offsets\":[0,8]"), "\"data_offsets\" is given twice");
  check_refused(array("\"shape\":[2]", "\"shape\":[2],\"more\":1"), "a number at \"more\"");
  check_refused(array("\"shape\":[2]", "\"shape\":[2],\"more\":{}"), "an object at \"more\"");
  check_refused(array("\"shape\":[2]", "\"shape\":[2],\"more\":[]"), "a list at \"more\"");
}

TEST_CASE("tensor file: arrays in the wrong places and wrong checksums are refused") {
  const std::string data = "12345678";
  const auto two = [&](const std::string& first, const std::string& second) {
    return file_of(
        R"({"__metadata__":{"xxh3:a":"0","xxh3:b":"0","xxh3:header":"DIGITS"},)" + first + "," + second + "}",
        data);
  };
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const std::string b = R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})";
  check_refused(two(a, b), "the checksum of \"a\" is ", "expected \"0\": the file is damaged");
  check_refused(two(b, a), "array \"b\": begins at 4; expected 0");
  check_refused(two(a, a), "array \"a\" is given twice");
  check_refused(two(a, R"("b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]})"), "begins at 5; expected 4");
  check_refused(two(a, R"("b":{"dtype":"U8","shape":[5],"data_offsets":[3,8]})"), "begins at 3; expected 4");
  check_refused(two(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})",
                    R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})"),
                "array \"b\": F32 after U8");
  check_refused(two(a, R"("header":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})"), "named \"header\"");
  check_refused(two(a, R"("":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})"), "named \"\"");

  const std::string array = R"("a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})";
  const std::string right = header_of(array, data);
  open(file_of(right, data));
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string header = right;
    return file_of(header.replace(header.find(from), from.size(), to), data);
  };
  check_refused(file_of(right, "12345679"), "the checksum of \"a\"");
  check_refused(changed("xxh3:a", "xxh3:b"), "no checksum of \"a\"");
  check_refused(changed("\"xxh3:header\":\"DIGITS\"", "\"k\":\"\""), "no checksum of \"header\"");
  check_refused(changed("DIGITS", "1111111111111111"), "the checksum of \"header\"");
  check_refused(changed("DIGITS", "1"), "16 digits without escapes");
  check_refused(changed("\"xxh3:header\":", "\"xxh3:header\" :"), "16 digits without escapes");
  check_refused(changed("\"xxh3:a\"", "\"xxh3:z\":\"\",\"xxh3:a\""),
                "checksum \"xxh3:z\" belongs to no array");
  std::string upper = hash_of(data);
  for (char& digit : upper) digit = static_cast<char>(std::toupper(digit));
  REQUIRE(upper != hash_of(data));
  check_refused(changed(hash_of(data), upper), "the checksum of \"a\"");

  const std::string line_break = "{\"two\\nlines\":1}";
  check_refused(file_of(line_break), "\"two\\nlines\"");
}

TEST_CASE("tensor file: what cannot be read back is not written") {
  TempDir folder;
  const float x = 1;
  const auto refuses = [&](std::vector<NamedArray> arrays, const Metadata& metadata, const char* part) {
    check_fails(
        Fault::bug, [&] { write_tensor_file(folder / "m", std::move(arrays), metadata); }, part);
    CHECK(!std::filesystem::exists(folder / "m"));
  };
  const auto f32 = [&](std::string name, std::vector<int64_t> shape) {
    return NamedArray{
        .name = std::move(name), .type = ElementType::f32, .shape = std::move(shape), .data = &x};
  };
  refuses({f32("", {1})}, {}, "named \"\"");
  refuses({f32("header", {1})}, {}, "named \"header\"");
  refuses({f32("__metadata__", {1})}, {}, "named \"__metadata__\"");
  refuses({f32("a", {1}), f32("a", {1})}, {}, "array \"a\" is given twice");
  refuses({f32("a", {-1})}, {}, "array \"a\": a negative or impossible size");
  refuses({f32("a", {1LL << 62, 2})}, {}, "negative or impossible");
  refuses({f32("a", std::vector<int64_t>(9, 1))}, {}, "9 sizes; expected 8 at most");
  refuses({{.name = "a", .type = ElementType::u8, .shape = {1}, .data = nullptr}}, {}, "has no data");
  refuses({f32("\xff", {1})}, {}, "not UTF-8");
  refuses({}, {{"k", "\xff"}}, "not UTF-8");
  refuses({}, {{"xxh3:k", ""}}, "no key of a checksum");
  refuses({}, {{"k", std::string(kMaxHeader, 'x')}}, "keep what is large in an array");
  check_fails(
      Fault::resources, [&] { write_tensor_file(folder / "none/m", {}, {}); }, "none/m");

  const Aligned bytes(Sample().written());
  check_fails(
      Fault::bug, [&] { TensorFile(bytes.bytes().subspan(1), "memory"); }, "multiple of 8");
}

TEST_CASE("tensor file: a failing disk leaves the old model") {
  TempDir folder;
  const Sample sample;
  write_tensor_file(folder / "m", {}, {{"version", "old"}});
  const FileCalls saved = file_calls();
  file_calls().fsync = [](int) { return errno = ENOSPC, -1; };
  check_fails(
      Fault::resources, [&] { write_tensor_file(folder / "m", sample.arrays(), {}); }, "No space left");
  file_calls() = saved;
  CHECK(TensorFile(folder / "m").metadata("version") == "old");
}

TEST_CASE("tensor file: opening allocates less than the file's size + 64 MiB, whatever the header says") {
  const auto limit = static_cast<size_t>(kMaxHeader) - 64;
  const auto filled = [&](const std::string& begin, auto&& unit, const std::string& end) {
    std::string header = begin;
    for (int64_t i = 0; header.size() + end.size() + 100 < limit; i++) header += unit(i);
    return file_of(header + end);
  };
  std::string letters;  // that need no escape
  for (char c = '#'; c < '\\'; c++) letters += c;
  for (char c = ']'; c < '\x7f'; c++) letters += c;
  const auto short_name = [&](int64_t i) {  // all different, as short as possible
    std::string name;
    for (; i > 0; i /= std::ssize(letters)) name += letters[static_cast<size_t>(i % std::ssize(letters))];
    return name;
  };
  const std::string metadata = "{\"__metadata__\":{";
  const struct {
    const char* name;
    std::string bytes;
  } hostile[] = {
      {"many keys", filled(
                        metadata, [&](int64_t i) { return text('"', i, "\":\"\","); }, "\"a\":\"\"}}")},
      {"short keys", filled(
                         metadata, [&](int64_t i) { return text('"', short_name(i), "\":\"\","); }, "")},
      {"a long value", filled(
                           metadata + "\"a\":\"", [](int64_t) { return "xxxxxxxxxxxxxxxx"; }, "\"}}")},
      {"an endless value", filled(
                               metadata + "\"a\":\"", [](int64_t) { return "xxxxxxxxxxxxxxxx"; }, "")},
      {"an endless key", filled(
                             "{\"", [](int64_t) { return "\\u0001\\u0001"; }, "")},
      {"an endless number", filled(
                                "{\"a\":", [](int64_t) { return "99999999"; }, "")},
      {"long keys", filled(
                        "{\"", [](int64_t) { return "x"; }, "\":{}}")},
      {"many arrays", filled(
                          "{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}",
                          [](int64_t i) {
                            return text(",\"", i,
                                        R"(":{"dtype":"U8","shape":[0,0,0,0,0,0,0,0],"data_offsets":[1,1]})");
                          },
                          "}") +
                          "x"},
      {"many empty arrays",
       filled(
           "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
           [](int64_t i) { return text(",\"", i, R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})"); },
           "}")},
      {"a huge array", file_of(R"({"a":{"dtype":"F64","shape":[1152921504606846975],)"
                               R"("data_offsets":[0,9223372036854775800]}})")},
      {"a huge header", length_of(1ULL << 62) + "{}"},
  };
  for (const auto& file : hostile) {
    const std::string name = file.name;
    CAPTURE(name);
    const Aligned aligned(file.bytes);
    const int64_t before = test::allocated_bytes();
    check_fails(
        Fault::input, [&] { TensorFile(aligned.bytes(), "memory"); }, "memory: ");
    const int64_t total = test::allocated_bytes() - before;
    CHECK(total > 0);
    CHECK(total <= static_cast<int64_t>(file.bytes.size()) + (64 << 20));
  }

  // And the normal case: memory for the header only, none for the data.
  TempDir folder;
  const std::vector<float> large(4 << 20);
  write_tensor_file(folder / "m", {NamedArray::of("large", std::span(large))}, {});
  const int64_t before = test::allocated_bytes();
  TensorFile file(folder / "m");
  CHECK(test::allocated_bytes() - before < 20'000);
}
