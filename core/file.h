// Whole files: read by memory map, written so that a reader sees the old content or the new one and never a
// part. Everything that Steelyard keeps (models, training states, caches, exports) goes through these two.
// What the bytes mean is said elsewhere; next: core/tensor_file.h.
#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <utility>

#include <sys/types.h>

#include "core/check.h"

namespace steelyard {

// A file as bytes, mapped for reading. A file that is replaced while it is open stays as it was; one that
// another program shortens in place cannot be protected (the system kills the reader), which is why we never
// write in place.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(std::filesystem::path path);  // Error(input): missing, unreadable, no regular file
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

// Appends bytes to the file being written. Not buffered: hand over large pieces.
using Append = std::function<void(std::span<const std::byte>)>;

// Writes a temporary file beside PATH, flushes it, renames it to PATH and flushes the folder. Whatever fails,
// and wherever the process is killed, PATH holds its old content or the whole new one. Error(resources) if
// the disk refuses; an exception of `content` passes through; either way the temporary file is removed.
void write_atomically(const std::filesystem::path& path, const std::function<void(const Append&)>& content);
void write_atomically(const std::filesystem::path& path, std::string_view content);

// Flushes to disk what was appended to PATH by other means. Error(resources) if the disk refuses.
void flush_file(const std::filesystem::path& path);

// Removes the temporary files that killed writers of PATH left behind. For the one owner of the folder.
void remove_leftovers(const std::filesystem::path& path);

// A signal may interrupt a system call before it has done anything: calls again.
template <class F>
auto uninterrupted(F&& call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

// The system calls of `write_atomically`, in one table so that tests can make each of them fail, stop short
// or be the moment of a kill.
struct FileCalls {
  int (*open)(const char* path, int flags, mode_t mode);
  ssize_t (*write)(int file, const void* bytes, size_t count);
  int (*fsync)(int file);
  int (*close)(int file);
  int (*rename)(const char* from, const char* to);
};
FileCalls& file_calls();

}  // namespace steelyard
