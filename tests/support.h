// Small helpers that every test file shares.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>

#include "core/check.h"

namespace steelyard::test {

// A new folder, removed with everything in it at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "steelyard-XXXXXX").string();
    if (!mkdtemp(pattern.data())) fail(Fault::resources, "mkdtemp failed: ", pattern);
    path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Runs f, which must throw an Error of this fault whose text contains each of the parts.
template <class F, class... Parts>
void check_fails(Fault fault, F&& f, const Parts&... parts) {
  try {
    f();
  } catch (const Error& e) {
    const std::string what = e.what();
    CAPTURE(what);
    CHECK(e.fault == fault);
    for (const std::string& part : std::initializer_list<std::string>{parts...})
      CHECK_MESSAGE(what.find(part) != std::string::npos, "expected in the message: ", part);
    return;
  }
  FAIL_CHECK("no error was thrown");
}

}  // namespace steelyard::test
