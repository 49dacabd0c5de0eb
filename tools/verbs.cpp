#include "tools/verbs.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace steelyard {

CLI::App* add_verb(CLI::App& app, const char* name, const char* what, const char* example) {
  CLI::App* verb = app.add_subcommand(name, what);
  verb->footer(std::string("Example: ") + example);
  return verb;
}

Output::~Output() {
  std::fwrite(buffer_.data(), 1, buffer_.size(), stdout);  // only when an Error passes: it has been said
}

Output& Output::operator<<(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() > size_t{1} << 16) flush();
  return *this;
}

void Output::flush() {
  const size_t written = std::fwrite(buffer_.data(), 1, buffer_.size(), stdout);
  if (written != buffer_.size() || std::fflush(stdout) != 0) {
    buffer_.clear();
    fail(Fault::resources, "stdout: cannot write");
  }
  buffer_.clear();
}

std::string json_text(std::string_view s) { return nlohmann::json(s).dump(); }

}  // namespace steelyard
