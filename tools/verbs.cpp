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

void print_metrics(int64_t rows, const Metrics& metrics) {
  Output out;
  out << "{\"rows\":" << std::to_string(rows) << ",\"tasks\":{";
  std::string task;  // the last one
  for (const auto& [name, value] : metrics) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos) continue;
    const std::string of = name.substr(0, dot);
    out << (of == task ? "," : (task.empty() ? "" : "},") + json_text(of) + ":{");
    out << json_text(name.substr(dot + 1)) << ":" << number(value);
    task = of;
  }
  out << "}}}\n";
  out.flush();
}

std::string json_text(std::string_view s) {
  return nlohmann::json(s).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace steelyard
