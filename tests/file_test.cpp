// Atomic writing under every failure that a disk can report, at every call, and under kills (core/file.h).
#include "core/file.h"

#include <cerrno>
#include <csignal>
#include <exception>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;
using steelyard::test::TempDir;

namespace {

// What happens at one call of the table. The calls are counted over all entries, so that "call number n"
// walks through every step of a save.
struct Injection {
  enum class Kind { none, failure, interruption, short_writes, kill };
  Kind kind = Kind::none;
  int at = -1;  // number of the call it happens to
  int error = 0;
  int calls = 0;
  bool renamed = false;  // a rename has succeeded
};
Injection injection;

bool happens() {
  if (injection.calls++ != injection.at) return false;
  if (injection.kind == Injection::Kind::kill) ::raise(SIGKILL);
  if (injection.kind == Injection::Kind::interruption) errno = EINTR;
  if (injection.kind == Injection::Kind::failure) errno = injection.error;
  return injection.kind == Injection::Kind::interruption || injection.kind == Injection::Kind::failure;
}

// Replaces the table for one scope.
class Injected {
 public:
  explicit Injected(Injection what) : saved_(file_calls()) {
    injection = what;
    file_calls() = {
        .open = [](const char* path, int flags,
                   mode_t mode) { return happens() ? -1 : ::open(path, flags, mode); },
        .write = [](int file, const void* bytes, size_t count) -> ssize_t {
          if (happens()) return -1;
          const bool cut = injection.kind == Injection::Kind::short_writes && count > 1;
          return ::write(file, bytes, cut ? count / 2 : count);
        },
        .fsync = [](int file) { return happens() ? -1 : ::fsync(file); },
        .close =
            [](int file) {
              const bool failing = happens();
              const int error = errno;
              const int result = ::close(file);  // the system frees the number even when it reports an error
              errno = error;
              return failing ? -1 : result;
            },
        .rename =
            [](const char* from, const char* to) {
              if (happens()) return -1;
              const int result = ::rename(from, to);
              injection.renamed = result == 0;
              return result;
            },
    };
  }
  ~Injected() { file_calls() = saved_; }

 private:
  FileCalls saved_;
};

void save(const std::filesystem::path& path, const std::vector<std::string>& parts) {
  write_atomically(path, [&](const Append& append) {
    for (const std::string& part : parts) append(std::as_bytes(std::span(part)));
  });
}

const std::vector<std::string> kParts = {"the new ", "content, ", "in three parts"};
const std::string kNew = "the new content, in three parts";
const std::string kOld = "the old content";

int files_in(const TempDir& folder) {
  int n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) n++;
  return n;
}

int open_files() {
  int n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) n++;
  return n;
}

int calls_of_a_save(const std::filesystem::path& path) {
  Injected counting({});
  save(path, kParts);
  return injection.calls;
}

}  // namespace

TEST_CASE("file: what is written is read") {
  TempDir folder;
  const auto path = folder / "a";
  for (const std::string& content : {std::string("one\n"), std::string(), std::string("two\0three", 9)}) {
    write_atomically(path, content);
    MappedFile file(path);
    CHECK(file.text() == content);
    CHECK(file.path() == path);
    CHECK(files_in(folder) == 1);
  }
}

TEST_CASE("file: a mapped file keeps its content when the path is replaced") {
  TempDir folder;
  write_atomically(folder / "a", kOld);
  MappedFile file(folder / "a");
  write_atomically(folder / "a", kNew);
  CHECK(file.text() == kOld);
  MappedFile moved = std::move(file);
  CHECK(moved.text() == kOld);
  CHECK(file.bytes().empty());  // NOLINT(bugprone-use-after-move): that is the question
  moved = MappedFile(folder / "a");
  CHECK(moved.text() == kNew);
}

TEST_CASE("file: unreadable paths are refused") {
  TempDir folder;
  check_fails(
      Fault::input, [&] { MappedFile(folder / "none"); }, (folder / "none").string(), "No such file");
  check_fails(
      Fault::input, [&] { MappedFile(folder.path()); }, "not a regular file");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  check_fails(
      Fault::input, [&] { MappedFile(folder / "pipe"); }, "not a regular file");
  check_fails(
      Fault::resources, [&] { write_atomically(folder / "none/a", kNew); }, "none/a", "No such file");

  rlimit limit = {};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  write_atomically(folder / "a", kOld);
  const rlimit none = {0, limit.rlim_max};
  // Checked only when files can be opened again: a sanitizer that looks at the checks needs some itself.
  std::exception_ptr thrown;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  try {
    MappedFile(folder / "a");
  } catch (const Error&) {
    thrown = std::current_exception();
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  REQUIRE(thrown);
  check_fails(
      Fault::resources, [&] { std::rethrow_exception(thrown); }, "Too many open files");
}

TEST_CASE("file: a failing call at any position leaves a whole file and no litter") {
  TempDir folder;
  const auto path = folder / "a";
  const int calls = calls_of_a_save(path);
  REQUIRE(calls == 10);  // open folder, open file, 3 writes, flush, close, rename, flush folder, close folder
  const int open_before = open_files();
  for (const int error : {ENOSPC, EIO, EDQUOT, EROFS}) {
    for (int at = 0; at < calls; at++) {
      CAPTURE(at);
      CAPTURE(error);
      test::write_file(path, kOld);
      {
        Injected broken({.kind = Injection::Kind::failure, .at = at, .error = error});
        check_fails(
            Fault::resources, [&] { save(path, kParts); }, path.string(),
            std::generic_category().message(error));
      }
      // Only after the rename may the new content be there: then it is whole, and the error says that the
      // folder may forget it in a power cut.
      CHECK(injection.renamed == (at > 7));
      CHECK(test::read_file(path) == (injection.renamed ? kNew : kOld));
      CHECK(files_in(folder) == 1);
      CHECK(open_files() == open_before);
    }
  }
}

TEST_CASE("file: a file system that cannot flush folders is no failure") {
  TempDir folder;
  Injected broken({.kind = Injection::Kind::failure, .at = 8, .error = EINVAL});
  save(folder / "a", kParts);
  CHECK(test::read_file(folder / "a") == kNew);
}

TEST_CASE("file: interruptions and short writes are harmless") {
  TempDir folder;
  const auto path = folder / "a";
  const int calls = calls_of_a_save(path);
  for (int at = 0; at < calls; at++) {
    if (at == 7) continue;  // rename is not interruptible
    CAPTURE(at);
    test::write_file(path, kOld);
    Injected interrupted({.kind = Injection::Kind::interruption, .at = at});
    save(path, kParts);
    CHECK(test::read_file(path) == kNew);
  }
  test::write_file(path, kOld);
  Injected shortened({.kind = Injection::Kind::short_writes});
  save(path, kParts);
  CHECK(injection.calls > calls);
  CHECK(test::read_file(path) == kNew);
}

TEST_CASE("file: a device that takes nothing does not hang the writer") {
  TempDir folder;
  Injected counting({});
  file_calls().write = [](int, const void*, size_t) -> ssize_t { return 0; };
  check_fails(
      Fault::resources, [&] { save(folder / "a", kParts); }, "Input/output error");
  CHECK(files_in(folder) == 0);
}

TEST_CASE("file: a kill at any position leaves a whole file") {
  TempDir folder;
  const auto path = folder / "a";
  const int calls = calls_of_a_save(path);
  for (int at = 0; at < calls; at++) {
    CAPTURE(at);
    test::write_file(path, kOld);
    const pid_t child = ::fork();
    if (child == 0) {
      Injected killed({.kind = Injection::Kind::kill, .at = at});
      save(path, kParts);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(test::read_file(path) == (at > 7 ? kNew : kOld));
    CHECK(files_in(folder) == (at >= 2 && at <= 7 ? 2 : 1));  // the temporary file of the dead process
    remove_leftovers(path);
    CHECK(files_in(folder) == 1);
    save(path, kParts);
    CHECK(test::read_file(path) == kNew);
  }
}

TEST_CASE("file: leftovers are removed by name only") {
  TempDir folder;
  for (const char* name : {"a", "a.1-0.partial", "a.77-3.partial", "ab.1-0.partial", "a.partially"})
    test::write_file(folder / name, "x");
  remove_leftovers(folder / "a");
  CHECK(files_in(folder) == 3);
  CHECK(std::filesystem::exists(folder / "ab.1-0.partial"));
  remove_leftovers(folder / "none/a");  // nothing there, nothing said
}

TEST_CASE("file: an exception of the content removes the temporary file") {
  TempDir folder;
  write_atomically(folder / "a", kOld);
  check_fails(
      Fault::diverged,
      [&] {
        write_atomically(folder / "a", [](const Append& append) {
          append(std::as_bytes(std::span(kNew)));
          fail(Fault::diverged, "in the middle");
        });
      },
      "in the middle");
  CHECK(test::read_file(folder / "a") == kOld);
  CHECK(files_in(folder) == 1);
}
