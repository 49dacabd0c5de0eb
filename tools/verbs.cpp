#include "tools/verbs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "data/utf8.h"
#include "tools/run_config.h"

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

std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

std::string json_text(std::string_view s) { return nlohmann::json(s).dump(); }

void RunConfig::validate() const {
  RelevanceConfig::validate();
  trainer.validate();
  optimizer.validate();
  schedule.validate();
  if (std::ranges::find(Relevance::kMetrics, trainer.criterion) == std::end(Relevance::kMetrics))
    fail(Fault::usage, "trainer.criterion: unknown metric \"", trainer.criterion,
         "\"; expected one of spearman, auc, pr_auc, ndcg10, logloss, rmse, ece");
  if (data.train.empty()) fail(Fault::usage, "data.train: empty; expected a table");
  if (data.bad_rows != "stop" && data.bad_rows != "skip")
    fail(Fault::usage, "data.bad_rows: \"", data.bad_rows, "\"; expected stop or skip");
  if (run.device != "cpu" && run.device != "gpu")
    fail(Fault::usage, "run.device: \"", run.device, "\"; expected cpu or gpu");
  if (run.threads < 0 || run.threads > kMostThreads)
    fail(Fault::usage, "run.threads: ", run.threads, "; expected 0 … ", kMostThreads);
  if (!valid_utf8(run.data_dir)) fail(Fault::usage, "run.data_dir: not UTF-8; expected a path that is");
}

}  // namespace steelyard
