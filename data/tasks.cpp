#include "data/tasks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/text.h"

namespace steelyard {

namespace {
constexpr double kMost = 1e12, kMostImportant = 1e6;  // whose squares can be summed
}

bool ask_for(const Tasks& tasks, std::string_view kind) {
  return std::ranges::any_of(tasks, [&](const auto& task) { return task.second.kind == kind; });
}

void check_answers(const std::string& at, const TaskConfig& task) {
  const auto refuse = [&](const char* key, const auto& value, const char* expected) {
    fail(Fault::usage, at, ".", key, ": ", value, "; expected ", expected);
  };
  if (!(task.weight >= 0 && std::isfinite(task.weight))) refuse("weight", task.weight, "0 or more");
  if (task.priority < 0) refuse("priority", task.priority, "0 or more");
  if (task.label.empty()) refuse("label", "empty", "the name of a column");
  if ((task.kind == "classes") != (task.classes.size() > 1))
    refuse("classes", task.classes.size(), "two or more of kind classes, else none");
  if (task.kind != "binary" && !task.positive.empty())
    refuse("positive", joined(task.positive), "none unless of kind binary");
  for (const auto& [key, names] : {std::pair{"classes", &task.classes}, {"positive", &task.positive}})
    for (const std::string& name : *names)
      if (name.empty() || std::ranges::count(*names, name) > 1)
        refuse(key, '"' + name + '"', "names, each once");
}

float label_in(const Row& row, size_t column, const TaskConfig& task) {
  if (!row.has(column)) return std::numeric_limits<float>::quiet_NaN();
  if (task.kind == "number") return static_cast<float>(row.number(column, -kMost, kMost));
  if (!task.positive.empty()) return std::ranges::count(task.positive, row[column]) > 0;
  if (task.kind != "classes") {
    const double label = row.number(column, 0, 1);
    if (label != 0 && label != 1) row.refuse(column, row.quoted(column), "0 or 1");
    return static_cast<float>(label);
  }
  const auto found = std::ranges::find(task.classes, row[column]);
  if (found == task.classes.end())
    row.refuse(column, row.quoted(column) + " is no class", "one of " + joined(task.classes));
  return static_cast<float>(found - task.classes.begin());
}

float importance_in(const Row& row, size_t column) {
  return row.has(column) ? static_cast<float>(row.number(column, 0, kMostImportant)) : 1;
}

}  // namespace steelyard
