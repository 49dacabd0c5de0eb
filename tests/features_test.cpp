// Features of a table's rows: what an encoding makes of cells, which rows are whose, and what is wrong with a table.
#include "data/features.h"

#include <cmath>
#include <set>

#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

FeaturesConfig shop_config() {
  FeaturesConfig config;
  config.categorical = {"color", "shop"};
  config.numeric = {"price"};
  config.min_count = 2;
  return config;
}

const Tasks kTasks = {{"buy", {.kind = "binary", .label = "bought"}}};

struct Written {
  explicit Written(const std::string& content) { write_file(folder / "t.tsv", content); }
  operator std::string() const { return (folder / "t.tsv").string(); }  // NOLINT
  TempDir folder;
};

const char* const kShop =
    "shop\tcolor\tprice\tbought\tother\n"
    "a\tred\t1\t1\tx\n"
    "a\tred\t2\t0\t\n"
    "a\tblue\t\t1\tx\n"
    "\tgreen\t4\t0\t\n"
    "b\tgreen\t5\t\t\n";

Encoding fit(const std::string& file, const FeaturesConfig& config, const Tasks& tasks = kTasks) {
  return Encoding::fit(file, config, all_tasks(tasks));
}

// The first numeric column of a table in words, row by row, in a bucket each.
std::vector<std::string> buckets_of(const std::vector<double>& values, int buckets) {
  std::string table = "x\tbought\n";
  for (size_t i = 0; i < values.size(); ++i) table += text(values[i], "\t", i % 2, "\n");
  const Written file(table);
  FeaturesConfig config;
  config.numeric = {"x"}, config.buckets = buckets;
  const Encoding encoding = fit(file, config);
  const RowColumns rows = encoding.read(file, config, {}, {});
  std::vector<std::string> words;
  for (const int32_t id : rows.ids.at("features")) words.push_back(encoding.in_words({&id, 1}));
  return words;
}

}  // namespace

TEST_CASE("features: a row in words, its labels and what is missing") {
  const Written file(kShop);
  FeaturesConfig config = shop_config();
  const Encoding encoding = fit(file, config);
  const RowColumns rows = encoding.read(file, config, all_tasks(kTasks), {});
  const std::vector<int32_t>& ids = rows.ids.at("features");
  REQUIRE(ids.size() == 15);
  const auto row = [&](size_t i) { return encoding.in_words(Ids(ids).subspan(3 * i, 3)); };
  CHECK(row(0) == "color=red, shop=a, price=…2");
  CHECK(row(1) == "color=red, shop=a, price=2…4");
  CHECK(row(2) == "color=unknown, shop=a, price=missing");
  CHECK(row(3) == "color=green, shop=missing, price=4…5");
  CHECK(row(4) == "color=green, shop=unknown, price=5…");
  CHECK(encoding.ids() == (2 + 2) + (2 + 1) + (2 + 4));
  const std::vector<float>& labels = rows.numbers.at("label/buy");
  CHECK(std::vector<float>(labels.begin(), labels.end() - 1) == std::vector<float>{1, 0, 1, 0});
  CHECK(std::isnan(labels.back()));
  CHECK(!rows.numbers.contains("importance/buy"));

  // Of other rows: a value that training has not seen, and a number outside.
  const Written more("price\tshop\tcolor\n-7\ta\tpink\n99\tc\t\n");
  const RowColumns others = encoding.read(more, config, {}, {});
  CHECK(encoding.in_words(Ids(others.ids.at("features")).first(3)) == "color=unknown, shop=a, price=…2");
  CHECK(encoding.in_words(Ids(others.ids.at("features")).last(3)) == "color=missing, shop=unknown, price=5…");
}

TEST_CASE("features: every id is in the part of its column") {
  const Written file(kShop);
  const Encoding encoding = fit(file, shop_config());
  const RowColumns rows = encoding.read(file, shop_config(), {}, {});
  const std::vector<int32_t>& ids = rows.ids.at("features");
  std::set<int32_t> seen;
  for (size_t i = 0; i < ids.size(); ++i) {
    CHECK(ids[i] >= encoding.first()[i % 3]);
    CHECK(ids[i] < encoding.first()[i % 3 + 1]);
    seen.insert(ids[i]);
  }
  CHECK(seen.size() == 3 + 3 + 5);
}

TEST_CASE("features: buckets are even, and a frequent value has its own") {
  CHECK(buckets_of({4, 1, 3, 2}, 2) == std::vector<std::string>{"x=3…", "x=…3", "x=3…", "x=…3"});
  std::vector<double> values(900, 0.0);  // most are 0; the rest must not share a bucket for it
  for (int i = 1; i <= 100; ++i) values.push_back(i);
  std::map<std::string, int> sizes;
  for (const std::string& word : buckets_of(values, 11)) ++sizes[word];
  CHECK(sizes.size() == 11);
  CHECK(sizes.at("x=…1") == 900);
  for (const auto& [word, size] : sizes) CHECK((size == 10 || size == 900));
  CHECK(buckets_of({5, 5, 5}, 8) == std::vector<std::string>(3, "x=…"));
}

TEST_CASE("features: standard numbers are deviations, with a column for what is missing") {
  const Written file("x\tbought\n1\t1\n3\t0\n\t1\n");
  FeaturesConfig config;
  config.numeric = {"x"}, config.numbers_as = "standard";
  const Encoding encoding = fit(file, config);
  CHECK(encoding.fields() == 0);
  CHECK(encoding.numbers() == 2);
  const Written more("x\n1\n3\n\n1e9\n4\n");
  CHECK(encoding.read(more, config, {}, {}).numbers.at("numbers") ==
        std::vector<float>{-1, 0, 1, 0, 0, 1, 10, 0, 2, 0});
}

TEST_CASE("features: labels of kind number have a scale") {
  const Written file("x\tpaid\n1\t10\n3\t30\n2\t\n");
  FeaturesConfig config;
  config.numeric = {"x"};
  const Tasks tasks = {{"paid", {.kind = "number", .label = "paid"}}};
  const Encoding encoding = fit(file, config, tasks);
  CHECK(encoding.label("paid").mean == 20);
  CHECK(encoding.label("paid").deviation == 10);
  CHECK(encoding.label("other").mean == 0);
}

TEST_CASE("features: parts share no row and no group, and miss none") {
  std::string table = "color\tuser\tbought\tother\n";
  for (int i = 0; i < 400; ++i) table += text("c", i % 50, "\tu", i % 90, "\t", i % 2, "\t", i, "\n");
  const Written file(table);
  for (const char* group : {"", "user"}) {
    FeaturesConfig config;
    config.categorical = {"color"};
    config.folds = 4, config.dev_fold = 0, config.test_fold = 3, config.group = group;
    const std::vector<Task> tasks = all_tasks(kTasks);
    FeatureReader reader(file, config, tasks);
    std::map<std::string, std::set<Part>> parts;
    std::map<Part, size_t> rows;
    for (int i = 0; reader.next(); ++i) {
      parts[*group ? text("u", i % 90) : text(reader.cell(0), i % 2)].insert(reader.part());
      ++rows[reader.part()];
    }
    for (const auto& [name, of_name] : parts) CHECK(of_name.size() == 1);
    CHECK(rows.size() == 3);
    const Encoding encoding = fit(file, config);
    for (const auto& [part, count] : rows) {
      CHECK(count > 40);
      CHECK(encoding.read(file, config, tasks, part).ids.at("features").size() == count);
    }
    CHECK(encoding.read(file, config, tasks, {}).ids.at("features").size() == 400);
    // Only what trains is counted.
    std::set<std::string> trained;
    for (FeatureReader again(file, config, tasks); again.next();)
      if (again.part() == Part::train) trained.emplace(again.cell(0));
    config.min_count = 1;
    CHECK(fit(file, config).ids() == 2 + static_cast<int32_t>(trained.size()));
  }
}

TEST_CASE("features: without one of them a row is as if its cell were empty") {
  const Written file(kShop), without("shop\tcolor\tprice\n\tred\t1\na\t\t1\na\tred\t\n");
  for (const char* numbers_as : {"buckets", "standard"}) {
    FeaturesConfig config = shop_config();
    config.numbers_as = numbers_as;
    const Encoding encoding = fit(file, config);
    const RowColumns whole = encoding.read(file, config, {}, {}),
                     empty = encoding.read(without, config, {}, {});
    const auto F = static_cast<size_t>(encoding.fields()), N = static_cast<size_t>(encoding.numbers());
    for (const size_t feature : {0, 1, 2}) {
      std::vector<int32_t> ids(whole.ids.at("features").begin(), whole.ids.at("features").begin() + F);
      std::vector<float> numbers;
      if (N > 0) numbers.assign(whole.numbers.at("numbers").begin(), whole.numbers.at("numbers").begin() + N);
      encoding.leave_out(feature, ids, numbers);
      const size_t row = feature == 0 ? 1 : feature == 1 ? 0 : 2;
      CHECK(std::ranges::equal(ids, std::span(empty.ids.at("features")).subspan(row * F, F)));
      if (N > 0)
        CHECK(std::ranges::equal(numbers, std::span(empty.numbers.at("numbers")).subspan(row * N, N)));
    }
  }
}

TEST_CASE("features: a model file gives back the encoding, and nothing but an encoding") {
  const Written file(kShop);
  const TempDir folder;
  Tasks tasks = kTasks;
  tasks["paid"] = {.kind = "number", .label = "price2"};
  const Written priced("shop\tcolor\tprice\tbought\tprice2\na\tred\t1\t1\t3\na\tred\t2\t0\t5\n");
  for (const char* numbers_as : {"buckets", "standard"}) {
    FeaturesConfig config = shop_config();
    config.numbers_as = numbers_as;
    const std::vector<Task> all = all_tasks(tasks);
    const Encoding encoding = Encoding::fit(priced, config, all);
    const auto load = [&](std::vector<NamedArray> arrays) {
      write_tensor_file(folder / "f", std::move(arrays), {});
      return Encoding::load(TensorFile(folder / "f"), config, all);
    };
    const Encoding loaded = load(encoding.arrays());
    CHECK(loaded.read(file, config, {}, {}).ids == encoding.read(file, config, {}, {}).ids);
    CHECK(loaded.read(file, config, {}, {}).numbers == encoding.read(file, config, {}, {}).numbers);
    CHECK(loaded.ids() == encoding.ids());
    CHECK(loaded.label("paid").mean == 4);

    for (const NamedArray& missing : encoding.arrays()) {
      std::vector<NamedArray> arrays = encoding.arrays();
      std::erase_if(arrays, [&](const NamedArray& array) { return array.name == missing.name; });
      check_fails(
          Fault::input, [&] { load(arrays); }, missing.name);
    }
    const auto with = [&](const std::string& name, std::span<const double> values) {
      std::vector<NamedArray> arrays = encoding.arrays();
      std::erase_if(arrays, [&](const NamedArray& array) { return array.name == name; });
      arrays.push_back(NamedArray::of<double>(name, values));
      load(arrays);
    };
    const std::vector<double> down = {2, 1}, infinite = {1, INFINITY}, flat = {1, 0};
    std::vector<double> many;
    for (int i = 0; i < 40; ++i) many.push_back(i);
    check_fails(
        Fault::input, [&] { with("features/more", down); }, "features: expected");
    check_fails(
        Fault::input, [&] { with("labels/more", down); }, "features: expected");
    check_fails(
        Fault::input, [&] { with("labels/paid", flat); }, "labels/paid: expected a mean");
    for (const std::vector<double>& bad : {infinite, config.standard() ? flat : down, many})
      check_fails(
          Fault::input, [&] { with("features/price", bad); }, "features/price: expected");
  }
}

TEST_CASE("features: an older encoding keeps its ids and scales") {
  const Written file(kShop), newer("shop\tcolor\tprice\tbought\nb\tpink\t9\t1\nb\tpink\t8\t0\n");
  const Encoding older = fit(file, shop_config());
  Encoding encoding = fit(newer, shop_config());
  CHECK(encoding.ids() != older.ids());
  encoding.keep(older);
  CHECK(encoding.read(newer, shop_config(), {}, {}).ids == older.read(newer, shop_config(), {}, {}).ids);
  CHECK(encoding.ids() == older.ids());
}

TEST_CASE("features: what is wrong with a table is one clear line") {
  const std::string header = "shop\tcolor\tprice\tbought\n";
  const auto refused = [&](const std::string& rows, const std::string& expected) {
    const Written file(header + rows);
    check_fails(
        Fault::input, [&] { fit(file, shop_config()); }, expected);
  };
  refused("a\tred\tcheap\t1\n", "t.tsv:2:7: price: \"cheap\" is no number; expected a number");
  refused("a\tred\tnan\t1\n", "t.tsv:2:7: price: \"nan\" is no number");
  refused("a\tred\tinf\t1\n", "t.tsv:2:7: price: \"inf\" is no number");
  refused("a\tred\t1e300\t1\n", "t.tsv:2:7: price: \"1e300\" is out of range");
  refused("a\tred\t1\tyes\n", "t.tsv:2:9: bought: \"yes\" is no number");
  refused("a\tred\t1\t2\n", "t.tsv:2:9: bought");
  refused("", "no rows to train on; expected some");
  refused("a\tred\t1\t\n", "tasks.buy: no row to train on has a label; expected some");
  refused("a\tred\t1\t1\na\tred\t1\t\n", "tasks.buy: only one class to train on; expected both");
  const Written file(header + "a\tred\t1\t1\na\tred\tx\t1\na\tred\t2\t0\n"),
      lacks("shop\tcolor\tbought\na\tb\t1\n");
  check_fails(
      Fault::input, [&] { fit(lacks, shop_config()); }, "price");
  std::string said;
  const Encoding encoding = Encoding::fit(file, shop_config(), all_tasks(kTasks), {.bad_rows = "skip"});
  const RowColumns rows =
      encoding.read(file, shop_config(), all_tasks(kTasks), {},
                    {.bad_rows = "skip", .say = [&](const std::string& line) { said += line; }});
  CHECK(rows.ids.at("features").size() == 6);
  CHECK(said.find("\"x\" is no number") != std::string::npos);

  FeaturesConfig grouped = shop_config();
  grouped.folds = 2, grouped.group = "shop";
  const Written nobody(header + "\tred\t1\t1\n");
  check_fails(
      Fault::input, [&] { fit(nobody, grouped); }, "t.tsv:2:1: shop: no group; expected the name of one");
}

TEST_CASE("features: options that no run can have") {
  const auto refused = [](auto change, const char* part) {
    FeaturesConfig config = shop_config();
    change(config);
    check_fails(
        Fault::usage, [&] { config.validate(kTasks); }, part);
  };
  shop_config().validate(kTasks);
  refused([](FeaturesConfig& c) { c.categorical = c.numeric = {}; }, "features.categorical: empty");
  refused([](FeaturesConfig& c) { c.numeric = {"shop"}; }, "\"shop\"; expected names of columns, each once");
  refused([](FeaturesConfig& c) { c.numeric = {"bought"}; },
          "\"bought\"; expected no column that is the label of tasks.buy");
  refused([](FeaturesConfig& c) { c.numbers_as = "logs"; },
          "features.numbers_as: logs; expected buckets or standard");
  refused([](FeaturesConfig& c) { c.buckets = 1; }, "features.buckets: 1");
  refused([](FeaturesConfig& c) { c.min_count = 0; }, "features.min_count: 0");
  refused([](FeaturesConfig& c) { c.folds = 1; }, "features.folds: 1");
  refused([](FeaturesConfig& c) { c.folds = 3, c.test_fold = 3; }, "features.test_fold: 3");
  refused([](FeaturesConfig& c) { c.folds = 3, c.test_fold = 0; }, "expected another than features.dev_fold");
}
