#include "data/examples.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/random.h"

namespace steelyard {

namespace {

constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr float kNotAsked = std::numeric_limits<float>::quiet_NaN();

float log1p_of(double x) { return static_cast<float>(std::log1p(x)); }

// The day of a moment since 1970, a Thursday.
int64_t day_of(int64_t seconds) { return seconds >= 0 ? seconds / kDay : -((kDay - 1 - seconds) / kDay); }
bool weekend(int64_t seconds) { return ((day_of(seconds) + 3) % 7 + 7) % 7 >= 5; }
int daytime(int64_t seconds) {  // night, morning, afternoon, evening
  return static_cast<int>((seconds - day_of(seconds) * kDay) / (kDay / ExampleMaker::kDaytimes));
}

int32_t minutes_between(int64_t from, int64_t to) {
  // Of whole minutes on the clock: so the minutes between two moments are those from each to a third, subtracted.
  const auto minute = [](int64_t seconds) {
    return (seconds - (seconds % kMinute + kMinute) % kMinute) / kMinute;
  };
  return static_cast<int32_t>(std::clamp<int64_t>(
      minute(to) - minute(from), std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
}

int fold_of(std::string_view user, int folds) {
  return static_cast<int>(key_of(0, "fold", user) % static_cast<uint64_t>(folds));
}

}  // namespace

int ExampleMaker::gap(int64_t seconds) {
  constexpr int64_t kEnds[] = {5 * kMinute, 15 * kMinute, 30 * kMinute, kHour,    4 * kHour,
                               9 * kHour,   kDay,         2 * kDay,     7 * kDay, 30 * kDay};
  return static_cast<int>(std::upper_bound(std::begin(kEnds), std::end(kEnds), seconds) - std::begin(kEnds));
}

bool ask_for(const Tasks& tasks, std::string_view kind) {
  return std::ranges::any_of(tasks, [&](const auto& task) { return task.second.kind == kind; });
}

bool ExampleMaker::moment(const EventsConfig& events, std::string_view text, int64_t& seconds) {
  if (!events.timed() || !parse_time(events, text, seconds)) return false;
  seconds += events.with_hours() || events.time_format == "age" ? 1 : kDay;
  return true;
}

std::array<int, kProperties> ExampleMaker::properties(const EventsConfig& events) {
  const bool dated = events.timed() && events.time_format != "age";  // or nobody knows which day it was
  return {static_cast<int>(events.behaviours.size()), events.timed() ? kGaps : 0, dated ? 2 : 0,
          dated && events.with_hours() ? kDaytimes : 0};
}

ExampleMaker::ExampleMaker(const EventsConfig& events, const ExamplesConfig& examples, const Tasks& tasks)
    : events_(events),
      config_(examples),
      tasks_(tasks),
      features_(ask_for(tasks, "pair") ? PairNumbers::names(events).size() : 0) {
  events.validate();
  const auto refuse = [](const std::string& key, const auto& value, const char* expected) {
    fail(Fault::usage, key, ": ", value, "; expected ", expected);
  };
  if (examples.longest < 1 || examples.longest > 100'000)
    refuse("examples.longest", examples.longest, "1 … 100000");
  if (!(examples.horizon > 0 && examples.horizon < 1e6))
    refuse("examples.horizon", examples.horizon, "days, more than 0");
  if (tasks.empty()) fail(Fault::usage, "tasks: none; expected a section for each, as [tasks.click]");
  for (const std::string& cut : examples.cuts) {
    int64_t seconds = 0;
    if (!moment(events, cut, seconds))
      refuse("examples.cuts", '"' + cut + '"', "a time as those of the events");
    cuts_.push_back(seconds);
  }
  if (!std::ranges::is_sorted(cuts_)) refuse("examples.cuts", examples.cuts.front(), "them in order");
  const bool folds = !cuts_.empty();
  if (folds ? examples.folds < 2 || examples.folds > 1000 : examples.folds != 0)
    refuse("examples.folds", examples.folds, folds ? "2 … 1000 beside cuts" : "0 without cuts");
  for (const auto& [key, fold] :
       {std::pair{"examples.dev_fold", examples.dev_fold}, {"examples.test_fold", examples.test_fold}})
    if (folds && fold >= examples.folds) refuse(key, fold, "less than examples.folds");
  if (folds && examples.dev_fold >= 0 && examples.dev_fold == examples.test_fold)
    refuse("examples.test_fold", examples.test_fold, "another than examples.dev_fold");
  int next = 0;
  for (const auto& [name, task] : tasks) {
    const std::string at = "tasks." + name;
    if (task.kind != "pair" && task.kind != "next")
      refuse(at + ".kind", '"' + task.kind + '"', "pair or next");
    if (task.kind == "pair" && cuts_.empty()) refuse(at + ".kind", "pair", "examples.cuts beside it");
    if (task.kind == "pair" && !events.lists.empty()) refuse(at + ".kind", "pair", "a log: no events.lists");
    next += task.kind == "next";
    if (next > 1) refuse(at + ".kind", "next", "one such task only");
    if (!(task.weight >= 0 && std::isfinite(task.weight))) refuse(at + ".weight", task.weight, "0 or more");
    if (!task.behaviour.empty() &&
        std::ranges::find(events.behaviours, task.behaviour) == events.behaviours.end())
      refuse(at + ".behaviour", '"' + task.behaviour + '"', "one of events.behaviours");
  }
}

std::vector<std::string> PairNumbers::names(const EventsConfig& config) {
  std::vector<std::string> names;
  const std::vector<std::string> behaviours =
      config.behaviours.empty() ? std::vector<std::string>{"event"} : config.behaviours;
  for (const std::string& b : behaviours)
    for (const char* what : {" of the item", " of the item, 7 days", " of the item, 30 days", ", days since",
                             " of the user", " of the user, 30 days"})
      names.push_back(b + what);
  for (const char* name :
       {"days since the item", "days since the item was first seen", "days of the item",
        "days of the item, 30 days", "items since", "items with more events", "share of the events", "items",
        "days of the user", "days since the user", "days since the user was first seen"})
    names.emplace_back(name);
  names.emplace_back("other users of the item");
  for (const std::string& b : behaviours) names.push_back("other users of the item, " + b);
  return names;
}

int64_t ExampleMaker::add_row(RowColumns& out, int32_t user, std::span<const Event> history, int64_t seen,
                              int64_t moment, int64_t longest) const {
  out.ids["user"].push_back(user);
  RowColumns::Lists &item = out.lists["item"], &minutes = out.lists["minutes"];
  std::array<RowColumns::Lists*, kProperties> lists;
  for (size_t p = 0; p < kProperties; ++p) lists[p] = &out.lists[kPropertyNames[p]];
  const std::array<int, kProperties> has = properties(events_);
  const int64_t before = std::max<int64_t>(0, seen - longest);
  for (auto i = static_cast<size_t>(before); i < static_cast<size_t>(seen); ++i) {
    const Event& event = history[i];
    item.add(event.item);
    if (events_.timed()) minutes.add(minutes_between(event.time, moment));
    const std::array<int, kProperties> values = {event.behaviour,
                                                 i > 0 ? gap(event.time - history[i - 1].time) : kGaps - 1,
                                                 weekend(event.time), daytime(event.time)};
    for (size_t p = 0; p < kProperties; ++p)
      if (has[p] > 0) lists[p]->add(values[p]);
  }
  item.end(), minutes.end();
  for (RowColumns::Lists* list : lists) list->end();
  std::vector<int32_t> older;
  for (const Event& event : history.first(static_cast<size_t>(ask_for(tasks_, "next") ? before : 0)))
    older.push_back(event.item);
  std::ranges::sort(older);
  for (size_t i = 0; i < older.size(); ++i)
    if (i == 0 || older[i] != older[i - 1]) out.lists["older"].add(older[i]);
  out.lists["older"].end();
  return before;
}

void ExampleMaker::add_example(RowColumns& out, int64_t visible, int64_t before_last, int32_t item) const {
  out.lists["examples/visible"].add(static_cast<int32_t>(visible));
  out.lists["examples/minutes"].add(static_cast<int32_t>(before_last));
  out.lists["examples/item"].add(item);
  for (const auto& [name, task] : tasks_) out.numbers["label/" + name].push_back(kNotAsked);
}

void ExampleMaker::add_next(RowColumns& out, std::span<const Event> history, int64_t before, int64_t first,
                            int64_t end, int64_t moment) const {
  for (const auto& [name, task] : tasks_)
    for (int64_t target = std::max(first, before + 1); task.kind == "next" && target < end; ++target) {
      const Event& event = history[static_cast<size_t>(target)];
      if (!asks(task, event)) continue;
      constexpr int32_t kMost = 1 << 24;  // a label is a float
      if (event.item > kMost)
        fail(Fault::input, "tasks.", name, ": more than ", kMost, " items; expected less");
      add_example(out, target - before, events_.timed() ? minutes_between(event.time, moment) : 0, -1);
      out.numbers["label/" + name].back() = static_cast<float>(event.item);
      out.numbers["feature"].resize(out.numbers["feature"].size() + features_, 0);
    }
}

namespace {

constexpr int64_t kWeek = 7 * kDay, kMonth = 30 * kDay;

float days_since(int64_t time, int64_t moment) {
  return log1p_of(std::min(1e4, static_cast<double>(moment - time) / static_cast<double>(kDay)));
}

}  // namespace

void PairNumbers::Counts::add(const Event& event, int64_t moment) {
  ++all, week += event.time >= moment - kWeek, month += event.time >= moment - kMonth, last = event.time;
}

void PairNumbers::Days::add(const Event& event, int64_t moment) {
  const bool fresh = all == 0 || day_of(event.time) != day_of(last);
  if (all == 0) first = event.time;
  all += fresh, month += fresh && event.time >= moment - kMonth, last = event.time;
}

void PairNumbers::Totals::add(const Event& event, int64_t moment) {
  counts[static_cast<size_t>(event.behaviour)].add(event, moment), days.add(event, moment), ++events;
}

PairNumbers::PairNumbers(size_t kinds, std::span<const Event> history, int64_t moment,
                         const ItemCounts& counts, bool one_of_them)
    : moment_(moment),
      counts_(counts),
      one_of_them_(one_of_them),
      none_{std::vector<Counts>(kinds), {}, 0},
      user_(none_) {
  for (const Event& event : history) {
    const auto [place, fresh] = places_.emplace(event.item, items_.size());
    if (fresh) items_.push_back(event.item), of_item_.push_back(none_);
    of_item_[place->second].add(event, moment), user_.add(event, moment);
  }
  for (const Totals& totals : of_item_) last_.push_back(totals.days.last), events_.push_back(totals.events);
  std::ranges::sort(last_), std::ranges::sort(events_);
}

void PairNumbers::append(int32_t item, std::vector<float>& out) const {
  const auto place = places_.find(item);
  const Totals& of_item = place == places_.end() ? none_ : of_item_[place->second];
  for (size_t b = 0; b < of_item.counts.size(); ++b) {
    const Counts &c = of_item.counts[b], &all = user_.counts[b];
    for (const double count : {c.all, c.week, c.month}) out.push_back(log1p_of(count));
    out.push_back(days_since(c.last, moment_));
    for (const double count : {all.all, all.month}) out.push_back(log1p_of(count));
  }
  out.push_back(days_since(of_item.days.last, moment_)),
      out.push_back(days_since(of_item.days.first, moment_));
  const auto above = [](const auto& sorted, auto value) {
    return static_cast<double>(sorted.end() - std::ranges::upper_bound(sorted, value));
  };
  for (const double count : {of_item.days.all, of_item.days.month, above(last_, of_item.days.last),
                             above(events_, of_item.events)})
    out.push_back(log1p_of(count));
  out.push_back(static_cast<float>(of_item.events / std::max(1.0, user_.events)));
  out.push_back(log1p_of(static_cast<double>(items_.size()))), out.push_back(log1p_of(user_.days.all));
  out.push_back(days_since(user_.days.last, moment_)), out.push_back(days_since(user_.days.first, moment_));
  for (size_t column = 0; column <= of_item.counts.size(); ++column) {
    const bool own = one_of_them_ && (column == 0 ? of_item.events : of_item.counts[column - 1].all) > 0;
    out.push_back(log1p_of(counts_(item, column) - own));
  }
}

void ExampleMaker::add_pairs(RowColumns& out, std::span<const Event> history, int64_t seen, int64_t cut,
                             const ItemCounts& counts, bool one_of_them) const {
  if (features_ == 0) return;  // nobody asks
  const size_t behaviours = events_.kinds();
  const PairNumbers numbers(behaviours, history.first(static_cast<size_t>(seen)), cut, counts, one_of_them);
  std::unordered_map<int32_t, std::vector<bool>> later;  // of each item, of each behaviour
  const auto horizon = static_cast<int64_t>(config_.horizon * static_cast<double>(kDay));
  for (const Event& event : history.subspan(static_cast<size_t>(seen))) {
    if (event.time >= cut + horizon) break;
    later.emplace(event.item, behaviours).first->second[static_cast<size_t>(event.behaviour)] = true;
  }
  for (const int32_t item : numbers.items()) {
    add_example(out, std::min<int64_t>(seen, config_.longest), 0, item);
    numbers.append(item, out.numbers["feature"]);
    const auto followed = later.find(item);
    for (const auto& [name, task] : tasks_) {
      if (task.kind != "pair") continue;
      bool follows = false;
      for (size_t b = 0; b < behaviours && followed != later.end(); ++b)
        follows = follows || (followed->second[b] &&
                              (task.behaviour.empty() || events_.behaviours[b] == task.behaviour));
      out.numbers["label/" + name].back() = follows;
    }
  }
}

namespace {

void end_examples(RowColumns& out) {
  for (const char* list : {"examples/visible", "examples/minutes", "examples/item"}) out.lists[list].end();
}

}  // namespace

RowColumns ExampleMaker::request(std::span<const Event> history, int64_t moment, Ids candidates,
                                 const ItemCounts& counts, int64_t longest) const {
  RowColumns out;
  const int64_t before = add_row(out, 0, history, std::ssize(history), moment, longest);
  std::optional<PairNumbers> numbers;  // once somebody asks
  std::vector<float>& features = out.numbers["feature"];
  for (const int32_t item : candidates) {
    add_example(out, std::ssize(history) - before, 0, item);
    if (item >= 0 && features_ > 0) {
      if (!numbers) numbers.emplace(events_.kinds(), history, moment, counts, false);
      numbers->append(item, features);
    }
    features.resize(out.lists["examples/item"].values.size() * features_);
  }
  end_examples(out);
  return out;
}

Part ExampleMaker::part_of(std::string_view user) const {
  const int fold = fold_of(user, config_.folds);
  return fold == config_.dev_fold ? Part::dev : fold == config_.test_fold ? Part::test : Part::train;
}

ItemCounts ExampleMaker::count(const Histories& histories, int64_t cut) const {
  ItemCounts counts{1 + events_.kinds(), {}};
  if (features_ == 0) return counts;  // nobody asks
  for (int64_t h = 0; h < histories.size(); ++h) {
    if (part_of(histories.users[histories.user[static_cast<size_t>(h)] + 1]) != Part::train) continue;
    counts.add(events_before(histories[h], cut));
  }
  return counts;
}

RowColumns ExampleMaker::make(const Histories& histories, Part part, const ItemCounts& counts,
                              bool of_others) const {
  if (cuts_.empty() && part == Part::test)
    fail(Fault::usage, "examples.cuts: none; expected some, or there is no part for test");
  const bool counted =
      part == Part::train && !of_others;  // the users that are asked are those that were counted
  std::map<int64_t, ItemCounts> of_cut;
  for (const int64_t cut : cuts_)
    if (counted) of_cut[cut] = count(histories, cut);
  RowColumns out;
  out.numbers["feature"] = {};
  for (int64_t h = 0; h < histories.size(); ++h) {
    const std::span<const Event> history = histories[h];
    const auto n = std::ssize(history);
    const int32_t user = histories.user[static_cast<size_t>(h)];
    if (cuts_.empty()) {
      const int64_t target = part == Part::train ? n - 2 : n - 1;  // the last event asked for
      if (target < 1) continue;
      const int64_t moment = history[static_cast<size_t>(target)].time;
      const int64_t before = add_row(out, user, history, target, moment, config_.longest);
      add_next(out, history, before, part == Part::train ? 1 : target, target + 1, moment);
      end_examples(out);
      continue;
    }
    if (part_of(histories.users[user + 1]) != part) continue;
    for (const int64_t cut : cuts_) {
      const bool last = cut == cuts_.back();
      if (part != Part::train && !last) continue;
      const auto seen = std::ssize(events_before(history, cut));
      if (seen == 0) continue;
      const int64_t before = add_row(out, user, history, seen, cut, config_.longest);
      add_pairs(out, history, seen, cut, counted ? of_cut[cut] : counts, counted);
      if (part != Part::train)
        add_next(out, history, before, seen, std::min(seen + 1, n), cut);
      else if (last)
        add_next(out, history, before, 1, seen, cut);
      end_examples(out);
    }
  }
  check_examples(out, part);
  return out;
}

void ExampleMaker::check_examples(const RowColumns& out, Part part) const {
  const char* of_part = part == Part::train ? "train on"
                        : part == Part::dev ? "choose the best model by"
                                            : "report";
  for (const auto& [name, task] : tasks_) {
    bool positive = false, negative = false;
    if (const auto labels = out.numbers.find("label/" + name); labels != out.numbers.end())
      for (const float label : labels->second)
        positive = positive || label > 0, negative = negative || label == 0;
    if (positive && (negative || task.kind == "next")) continue;
    if (part == Part::test && negative) continue;  // a metric may be undefined
    fail(Fault::input, "tasks.", name, ": ", positive || negative ? "only one class" : "no example", " to ",
         of_part, "; expected ",
         task.kind == "next" ? "histories of three events or more"
                             : "items that are and that are not asked for");
  }
}

}  // namespace steelyard
