// What tables ask (data/questions.h), and which rows of training come of it (data/examples.h).
#include "data/questions.h"

#include <cmath>

#include "data/examples.h"
#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;
using steelyard::test::TempDir;
using steelyard::test::write_file;

namespace {

constexpr int64_t kDay = 24 * 3600;

EventsConfig log_config() {
  EventsConfig config;
  config.time = "when";
  config.time_format = "%Y-%m-%d";
  config.attributes = {"brand"};
  return config;
}

TableConfig shown_config() {
  TableConfig table;
  table.file = "shown.tsv", table.time = "when", table.item = "item", table.query = "q";
  table.numbers = {"x", "y"};
  return table;
}

std::vector<Task> shown_tasks() {
  return {{{.kind = "binary", .table = "shown", .label = "click"}, "click", 0},
          {{.kind = "classes", .table = "shown", .label = "level", .classes = {"low", "high"}}, "level", 1},
          {{.kind = "rank", .table = "shown", .label = "click", .importance = "gain"}, "sort", 2}};
}

// One user "u" with two events, one "v" with none.
struct Shop {
  Shop() {
    catalogue.add("i", std::vector<std::string_view>{"b"});
    histories.users.add("u");
    histories.user = {0};
    histories.events = {{1, 0, kDay}, {1, 0, 3 * kDay}};
    histories.starts = {0, 2};
  }
  Questions read(const TempDir& folder, const std::string& bad_rows = "stop") {
    return read_questions(folder / "shown.tsv", shown_config(), tasks, events, {}, histories, catalogue,
                          {.bad_rows = bad_rows});
  }
  std::vector<Task> tasks = shown_tasks();
  EventsConfig events = log_config();
  Catalogue catalogue{1};
  Histories histories;
};

constexpr const char* kHeader = "user\twhen\titem\tq\tx\ty\tclick\tlevel\tgain\n";

}  // namespace

TEST_CASE("questions: a row has a moment, an item, words, numbers and answers, some of them missing") {
  const TempDir folder;
  write_file(folder / "shown.tsv", std::string(kHeader) +
                                       "u\t1970-01-03\ti\tred shoes\t1.5\t-2\t1\thigh\t5\n"
                                       "v\t1970-01-03\tnew\tshoes\t\t7\t\tlow\t1\n");
  Shop shop;
  const Questions q = shop.read(folder);
  REQUIRE(q.size() == 2);
  CHECK(q.user == std::vector<int32_t>{0, 1});
  CHECK(q.history == std::vector<int64_t>{0, -1});
  CHECK(q.moment == std::vector<int64_t>{2 * kDay, 2 * kDay});  // what was on the day itself is not before it
  CHECK(q.item == std::vector<int32_t>{1, 2});
  CHECK(shop.catalogue.words[q.query.ragged()[0][0]] == "red");
  CHECK(q.query.ragged()[1].size() == 1);
  CHECK(q.query.ragged()[1][0] == q.query.ragged()[0][1]);
  CHECK(q.numbers == std::vector<float>{1.5f, -2, 0, 7});
  CHECK(q.labels[0][0] == 1);
  CHECK(std::isnan(q.labels[0][1]));
  CHECK(q.labels[1] == std::vector<float>{1, 0});
  CHECK(q.importance[0] == std::vector<float>{1, 1});
  CHECK(q.importance[2] == std::vector<float>{5, 1});
}

TEST_CASE("questions: what is wrong with a row is said, or the row is skipped") {
  const TempDir folder;
  const std::string good = "u\t1970-01-03\ti\tshoes\t1\t2\t1\thigh\t5\n";
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"\t1970-01-03\ti\tshoes\t1\t2\t1\thigh\t5\n", "no user; expected the name of one"},
      {"w\tsoon\ti\tshoes\t1\t2\t1\thigh\t5\n", "\"soon\" is no time; expected events.time_format"},
      {"w\t1970-01-03\t\tshoes\t1\t2\t1\thigh\t5\n", "no item; expected the name of one"},
      {"w\t1970-01-03\tj\tshoes\tmany\t2\t1\thigh\t5\n", "x: "},
      {"w\t1970-01-03\tj\tshoes\t1\t2\t2\thigh\t5\n", "click: "},
      {"w\t1970-01-03\tj\tshoes\t1\t2\t0.5\thigh\t5\n", "click: \"0.5\"; expected 0 or 1"},
      {"w\t1970-01-03\tj\tshoes\t1e30\t2\t1\thigh\t5\n", "x: "},
      {"w\t1970-01-03\tj\tshoes\t1\t2\t1\tdear\t5\n", "\"dear\" is no class; expected one of low, high"},
      {"w\t1970-01-03\tj\tshoes\t1\t2\t1\thigh\t-1\n", "gain: "}};
  for (const auto& row : bad) {
    CAPTURE(row.first);
    write_file(folder / "shown.tsv", kHeader + good + row.first);
    Shop shop;
    check_fails(
        Fault::input, [&] { shop.read(folder); }, "shown.tsv:3:", row.second);
    Shop other;
    CHECK(other.read(folder, "skip").size() == 1);
    CHECK(other.histories.users.find("w") == 0);  // what was skipped has taught nothing
    CHECK(other.catalogue.items.find("j") == 0);
  }
}

TEST_CASE("questions: to score, answers are not needed, and without a time it is now") {
  const TempDir folder;
  write_file(folder / "ask.tsv", "user\titem\tq\tx\ty\nu\ti\t\t1\t2\nv\ti\t\t1\t2\n");
  Shop shop;
  QuestionReader reader(folder / "ask.tsv", shown_config(), {}, shop.events, {}, shop.histories,
                        shop.catalogue);
  Question question;
  REQUIRE(reader.next(question));
  CHECK(question.moment == 3 * kDay + 1);
  CHECK(question.history == 0);
  REQUIRE(reader.next(question));
  CHECK(question.history == -1);
  CHECK(!reader.next(question));
}

TEST_CASE("questions: lines of ready sequences ask about themselves") {
  const TempDir folder;
  write_file(folder / "s.jsonl",
             R"({"user":"u","a_item":["i","j"],"a_brand":["b","c"],"shown":"k","of":"d","label":1})"
             "\n"
             R"({"user":"u","a_item":["i","j"],"a_brand":["b"],"shown":"k","of":"d","label":1})"
             "\n"
             R"({"user":"u","a_item":["k"],"a_brand":["d"],"shown":"i","of":"b","label":0})"
             "\n");
  EventsConfig events;
  events.lists = {"a_*"};
  events.behaviours = {"a"};
  events.attributes = {"brand"};
  TableConfig table;
  table.item = "shown", table.attributes = {"of"};
  Catalogue catalogue(1);
  Histories histories = read_histories(folder / "s.jsonl", events, catalogue, {.bad_rows = "skip"});
  REQUIRE(histories.size() == 2);
  const std::vector<Task> tasks = {{{.kind = "binary", .table = "t"}, "click", 0}};
  const Questions q = read_questions(folder / "s.jsonl", table, tasks, events, {}, histories, catalogue,
                                     {.bad_rows = "skip"});
  REQUIRE(q.size() == 2);  // the second line was none
  CHECK(q.history == std::vector<int64_t>{0, 1});
  CHECK(q.user == std::vector<int32_t>{0, 0});
  CHECK(q.labels[0] == std::vector<float>{1, 0});
  CHECK(catalogue.items[q.item[0]] == "k");
  CHECK(catalogue.values[0].size() == 4);
}

TEST_CASE("questions: profiles") {
  const TempDir folder;
  EventsConfig events = log_config();
  events.users = "users.tsv", events.profile = {"age", "likes"};
  Catalogue catalogue(1, 2);
  Histories histories;
  for (const char* user : {"u", "v", "w"}) histories.users.add(user);
  write_file(folder / "users.tsv", "user\tage\tlikes\nw\told\ttea chess\nstranger\tyoung\t\nu\t\ttea\n");
  read_profiles(folder / "users.tsv", events, histories, catalogue);
  CHECK(histories.profile(0) == Profile{{}, {1}});
  CHECK(histories.profile(1) == Profile{{}, {}});
  CHECK(histories.profile(2) == Profile{{1}, {1, 2}});
  CHECK(histories.profile(7) == Profile{{}, {}});
  CHECK(histories.users.find("stranger") == 4);
  CHECK(histories.profile(3) == Profile{{2}, {}});
  write_file(folder / "users.tsv", "user\tage\tlikes\nw\told\t\nw\told\t\n");
  check_fails(
      Fault::input, [&] { read_profiles(folder / "users.tsv", events, histories, catalogue); },
      "users.tsv:3:", "a user that was there before; expected every user once");
}

namespace {

struct Rows {
  explicit Rows(const ExamplesConfig& config) : maker(log_config(), config, named(), {{"t", table()}}) {
    for (int user = 0; user < 40; ++user) {
      histories.users.add(text("u", user));
      histories.user.push_back(user);
      for (int day = 0; day < 20; day += 2) histories.events.push_back({1 + day, 0, day * kDay});
      histories.starts.push_back(std::ssize(histories.events));
      for (const int day : {5, 5, 10, 15}) {
        Question q;
        q.user = user, q.history = user, q.moment = day * kDay;
        q.item = q.query.emplace_back(1 + asked.size() % 2 * (day == 5));
        q.numbers = {static_cast<float>(day)}, q.importance = {1};
        q.labels = {static_cast<float>((user + asked.size()) % 2)};
        asked.add(q);
      }
    }
  }
  static Tasks named() { return {{"open", {.kind = "binary", .table = "t"}}}; }
  static TableConfig table() {
    TableConfig table;
    table.file = "t.tsv", table.item = "item", table.numbers = {"x"};
    return table;
  }
  RowColumns make(Part part) { return maker.make(histories, part, {}, false, {&asked, 1}); }
  std::vector<float> days(Part part) { return make(part).numbers.at("t/numbers"); }

  Histories histories;
  Questions asked;
  ExampleMaker maker;
};

}  // namespace

TEST_CASE("questions: a row reads what was before its moment, rows of one moment and query are one") {
  Rows rows({.cuts = {"1970-01-06", "1970-01-11"}});
  const RowColumns train = rows.make(Part::train), test = rows.make(Part::test);
  CHECK(train.ids.at("user").size() == 80);  // two queries of each user on day 5
  for (int64_t row = 0; row < 80; ++row) {
    CHECK(train.lists.at("item").ragged()[row].size() == 3);  // of days 0, 2, 4
    CHECK(train.lists.at("t/visible").ragged()[row][0] == 3);
    CHECK(train.lists.at("query").ragged()[row].size() == 1);
  }
  CHECK(test.lists.at("item").ragged()[0].size() == 8);
  CHECK(rows.make(Part::dev).lists.at("item").values[4] == 9);  // of day 8, the last before day 10
  CHECK(rows.make(Part::dev).lists.at("item").starts[1] == 5);
  // Rows whose query is the same are one.
  Questions same = rows.asked;
  std::ranges::fill(same.query.values, 1);
  CHECK(rows.maker.make(rows.histories, Part::train, {}, false, {&same, 1}).ids.at("user").size() == 40);
}

TEST_CASE("questions: parts by time and by users") {
  {
    Rows rows({.cuts = {"1970-01-06", "1970-01-11"}});
    for (const float day : rows.days(Part::train)) CHECK(day == 5);
    for (const float day : rows.days(Part::dev)) CHECK(day == 10);
    for (const float day : rows.days(Part::test)) CHECK(day == 15);
  }
  {
    Rows rows({.folds = 4, .dev_fold = 1, .test_fold = 2});
    std::vector<int> seen(40);
    for (const Part part : {Part::train, Part::dev, Part::test}) {
      const RowColumns columns = rows.make(part);
      for (const int32_t user : columns.ids.at("user")) ++seen[static_cast<size_t>(user)];
    }
    CHECK(seen == std::vector<int>(40, 4));
    CHECK(rows.days(Part::train).size() > rows.days(Part::dev).size());
  }
  Rows rows({.cuts = {"1970-01-06"}});
  for (const float day : rows.days(Part::dev)) CHECK(day > 5);
  check_fails(
      Fault::usage, [&] { rows.make(Part::test); }, "examples.cuts: fewer than two");
  check_fails(
      Fault::usage, [] { Rows({}); }, "tasks.open.kind: binary; expected examples.folds or");
}

TEST_CASE("questions: events of the future change no row") {
  Rows rows({.cuts = {"1970-01-06"}}), later({.cuts = {"1970-01-06"}});
  for (size_t i = 0; i < later.histories.events.size(); ++i)
    if (later.histories.events[i].time >= 5 * kDay) later.histories.events[i].item = 1;
  const RowColumns a = rows.make(Part::train), b = later.make(Part::train);
  CHECK(a.ids == b.ids);
  for (const auto& list : a.lists) CHECK(list.second.values == b.lists.at(list.first).values);
}

TEST_CASE("questions: options of tables and their tasks") {
  const auto refused = [](auto change, const char* part) {
    Tables tables = {{"t", Rows::table()}};
    Tasks tasks = Rows::named();
    change(tables["t"], tasks.at("open"));
    check_fails(
        Fault::usage, [&] { ExampleMaker(log_config(), {.folds = 2}, tasks, tables); }, part);
  };
  refused([](TableConfig& t, TaskConfig&) { t.file = ""; }, "tables.t.file: empty; expected the name");
  refused(
      [](TableConfig& t, TaskConfig&) {
        t.attributes = {"a", "b"};
      },
      "tables.t.attributes: a, b; expected one");
  refused([](TableConfig& t, TaskConfig&) { t.attributes = {"a"}, t.item = ""; },
          "expected an item beside them");
  refused([](TableConfig&, TaskConfig& k) { k.table = "s"; }, "tasks.open.table: \"s\"; expected a section");
  refused([](TableConfig&, TaskConfig& k) { k.label = ""; }, "tasks.open.label: empty");
  refused(
      [](TableConfig&, TaskConfig& k) {
        k.classes = {"a", "b"};
      },
      "tasks.open.classes: 2; expected two or more");
  refused([](TableConfig&, TaskConfig& k) { k.kind = "classes"; },
          "tasks.open.classes: 0; expected two or more");
  refused(
      [](TableConfig&, TaskConfig& k) {
        k.kind = "classes", k.classes = {"a", "a"};
      },
      "tasks.open.classes: \"a\"");
  refused([](TableConfig& t, TaskConfig& k) { t.numbers = {}, k.kind = "rank"; },
          "tasks.open.kind: rank; expected numbers");
  refused([](TableConfig&, TaskConfig& k) { k.kind = "next"; }, "tasks.open.table: t; expected none");
  check_fails(
      Fault::usage,
      [&] {
        ExampleMaker(log_config(), {.folds = 2}, Rows::named(),
                     {{"t", Rows::table()}, {"pair", Rows::table()}});
      },
      "tables.pair: a table; expected another name");
}
