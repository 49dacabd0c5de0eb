// Rows of histories and what is asked of them (data/examples.h): nothing of the future gets in.
#include "data/examples.h"

#include <cmath>

#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;

namespace {

constexpr int64_t kDay = 24 * 3600;

EventsConfig timed_events() {
  EventsConfig config;
  config.behaviour = "what";
  config.behaviours = {"click", "buy"};
  config.time = "when";
  config.time_format = "%Y-%m-%d";
  return config;
}

struct Given {
  int32_t item, behaviour, day;
};

void add_history(Histories& histories, const std::string& user, const std::vector<Given>& events) {
  for (const Given& event : events)
    histories.events.push_back({event.item, event.behaviour, event.day * kDay});
  histories.user.push_back(histories.users.add(user) - 1);
  histories.starts.push_back(std::ssize(histories.events));
}

ExamplesConfig cut_at(std::vector<std::string> cuts, int folds, int dev = 0, int test = -1) {
  ExamplesConfig config;
  config.cuts = std::move(cuts);
  config.folds = folds, config.dev_fold = dev, config.test_fold = test;
  return config;
}

std::vector<int32_t> list(const RowColumns& columns, const char* name, int64_t row) {
  const Ids ids = columns.lists.at(name).ragged()[row];
  return {ids.begin(), ids.end()};
}

using Numbers = std::vector<int32_t>;

}  // namespace

TEST_CASE("examples: without cuts each event but the first is asked for, the last one of dev") {
  Histories histories;
  add_history(histories, "u", {{5, 0, 0}, {6, 0, 1}, {7, 1, 3}, {5, 0, 40}});
  add_history(histories, "v", {{8, 0, 0}, {9, 0, 1}});
  add_history(histories, "w", {{8, 0, 0}});
  EventsConfig events = timed_events();
  const ExampleMaker maker(events, {}, {{"next", {.kind = "next"}}});
  const RowColumns train = maker.make(histories, Part::train), dev = maker.make(histories, Part::dev);

  REQUIRE(train.ids.at("user") == Numbers{0});  // of v nothing is left, of w neither
  CHECK(list(train, "item", 0) == Numbers{5, 6});
  CHECK(list(train, "next/visible", 0) == Numbers{1, 2});
  CHECK(train.numbers.at("next/label/next") == std::vector<float>{6, 7});
  CHECK(list(train, "minutes", 0) == Numbers{3 * 1440, 2 * 1440});
  CHECK(list(train, "next/minutes", 0) == Numbers{2 * 1440, 0});
  CHECK(list(train, "gap", 0) == Numbers{ExampleMaker::kGaps - 1, ExampleMaker::gap(kDay)});
  CHECK(list(train, "behaviour", 0) == Numbers{0, 0});

  REQUIRE(dev.ids.at("user") == Numbers{0, 1});
  CHECK(list(dev, "item", 0) == Numbers{5, 6, 7});
  CHECK(list(dev, "next/visible", 0) == Numbers{3});
  CHECK(dev.numbers.at("next/label/next") == std::vector<float>{5, 9});
}

TEST_CASE("examples: how long ago an event was does not depend on what came later") {
  const auto minutes = [](int64_t later) {
    Histories histories;
    for (const int64_t time : {int64_t{0}, int64_t{299}, later, later + 1})
      histories.events.push_back({1, 0, time});
    histories.user = {histories.users.add("u") - 1};
    histories.starts.push_back(4);
    const RowColumns train =
        ExampleMaker(timed_events(), {}, {{"next", {.kind = "next"}}}).make(histories, Part::train);
    return list(train, "minutes", 0)[0] - list(train, "next/minutes", 0)[0];
  };
  for (const int64_t later : {300, 301, 310, 359, 360, 599, 86'399}) CHECK(minutes(later) == minutes(299));
}

TEST_CASE("examples: only the newest events are read, the items of the others are known") {
  Histories histories;
  add_history(histories, "u", {{1, 0, 0}, {2, 0, 1}, {1, 0, 2}, {3, 0, 3}, {4, 0, 4}, {5, 0, 5}});
  ExamplesConfig config;
  config.longest = 2;
  const ExampleMaker maker(timed_events(), config, {{"next", {.kind = "next"}}});
  const RowColumns dev = maker.make(histories, Part::dev), train = maker.make(histories, Part::train);
  CHECK(list(dev, "item", 0) == Numbers{3, 4});
  CHECK(list(dev, "older", 0) == Numbers{1, 2});
  CHECK(list(dev, "gap", 0) ==
        Numbers{ExampleMaker::gap(kDay), ExampleMaker::gap(kDay)});  // what is before is known
  CHECK(list(train, "item", 0) == Numbers{1, 3});
  CHECK(train.numbers.at("next/label/next") == std::vector<float>{3, 4});
}

TEST_CASE("examples: pairs at a cut, labels within the horizon, a day includes its evening") {
  Histories histories;
  for (const char* user : {"a", "b", "c", "d", "e", "f", "g", "h"})
    add_history(histories, user,
                {{1, 0, 8}, {2, 0, 9}, {1, 0, 9}, {4, 0, 9}, {1, 1, 10}, {2, 0, 19}, {3, 0, 12}, {2, 1, 25}});
  ExamplesConfig config = cut_at({"1970-01-10"}, 2);  // day 9
  config.horizon = 10;
  const Tasks tasks = {{"buy", {.kind = "pair", .behaviour = "buy"}},
                       {"any", {.kind = "pair"}},
                       {"click", {.behaviour = "click"}}};
  const ExampleMaker maker(timed_events(), config, tasks);
  for (const Part part : {Part::train, Part::dev}) {
    const RowColumns columns = maker.make(histories, part);
    REQUIRE(columns.ids.at("user").size() > 0);
    CHECK(list(columns, "item", 0) == Numbers{1, 2, 1, 4});
    CHECK(list(columns, "pair/item", 0) == Numbers{1, 2, 4});
    CHECK(list(columns, "pair/visible", 0) == Numbers{4, 4, 4});
    const auto labels = [&](const char* task) {
      const std::vector<float>& all = columns.numbers.at(task);
      return std::vector<float>(all.begin(), all.begin() + 3);
    };
    CHECK(labels("pair/label/buy") == std::vector<float>{1, 0, 0});  // the purchase of day 25 is too late
    CHECK(labels("pair/label/click") == std::vector<float>{0, 1, 0});
    CHECK(labels("pair/label/any") == std::vector<float>{1, 1, 0});
  }
}

TEST_CASE("examples: what follows changes no input") {
  Histories now, later;
  const std::vector<Given> before = {{1, 0, 1}, {2, 1, 2}, {1, 0, 3}};
  for (const char* user : {"a", "b", "c", "d", "e", "f", "g", "h"}) {
    std::vector<Given> events = before;
    events.insert(events.end(), {{1, 1, 5}, {2, 0, 6}});
    add_history(now, user, events);
    events.resize(before.size());
    events.insert(events.end(), {{2, 1, 4}, {1, 0, 4}, {9, 1, 6}, {1, 1, 7}, {2, 1, 8}, {2, 0, 9}});
    add_history(later, user, events);
  }
  const Tasks tasks = {{"buy", {.behaviour = "buy"}}, {"click", {.behaviour = "click"}}};
  ExamplesConfig config = cut_at({"1970-01-03", "1970-01-04"}, 2, 0, -1);
  config.horizon = 3;
  const ExampleMaker maker(timed_events(), config, tasks);
  for (const Part part : {Part::train, Part::dev}) {
    const RowColumns a = maker.make(now, part), b = maker.make(later, part);
    CHECK(a.ids == b.ids);
    for (const auto& list : a.lists) {
      CAPTURE(list.first);
      CHECK(list.second.values == b.lists.at(list.first).values);
      CHECK(list.second.starts == b.lists.at(list.first).starts);
    }
    CHECK(a.numbers.at("pair/numbers") == b.numbers.at("pair/numbers"));
    CHECK(a.numbers.at("pair/label/buy") != b.numbers.at("pair/label/buy"));
  }
}

TEST_CASE("examples: folds share no user") {
  Histories histories;
  for (int user = 0; user < 60; ++user)
    add_history(histories, text("user", user), {{1, 0, 1}, {2, 0, 1}, {1, 1, 5}, {2, 0, 5}});
  const ExampleMaker maker(timed_events(), cut_at({"1970-01-03"}, 5, 1, 3), {{"buy", {.behaviour = "buy"}}});
  std::vector<int> seen(60);
  size_t of_train = 0;
  for (const Part part : {Part::train, Part::dev, Part::test}) {
    const Numbers users = maker.make(histories, part).ids.at("user");
    if (part == Part::train) of_train = users.size();
    for (const int32_t user : users) ++seen[static_cast<size_t>(user)];
  }
  CHECK(seen == std::vector<int>(60, 1));
  CHECK(of_train > 24);
  CHECK(of_train < 48);
}

TEST_CASE("examples: numbers of a user and an item") {
  const EventsConfig events = timed_events();
  const std::vector<Event> history = {
      {7, 0, 0}, {7, 0, 10 * kDay}, {8, 1, 10 * kDay + 3600}, {7, 1, 36 * kDay}};
  ItemCounts counts{3, {}};
  counts.add(history), counts.add(std::vector<Event>{{7, 1, 0}, {7, 1, 1}, {9, 0, 2}});
  const PairNumbers numbers(2, history, 40 * kDay, counts, true);
  CHECK(numbers.items() == Numbers{7, 8});
  const std::vector<std::string> names = PairNumbers::names(events);
  const auto of = [&](int32_t item, const std::string& name) {
    std::vector<float> out;
    numbers.append(item, out);
    REQUIRE(out.size() == names.size());
    const auto place = std::find(names.begin(), names.end(), name) - names.begin();
    REQUIRE(place < std::ssize(names));
    return static_cast<double>(out[static_cast<size_t>(place)]);
  };
  const auto log1p = [](double x) { return doctest::Approx(std::log1p(x)); };
  CHECK(of(7, "click of the item") == log1p(2));
  CHECK(of(7, "click of the item, 30 days") == log1p(1));
  CHECK(of(7, "click of the item, 7 days") == log1p(0));
  CHECK(of(7, "click, days since") == log1p(30));
  CHECK(of(7, "buy, days since") == log1p(4));
  CHECK(of(8, "click, days since") == log1p(1e4));  // never
  CHECK(of(8, "buy of the user") == log1p(2));
  CHECK(of(7, "days since the item was first seen") == log1p(40));
  CHECK(of(7, "days of the item") == log1p(3));
  CHECK(of(8, "items since") == log1p(1));
  CHECK(of(8, "items with more events") == log1p(1));
  CHECK(of(7, "share of the events") == doctest::Approx(0.75));
  CHECK(of(7, "items") == log1p(2));
  CHECK(of(9, "days of the user") == log1p(3));  // not its own
  CHECK(of(9, "days of the item") == log1p(0));
  CHECK(of(9, "share of the events") == 0);
  CHECK(of(9, "items with more events") == log1p(2));
  CHECK(of(7, "other users of the item") == log1p(1));
  CHECK(of(7, "other users of the item, click") == log1p(0));
  CHECK(of(7, "other users of the item, buy") == log1p(1));
  CHECK(of(8, "other users of the item") == log1p(0));
  CHECK(of(9, "other users of the item, click") == log1p(1));
  CHECK(of(100, "other users of the item") == log1p(0));
}

TEST_CASE("examples: gaps are the paper's") {
  const int64_t minute = 60, hour = 3600;
  const std::vector<std::pair<int64_t, int>> steps = {
      {0, 0},        {5 * minute - 1, 0}, {5 * minute, 1},  {15 * minute, 2}, {30 * minute, 3},
      {hour, 4},     {4 * hour, 5},       {9 * hour, 6},    {24 * hour, 7},   {2 * kDay, 8},
      {7 * kDay, 9}, {30 * kDay, 10},     {1000 * kDay, 10}};
  for (const auto& step : steps) {
    CAPTURE(step.first);
    CHECK(ExampleMaker::gap(step.first) == step.second);
  }
}

TEST_CASE("examples: nothing to learn is said") {
  Histories histories;
  add_history(histories, "u", {{1, 0, 1}, {2, 0, 2}, {1, 0, 9}});
  const auto refused = [&](const ExamplesConfig& config, const Tasks& tasks, const char* part) {
    check_fails(
        Fault::input, [&] { ExampleMaker(timed_events(), config, tasks).make(histories, Part::train); },
        "tasks.", part);
  };
  refused(cut_at({"1970-01-04"}, 2, -1), {{"buy", {.behaviour = "buy"}}}, "buy: only one class to train on");
  refused(cut_at({"1970-01-01"}, 2, -1), {{"buy", {.behaviour = "buy"}}}, "buy: no example to train on");
  refused({}, {{"next", {.kind = "next", .behaviour = "buy"}}},
          "next: no example to train on; expected histories of three");
}

TEST_CASE("examples: options that do not fit together") {
  const auto refused = [](const ExamplesConfig& config, const Tasks& tasks, const char* part) {
    check_fails(
        Fault::usage, [&] { ExampleMaker(timed_events(), config, tasks); }, part);
  };
  const Tasks pair = {{"buy", {.behaviour = "buy"}}}, next = {{"n", {.kind = "next"}}};
  refused({}, {}, "tasks: none; expected a section");
  refused({}, pair, "tasks.buy.kind: pair; expected examples.cuts and examples.folds beside it");
  refused(cut_at({"soon"}, 2), pair, "examples.cuts: \"soon\"; expected a time");
  refused(cut_at({"1970-01-02", "1970-01-01"}, 2), pair, "expected them in order");
  refused(cut_at({"1970-01-02"}, 0), pair, "tasks.buy.kind: pair; expected examples.cuts and");
  refused(cut_at({"1970-01-02", "1970-01-03", "1970-01-04"}, 0), next, "examples.folds: 0; expected 2");
  refused(cut_at({"1970-01-02"}, 1), pair, "examples.folds: 1; expected 2 … 1000, or 0");
  refused(cut_at({"1970-01-02"}, 2, 2), pair, "examples.dev_fold: 2; expected less");
  refused(cut_at({"1970-01-02"}, 2, 1, 1), pair, "examples.test_fold: 1; expected another");
  refused({.longest = 0}, next, "examples.longest: 0");
  refused({}, {{"a", {.kind = "next"}}, {"b", {.kind = "next"}}},
          "tasks.b.kind: next; expected one such task only");
  refused({}, {{"a", {.kind = "guess"}}},
          "tasks.a.kind: \"guess\"; expected pair, next, binary, classes or rank");
  refused({}, {{"a", {.kind = "next", .behaviour = "steal"}}},
          "tasks.a.behaviour: \"steal\"; expected one of");
  refused({}, {{"a", {.kind = "next", .weight = -1}}}, "tasks.a.weight: -1");
}
