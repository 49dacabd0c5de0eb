// Errors. Everything that goes wrong is one exception type with one line of text: what is wrong, where, what
// was expected. `fail` reports what the world did wrong (input, configuration, disk), `check` what a caller
// of the library did wrong, `invariant` what we did wrong. A program's main() prints the line and returns the
// fault as its exit code.
//
// Why no macro: the place is captured by the implicit conversion of the condition (`Condition`), whose
// default arguments are evaluated where `check` is called.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace steelyard {

// The values are the exit codes of the program.
enum class Fault {
  bug = 1,           // a bug in Steelyard or in the program that calls it
  usage = 2,         // wrong usage or configuration
  input = 3,         // bad input: data, model file, vocabulary
  broken = 4,        // a check or a constraint failed
  diverged = 5,      // training produced NaN or Inf
  resources = 6,     // out of disk or memory
  interrupted = 75,  // stopped by a signal after a clean checkpoint
};

class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& text) : std::runtime_error(text), fault(fault) {}
  Fault fault;
};

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(Fault fault, const Parts&... parts) {
  throw Error(fault, text(parts...));
}

// A setting that no run can have: `require(rate > 0, "optimizer.rate", rate, "more than 0")`.
template <class Value>
void require(bool holds, const char* key, const Value& value, const char* expected) {
  if (!holds) fail(Fault::usage, key, ": ", value, "; expected ", expected);
}

struct Condition {
  bool holds;
  const char* file;
  int line;
  // Implicit on purpose: this conversion is what records the caller's place.
  Condition(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE())  // NOLINT
      : holds(holds), file(file), line(line) {}
};

// The caller's fault: `check(a.cols() == b.rows(), "matmul: inner sizes differ: ", a.shape, " · ", b.shape)`.
template <class... Parts>
void check(Condition condition, const Parts&... parts) {
  if (!condition.holds) [[unlikely]]
    fail(Fault::bug, parts..., " (", condition.file, ":", condition.line, ")");
}

// Our own fault.
template <class... Parts>
void invariant(Condition condition, const Parts&... parts) {
  if (!condition.holds) [[unlikely]]
    fail(Fault::bug, "a bug in Steelyard, please report: ", parts..., " (", condition.file, ":",
         condition.line, ")");
}

}  // namespace steelyard
