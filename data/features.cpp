#include "data/features.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "core/text.h"

namespace steelyard {

namespace {

constexpr int32_t kMissing = 1, kKnown = 2;  // ids of a column
constexpr double kMost = 1e12;               // whose squares can be summed
constexpr double kFar = 10;  // deviations from the mean: a number farther away counts as this far
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Where buckets begin but the first: of ascending values, each in one bucket, as evenly as they allow. A value that
// fills a bucket has it for itself, so that what is left is cut finely.
std::vector<double> edges_of(const std::vector<double>& values, int64_t buckets) {
  std::vector<double> edges;
  int64_t left = std::ssize(values), inside = 0;  // rows from this bucket on, and those in it
  for (auto begin = values.begin(); begin != values.end();) {
    const auto end = std::upper_bound(begin, values.end(), *begin);
    const int64_t open = buckets - std::ssize(edges);
    if (inside > 0 && open > 1 && (inside * open >= left || (end - begin) * open >= left))
      edges.push_back(*begin), left -= inside, inside = 0;
    inside += end - begin, begin = end;
  }
  return edges;
}

Scale scale_of(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double x : values) sum += x;
  const double n = std::max<double>(1, static_cast<double>(values.size())), mean = sum / n;
  for (const double x : values) squares += (x - mean) * (x - mean);
  const double deviation = std::sqrt(squares / n);
  return {mean, deviation > 0 ? deviation : 1};
}

void refuse(const char* key, const auto& value, const char* expected) {
  fail(Fault::usage, "features.", key, ": ", value, "; expected ", expected);
}

}  // namespace

void FeaturesConfig::validate(const Tasks& tasks) const {
  std::vector<std::string> names = categorical;
  names.insert(names.end(), numeric.begin(), numeric.end());
  if (names.empty()) refuse("categorical", "empty", "columns, here or in features.numeric");
  for (const std::string& name : names) {
    if (name.empty() || std::ranges::count(names, name) > 1)
      refuse("categorical, features.numeric", '"' + name + '"', "names of columns, each once");
    for (const auto& [task, config] : tasks)
      if (config.label == name)
        refuse("categorical, features.numeric", '"' + name + '"',
               ("no column that is the label of tasks." + task).c_str());
  }
  if (!standard() && numbers_as != "buckets") refuse("numbers_as", numbers_as, "buckets or standard");
  if (buckets < 2 || buckets > 4096) refuse("buckets", buckets, "2 … 4096");
  if (min_count < 1) refuse("min_count", min_count, "1 or more");
  if (folds != 0 && (folds < 2 || folds > 1000)) refuse("folds", folds, "2 … 1000, or 0");
  for (const auto& [key, fold] : {std::pair{"dev_fold", dev_fold}, {"test_fold", test_fold}})
    if (fold < -1 || (folds != 0 && fold >= folds)) refuse(key, fold, "-1, or less than features.folds");
  if (folds != 0 && dev_fold >= 0 && dev_fold == test_fold)
    refuse("test_fold", test_fold, "another than features.dev_fold");
}

std::vector<Task> all_tasks(const Tasks& tasks) {
  std::vector<Task> all;
  for (const auto& [name, task] : tasks) all.push_back({task, name, all.size()});
  return all;
}

FeatureReader::FeatureReader(const std::string& file, const FeaturesConfig& config,
                             std::span<const Task> tasks, const Reading& how)
    : config_(config), tasks_(tasks.begin(), tasks.end()) {
  TableRequest request{.required = config.categorical, .bad_rows = how.bad_rows, .stop = how.stop};
  std::vector<std::string>& columns = request.required;
  columns.insert(columns.end(), config.numeric.begin(), config.numeric.end());
  features_ = columns.size();
  const auto column = [&](const std::string& name) {
    columns.push_back(name);
    return columns.size() - 1;
  };
  for (const Task& task : tasks) label_columns_.push_back(column(task.label));
  for (const Task& task : tasks)
    importance_columns_.push_back(task.importance.empty() ? 0 : column(task.importance));
  if (config.folds > 0 && !tasks.empty() && !config.group.empty()) group_ = column(config.group);
  reader_.emplace(file, request);
}

bool FeatureReader::next() {
  while (reader_->next(row_)) try {
      read();
      return true;
    } catch (const Error& error) {
      reader_->reject(error);
    }
  return false;
}

void FeatureReader::read() {
  numbers_.clear(), labels_.clear(), importance_.clear();
  for (size_t f = config_.categorical.size(); f < features_; ++f)
    numbers_.push_back(row_.has(f) ? row_.number(f, -kMost, kMost) : kNone);
  for (size_t k = 0; k < tasks_.size(); ++k) {
    labels_.push_back(label_in(row_, label_columns_[k], tasks_[k]));
    importance_.push_back(tasks_[k].importance.empty() ? 1 : importance_in(row_, importance_columns_[k]));
  }
  if (config_.folds == 0 || tasks_.empty()) return;
  if (group_ > 0) {
    if (!row_.has(group_)) row_.refuse(group_, "no group", "the name of one");
    part_ = config_.part_of(row_[group_]);
    return;
  }
  std::string all;  // not the labels: whatever the tasks are, the parts are the same
  for (size_t c = 0; c < features_; ++c) (all += row_[c]) += '\t';
  part_ = config_.part_of(all);
}

// ---- what the training rows say

Encoding::Encoding(const FeaturesConfig& config, std::span<const Task> tasks)
    : names_(config.categorical), categories_(config.categorical.size()) {
  names_.insert(names_.end(), config.numeric.begin(), config.numeric.end());
  if (config.standard())
    scales_.resize(config.numeric.size());
  else
    edges_.resize(config.numeric.size());
  for (const Task& task : tasks)
    if (task.kind == "number") labels_[task.name];
}

void Encoding::number() {
  first_ = {0};
  const auto add = [&](int64_t known) {
    check_count("features", first_.back() + kKnown + known);
    first_.push_back(static_cast<int32_t>(first_.back() + kKnown + known));
  };
  for (const Categories& column : categories_) add(column.size() - 1);
  for (const std::vector<double>& edges : edges_) add(std::ssize(edges) + 1);
}

Encoding Encoding::fit(const std::string& file, const FeaturesConfig& config, std::span<const Task> tasks,
                       const Reading& how) {
  Encoding out(config, tasks);
  const size_t C = config.categorical.size();
  std::vector<Categories> seen(C);
  std::vector<std::vector<int64_t>> counts(C, {0});
  std::vector<std::vector<double>> numbers(config.numeric.size()), labels(tasks.size());
  FeatureReader reader(file, config, tasks, {.bad_rows = how.bad_rows, .stop = how.stop});
  int64_t rows = 0;
  while (reader.next()) {
    if (reader.part() != Part::train) continue;
    ++rows;
    for (size_t f = 0; f < C; ++f) {
      const auto id = static_cast<size_t>(seen[f].add(reader.cell(f)));
      if (id == counts[f].size()) counts[f].push_back(0);
      ++counts[f][id];
    }
    for (size_t f = 0; f < numbers.size(); ++f)
      if (!std::isnan(reader.numbers()[f])) numbers[f].push_back(reader.numbers()[f]);
    for (size_t k = 0; k < labels.size(); ++k)
      if (!std::isnan(reader.labels()[k])) labels[k].push_back(static_cast<double>(reader.labels()[k]));
  }
  if (rows == 0) fail(Fault::input, file, ": no rows to train on; expected some");
  for (size_t f = 0; f < C; ++f)
    for (int32_t id = 1; id < seen[f].size(); ++id)
      if (counts[f][static_cast<size_t>(id)] >= config.min_count) out.categories_[f].add(seen[f][id]);
  for (size_t f = 0; f < numbers.size(); ++f) {
    if (config.standard()) {
      out.scales_[f] = scale_of(numbers[f]);
      continue;
    }
    std::ranges::sort(numbers[f]);
    out.edges_[f] = edges_of(numbers[f], config.buckets);
  }
  for (size_t k = 0; k < labels.size(); ++k) {
    const Task& task = tasks[k];
    if (labels[k].empty())
      fail(Fault::input, file, ": tasks.", task.name, ": no row to train on has a label; expected some");
    const auto [low, high] = std::ranges::minmax(labels[k]);
    if (task.kind != "number" && low == high)
      fail(Fault::input, file, ": tasks.", task.name, ": only one class to train on; expected ",
           task.kind == "binary" ? "both" : "more");
    if (task.kind == "number") out.labels_[task.name] = scale_of(labels[k]);
  }
  out.number();
  return out;
}

// ---- in the model file

namespace {

NamedArray pair_of(std::string name, const Scale& scale) {
  return NamedArray::of<double>(std::move(name), {&scale.mean, 2});
}

Scale load_scale(const TensorFile& file, const std::string& name) {
  const auto values = file.at(name).values<double>();
  if (values.size() != 2 || !std::isfinite(values[0]) || !(values[1] > 0 && std::isfinite(values[1])))
    fail(Fault::input, name, ": expected a mean and a deviation above 0");
  return {values[0], values[1]};
}

}  // namespace

std::vector<NamedArray> Encoding::arrays() const {
  static_assert(sizeof(Scale) == 2 * sizeof(double));
  std::vector<NamedArray> arrays;
  for (size_t f = 0; f < names_.size(); ++f) {
    const std::string name = "features/" + names_[f];
    if (f < categories_.size())
      for (NamedArray& array : categories_[f].arrays(name)) arrays.push_back(std::move(array));
    else if (edges_.empty())
      arrays.push_back(pair_of(name, scales_[f - categories_.size()]));
    else
      arrays.push_back(NamedArray::of<double>(name, edges_[f - categories_.size()]));
  }
  for (const auto& [task, scale] : labels_) arrays.push_back(pair_of("labels/" + task, scale));
  return arrays;
}

Encoding Encoding::load(const TensorFile& file, const FeaturesConfig& config, std::span<const Task> tasks) {
  Encoding out(config, tasks);
  for (size_t f = 0; f < out.names_.size(); ++f) {
    const std::string name = "features/" + out.names_[f];
    const size_t number = f - out.categories_.size();
    if (f < out.categories_.size()) {
      out.categories_[f] = Categories::load(file, name);
    } else if (config.standard()) {
      out.scales_[number] = load_scale(file, name);
    } else {
      const auto edges = file.at(name).values<double>();
      out.edges_[number].assign(edges.begin(), edges.end());
      bool good = std::ssize(edges) < config.buckets;
      for (size_t i = 0; i < edges.size(); ++i)
        good = good && std::isfinite(edges[i]) && (i == 0 || edges[i - 1] < edges[i]);
      if (!good)
        fail(Fault::input, name, ": expected fewer than ", config.buckets,
             " numbers, each larger than the last");
    }
  }
  for (auto& [task, scale] : out.labels_) scale = load_scale(file, "labels/" + task);
  const auto ours = static_cast<std::ptrdiff_t>(out.arrays().size());
  const auto of_features = [](const NamedArray& array) {
    return array.name.starts_with("features/") || array.name.starts_with("labels/");
  };
  if (std::ranges::count_if(file.arrays(), of_features) != ours)
    fail(Fault::input, "features: expected ", ours,
         " arrays of features and labels, as the configuration says");
  out.number();
  return out;
}

void Encoding::keep(const Encoding& older) {
  check(names_ == older.names_, "keep: the older model has other features");
  categories_ = older.categories_, edges_ = older.edges_, scales_ = older.scales_;
  for (const auto& [task, scale] : older.labels_)
    if (const auto own = labels_.find(task); own != labels_.end()) own->second = scale;
  number();
}

const Scale& Encoding::label(const std::string& task) const {
  static const Scale none;
  const auto found = labels_.find(task);
  return found == labels_.end() ? none : found->second;
}

// ---- rows

void Encoding::add(const FeatureReader& reader, std::span<const Task> tasks, RowColumns& out) const {
  const size_t C = categories_.size();
  std::vector<int32_t>& ids = out.ids["features"];
  for (size_t f = 0; f < C; ++f) {
    const std::string_view cell = reader.cell(f);
    const int32_t category = categories_[f].find(cell);
    ids.push_back(first_[f] + (cell.empty() ? kMissing : category > 0 ? kKnown + category - 1 : 0));
  }
  for (size_t f = 0; f < edges_.size(); ++f) {
    const double x = reader.numbers()[f];
    const auto bucket = std::ranges::upper_bound(edges_[f], x) - edges_[f].begin();
    ids.push_back(first_[C + f] + (std::isnan(x) ? kMissing : kKnown + static_cast<int32_t>(bucket)));
  }
  for (size_t f = 0; f < scales_.size(); ++f) {
    const double x = reader.numbers()[f];
    const bool missing = std::isnan(x);
    std::vector<float>& numbers = out.numbers["numbers"];
    numbers.push_back(missing ? 0 : static_cast<float>(std::clamp(scales_[f](x), -kFar, kFar)));
    numbers.push_back(missing ? 1 : 0);
  }
  for (size_t k = 0; k < tasks.size(); ++k) {
    out.numbers["label/" + tasks[k].name].push_back(reader.labels()[k]);
    if (!tasks[k].importance.empty())
      out.numbers["importance/" + tasks[k].name].push_back(reader.importance()[k]);
  }
}

RowColumns Encoding::read(const std::string& file, const FeaturesConfig& config, std::span<const Task> tasks,
                          std::optional<Part> part, const Reading& how) const {
  RowColumns out;
  FeatureReader reader(file, config, tasks, how);
  while (reader.next())
    if (!part || reader.part() == *part) add(reader, tasks, out);
  say_skipped(reader.table(), how);
  return out;
}

void Encoding::leave_out(size_t feature, std::span<int32_t> ids, std::span<float> numbers) const {
  if (const auto F = static_cast<size_t>(fields()); feature >= F) {
    numbers[2 * (feature - F)] = 0, numbers[2 * (feature - F) + 1] = 1;
    return;
  }
  ids[feature] = first_[feature] + kMissing;
}

std::string Encoding::in_words(Ids ids) const {
  std::string out;
  for (size_t f = 0; f < ids.size(); ++f) {
    out += (f ? ", " : "") + names_[f] + "=";
    const int32_t id = ids[f] - first_[f];
    if (id < kKnown)
      out += id == kMissing ? "missing" : "unknown";
    else if (f < categories_.size())
      out += categories_[f][id - kKnown + 1];
    else {
      const std::vector<double>& edges = edges_[f - categories_.size()];
      const auto k = static_cast<size_t>(id - kKnown);
      out += (k == 0 ? "" : steelyard::number(edges[k - 1])) + "…" +
             (k == edges.size() ? "" : steelyard::number(edges[k]));
    }
  }
  return out;
}

}  // namespace steelyard
