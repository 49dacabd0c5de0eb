// Categories, logs and ready sequences as histories (data/categories.h, data/events.h).
#include "data/events.h"

#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;
using steelyard::test::TempDir;
using steelyard::test::write_file;

namespace {

EventsConfig log_config() {
  EventsConfig config;
  config.behaviour = "what";
  config.behaviours = {"click", "buy"};
  config.time = "when";
  config.time_format = "%Y-%m-%d %H:%M";
  return config;
}

std::string listed(const Histories& histories, const Catalogue& catalogue) {
  std::string out;
  for (int64_t h = 0; h < histories.size(); ++h) {
    out += std::string(histories.users[histories.user[static_cast<size_t>(h)] + 1]) + ":";
    for (const Event& event : histories[h])
      out += text(" ", catalogue.items[event.item], "/", event.behaviour, "@", event.time);
    out += "; ";
  }
  return out;
}

}  // namespace

TEST_CASE("categories: ids are given in order and never move") {
  Categories categories;
  CHECK(categories.size() == 1);
  CHECK(categories.add("") == 0);
  CHECK(categories.add("b") == 1);
  CHECK(categories.add("a") == 2);
  CHECK(categories.add("b") == 1);
  CHECK(categories.find("c") == 0);
  CHECK(categories[0] == "");
  CHECK(categories[2] == "a");
  check_fails(
      Fault::bug, [&] { categories[3]; }, "no id 3");

  const TempDir folder;
  write_tensor_file(folder / "c", categories.arrays("x"), {});
  Categories read = Categories::load(TensorFile(folder / "c"), "x");
  CHECK(read.size() == 3);
  CHECK(read.find("a") == 2);
  CHECK(read.add("c") == 3);
  CHECK(read[2] == "a");
}

TEST_CASE("categories: a damaged file is refused") {
  const TempDir folder;
  const auto refused = [&](std::string_view bytes, std::vector<int64_t> starts, const char* part) {
    write_tensor_file(
        folder / "c",
        {NamedArray::of<uint8_t>("x/bytes",
                                 std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())),
         NamedArray::of<int64_t>("x/starts", starts)},
        {});
    check_fails(
        Fault::input, [&] { Categories::load(TensorFile(folder / "c"), "x"); }, "x", part);
  };
  refused("ab", {}, "expected the ascending ends of 2 bytes");
  refused("ab", {0, 1}, "expected the ascending ends");
  refused("ab", {1, 2}, "expected the ascending ends");
  refused("ab", {0, 2, 1, 2}, "expected the ascending ends");
  refused("ab", {0, 3, 2}, "expected the ascending ends");
  refused("ab", {0, 1, 1, 2}, "expected the ascending ends");
  refused("aa", {0, 1, 2}, "value 2 is there twice");
}

TEST_CASE("events: a log in any order becomes histories in the order of time") {
  const TempDir folder;
  write_file(folder / "log.tsv",
             "user\titem\twhat\twhen\tbrand\n"
             "u\ti1\tclick\t2020-01-02 00:00\tx y\n"
             "v\ti2\tbuy\t2020-01-01 00:01\t\n"
             "u\ti2\tbuy\t2020-01-01 00:00\tz\n"
             "u\ti3\tclick\t2020-01-02 00:00\tx\n");
  EventsConfig config = log_config();
  config.attributes = {"brand"};
  Catalogue catalogue(1);
  const Histories histories = read_histories(folder / "log.tsv", config, catalogue);
  CHECK(listed(histories, catalogue) ==
        "u: i2/1@1577836800 i1/0@1577923200 i3/0@1577923200; v: i2/1@1577836860; ");
  const auto brands = [&](int32_t item) {
    std::string out;
    for (const int32_t value : catalogue.attributes[0].ragged()[item])
      out += std::string(catalogue.values[0][value]) + " ";
    return out;
  };
  CHECK(brands(catalogue.items.find("i1")) == "x y ");
  CHECK(brands(catalogue.items.find("i2")) == "");  // the first word about an item counts
  CHECK(brands(0) == "");

  write_tensor_file(folder / "c", catalogue.arrays(), {});
  const Catalogue read = Catalogue::load(TensorFile(folder / "c"), 1);
  CHECK(read.items.size() == 4);
  CHECK(read.attributes[0].values == catalogue.attributes[0].values);
}

TEST_CASE("events: an older catalogue keeps its ids, new items stand behind") {
  const TempDir folder;
  write_file(folder / "log.tsv", "user\titem\nu\tnew\nu\told\n");
  Catalogue catalogue(0);
  const std::span<const std::string_view> none;
  CHECK(catalogue.add("old", none) == 1);
  const Histories histories = read_histories(folder / "log.tsv", {}, catalogue);
  CHECK(histories.events[0].item == 2);
  CHECK(histories.events[1].item == 1);
}

TEST_CASE("events: ready sequences of several behaviours are merged by time") {
  const TempDir folder;
  write_file(
      folder / "s.jsonl",
      R"({"user":1,"a_sku_x":["i","j"],"a_ts_x":["50","10"],"a_c_x":[1,2],"b_sku":["k"],"b_ts":["20"],"b_c":[3],"label":1})"
      "\n"
      R"({"user":1,"a_sku_x":[],"a_ts_x":[],"a_c_x":[],"b_sku":[],"b_ts":[],"b_c":[],"label":0})"
      "\n");
  EventsConfig config;
  config.item = "sku";
  config.time = "ts";
  config.time_format = "age";
  config.attributes = {"c"};
  config.behaviours = {"a", "b"};
  config.lists = {"a_*_x", "b_*"};
  Catalogue catalogue(1);
  const Histories histories = read_histories(folder / "s.jsonl", config, catalogue);
  CHECK(listed(histories, catalogue) == "1: i/0@-50 k/1@-20 j/0@-10; 1:; ");
  CHECK(histories.lines == std::vector<int64_t>{1, 2});
  CHECK(catalogue.values[0].size() == 4);

  write_file(folder / "s.jsonl",
             R"({"user":1,"a_sku_x":["i"],"a_ts_x":[],"a_c_x":[1],"b_sku":[],"b_ts":[],"b_c":[],"label":1})"
             "\n");
  check_fails(
      Fault::input, [&] { read_histories(folder / "s.jsonl", config, catalogue); },
      "s.jsonl:1:", "a_ts_x: 0 values; expected 1, as there are items");
}

TEST_CASE("events: a table of items, and lists by blanks") {
  const TempDir folder;
  write_file(folder / "items.tsv", "id\ttags\ni1\t7 8\ni2\t\n");
  write_file(folder / "s.tsv", "user\titems\nu\ti2 i1 i3\n");
  EventsConfig config;
  config.item = "items";
  config.key = "id";
  config.attributes = {"tags"};
  config.lists = {"*"};
  Catalogue catalogue(1);
  read_items(folder / "items.tsv", config, catalogue);
  const Histories histories = read_histories(folder / "s.tsv", config, catalogue);
  CHECK(listed(histories, catalogue) == "u: i2/0@0 i1/0@0 i3/0@0; ");
  CHECK(catalogue.attributes[0].starts == std::vector<int64_t>{0, 0, 2, 2, 2});

  write_file(folder / "items.tsv", "id\ttags\ni1\t7\ni1\t8\n");
  Catalogue other(1);
  check_fails(
      Fault::input, [&] { read_items(folder / "items.tsv", config, other); },
      "items.tsv:3:1: id: an item that was there before; expected every item once");
}

TEST_CASE("events: bad rows are refused with their place, or skipped") {
  const TempDir folder;
  const auto refused = [&](const std::string& row, const char* part) {
    CAPTURE(row);
    write_file(folder / "log.tsv", "user\titem\twhat\twhen\nu\ti\tclick\t2020-01-01 00:00\n" + row + "\n");
    Catalogue catalogue(0);
    check_fails(
        Fault::input, [&] { read_histories(folder / "log.tsv", log_config(), catalogue); },
        "log.tsv:3:", part);
    CHECK(read_histories(folder / "log.tsv", log_config(), catalogue, {.bad_rows = "skip"}).events.size() == 1);
  };
  refused("u\ti\tview\t2020-01-01 00:00", "what: \"view\" is no behaviour; expected one of click, buy");
  refused("u\ti\t\t2020-01-01 00:00", "is no behaviour");
  refused("u\ti\tbuy\tyesterday", "when: \"yesterday\" is no time; expected events.time_format");
  refused("u\ti\tbuy\t2020-02-30 00:00", "is no time");
  refused("u\ti\tbuy\t2020-01-01 00:00 and more", "is no time");
  refused("u\ti\tbuy\t", "is no time");
  refused("\ti\tbuy\t2020-01-01 00:00", "no user");
  refused("u\t\tbuy\t2020-01-01 00:00", "no item");
}

TEST_CASE("events: times in seconds, and a year where the text has none") {
  EventsConfig config = log_config();
  int64_t seconds = 0;
  config.time_format = "seconds";
  CHECK(parse_time(config, "1577836800", seconds));
  CHECK(seconds == 1577836800);
  for (const char* bad : {"", "-1", "1.5", "1e3", "9999999999999999", "12x"})
    CHECK_FALSE(parse_time(config, bad, seconds));
  config.time_format = "%m-%d";
  config.year = 2014;
  CHECK(parse_time(config, "7-16", seconds));
  CHECK(seconds == 1405468800);
  CHECK_FALSE(config.with_hours());
  config.time_format = "%Y-%m-%d %T";
  CHECK(config.with_hours());
}

TEST_CASE("events: options that do not fit together") {
  const auto refused = [](auto change, const char* part) {
    EventsConfig config = log_config();
    change(config);
    check_fails(
        Fault::usage, [&] { config.validate(); }, "events.", part);
  };
  refused([](EventsConfig& c) { c.user = ""; }, "user: empty");
  refused([](EventsConfig& c) { c.item = ""; }, "item: empty");
  refused([](EventsConfig& c) { c.behaviours = {}; },
          "behaviours: empty; expected the values of the column \"what\"");
  refused([](EventsConfig& c) { c.lists = {"*"}; }, "behaviour: \"what\"; expected none beside events.lists");
  refused(
      [](EventsConfig& c) {
        c.behaviour = "", c.lists = {"a*", "b*", "c*"};
      },
      "lists: 3 patterns; expected one for each of the 2");
  refused([](EventsConfig& c) { c.behaviour = "", c.lists = {"a*", "b*"}, c.time = ""; }, "time: empty");
  refused([](EventsConfig& c) { c.behaviour = "", c.lists = {"a", "b*"}; }, "lists: \"a\"; expected one *");
  refused([](EventsConfig& c) { c.time_format = "age"; }, "time_format: age");
  refused([](EventsConfig& c) { c.time_format = "date"; },
          "time_format: \"date\"; expected seconds, age or a format");
  refused(
      [](EventsConfig& c) {
        c.behaviours = {"click", "click"};
      },
      "behaviours: \"click\"; expected names, each once");
  refused(
      [](EventsConfig& c) {
        c.attributes = {"brand", ""};
      },
      "attributes: \"\"; expected names, each once");
  refused([](EventsConfig& c) { c.behaviour = ""; }, "behaviours: 2; expected none without events.behaviour");
  refused([](EventsConfig& c) { c.time_format = "%Y %z"; }, "without %z and %s");
  refused([](EventsConfig& c) { c.year = 14; }, "year: 14; expected 1970 … 9999");
}
