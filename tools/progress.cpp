#include "tools/progress.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>

namespace steelyard {

namespace {

constexpr double kKeep = 0.98;         // the smoothed loss remembers about fifty steps
constexpr double kBarSeconds = 0.1;    // between two drawings of the bar
constexpr int64_t kBarWidth = 24;      // characters
constexpr int64_t kLeastBarWidth = 8;  // below it the line is shown without a bar

constexpr const char* kGreen = "\x1b[32m";
constexpr const char* kFaint = "\x1b[2m";
constexpr const char* kPlain = "\x1b[0m";
constexpr const char* kEraseLine = "\r\x1b[K";

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value && *value;
}

bool is_terminal(std::FILE* out) {
  const int file = fileno(out);  // -1: a stream in memory
  const char* kind = std::getenv("TERM");
  return file >= 0 && isatty(file) && !(kind && std::string_view(kind) == "dumb");
}

int64_t columns(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string fixed(double value, int digits) {
  char buffer[400];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, digits).ptr};
}

std::string significant(double value) {
  if (!std::isfinite(value)) return "undefined";
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, 4).ptr};
}

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::min(seconds, 1e9)));
  const auto padded = [](int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return std::to_string(whole / 60) + " min " + padded(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + padded(whole / 60 % 60) + " min";
}

double share(const StepRecord& record) {
  return std::clamp(static_cast<double>(record.step) / static_cast<double>(record.steps), 0.0, 1.0);
}

}  // namespace

Progress::Progress(bool quiet, int64_t rows_per_step, std::FILE* out, double seconds_between_lines)
    : quiet_(quiet),
      rows_per_step_(rows_per_step),
      out_(out),
      terminal_(is_terminal(out)),
      color_(terminal_ && !is_set("NO_COLOR")),
      interval_(std::chrono::duration_cast<Clock::duration>(
          std::chrono::duration<double>(terminal_ ? kBarSeconds : seconds_between_lines))) {}

Progress::~Progress() {
  if (!bar_is_drawn_) return;
  draw_bar(last_);
  std::fputs("\n", out_);
  std::fflush(out_);
}

void Progress::step(const StepRecord& record) {
  if (quiet_ || record.steps <= 0) return;
  const Clock::time_point now = Clock::now();
  if (last_.steps == 0) {
    first_step_ = record.step;
    started_ = drawn_ = now;
  }
  last_ = record;
  if (std::isfinite(record.loss)) {
    loss_sum_ = kKeep * loss_sum_ + record.loss;
    loss_weight_ = kKeep * loss_weight_ + 1;
  }
  const bool done = record.step == record.steps;
  if (now - drawn_ < interval_ && !done) return;
  drawn_ = now;
  if (terminal_)
    draw_bar(record);
  else
    print_line(text("step ", record.step, "/", record.steps, "  ", fixed(std::floor(100 * share(record)), 0),
                    " %", numbers(record)));
}

void Progress::evaluated(int64_t step, const Findings& found, bool best) {
  if (quiet_) return;
  std::string line = text("step ", step);
  for (const auto& [name, value] : found.metrics)
    line += "  " + colored(kFaint, name) + " " + (std::isfinite(value) ? fixed(value, 4) : "undefined");
  for (const auto& [name, value] : found.figures)
    line += "  " + colored(kFaint, name) + " " + significant(value);
  if (best) line += "  " + colored(kGreen, "best");
  if (!found.collapsed.empty()) line += "  collapsed: " + found.collapsed;
  print_line(line);
}

void Progress::message(std::string_view text) {
  if (!quiet_) print_line(std::string(text));
}

// Cut to the width of the terminal: a line that wraps could not be drawn again in place.
void Progress::draw_bar(const StepRecord& record) {
  const std::string step = text(record.step, "/", record.steps), rest = numbers(record);
  const int64_t width = columns(out_) - 1;
  const int64_t bar = std::min(kBarWidth, width - static_cast<int64_t>(step.size() + rest.size()) - 1);
  std::string line;
  if (bar >= kLeastBarWidth) {
    const auto done = static_cast<int64_t>(share(record) * static_cast<double>(bar));
    std::string filled, empty;
    for (int64_t i = 0; i < done; ++i) filled += "━";
    for (int64_t i = done; i < bar; ++i) empty += "┄";
    line = colored(kGreen, filled) + colored(kFaint, empty) + " " + step + rest;
  } else {
    line = (step + rest).substr(0, static_cast<size_t>(std::max<int64_t>(0, width)));
  }
  std::fputs((kEraseLine + line).c_str(), out_);
  std::fflush(out_);
  bar_is_drawn_ = true;
}

// ASCII, so that its size is its width.
std::string Progress::numbers(const StepRecord& record) const {
  std::string line;
  if (loss_weight_ > 0) line += "  loss " + significant(loss_sum_ / loss_weight_);
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  const auto steps = static_cast<double>(record.step - first_step_);
  if (seconds > 0 && steps > 0) {
    const double speed = steps / seconds;
    line += rows_per_step_ > 0 ? "  " + fixed(speed * static_cast<double>(rows_per_step_), 0) + " rows/s"
                               : "  " + significant(speed) + " steps/s";
    if (record.step < record.steps)
      line += "  " + duration(static_cast<double>(record.steps - record.step) / speed) + " left";
  }
  return line;
}

std::string Progress::colored(const char* color, std::string_view text) const {
  if (!color_ || text.empty()) return std::string(text);
  return color + std::string(text) + kPlain;
}

void Progress::print_line(const std::string& line) {
  if (bar_is_drawn_) std::fputs(kEraseLine, out_);
  bar_is_drawn_ = false;
  std::fputs((line + "\n").c_str(), out_);
  std::fflush(out_);
}

}  // namespace steelyard
