// Training rows of histories. A row is a window of one history, its newest events up to a moment, read by the
// model once; its examples are what is asked about it, each seeing the events before its own moment:
//
//   next    which item comes next, asked before every event of the window but the first
//   pair    of each item that the user knows at a cut: does a behaviour follow within the horizon?
//
// Nothing of an example's inputs is from its moment or later. Without cuts, each history's last event is for
// dev, the events before it are for training. With cuts, users fall into folds: those of `dev_fold` and
// `test_fold` are asked at the last cut, the others train at every cut.
#pragma once

#include <array>
#include <limits>
#include <map>
#include <unordered_map>

#include "data/events.h"

namespace steelyard {

struct TaskConfig {
  std::string kind = "pair", behaviour = {};
  double weight = 1;

  template <class F>
  void fields(F&& f) {
    f("kind", kind, "pair: a behaviour towards an item that the user knows; next: the next item of all");
    f("behaviour", behaviour, "what is asked for, one of events.behaviours; empty: any");
    f("weight", weight, "of the task's loss in the sum");
  }
};
using Tasks = std::map<std::string, TaskConfig>;
bool ask_for(const Tasks& tasks, std::string_view kind);  // does any of them?

struct ExamplesConfig {
  int longest = 100;
  std::vector<std::string> cuts = {};
  double horizon = 30;
  int folds = 0, dev_fold = 0, test_fold = -1;

  template <class F>
  void fields(F&& f) {
    f("longest", longest, "newest events that are read of a history");
    f("cuts", cuts,
      "times up to which events are history, the last one also of dev and test; a day includes its evening");
    f("horizon", horizon, "days behind a cut in which a behaviour counts");
    f("folds", folds, "parts into which users fall by a hash of their names; needed with cuts");
    f("dev_fold", dev_fold, "users who choose the best model; -1: none");
    f("test_fold", test_fold, "users on whom it is reported; -1: none");
  }
};

enum class Part { train, dev, test };

// What an event has beside its item, as a small number.
enum Property { kBehaviour, kGap, kWeekend, kDaytime, kProperties };
inline constexpr std::array<const char*, kProperties> kPropertyNames = {"behaviour", "gap", "weekend",
                                                                        "daytime"};

// What is known in numbers of a user and an item at a moment, from the events before it: log(1 + x) of counts
// and of days.
class PairNumbers {
 public:
  // The item is also what other users did with it; `one_of_them`: this user is among those that were counted.
  // `kinds`: EventsConfig::kinds(). The counts must live as long.
  PairNumbers(size_t kinds, std::span<const Event> history, int64_t moment, const ItemCounts& counts,
              bool one_of_them);
  const std::vector<int32_t>& items() const { return items_; }        // of the history, as they came
  void append(int32_t item, std::vector<float>& out) const;           // also of one that is not among them
  static std::vector<std::string> names(const EventsConfig& config);  // of the numbers

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min() / 2;
  struct Counts {  // of one behaviour
    double all = 0, week = 0, month = 0;
    int64_t last = kNever;
    void add(const Event& event, int64_t moment);
  };
  struct Days {  // on which there was something
    double all = 0, month = 0;
    int64_t first = kNever, last = kNever;
    void add(const Event& event, int64_t moment);
  };
  struct Totals {
    std::vector<Counts> counts;  // by behaviour
    Days days;
    double events = 0;
    void add(const Event& event, int64_t moment);
  };

  int64_t moment_;
  const ItemCounts& counts_;
  bool one_of_them_;
  Totals none_, user_;
  std::vector<int32_t> items_;
  std::unordered_map<int32_t, size_t> places_;
  std::vector<Totals> of_item_;
  std::vector<int64_t> last_;   // of all items, ascending
  std::vector<double> events_;  // of all items, ascending
};

// The columns of a part, by row, by event of a row (lists) or by example; `examples` counts them by row.
//   row      ids user; of its events lists item, minutes (before the row's moment), and of each property those that
//            the data have; list older, the items before them, where the next is asked for
//   example  lists examples/visible, /minutes (its moment before the row's), /item (-1: none) of each row; numbers
//            feature (F of each example), label/TASK (an item's id for next; NaN: not asked)
class ExampleMaker {
 public:
  // Error(usage) where the options do not fit together.
  ExampleMaker(const EventsConfig& events, const ExamplesConfig& examples, const Tasks& tasks);

  // What the users of the part for training did with each item before a cut.
  ItemCounts count(const Histories& histories, int64_t cut) const;
  ItemCounts count(const Histories& histories) const {
    return count(histories, cuts_.empty() ? 0 : cuts_.back());
  }
  // `counts` are those of the last cut, for dev and test. Error(input) if there is no example, or of a task
  // for pairs only one class to train or to choose by.
  // `of_others`: they are an older model's, also for training, where otherwise each cut has its own.
  RowColumns make(const Histories& histories, Part part, const ItemCounts& counts = {},
                  bool of_others = false) const;
  // One row, of a request: the newest of these events, which are all before the moment, and an example
  // without labels of each candidate (-1: of none).
  RowColumns request(std::span<const Event> history, int64_t moment, Ids candidates,
                     const ItemCounts& counts = {}) const {
    return request(history, moment, candidates, counts, config_.longest);
  }
  RowColumns request(std::span<const Event> history, int64_t moment, Ids candidates, const ItemCounts& counts,
                     int64_t longest) const;
  // What a text in the events' format means as a moment: events up to it are before it, and a day includes
  // its evening. False if it is no time.
  static bool moment(const EventsConfig& events, std::string_view text, int64_t& seconds);

  // How many values each property has in these data; 0: they lack it.
  static std::array<int, kProperties> properties(const EventsConfig& events);
  static constexpr int kGaps = 12, kDaytimes = 4;
  static int gap(int64_t seconds);  // the paper's eleven, 0 … 10; 11 is a first event's

 private:
  // Writes the newest of the first `seen` events; gives how many it leaves out.
  int64_t add_row(RowColumns& out, int32_t user, std::span<const Event> history, int64_t seen, int64_t moment,
                  int64_t longest) const;
  void add_pairs(RowColumns& out, std::span<const Event> history, int64_t seen, int64_t cut,
                 const ItemCounts& counts, bool one_of_them) const;
  Part part_of(std::string_view user) const;
  // Asked before the events `first` … `end`, of which the row leaves out `before`.
  void add_next(RowColumns& out, std::span<const Event> history, int64_t before, int64_t first, int64_t end,
                int64_t moment) const;
  void add_example(RowColumns& out, int64_t visible, int64_t before_last, int32_t item) const;
  bool asks(const TaskConfig& task, const Event& event) const {
    return task.behaviour.empty() ||
           events_.behaviours[static_cast<size_t>(event.behaviour)] == task.behaviour;
  }
  void check_examples(const RowColumns& out, Part part) const;

  const EventsConfig events_;
  const ExamplesConfig config_;
  const Tasks tasks_;
  const size_t features_;
  std::vector<int64_t> cuts_;
};

}  // namespace steelyard
