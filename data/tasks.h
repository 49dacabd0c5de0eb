// What a task asks of a row, in which order tasks count, and the answer that a row's cells hold. Models of users
// (data/questions.h) and of tables (data/features.h) have their tasks in these words.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/table.h"

namespace steelyard {

struct TaskConfig {
  std::string kind = "pair", behaviour = {};
  int priority = 0;
  double weight = 1;
  std::string table = {}, label = "label", importance = {};
  std::vector<std::string> positive = {}, classes = {};

  template <class F>
  void fields(F&& f) {
    f("kind", kind,
      "binary: yes or no; classes: one of several; number. Of users, too: pair, a behaviour towards an item "
      "that "
      "the user knows; next, the next item of all; rank, the numbers of a table, weighed for the user");
    f("behaviour", behaviour, "of pair and next, what is asked for, one of events.behaviours; empty: any");
    f("priority", priority, "the place in the order of goals, from 1 on; 0: none");
    f("weight", weight, "of the task's loss in the sum, where weights are what counts");
    f("table", table, "of users, the one of [tables] that asks");
    f("label", label, "its column of the answer; an empty cell is not asked");
    f("importance", importance, "its column of a factor of the row's loss; no column or an empty cell: 1");
    f("positive", positive, "of binary, the answers that are a yes; empty: they are 1 and 0");
    f("classes", classes, "the answers that there are, in order");
  }
  bool of_table() const { return kind == "binary" || kind == "classes" || kind == "rank"; }
};
using Tasks = std::map<std::string, TaskConfig>;
struct Task : TaskConfig {
  std::string name;
  size_t place;  // in the order of all tasks' names
};
bool ask_for(const Tasks& tasks, std::string_view kind);  // does any of them?

// What every model refuses of a task `at` this key. Error(usage).
void check_answers(const std::string& at, const TaskConfig& task);

// The answer in a cell: 0 or 1, the place of a class, a number; NaN where there is none. Error(input).
float label_in(const Row& row, size_t column, const TaskConfig& task);
float importance_in(const Row& row, size_t column);  // 1 where the cell is empty. Error(input)

}  // namespace steelyard
