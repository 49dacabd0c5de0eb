// Rows of a table as features of several tasks. A feature is a column: a category, or a number in buckets, is an
// id; all columns share one range of ids, in which each has its own part:
//
//   first + 0       not known: a category that training saw less often than min_count, or never
//   first + 1       missing: an empty cell
//   first + 2 + k   the category k, or the bucket k
//
// An Encoding is what the training rows say about the columns; it is fitted once and lives in the model file. Next:
// nn/multitask.h, which learns from the rows.
#pragma once

#include <map>
#include <optional>

#include "data/categories.h"
#include "data/part.h"
#include "data/row_cache.h"
#include "data/tasks.h"

namespace steelyard {

struct FeaturesConfig {
  std::vector<std::string> categorical, numeric;
  std::string numbers_as = "buckets";
  int buckets = 32, min_count = 5;
  std::string group;
  int folds = 0, dev_fold = 0, test_fold = -1;

  template <class F>
  void fields(F&& f) {
    f("categorical", categorical, "columns of categories");
    f("numeric", numeric, "columns of numbers");
    f("numbers_as", numbers_as,
      "buckets, with as many training rows in each as can be; or standard: deviations from the mean, beside "
      "them whether the number is missing");
    f("buckets", buckets, "most buckets of a column");
    f("min_count", min_count, "training rows that a category needs for an embedding of its own");
    f("group", group, "column whose rows stay in one part; empty: rows with equal features do");
    f("folds", folds, "parts into which rows fall by a hash; 0: none");
    f("dev_fold", dev_fold, "rows that choose the best model; -1: none");
    f("test_fold", test_fold, "rows on which it is reported; -1: none");
  }
  void validate(const Tasks& tasks) const;
  bool standard() const { return numbers_as == "standard"; }
  bool has(Part part) const {
    return part == Part::train || (folds > 0 && (part == Part::dev ? dev_fold : test_fold) >= 0);
  }
  Part part_of(std::string_view name) const {
    return folds == 0 ? Part::train : steelyard::part_of(name, folds, dev_fold, test_fold);
  }
};

std::vector<Task> all_tasks(const Tasks& tasks);  // in the order of their names

// The rows of a table, one at a time.
class FeatureReader {
 public:
  // Without tasks, to score, neither labels nor groups need be there.
  FeatureReader(const std::string& file, const FeaturesConfig& config, std::span<const Task> tasks,
                const Reading& how = {});
  bool next();  // false at the end; Error(input) for a bad row, unless it is to be skipped

  // Of the row, until the next call.
  std::string_view cell(size_t feature) const { return row_[feature]; }  // categorical ones, then numeric
  std::span<const double> numbers() const { return numbers_; }           // NaN: missing
  std::span<const float> labels() const { return labels_; }              // of each task; NaN: not asked
  std::span<const float> importance() const { return importance_; }
  Part part() const { return part_; }

  const TableReader& table() const { return *reader_; }

 private:
  void read();

  const FeaturesConfig& config_;
  const std::vector<Task> tasks_;
  std::optional<TableReader> reader_;
  std::vector<size_t> label_columns_, importance_columns_;
  size_t features_, group_ = 0;
  Row row_;
  std::vector<double> numbers_;
  std::vector<float> labels_, importance_;
  Part part_ = Part::train;
};

struct Scale {
  double mean = 0, deviation = 1;
  double operator()(double x) const { return (x - mean) / deviation; }
};

class Encoding {
 public:
  // Of the training rows of a table. Error(input) where there are none, a task has no label or, if binary, only
  // one answer.
  static Encoding fit(const std::string& file, const FeaturesConfig& config, std::span<const Task> tasks,
                      const Reading& how = {});
  // Arrays of the model file, "features/COLUMN/…" and "labels/TASK", and back; views, which live as long as this.
  // Error(input) for whatever fit() would not make of such a configuration.
  std::vector<NamedArray> arrays() const;
  static Encoding load(const TensorFile& file, const FeaturesConfig& config, std::span<const Task> tasks);
  // Of a model to go on from: its ids and, of the tasks that it had, its scales.
  void keep(const Encoding& older);

  const std::vector<std::string>& names() const { return names_; }  // of the features
  int64_t fields() const { return std::ssize(first_) - 1; }         // F features that are ids
  Ids first() const { return first_; }                              // [F+1] the first id of each, and the end
  int32_t ids() const { return first_.back(); }
  int64_t numbers() const { return 2 * std::ssize(scales_); }  // N
  const Scale& label(const std::string& task) const;           // 0 and 1 but of kind number

  // Appends a row: ids "features" [F], numbers "numbers" [N], "label/TASK", "importance/TASK".
  void add(const FeatureReader& reader, std::span<const Task> tasks, RowColumns& out) const;
  // All rows of a part; without one all that the table has.
  RowColumns read(const std::string& file, const FeaturesConfig& config, std::span<const Task> tasks,
                  std::optional<Part> part, const Reading& how = {}) const;
  // A row without one of its features: as if the cell were empty.
  void leave_out(size_t feature, std::span<int32_t> ids, std::span<float> numbers) const;
  std::string in_words(Ids ids) const;  // NAME=VALUE of the features that are ids

 private:
  Encoding(const FeaturesConfig& config, std::span<const Task> tasks);
  void number();  // sets first_

  std::vector<std::string> names_;
  std::vector<Categories> categories_;      // of each categorical column
  std::vector<std::vector<double>> edges_;  // of each numeric one, where bucket k + 1 begins; or
  std::vector<Scale> scales_;
  std::map<std::string, Scale> labels_;  // of the tasks of kind number
  std::vector<int32_t> first_;
};

}  // namespace steelyard
