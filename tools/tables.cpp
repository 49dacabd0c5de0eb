#include "tools/tables.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "tools/verbs.h"

namespace steelyard {

namespace {

// Calls use(reader, rows) for pieces of a table until it gives false. What was read before a bad row comes first.
template <class Use>
void read_pieces(const TableModel& model, const std::string& data, Use use) {
  constexpr int64_t kPiece = 4096;
  FeatureReader reader(data, model.config().features, {});
  std::exception_ptr bad;
  for (bool more = true; more;) {
    RowColumns columns;
    try {
      for (int64_t n = 0; n < kPiece && (more = reader.next()); ++n)
        model.encoding().add(reader, {}, columns);
    } catch (const Error&) {
      bad = std::current_exception(), more = false;
    }
    use(TableRows(columns, model.encoding(), model.tasks()));
  }
  if (bad) std::rethrow_exception(bad);
}

}  // namespace

void score_rows(const TableModel& model, const std::string& data, int threads) {
  Output out;
  std::string line;
  for (const Task& task : model.tasks()) {
    if (task.classes.empty()) line += "\t" + task.name;
    for (const std::string& name : task.classes) line += "\t" + task.name + "=" + name;
  }
  out << line.substr(1) << "\n";
  const Workers workers(threads);
  read_pieces(model, data, [&](const TableRows& rows) {
    const std::vector<TaskAnswers> answers = model.answer(rows, workers);
    for (int64_t row = 0; row < rows.size; ++row) {
      line.clear();
      for (const TaskAnswers& of_task : answers)
        for (int64_t c = 0; c < of_task.width; ++c)
          line += "\t" + number(of_task.answers[static_cast<size_t>(row * of_task.width + c)]);
      out << line.substr(1) << "\n";
    }
    out.flush();
  });
}

void evaluate_rows(const TableModel& model, const std::string& data, const std::string& part, int threads) {
  const FeaturesConfig& features = model.config().features;
  std::optional<Part> wanted;
  if (!part.empty()) {
    const std::vector<std::string> parts = {"train", "dev", "test"};
    const auto place = std::ranges::find(parts, part) - parts.begin();
    if (place == std::ssize(parts) || features.folds == 0 || !features.has(static_cast<Part>(place)))
      fail(Fault::usage, "--part: \"", part, "\"; expected ",
           features.folds == 0 ? "none: the model's features.folds are 0"
                               : "one into which the model's features.folds cut rows");
    wanted = static_cast<Part>(place);
  }
  const RowColumns columns = model.encoding().read(data, features, model.tasks(), wanted);
  const TableRows rows(columns, model.encoding(), model.tasks());
  print_metrics(rows.size, model.metrics(model.answer(rows, Workers(threads))));
}

void explain_row(const TableModel& model, const std::string& data, int64_t row, bool json) {
  FeatureReader reader(data, model.config().features, {});
  for (int64_t i = 0; i < row; ++i)
    if (!reader.next()) fail(Fault::usage, "--row: ", row, "; expected 1 … ", i, ", the rows of ", data);
  RowColumns columns;
  model.encoding().add(reader, {}, columns);
  const std::vector<TaskExplanation> tasks =
      model.explain(TableRows(columns, model.encoding(), model.tasks()), 0);
  Output out;
  if (json) out << "{\"row\":" << std::to_string(row) << ",\"tasks\":{";
  for (const Task& task : model.tasks()) {
    const TaskExplanation& e = tasks[task.place];
    if (json) {
      out << (task.place ? "," : "") << json_text(task.name) << ":{\"answer\":";
      for (size_t c = 0; c < task.classes.size(); ++c)
        out << (c ? "," : "{") << json_text(task.classes[c]) << ":" << number(e.answers[c]);
      out << (task.classes.empty() ? number(e.answers[0]) : "}") << ",\"features\":[";
    } else {
      out << (task.place ? "\n" : "") << task.name;
      for (size_t c = 0; c < e.answers.size(); ++c)
        out << "  " << (task.classes.empty() ? "" : task.classes[c] + " ") << number(e.answers[c]);
      out << "\n   change  feature\n";
    }
    std::vector<size_t> order(e.changes.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::ranges::greater(), [&](size_t f) { return std::abs(e.changes[f]); });
    for (const size_t f : order) {
      const std::string& name = model.encoding().names()[f];
      const std::string value(reader.cell(f));
      if (json) {
        out << (f == order[0] ? "" : ",") << "{\"feature\":" << json_text(name)
            << ",\"value\":" << json_text(value) << ",\"change\":" << number(e.changes[f]) << "}";
        continue;
      }
      char change[32];
      std::snprintf(change, sizeof change, "%9.4f  ", e.changes[f]);
      out << change << name << " = " << (value.empty() ? "missing" : value) << "\n";
    }
    if (json) out << "]}";
  }
  if (json) out << "}}\n";
  out.flush();
}

}  // namespace steelyard
