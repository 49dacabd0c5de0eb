#include "nn/table_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/backend.h"
#include "data/metrics.h"
#include "nn/model_file.h"

namespace steelyard {

namespace {

constexpr const char *kKind = "table", *kSeparate = "separate";
constexpr size_t kMostTasks = 64;  // bits of a mask

}  // namespace

bool TableModelConfig::knows(const std::string& model) {
  return model == "bottom" || model == "mmoe" || model == "ple" || model == "linear";
}

void TableModelConfig::validate() const {
  if (!knows(model))
    fail(Fault::usage, "model: unknown model \"", model, "\"; expected bottom, mmoe, ple or linear");
  features.validate(tasks);
  network.validate();
  if (tasks.empty() || tasks.size() > kMostTasks)
    fail(Fault::usage, "tasks: ", tasks.size(), "; expected 1 … ", kMostTasks, ", as [tasks.click]");
  for (const auto& [name, task] : tasks) {
    const std::string at = "tasks." + name;
    if (task.kind != "binary" && task.kind != "classes" && task.kind != "number")
      fail(Fault::usage, at, ".kind: \"", task.kind, "\"; expected binary, classes or number");
    for (const auto& [key, value] : {std::pair{"behaviour", &task.behaviour}, {"table", &task.table}})
      if (!value->empty())
        fail(Fault::usage, at, ".", key, ": \"", *value, "\"; expected none, which is of users");
    check_answers(at, task);
  }
}

// ---- rows

namespace {

void set_size(TableRows& rows, const Encoding& encoding) {
  rows.size = encoding.fields() > 0 ? std::ssize(rows.ids) / encoding.fields()
                                    : std::ssize(rows.numbers) / encoding.numbers();
}

}  // namespace

TableRows::TableRows(const RowCache& cache, const Encoding& encoding, std::span<const Task> tasks) {
  if (encoding.fields() > 0) ids = cache.ids("features");
  if (encoding.numbers() > 0) numbers = cache.numbers("numbers");
  for (const Task& task : tasks) {
    labels.push_back(cache.numbers("label/" + task.name));
    importance.push_back(task.importance.empty() ? std::span<const float>()
                                                 : cache.numbers("importance/" + task.name));
  }
  set_size(*this, encoding);
}

TableRows::TableRows(const RowColumns& columns, const Encoding& encoding, std::span<const Task> tasks) {
  const auto number_column = [&](const std::string& name) {
    const auto at = columns.numbers.find(name);
    return at == columns.numbers.end() ? std::span<const float>() : std::span<const float>(at->second);
  };
  if (const auto at = columns.ids.find("features"); at != columns.ids.end()) ids = at->second;
  numbers = number_column("numbers");
  for (const Task& task : tasks) {
    labels.push_back(number_column("label/" + task.name));
    importance.push_back(number_column("importance/" + task.name));
  }
  set_size(*this, encoding);
}

// ---- the model

struct TableModel::Parts {
  Parts(TableModelConfig c, Encoding e, Parameters p, bool separate)
      : config(std::move(c)),
        tasks(all_tasks(config.tasks)),
        encoding(std::move(e)),
        parameters(std::move(p)),
        separate(separate),
        network(parameters.root(), config.model, config.network, encoding, tasks, separate) {
    parameters.finish();
  }

  FeatureBatch gather(Tape& tape, const TableRows& rows, std::span<const int64_t> wanted) const;

  TableModelConfig config;
  std::vector<Task> tasks;
  Encoding encoding;
  Parameters parameters;
  bool separate;
  Metadata metadata;
  Multitask network;
};

TableModel::TableModel(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TableModel::TableModel(TableModelConfig config, Encoding encoding, uint64_t seed, bool separate,
                       const TableModel* older) {
  config.validate();
  parts_ = std::make_unique<Parts>(
      std::move(config), std::move(encoding),
      older ? Parameters(cpu(), seed, older->parameters()) : Parameters(cpu(), seed), separate);
}
TableModel::TableModel(TableModel&&) noexcept = default;
TableModel::~TableModel() = default;

TableModel TableModel::open(const std::filesystem::path& path) { return open(TensorFile(model_file(path))); }

TableModel TableModel::open(const TensorFile& file) {
  return load_model<TableModelConfig>(file, kKind, [&](TableModelConfig config) {
    Encoding encoding = Encoding::load(file, config.features, all_tasks(config.tasks));
    const std::string& separate = file.metadata(kSeparate);
    if (separate != "yes" && separate != "no")
      fail(Fault::input, kSeparate, ": \"", separate, "\"; expected yes or no");
    auto parts = std::make_unique<Parts>(std::move(config), std::move(encoding), Parameters(cpu(), file),
                                         separate == "yes");
    parts->metadata = file.metadata();
    return TableModel(std::move(parts));
  });
}

void TableModel::save(const std::filesystem::path& path, const Metadata& more) const {
  std::vector<NamedArray> arrays = parts_->parameters.arrays();
  for (NamedArray& array : parts_->encoding.arrays()) arrays.push_back(std::move(array));
  Metadata all = more;
  all[kSeparate] = parts_->separate ? "yes" : "no";
  save_model(path, kKind, std::move(arrays), parts_->config, all);
}

const TableModelConfig& TableModel::config() const { return parts_->config; }
const std::vector<Task>& TableModel::tasks() const { return parts_->tasks; }
const Encoding& TableModel::encoding() const { return parts_->encoding; }
const Metadata& TableModel::metadata() const { return parts_->metadata; }
Parameters& TableModel::parameters() { return parts_->parameters; }
const Parameters& TableModel::parameters() const { return parts_->parameters; }
bool TableModel::separate() const { return parts_->separate; }

FeatureBatch TableModel::Parts::gather(Tape& tape, const TableRows& rows,
                                       std::span<const int64_t> wanted) const {
  const auto n = std::ssize(wanted);
  const auto cells = [&]<class To, class From>(std::type_identity<To>, std::span<const From> from,
                                               int64_t width) {
    const std::span<To> to = tape.array<To>(n * width);
    for (int64_t i = 0; i < n; ++i)
      std::copy_n(from.begin() + wanted[static_cast<size_t>(i)] * width, width, to.begin() + i * width);
    return to;
  };
  const auto column = [&](std::span<const float> from, int64_t width) {
    return from.empty() ? std::span<real>() : cells(std::type_identity<real>(), from, width);
  };
  FeatureBatch batch;
  batch.size = n;
  batch.ids = cells(std::type_identity<int32_t>(), rows.ids, encoding.fields());
  batch.numbers = column(rows.numbers, encoding.numbers());
  for (size_t k = 0; k < tasks.size(); ++k) {
    const std::span<real> labels = column(rows.labels[k], 1);
    if (tasks[k].kind == "number") {
      const Scale& scale = encoding.label(tasks[k].name);
      for (real& label : labels) label = static_cast<real>(scale(static_cast<double>(label)));
    }
    batch.labels.emplace_back(labels);
    batch.importance.emplace_back(column(rows.importance[k], 1));
  }
  return batch;
}

Objective TableModel::objective(Tape& tape, const TableRows& rows, std::span<const int64_t> wanted,
                                uint64_t tasks) const {
  return parts_->network.objective(tape, parts_->gather(tape, rows, wanted), tasks);
}

namespace {

// What a task says with this logit, or with those of its classes.
void append_answers(std::vector<double>& to, const Task& task, const Scale& scale, Var z) {
  const Var p = task.kind == "classes" ? softmax(z) : z;
  for (int64_t i = 0; i < p.size(); ++i) {
    const auto value = static_cast<double>(p.value().data[i]);
    to.push_back(task.kind == "classes"  ? value
                 : task.kind == "number" ? scale.mean + scale.deviation * value
                                         : 1 / (1 + std::exp(-value)));
  }
}

int64_t width_of(const Task& task) { return std::max<int64_t>(1, std::ssize(task.classes)); }

}  // namespace

std::vector<TaskAnswers> TableModel::answer(const TableRows& rows, std::span<const int64_t> wanted,
                                            const Workers& workers) const {
  constexpr int64_t kGrain = 128;
  const std::vector<Task>& tasks = parts_->tasks;
  std::vector<TaskAnswers> all(tasks.size());
  for (size_t k = 0; k < tasks.size(); ++k) {
    all[k].width = width_of(tasks[k]);
    all[k].answers.resize(wanted.size() * static_cast<size_t>(all[k].width));
    for (const int64_t row : wanted)
      all[k].labels.push_back(
          rows.labels[k].empty() ? NAN : static_cast<double>(rows.labels[k][static_cast<size_t>(row)]));
  }
  workers.rows(std::ssize(wanted), kGrain, [&](int64_t begin, int64_t end) {
    Tape tape(cpu(), Mode::score);
    const FeatureBatch batch = parts_->gather(
        tape, rows, wanted.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    const std::vector<Var> z = parts_->network.logits(tape, batch, kAll);
    for (size_t k = 0; k < tasks.size(); ++k) {
      std::vector<double> answers;
      append_answers(answers, tasks[k], parts_->encoding.label(tasks[k].name), z[k]);
      std::ranges::copy(answers, all[k].answers.begin() + begin * all[k].width);
    }
  });
  return all;
}

std::vector<TaskAnswers> TableModel::answer(const TableRows& rows, const Workers& workers) const {
  std::vector<int64_t> wanted(static_cast<size_t>(rows.size));
  std::iota(wanted.begin(), wanted.end(), 0);
  return answer(rows, wanted, workers);
}

std::vector<TaskExplanation> TableModel::explain(const TableRows& rows, int64_t row) const {
  // The row itself, then the row without each of its features.
  const Encoding& encoding = parts_->encoding;
  const auto n = encoding.names().size() + 1;
  const auto F = static_cast<size_t>(encoding.fields()), N = static_cast<size_t>(encoding.numbers());
  RowColumns columns;
  std::vector<int32_t>& ids = columns.ids["features"];
  std::vector<float>& numbers = columns.numbers["numbers"];
  const auto at = static_cast<size_t>(row);
  for (size_t i = 0; i < n; ++i) {
    const Ids of_row = rows.ids.subspan(at * F, F);
    const std::span<const float> numbers_of_row = rows.numbers.subspan(at * N, N);
    ids.insert(ids.end(), of_row.begin(), of_row.end());
    numbers.insert(numbers.end(), numbers_of_row.begin(), numbers_of_row.end());
    if (i > 0) encoding.leave_out(i - 1, std::span(ids).last(F), std::span(numbers).last(N));
  }
  std::vector<int64_t> wanted(n);
  std::iota(wanted.begin(), wanted.end(), 0);
  Tape tape(cpu(), Mode::score);
  const FeatureBatch batch = parts_->gather(tape, TableRows(columns, encoding, parts_->tasks), wanted);
  const std::vector<Var> logits = parts_->network.logits(tape, batch, kAll);
  std::vector<TaskExplanation> out;
  for (const Task& task : parts_->tasks) {
    TaskExplanation& of_task = out.emplace_back();
    const Var z = logits[task.place];
    const Scale& scale = encoding.label(task.name);
    const auto C = static_cast<size_t>(width_of(task));
    std::vector<double> answers;
    append_answers(answers, task, scale, z);
    of_task.answers.assign(answers.begin(), answers.begin() + static_cast<std::ptrdiff_t>(C));
    const auto likeliest =
        static_cast<size_t>(std::ranges::max_element(of_task.answers) - of_task.answers.begin());
    const auto value = [&](size_t i) {
      return C > 1                   ? std::log(std::max(answers[i * C + likeliest], 1e-30))
             : task.kind == "number" ? answers[i]
                                     : static_cast<double>(z.value().data[i]);
    };
    for (size_t i = 1; i < n; ++i) of_task.changes.push_back(value(0) - value(i));
  }
  return out;
}

// ---- metrics

namespace {

Metric mean_of(const std::vector<double>& values) {
  if (values.empty()) return {};
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

NamedMetrics metrics_of_classes(const TaskAnswers& a) {
  const auto C = static_cast<size_t>(a.width);
  std::vector<double> losses, right, aucs, f1;
  std::vector<size_t> labels, said;
  for (size_t i = 0; i < a.labels.size(); ++i) {
    const std::span<const double> p = std::span(a.answers).subspan(i * C, C);
    labels.push_back(static_cast<size_t>(a.labels[i]));
    said.push_back(static_cast<size_t>(std::ranges::max_element(p) - p.begin()));
    losses.push_back(-std::log(std::max(p[labels.back()], 1e-15)));
    right.push_back(said.back() == labels.back());
  }
  for (size_t c = 0; c < C; ++c) {
    std::vector<double> score, is;
    double hits = 0, all = 0;
    for (size_t i = 0; i < labels.size(); ++i) {
      score.push_back(a.answers[i * C + c]), is.push_back(labels[i] == c);
      hits += said[i] == c && labels[i] == c, all += (said[i] == c) + (labels[i] == c);
    }
    if (const Metric of_class = auc(score, is)) aucs.push_back(*of_class);
    if (all > 0) f1.push_back(2 * hits / all);
  }
  return {{"auc", mean_of(aucs)},
          {"logloss", mean_of(losses)},
          {"accuracy", mean_of(right)},
          {"macro_f1", mean_of(f1)}};
}

NamedMetrics metrics_of(const std::string& kind, const TaskAnswers& a) {
  if (kind == "classes") return metrics_of_classes(a);
  if (kind == "number")
    return {{"rmse", rmse(a.answers, a.labels)}, {"spearman", spearman(a.answers, a.labels)}};
  return {{"auc", auc(a.answers, a.labels)},
          {"pr_auc", pr_auc(a.answers, a.labels)},
          {"logloss", log_loss(a.answers, a.labels)},
          {"ece", calibration_error(a.answers, a.labels)}};
}

// Those of the rows that were asked.
TaskAnswers asked(const TaskAnswers& all) {
  TaskAnswers out{.width = all.width, .answers = {}, .labels = {}};
  for (size_t i = 0; i < all.labels.size(); ++i) {
    if (std::isnan(all.labels[i])) continue;
    out.labels.push_back(all.labels[i]);
    const auto first = all.answers.begin() + static_cast<int64_t>(i) * all.width;
    out.answers.insert(out.answers.end(), first, first + all.width);
  }
  return out;
}

}  // namespace

std::vector<std::string> TableModel::metric_names(const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& [name, value] : metrics_of(kind, {})) names.emplace_back(name);
  return names;
}

std::vector<std::pair<std::string, double>> TableModel::metrics(
    const std::vector<TaskAnswers>& answers) const {
  std::vector<std::pair<std::string, NamedMetrics>> of_tasks;
  for (const Task& task : parts_->tasks)
    of_tasks.emplace_back(task.name, metrics_of(task.kind, asked(answers[task.place])));
  return with_means(of_tasks);
}

}  // namespace steelyard
