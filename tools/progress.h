// How far a run has come, on stderr: a bar that is drawn again in place on a terminal, a line every few
// seconds in a log file, nothing with --quiet. Evaluations and messages are lines of their own; before each
// of them, and at the end, the bar is taken away or finished, so no line is ever left half drawn.
//
// The time left counts everything that happened since the first step, evaluations and checkpoints included.
// NO_COLOR turns colours off; TERM=dumb turns the bar into lines. For one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "optim/trainer.h"

namespace steelyard {

class Progress {
 public:
  // Without rows per step the speed is said in steps. `out` must outlive this.
  explicit Progress(bool quiet, int64_t rows_per_step = 0, std::FILE* out = stderr,
                    double seconds_between_lines = 5);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(const StepRecord& record);
  void evaluated(int64_t step, const Findings& found, bool best);
  void message(std::string_view text);  // one line

 private:
  using Clock = std::chrono::steady_clock;

  void draw_bar(const StepRecord& record);
  std::string numbers(const StepRecord& record) const;
  std::string colored(const char* color, std::string_view text) const;
  void print_line(const std::string& line);

  const bool quiet_;
  const int64_t rows_per_step_;
  std::FILE* const out_;
  const bool terminal_;
  const bool color_;
  const Clock::duration interval_;  // between drawings

  StepRecord last_{};          // .steps is 0 before the first step
  int64_t first_step_ = 0;     // where this program began to count, after the first step: it warms up
  Clock::time_point started_;  // at first_step_
  Clock::time_point drawn_;    // last
  double loss_sum_ = 0, loss_weight_ = 0;  // their ratio is the smoothed loss
  bool bar_is_drawn_ = false;
};

}  // namespace steelyard
