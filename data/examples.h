// Training rows of histories. A row is a window of one history, its newest events up to a moment, read by the
// model once; its examples are what is asked about it, each seeing the events before its own moment:
//
//   next    which item comes next, asked before every event of the window but the first
//   pair    of each item that the user knows at a cut: does a behaviour follow within the horizon?
//   tables  what they ask (data/questions.h); rows of one user, moment and query are one row here
//
// Nothing of an example's inputs is from its moment or later. What is for dev and test:
//
//   folds   the users of `dev_fold` and `test_fold`, with cuts asked at the last one; the others train, at every cut
//   cuts    without folds, time: up to the first cut training, dev up to the second, and test behind it
//   else    each history's last event is for dev; there is no test, and no table
#pragma once

#include <array>
#include <limits>
#include <map>
#include <unordered_map>

#include "data/part.h"
#include "data/questions.h"

namespace steelyard {

struct ExamplesConfig {
  int longest = 100;
  std::vector<std::string> cuts = {};
  double horizon = 30;
  int folds = 0, dev_fold = 0, test_fold = -1;

  template <class F>
  void fields(F&& f) {
    f("longest", longest, "newest events that are read of a history");
    f("cuts", cuts, "times up to which events are history; a day includes its evening");
    f("horizon", horizon, "days behind a cut in which a behaviour counts");
    f("folds", folds, "parts into which users fall by a hash of their names; 0: none");
    f("dev_fold", dev_fold, "users who choose the best model; -1: none");
    f("test_fold", test_fold, "users on whom it is reported; -1: none");
  }
};

// Tasks that share their examples: those of pairs, the next item, or those of one table.
struct ExampleGroup {
  std::string name;  // pair, next, or the table's
  std::vector<Task> tasks;
  int64_t numbers = 0;  // of an example
  bool items = false;   // an example is about one

  bool of_table() const { return tasks[0].of_table(); }
};
// Pairs, the next item, the tables; without those that nobody asks.
std::vector<ExampleGroup> groups_of(const EventsConfig& events, const Tasks& tasks, const Tables& tables);

// What is asked of a user at a moment.
struct Request {
  int64_t moment = 0;
  Ids items = {};                       // −1: none
  std::string_view table = {};          // that asks; empty: pairs
  std::span<const float> numbers = {};  // [items,F], of a table
  Ids query = {};                       // words of the catalogue
};

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

// The columns of a part, by row, by event of a row (lists) or by example of a group; lists count those by row.
//   row      ids user; lists query, profile/K; of its events lists item, minutes (before the row's moment), and of each
//            property those that the data have; list older, the items before them, where the next is asked for
//   example  lists GROUP/visible, /minutes (its moment before the row's), /item (−1: none); numbers GROUP/numbers (F
//            of each), GROUP/label/TASK (an item's id for next, a class's place; NaN: not asked), GROUP/importance/TASK
class ExampleMaker {
 public:
  // Error(usage) where the options do not fit together.
  ExampleMaker(const EventsConfig& events, const ExamplesConfig& examples, const Tasks& tasks,
               const Tables& tables = {});

  const std::vector<ExampleGroup>& groups() const { return groups_; }
  size_t profile_columns() const { return events_.profile.size(); }
  bool has(Part part) const;
  // What the users of the part for training did with each item before a cut.
  ItemCounts count(const Histories& histories, int64_t cut) const;
  ItemCounts count(const Histories& histories) const {
    return count(histories, cuts_.empty() ? 0 : cuts_.back());
  }
  // `counts` are those of the last cut, for dev and test; `questions` those of each table in groups(). Error(input) if there is
  // no example, or of a task only one class to train or to choose by.
  // `of_others`: they are an older model's, also for training, where otherwise each cut has its own.
  RowColumns make(const Histories& histories, Part part, const ItemCounts& counts = {},
                  bool of_others = false, std::span<const Questions> questions = {}) const;
  // One row, of a request: the newest of these events, which are all before the moment, and an example without
  // labels or numbers of each item.
  RowColumns request(std::span<const Event> history, const Profile& profile, const Request& request,
                     int64_t longest) const;
  // Of each item of a request, those that its group has      [items,F]
  std::vector<float> numbers(std::span<const Event> history, const Request& request,
                             const ItemCounts& counts) const;
  const ExampleGroup* group(std::string_view name) const;  // none: nullptr
  int64_t longest() const { return config_.longest; }

  // How many values each property has in these data; 0: they lack it.
  static std::array<int, kProperties> properties(const EventsConfig& events);
  static constexpr int kGaps = 12, kDaytimes = 4;
  static int gap(int64_t seconds);  // the paper's eleven, 0 … 10; 11 is a first event's

 private:
  // A window of events, and those of them or behind them that are asked for as the next.
  struct Window {
    int64_t seen, moment, first, end;
  };
  std::vector<Window> windows_of(std::span<const Event> history, Part part) const;
  // Writes the newest of the first `seen` events; gives how many it leaves out.
  int64_t add_row(RowColumns& out, int32_t user, std::span<const Event> history, int64_t seen, int64_t moment,
                  int64_t longest) const;
  void add_pairs(RowColumns& out, std::span<const Event> history, int64_t seen, int64_t cut,
                 const ItemCounts& counts, bool one_of_them) const;
  // Of the row's window, which leaves out `before` events.
  void add_next(RowColumns& out, std::span<const Event> history, int64_t before, const Window& window) const;
  void add_questions(RowColumns& out, const Histories& histories, std::span<const Questions> questions,
                     Part part) const;
  // An example that nobody has been asked about.
  void add_example(RowColumns& out, const ExampleGroup& group, int64_t visible, int64_t before_last,
                   int32_t item) const;
  void add_profile(RowColumns& out, const Histories& histories, int32_t user) const;
  void end_row(RowColumns& out) const;
  Part part_of(std::string_view user) const;  // with folds
  bool asks(const TaskConfig& task, const Event& event) const {
    return task.behaviour.empty() ||
           events_.behaviours[static_cast<size_t>(event.behaviour)] == task.behaviour;
  }
  void check_examples(const RowColumns& out, Part part) const;

  const EventsConfig events_;
  const ExamplesConfig config_;
  const std::vector<ExampleGroup> groups_;
  std::vector<int64_t> cuts_;
};

}  // namespace steelyard
