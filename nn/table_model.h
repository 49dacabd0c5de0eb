// A model of a table's rows, as several tasks see them: everything that scoring needs in one object and one file. Cells
// become ids and numbers (data/features.h), those the answers of a network (nn/multitask.h). `const` and thread-safe.
#pragma once

#include <filesystem>
#include <memory>

#include "core/fields.h"
#include "core/parallel.h"
#include "nn/multitask.h"

namespace steelyard {

struct TableModelConfig {
  std::string model = "mmoe";
  FeaturesConfig features;
  NetworkConfig network;
  Tasks tasks;

  template <class F>
  void fields(F&& f) {
    f("model", model, "bottom, mmoe, ple or linear");
    f("features", features, "columns that are read, and which rows train");
    f("network", network, "the network");
    f("tasks", tasks, "a section for each, as [tasks.click]; kind: binary, classes or number");
  }
  void validate() const;
  static bool knows(const std::string& model);
};

// Views of encoded rows.
struct TableRows {
  TableRows(const RowCache& cache, const Encoding& encoding, std::span<const Task> tasks);
  TableRows(const RowColumns& columns, const Encoding& encoding, std::span<const Task> tasks);
  int64_t size = 0;
  Ids ids;                                                 // [size,F]
  std::span<const float> numbers;                          // [size,N]
  std::vector<std::span<const float>> labels, importance;  // of each task [size]; empty: none are known; 1
};

// What a model says of some rows.
struct TaskAnswers {
  int64_t width = 1;            // C of classes, else 1
  std::vector<double> answers;  // [rows,width] probabilities; of kind number the number
  std::vector<double> labels;   // [rows]; NaN: not known
};

// What a row's features do for a task: by how much the logit falls when a feature is left out. Of classes that of
// the likeliest, as the log of its probability.
struct TaskExplanation {
  std::vector<double> answers;  // [width]
  std::vector<double> changes;  // [features]
};

class TableModel {
 public:
  // Untrained, or with what an older model has learned. `separate`: a network for each task.
  TableModel(TableModelConfig config, Encoding encoding, uint64_t seed, bool separate = false,
             const TableModel* older = nullptr);
  static TableModel open(const std::filesystem::path& path);  // a model file or a run folder
  static TableModel open(const TensorFile& file);
  TableModel(TableModel&&) noexcept;
  ~TableModel();
  void save(const std::filesystem::path& path, const Metadata& more) const;

  const TableModelConfig& config() const;
  const std::vector<Task>& tasks() const;  // in the order of their names
  const Encoding& encoding() const;
  const Metadata& metadata() const;
  Parameters& parameters();
  const Parameters& parameters() const;
  bool separate() const;

  static constexpr uint64_t kAll = ~uint64_t{0};  // tasks; else bits by their places
  Objective objective(Tape& tape, const TableRows& rows, std::span<const int64_t> wanted,
                      uint64_t tasks = kAll) const;
  // By task; a row has the same bits in every batch.
  std::vector<TaskAnswers> answer(const TableRows& rows, std::span<const int64_t> wanted,
                                  const Workers& workers) const;
  std::vector<TaskAnswers> answer(const TableRows& rows, const Workers& workers) const;  // of all
  std::vector<TaskExplanation> explain(const TableRows& rows, int64_t row) const;        // by task

  // "TASK.KEY" for the keys of its kind, and each key's mean over the tasks; NaN where the data do not define
  // it.
  std::vector<std::pair<std::string, double>> metrics(const std::vector<TaskAnswers>& answers) const;
  static std::vector<std::string> metric_names(const std::string& kind);

 private:
  struct Parts;
  explicit TableModel(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace steelyard
