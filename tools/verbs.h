// The verbs of the program, one file each. A verb adds its command to the command line; main() runs the one
// that was named. Data go to stdout, messages to stderr; an Error becomes one line and its exit code.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "core/text.h"
#include "tools/run_config.h"

namespace steelyard {

void add_demo(CLI::App& app);
void add_market(CLI::App& app);
void add_train(CLI::App& app);
void add_update(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_score(CLI::App& app);
void add_encode(CLI::App& app);
void add_recommend(CLI::App& app);
void add_explain(CLI::App& app);
void add_index(CLI::App& app);
void add_search(CLI::App& app);
void add_inspect(CLI::App& app);
void add_verify(CLI::App& app);

// A new command with an example that runs as the last line of its help.
CLI::App* add_verb(CLI::App& app, const char* name, const char* what, const char* example);

// Text for stdout, written in large pieces. Error(resources) if it cannot be written.
class Output {
 public:
  ~Output();
  Output& operator<<(std::string_view text);
  void flush();

 private:
  std::string buffer_;
};

std::string json_text(std::string_view s);  // quoted and escaped

// `train`, also used by `demo`, and `update`. The run folder must be new or empty, unless it is resumed.
struct TrainOptions {
  bool resume = false, quiet = false;
  bool rehearsal = false;  // everything once, and only the first steps
  std::filesystem::path older = {};  // a model to go on from; empty: none
  bool update = false;  // it stays what it is, only its words grow, and its optimiser goes on too
};
class Job;  // tools/job.h
Outcome train_run(Job& job, const std::filesystem::path& folder, const TrainOptions& options);

// {"rows":…,"tasks":{TASK:{KEY:…}}} of metrics named TASK.KEY, on stdout.
void print_metrics(int64_t rows, const Metrics& metrics);

// `evaluate`: the metrics of a model on a labelled table.
struct Evaluation {
  int64_t rows = 0;
  Metrics metrics;
};
Evaluation evaluate_table(const Relevance& model, const std::string& table, int threads);

}  // namespace steelyard
