#include "core/file.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace steelyard {

namespace {

constexpr const char* kTemporaryEnding = ".partial";

std::string system_text(int error) { return std::generic_category().message(error); }

// Unique among the processes and threads of this machine, so that two writers of one path never share it.
std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<int> count = 0;
  std::filesystem::path name = path;
  name += text(".", getpid(), "-", count++, kTemporaryEnding);
  return name;
}

// A file or folder open for the calls of the table; every failure is an Error that names `path`.
class OpenFile {
 public:
  OpenFile(const std::filesystem::path& opened, int flags, const std::filesystem::path& path) : path_(path) {
    file_ = uninterrupted([&] { return file_calls().open(opened.c_str(), flags | O_CLOEXEC, 0666); });
    if (file_ == -1) refuse("cannot be written");
  }
  ~OpenFile() {
    if (file_ != -1) file_calls().close(file_);  // after a failure that is already being reported
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = uninterrupted([&] { return file_calls().write(file_, bytes.data(), bytes.size()); });
      if (n == 0) errno = EIO;  // a device that takes nothing and reports no error
      if (n <= 0) refuse("cannot be written");
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }

  void flush() {
    if (uninterrupted([&] { return file_calls().fsync(file_); }) == -1) refuse("cannot be flushed to disk");
  }

  // Some file systems know no flushing of folders and say EINVAL; there is nothing more to be done there.
  void flush_folder() {
    if (uninterrupted([&] { return file_calls().fsync(file_); }) == -1 && errno != EINVAL)
      refuse("its folder cannot be flushed to disk");
  }

  // The number is free after close, whatever it returns; closing again could hit another thread's file. EINTR
  // is harmless here because the bytes have been flushed before.
  void close() {
    if (file_calls().close(std::exchange(file_, -1)) == -1 && errno != EINTR) refuse("cannot be closed");
  }

 private:
  [[noreturn]] void refuse(const char* what) {
    const int error = errno;
    fail(Fault::resources, path_.string(), ": ", what, ": ", system_text(error));
  }

  const std::filesystem::path& path_;
  int file_ = -1;
};

struct RemoveAtEnd {
  const std::filesystem::path& path;
  bool armed = true;
  ~RemoveAtEnd() {
    if (armed) ::unlink(path.c_str());
  }
};

}  // namespace

FileCalls& file_calls() {
  static FileCalls calls = {
      .open = [](const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); },
      .write = ::write,
      .fsync = ::fsync,
      .close = ::close,
      .rename = [](const char* from, const char* to) { return ::rename(from, to); },
  };
  return calls;
}

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  const auto refuse = [&](const std::string& what) {
    const bool exhausted = errno == ENOMEM || errno == EMFILE || errno == ENFILE;
    fail(exhausted ? Fault::resources : Fault::input, path_.string(), ": ", what);
  };
  // O_NONBLOCK: opening a pipe that nobody writes must not hang; it is refused as no regular file.
  const int file = uninterrupted([&] { return ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
  if (file == -1) refuse("cannot be opened: " + system_text(errno));
  struct stat status = {};
  const int known = ::fstat(file, &status);
  const size_t size = static_cast<size_t>(status.st_size);
  void* map = nullptr;
  if (known == 0 && S_ISREG(status.st_mode) && size > 0)
    map = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  const int error = errno;
  ::close(file);
  errno = error;
  if (known != 0 || map == MAP_FAILED) refuse("cannot be read: " + system_text(error));
  errno = 0;
  if (!S_ISREG(status.st_mode)) refuse("is not a regular file");
  if (map) bytes_ = {static_cast<const std::byte*>(map), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void write_atomically(const std::filesystem::path& path, const std::function<void(const Append&)>& content) {
  const std::filesystem::path temporary = temporary_name(path);
  const std::filesystem::path parent = path.parent_path();
  // Opened first: if the folder cannot be flushed later, better to know before anything is replaced.
  OpenFile folder(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY, path);
  OpenFile file(temporary, O_WRONLY | O_CREAT | O_EXCL, path);
  RemoveAtEnd leftover{temporary};
  content([&](std::span<const std::byte> bytes) { file.append(bytes); });
  file.flush();
  file.close();
  if (file_calls().rename(temporary.c_str(), path.c_str()) == -1)
    fail(Fault::resources, path.string(), ": cannot be replaced: ", system_text(errno));
  leftover.armed = false;
  folder.flush_folder();
  folder.close();
}

void write_atomically(const std::filesystem::path& path, std::string_view content) {
  write_atomically(path, [&](const Append& append) { append(std::as_bytes(std::span(content))); });
}

void flush_file(const std::filesystem::path& path) {
  OpenFile file(path, O_WRONLY, path);
  file.flush();
  file.close();
}

void remove_leftovers(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.parent_path();
  const std::string beginning = path.filename().string() + ".";
  std::error_code ignored;  // a folder that is not there has no leftovers
  for (const auto& entry : std::filesystem::directory_iterator(parent.empty() ? "." : parent, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(beginning) && name.ends_with(kTemporaryEnding))
      std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace steelyard
