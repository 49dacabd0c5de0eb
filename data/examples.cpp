#include "data/examples.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

#include "core/random.h"
#include "core/text.h"

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

}  // namespace

int ExampleMaker::gap(int64_t seconds) {
  constexpr int64_t kEnds[] = {5 * kMinute, 15 * kMinute, 30 * kMinute, kHour,    4 * kHour,
                               9 * kHour,   kDay,         2 * kDay,     7 * kDay, 30 * kDay};
  return static_cast<int>(std::upper_bound(std::begin(kEnds), std::end(kEnds), seconds) - std::begin(kEnds));
}

std::vector<ExampleGroup> groups_of(const EventsConfig& events, const Tasks& tasks, const Tables& tables) {
  std::vector<ExampleGroup> groups = {{"pair", {}, std::ssize(PairNumbers::names(events)), true},
                                      {"next", {}, 0, false}};
  for (const auto& [name, table] : tables)
    groups.push_back({name, {}, std::ssize(table.numbers), !table.item.empty()});
  size_t k = 0;
  for (const auto& named : tasks) {
    const TaskConfig& task = named.second;
    for (ExampleGroup& group : groups)
      if (group.name == (task.of_table() ? task.table : task.kind))
        group.tasks.push_back({task, named.first, k});
    ++k;
  }
  std::erase_if(groups, [](const ExampleGroup& group) { return group.tasks.empty(); });
  return groups;
}

std::array<int, kProperties> ExampleMaker::properties(const EventsConfig& events) {
  const bool dated = events.timed() && events.time_format != "age";  // or nobody knows which day it was
  return {static_cast<int>(events.behaviours.size()), events.timed() ? kGaps : 0, dated ? 2 : 0,
          dated && events.with_hours() ? kDaytimes : 0};
}

namespace {

void refuse(const std::string& key, const auto& value, const char* expected) {
  fail(Fault::usage, key, ": ", value, "; expected ", expected);
}

void check_table(const std::string& at, const TableConfig& table, const EventsConfig& events) {
  if (table.file.empty() && events.lists.empty()) refuse(at + ".file", "empty", "the name of a table");
  if (table.file.empty() && !table.time.empty())
    refuse(at + ".time", table.time, "none: a line is asked about behind its own events");
  if (!table.time.empty() && !events.timed()) refuse(at + ".time", table.time, "none without events.time");
  if (!table.attributes.empty() && table.attributes.size() != events.attributes.size())
    refuse(at + ".attributes", joined(table.attributes), "one column for each of events.attributes");
  if (!table.attributes.empty() && table.item.empty())
    refuse(at + ".attributes", joined(table.attributes), "an item beside them");
}

void check_task(const std::string& at, const TaskConfig& task, const EventsConfig& events,
                const Tables& tables) {
  if (task.kind != "pair" && task.kind != "next" && !task.of_table())
    refuse(at + ".kind", '"' + task.kind + '"', "pair, next, binary, classes or rank");
  check_answers(at, task);
  if (!task.behaviour.empty() &&
      std::ranges::find(events.behaviours, task.behaviour) == events.behaviours.end())
    refuse(at + ".behaviour", '"' + task.behaviour + '"', "one of events.behaviours");
  if (!task.of_table()) {
    if (!task.table.empty()) refuse(at + ".table", task.table, "none of this kind of task");
    if (!task.importance.empty()) refuse(at + ".importance", task.importance, "none of this kind of task");
    return;
  }
  if (!task.behaviour.empty()) refuse(at + ".behaviour", task.behaviour, "none of this kind of task");
  const auto table = tables.find(task.table);
  if (table == tables.end()) refuse(at + ".table", '"' + task.table + '"', "a section of [tables]");
  if (task.kind == "rank" && table->second.numbers.empty())
    refuse(at + ".kind", "rank", "numbers of its table, which are what it weighs");
}

}  // namespace

ExampleMaker::ExampleMaker(const EventsConfig& events, const ExamplesConfig& examples, const Tasks& tasks,
                           const Tables& tables)
    : events_(events), config_(examples), groups_(groups_of(events, tasks, tables)) {
  events.validate();
  if (examples.longest < 1 || examples.longest > 100'000)
    refuse("examples.longest", examples.longest, "1 … 100000");
  if (!(examples.horizon > 0 && examples.horizon < 1e6))
    refuse("examples.horizon", examples.horizon, "days, more than 0");
  if (tasks.empty()) fail(Fault::usage, "tasks: none; expected a section for each, as [tasks.click]");
  for (const std::string& cut : examples.cuts) {
    int64_t seconds = 0;
    if (!cut_at(events, cut, seconds))
      refuse("examples.cuts", '"' + cut + '"', "a time as those of the events");
    cuts_.push_back(seconds);
  }
  if (!std::ranges::is_sorted(cuts_)) refuse("examples.cuts", examples.cuts.front(), "them in order");
  const int folds = examples.folds;
  if (folds != 0 && (folds < 2 || folds > 1000)) refuse("examples.folds", folds, "2 … 1000, or 0");
  if (folds == 0 && cuts_.size() > 2)
    refuse("examples.folds", folds, "2 … 1000 beside cuts, or of those no more than two");
  for (const auto& [key, fold] :
       {std::pair{"examples.dev_fold", examples.dev_fold}, {"examples.test_fold", examples.test_fold}})
    if (folds != 0 && fold >= folds) refuse(key, fold, "less than examples.folds");
  if (folds != 0 && examples.dev_fold >= 0 && examples.dev_fold == examples.test_fold)
    refuse("examples.test_fold", examples.test_fold, "another than examples.dev_fold");
  for (const auto& [name, table] : tables) {
    check_table("tables." + name, table, events);
    if (name == "pair" || name == "next")
      refuse("tables." + name, "a table", "another name than a kind of task");
  }
  int next = 0;
  for (const auto& [name, task] : tasks) {
    const std::string at = "tasks." + name;
    check_task(at, task, events, tables);
    if (task.of_table() && cuts_.empty() && folds == 0)
      refuse(at + ".kind", task.kind, "examples.folds or examples.cuts beside it");
    if (task.kind == "pair" && (cuts_.empty() || folds == 0))
      refuse(at + ".kind", "pair", "examples.cuts and examples.folds beside it");
    if (task.kind == "pair" && !events.lists.empty()) refuse(at + ".kind", "pair", "a log: no events.lists");
    next += task.kind == "next";
    if (next > 1) refuse(at + ".kind", "next", "one such task only");
  }
}

const ExampleGroup* ExampleMaker::group(std::string_view name) const {
  const auto found = std::ranges::find(groups_, name, &ExampleGroup::name);
  return found == groups_.end() ? nullptr : &*found;
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
  for (const Event& event : history.first(static_cast<size_t>(group("next") ? before : 0)))
    older.push_back(event.item);
  std::ranges::sort(older);
  for (size_t i = 0; i < older.size(); ++i)
    if (i == 0 || older[i] != older[i - 1]) out.lists["older"].add(older[i]);
  out.lists["older"].end();
  return before;
}

void ExampleMaker::add_example(RowColumns& out, const ExampleGroup& group, int64_t visible,
                               int64_t before_last, int32_t item) const {
  out.lists[group.name + "/visible"].add(static_cast<int32_t>(visible));
  out.lists[group.name + "/minutes"].add(static_cast<int32_t>(before_last));
  out.lists[group.name + "/item"].add(item);
  for (const Task& task : group.tasks) out.numbers[group.name + "/label/" + task.name].push_back(kNotAsked);
}

void ExampleMaker::end_row(RowColumns& out) const {
  for (const ExampleGroup& group : groups_)
    for (const char* list : {"/visible", "/minutes", "/item"}) out.lists[group.name + list].end();
}

void ExampleMaker::add_next(RowColumns& out, std::span<const Event> history, int64_t before,
                            const Window& window) const {
  const ExampleGroup* of_next = group("next");
  if (!of_next) return;
  const Task& task = of_next->tasks[0];
  for (int64_t target = std::max(window.first, before + 1); target < window.end; ++target) {
    const Event& event = history[static_cast<size_t>(target)];
    if (!asks(task, event)) continue;
    constexpr int32_t kMost = 1 << 24;  // a label is a float
    if (event.item > kMost)
      fail(Fault::input, "tasks.", task.name, ": more than ", kMost, " items; expected less");
    add_example(out, *of_next, target - before,
                events_.timed() ? minutes_between(event.time, window.moment) : 0, -1);
    out.numbers["next/label/" + task.name].back() = static_cast<float>(event.item);
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
  const ExampleGroup* of_pairs = group("pair");
  if (!of_pairs) return;
  const size_t behaviours = events_.kinds();
  const PairNumbers numbers(behaviours, history.first(static_cast<size_t>(seen)), cut, counts, one_of_them);
  std::unordered_map<int32_t, std::vector<bool>> later;  // of each item, of each behaviour
  const auto horizon = static_cast<int64_t>(config_.horizon * static_cast<double>(kDay));
  for (const Event& event : history.subspan(static_cast<size_t>(seen))) {
    if (event.time >= cut + horizon) break;
    later.emplace(event.item, behaviours).first->second[static_cast<size_t>(event.behaviour)] = true;
  }
  for (const int32_t item : numbers.items()) {
    add_example(out, *of_pairs, std::min<int64_t>(seen, config_.longest), 0, item);
    numbers.append(item, out.numbers["pair/numbers"]);
    const auto followed = later.find(item);
    for (const Task& task : of_pairs->tasks) {
      bool follows = false;
      for (size_t b = 0; b < behaviours && followed != later.end(); ++b)
        follows = follows || (followed->second[b] &&
                              (task.behaviour.empty() || events_.behaviours[b] == task.behaviour));
      out.numbers["pair/label/" + task.name].back() = follows;
    }
  }
}

namespace {

void add_list(RowColumns& out, const std::string& name, Ids values) {
  for (const int32_t value : values) out.lists[name].add(value);
  out.lists[name].end();
}

}  // namespace

RowColumns ExampleMaker::request(std::span<const Event> history, const Profile& profile, const Request& asked,
                                 int64_t longest) const {
  RowColumns out;
  const int64_t before = add_row(out, 0, history, std::ssize(history), asked.moment, longest);
  add_list(out, "query", asked.query);
  for (size_t k = 0; k < events_.profile.size(); ++k)
    add_list(out, text("profile/", k), k < profile.size() ? Ids(profile[k]) : Ids());
  const ExampleGroup& first = groups_[0];  // any will do
  for (const int32_t item : asked.items) add_example(out, first, std::ssize(history) - before, 0, item);
  end_row(out);
  return out;
}

std::vector<float> ExampleMaker::numbers(std::span<const Event> history, const Request& asked,
                                         const ItemCounts& counts) const {
  if (!asked.table.empty()) {
    const ExampleGroup* of_table = group(asked.table);
    check(of_table && std::ssize(asked.numbers) == std::ssize(asked.items) * of_table->numbers,
          "request: ", asked.numbers.size(), " numbers for ", asked.items.size(), " items of ", asked.table);
    return {asked.numbers.begin(), asked.numbers.end()};
  }
  const PairNumbers of_pair(events_.kinds(), history, asked.moment, counts, false);
  std::vector<float> out;
  for (const int32_t item : asked.items) of_pair.append(item, out);
  return out;
}

bool ExampleMaker::has(Part part) const {
  if (config_.folds == 0) return part != Part::test || cuts_.size() > 1;
  return part == Part::train || (part == Part::dev ? config_.dev_fold : config_.test_fold) >= 0;
}

Part ExampleMaker::part_of(std::string_view user) const {
  return steelyard::part_of(user, config_.folds, config_.dev_fold, config_.test_fold);
}

ItemCounts ExampleMaker::count(const Histories& histories, int64_t cut) const {
  ItemCounts counts{1 + events_.kinds(), {}};
  if (!group("pair")) return counts;  // nobody asks
  for (int64_t h = 0; h < histories.size(); ++h) {
    if (part_of(histories.users[histories.user[static_cast<size_t>(h)] + 1]) != Part::train) continue;
    counts.add(events_before(histories[h], cut));
  }
  return counts;
}

void ExampleMaker::add_profile(RowColumns& out, const Histories& histories, int32_t user) const {
  for (size_t k = 0; k < events_.profile.size(); ++k)
    add_list(out, text("profile/", k), histories.profile(k, user));
}

std::vector<ExampleMaker::Window> ExampleMaker::windows_of(std::span<const Event> history, Part part) const {
  const auto n = std::ssize(history);
  if (cuts_.empty()) {
    const bool split = config_.folds == 0 && part == Part::train;  // the last event is for dev
    const int64_t target = n - 1 - split;                          // the last event asked for
    if (target < 1) return {};
    return {
        {target, history[static_cast<size_t>(target)].time, part == Part::train ? 1 : target, target + 1}};
  }
  std::vector<Window> windows;
  for (size_t k = 0; k < cuts_.size(); ++k) {
    const auto seen = std::ssize(events_before(history, cuts_[k]));
    const bool last = k + 1 == cuts_.size();
    const bool asked = config_.folds != 0 ? part == Part::train || last : k == (part == Part::test ? 1 : 0);
    if (seen == 0 || !asked) continue;
    if (part == Part::train) {
      windows.push_back({seen, cuts_[k], 1, last || config_.folds == 0 ? seen : 0});
      continue;
    }
    const int64_t behind = last ? n : std::ssize(events_before(history, cuts_[k + 1]));
    windows.push_back({seen, cuts_[k], seen, std::min(seen + 1, behind)});
  }
  return windows;
}

void ExampleMaker::add_questions(RowColumns& out, const Histories& histories,
                                 std::span<const Questions> questions, Part part) const {
  struct Place {
    int32_t user;
    int64_t history, moment;
    size_t table;
    int64_t row;
  };
  std::vector<const ExampleGroup*> tables;
  for (const ExampleGroup& group : groups_)
    if (group.of_table()) tables.push_back(&group);
  check(questions.size() == tables.size(), "examples: ", questions.size(), " tables instead of ",
        tables.size());
  std::vector<Place> places;
  for (size_t t = 0; t < questions.size(); ++t)
    for (int64_t row = 0; row < questions[t].size(); ++row) {
      const auto at = static_cast<size_t>(row);
      places.push_back({questions[t].user[at], questions[t].history[at], questions[t].moment[at], t, row});
    }
  const auto query = [&](const Place& place) { return questions[place.table].query.ragged()[place.row]; };
  const auto row_of = [&](const Place& place) { return std::tuple(place.user, place.moment, place.history); };
  std::ranges::stable_sort(places, [&](const Place& a, const Place& b) {
    if (row_of(a) != row_of(b)) return row_of(a) < row_of(b);
    return std::ranges::lexicographical_compare(query(a), query(b));
  });
  for (size_t first = 0, end = 0; first < places.size(); first = end) {
    const Place& place = places[first];
    while (end < places.size() && row_of(places[end]) == row_of(place) &&
           std::ranges::equal(query(places[end]), query(place)))
      ++end;
    const auto cuts_before = std::ranges::lower_bound(cuts_, place.moment) - cuts_.begin();
    const Part its =
        config_.folds != 0 ? part_of(histories.users[place.user + 1]) : static_cast<Part>(cuts_before);
    if (its != part) continue;
    std::span<const Event> history;
    if (place.history >= 0) history = events_before(histories[place.history], place.moment);
    const auto seen = std::ssize(history);
    add_row(out, place.user, history, seen, place.moment, config_.longest);
    add_list(out, "query", query(place));
    add_profile(out, histories, place.user);
    for (size_t p = first; p < end; ++p) {
      const ExampleGroup& group = *tables[places[p].table];
      const Questions& asked = questions[places[p].table];
      const auto row = static_cast<size_t>(places[p].row);
      add_example(out, group, std::min<int64_t>(seen, config_.longest), 0, asked.item[row]);
      const auto numbers = asked.numbers.begin() + static_cast<std::ptrdiff_t>(row) * group.numbers;
      std::vector<float>& to = out.numbers[group.name + "/numbers"];
      to.insert(to.end(), numbers, numbers + group.numbers);
      for (size_t k = 0; k < group.tasks.size(); ++k) {
        const std::string& name = group.tasks[k].name;
        out.numbers[group.name + "/label/" + name].back() = asked.labels[k][row];
        out.numbers[group.name + "/importance/" + name].push_back(asked.importance[k][row]);
      }
    }
    end_row(out);
  }
}

RowColumns ExampleMaker::make(const Histories& histories, Part part, const ItemCounts& counts, bool of_others,
                              std::span<const Questions> questions) const {
  if (part == Part::test && config_.folds == 0 && !has(part))
    fail(Fault::usage,
         "examples.cuts: fewer than two; expected two or examples.folds, or there is no part for test");
  const bool counted =
      part == Part::train && !of_others;  // the users that are asked are those that were counted
  std::map<int64_t, ItemCounts> of_cut;
  for (const int64_t cut : cuts_)
    if (counted) of_cut[cut] = count(histories, cut);
  RowColumns out;
  for (const ExampleGroup& group : groups_) out.numbers[group.name + "/numbers"] = {};
  const bool of_events = group("pair") || group("next");
  for (int64_t h = 0; of_events && h < histories.size(); ++h) {
    const std::span<const Event> history = histories[h];
    const int32_t user = histories.user[static_cast<size_t>(h)];
    if (config_.folds != 0 && part_of(histories.users[user + 1]) != part) continue;
    for (const Window& window : windows_of(history, part)) {
      const int64_t before = add_row(out, user, history, window.seen, window.moment, config_.longest);
      add_list(out, "query", {});
      add_profile(out, histories, user);
      add_pairs(out, history, window.seen, window.moment, counted ? of_cut[window.moment] : counts, counted);
      add_next(out, history, before, window);
      end_row(out);
    }
  }
  add_questions(out, histories, questions, part);
  check_examples(out, part);
  return out;
}

void ExampleMaker::check_examples(const RowColumns& out, Part part) const {
  const char* of_part = part == Part::train ? "train on"
                        : part == Part::dev ? "choose the best model by"
                                            : "report";
  for (const ExampleGroup& group : groups_)
    for (const Task& task : group.tasks) {
      bool positive = false, negative = false;
      if (const auto labels = out.numbers.find(group.name + "/label/" + task.name);
          labels != out.numbers.end())
        for (const float label : labels->second)
          positive = positive || label > 0, negative = negative || label == 0;
      const bool any = positive || negative;
      if (any && (task.kind == "next" || task.kind == "classes" || (positive && negative))) continue;
      if (part == Part::test && any) continue;  // a metric may be undefined
      fail(Fault::input, "tasks.", task.name, ": ", any ? "only one class" : "no example", " to ", of_part,
           "; expected ",
           task.kind == "next"   ? "histories of three events or more"
           : task.kind == "pair" ? "items that are and that are not asked for"
                                 : "rows of the table that are answered in more than one way");
    }
}

}  // namespace steelyard
