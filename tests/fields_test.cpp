// The walk over configuration structs: keys, types, ranges, messages, JSON (core/fields.h).
#include "core/fields.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;

namespace {

struct Trainer {
  int epochs = 3;
  double learning_rate = 1e-3;
  template <class F>
  void fields(F&& f) {
    f("epochs", epochs, "passes over the data");
    f("learning_rate", learning_rate, "step size");
  }
};

struct Settings {
  bool stem = true;
  int64_t seed = 1;
  Trainer trainer = {.epochs = 5};  // a default of the outer struct
  std::string device = "cpu";
  std::vector<std::string> columns = {"query", "title"};
  std::map<std::string, Trainer> phases;
  template <class F>
  void fields(F&& f) {
    f("stem", stem, "strip English endings");
    f("seed", seed, "of all random numbers");
    f("trainer", trainer, "how it is trained");
    f("device", device, "cpu or gpu");
    f("columns", columns, "what is read");
    f("phases", phases, "one after the other");
  }
};

struct Bounds {
  std::map<std::string, double> bound;
  template <class F>
  void fields(F&& f) {
    f("bound", bound, "of each");
  }
};

struct None {
  template <class F>
  void fields(F&&) {}
};

struct Twice {
  int a = 0, b = 0;
  template <class F>
  void fields(F&& f) {
    f("a", a, "");
    f("a", b, "");
  }
};

struct Blank {
  int a = 0;
  template <class F>
  void fields(F&& f) {
    f("a b", a, "");
  }
};

void set(Settings& settings, const char* key, FieldValue value) { Fields(settings).at(key).set(value); }

template <class... Parts>
void check_refused(const char* key, const FieldValue& value, const Parts&... parts) {
  Settings settings;
  Settings untouched;
  check_fails(
      Fault::usage, [&] { set(settings, key, value); }, parts...);
  CHECK(differences(settings, untouched).empty());
}

std::string random_text(std::mt19937& random) {
  const std::vector<std::string> pieces = {"a",  "\"",   "\\", "\n", "\t", "\x01", "\x7f",
                                           "字", "🛒", " ",  "#",  "'",  "]",    "="};
  std::string text;
  for (uint32_t n = random() % 8; n > 0; n--) text += pieces[random() % pieces.size()];
  return text;
}

Settings random_settings(std::mt19937& random) {
  Settings s;
  s.stem = random() % 2;
  s.seed = static_cast<int64_t>((uint64_t{random()} << 32) | random());
  s.trainer.epochs = static_cast<int>(random());
  const uint64_t bits = (uint64_t{random()} << 32) | random();
  std::memcpy(&s.trainer.learning_rate, &bits, sizeof bits);  // any double: subnormal, infinite, NaN
  s.device = random_text(random);
  s.columns.clear();
  for (uint32_t n = random() % 4; n > 0; n--) s.columns.push_back(random_text(random));
  return s;
}

}  // namespace

TEST_CASE("fields: keys, values and help, as declared") {
  Settings settings;
  settings.trainer.epochs = 9;
  const Fields fields = settings;
  std::string listed;
  for (const Field& field : fields.all()) listed += text(field.key, "=", to_text(field.value()), " ");
  CHECK(listed ==
        "stem=true seed=1 trainer.epochs=9 trainer.learning_rate=0.001 "
        "device=\"cpu\" columns=[\"query\", \"title\"] ");
  CHECK(fields.at("trainer.epochs").help == "passes over the data");
  CHECK(fields.at("trainer.epochs").section() == "trainer");
  CHECK(fields.at("trainer.epochs").name() == "epochs");
  CHECK(fields.at("seed").section() == "");
  CHECK(fields.at("seed").name() == "seed");
  REQUIRE(fields.sections().size() == 2);
  CHECK(fields.sections()[0].key == "trainer");
  CHECK(fields.sections()[0].help == "how it is trained");
  CHECK(fields.find("trainer") == nullptr);
}

TEST_CASE("fields: a family's sections are made by name") {
  Settings settings;
  settings.phases["late"].epochs = 4;
  Fields fields = settings;
  CHECK(fields.at("phases.late.epochs").value() == FieldValue(int64_t{4}));
  CHECK(fields.find("phases.early.epochs") == nullptr);
  for (const char* nothing_new : {"phases.late", "trainer", "trainer.adam", "phase.x"})
    fields.make(nothing_new, true);
  fields.make("phases.early", false);  // no value
  CHECK(settings.phases.size() == 1);
  fields.make("phases.early", true);
  fields.at("phases.early.epochs").set(int64_t{2});
  CHECK(settings.phases["early"].epochs == 2);
  CHECK(settings.phases.size() == 2);
  for (const char* bad : {"phases.", "phases.a b", "phases.a.b", "phases.ä"})
    check_fails(
        Fault::usage, [&] { fields.make(bad, true); }, "expected a name of letters, digits, - and _");
  for (int i = 2; i < 64; ++i) fields.make(text("phases.p", i), true);
  check_fails(
      Fault::usage, [&] { fields.make("phases.one_more", true); }, "expected at most 64 of its kind");

  Settings read;
  from_json(read, to_json(Fields(settings)));
  CHECK(differences(settings, read).empty());
  CHECK(read.phases.size() == 64);
  check_fails(
      Fault::input, [&] { from_json(read, R"({"phases":{"late":1}})"); }, "phases.late: got a value");
  check_fails(
      Fault::input, [&] { from_json(read, R"({"phases":{"late":{"epoch":1}}})"); }, "did you mean");
}

TEST_CASE("fields: a family of values is made by name") {
  Bounds bounds;
  Fields fields = bounds;
  CHECK(fields.all().empty());
  fields.make("bound.a", true);  // no section
  CHECK(bounds.bound.empty());
  fields.make("bound.a", false);
  fields.at("bound.a").set(0.5);
  CHECK(bounds.bound == std::map<std::string, double>{{"a", 0.5}});
  fields.make("bound.a", false);
  CHECK(fields.all().size() == 1);
  check_fails(
      Fault::usage, [&] { fields.make("bound.a b", false); }, "expected a name of letters, digits, - and _");
  Bounds read;
  from_json(read, to_json(Fields(bounds)));
  CHECK(read.bound == bounds.bound);
  Bounds none;
  CHECK(differences(bounds, none) == std::vector<std::string>{"bound.a"});
  check_fails(
      Fault::input, [&] { from_json(read, R"({"bound":{"a":"x"}})"); }, "bound.a: got");
}

TEST_CASE("fields: typed values are set") {
  Settings settings;
  set(settings, "stem", false);
  set(settings, "seed", int64_t{1} << 40);
  set(settings, "trainer.epochs", int64_t{std::numeric_limits<int>::min()});
  set(settings, "trainer.learning_rate", int64_t{2});
  set(settings, "device", std::string("gpu"));
  set(settings, "columns", std::vector<std::string>{});
  CHECK(!settings.stem);
  CHECK(settings.seed == int64_t{1} << 40);
  CHECK(settings.trainer.epochs == std::numeric_limits<int>::min());
  CHECK(settings.trainer.learning_rate == 2.0);
  CHECK(settings.device == "gpu");
  CHECK(settings.columns.empty());
  set(settings, "trainer.learning_rate", 0.25);
  CHECK(settings.trainer.learning_rate == 0.25);
}

TEST_CASE("fields: what does not fit is refused by key and changes nothing") {
  check_refused("trainer.epochs", std::string("3"), "trainer.epochs: got a string, expected an integer");
  check_refused("trainer.epochs", 3.0, "trainer.epochs: got a number, expected an integer");
  check_refused("trainer.epochs", int64_t{1} << 31,
                "got 2147483648, expected an integer from -2147483648 to 2147483647");
  check_refused("trainer.epochs", -(int64_t{1} << 31) - 1, "got -2147483649");
  check_refused("seed", true, "seed: got a boolean, expected an integer");
  check_refused("stem", int64_t{1}, "stem: got an integer, expected true or false");
  check_refused("trainer.learning_rate", true, "got a boolean, expected a number");
  check_refused("device", int64_t{1}, "device: got an integer, expected a string");
  check_refused("device", std::string("\xff"), "device: got a string that is not UTF-8");
  check_refused("columns", std::string("a"), "columns: got a string, expected a list of strings");
  check_refused("columns", std::vector<std::string>{"a", "\xc0"}, "columns: got a string that is not UTF-8");
  check_refused("device", std::vector<std::string>{}, "device: got a list of strings, expected a string");
}

TEST_CASE("fields: an unknown key names the nearest known one") {
  check_refused("trainer.lerning_rate", 1.0,
                "unknown key \"trainer.lerning_rate\"; did you mean \"trainer.learning_rate\"?");
  check_refused("learning_rate", 1.0, "did you mean \"trainer.learning_rate\"?");
  check_refused("optimizer.epochs", 1.0, "did you mean \"trainer.epochs\"?");
  check_refused("Seed", 1.0, "did you mean \"seed\"?");
  check_refused("", 1.0, "unknown key \"\"; did you mean");
  check_refused("line\nbreak", 1.0, "unknown key \"line\\nbreak\"");
  check_refused("trainer", 1.0, "trainer: got a value, expected a section");
  Settings settings;
  std::string endless;
  endless.resize(10'000'000, 'x');
  check_fails(
      Fault::usage, [&] { Fields(settings).at(endless); }, "unknown key \"xxxx", "did you mean");
  None none;
  check_fails(
      Fault::usage, [&] { Fields(none).at("x"); }, "there are no keys");
}

TEST_CASE("fields: values print to the shortest text that reads back") {
  CHECK(to_text(FieldValue(1.0)) == "1.0");
  CHECK(to_text(FieldValue(-0.0)) == "-0.0");
  CHECK(to_text(FieldValue(0.1)) == "0.1");
  CHECK(to_text(FieldValue(1e22)) == "1e+22");
  CHECK(to_text(FieldValue(5e-324)) == "5e-324");
  CHECK(to_text(FieldValue(-HUGE_VAL)) == "-inf");
  CHECK(to_text(FieldValue(-std::nan(""))) == "nan");
  CHECK(to_text(FieldValue(std::numeric_limits<int64_t>::min())) == "-9223372036854775808");
  CHECK(to_text(FieldValue(std::string("a\"\n\x7f"))) == "\"a\\\"\\n\\u007f\"");
}

TEST_CASE("fields: JSON and back is the same configuration, for any values") {
  std::mt19937 random(7);
  Settings plain;
  CHECK(
      to_json(plain) ==
      R"({"stem":true,"seed":1,"trainer":{"epochs":5,"learning_rate":0.001},"device":"cpu","columns":["query","title"]})");
  for (int round = 0; round < 20'000; round++) {
    Settings settings = random_settings(random);
    const std::string json = to_json(settings);
    CAPTURE(json);
    Settings read;
    from_json(read, json);
    REQUIRE(differences(settings, read).empty());
    REQUIRE(to_json(read) == json);
  }
}

TEST_CASE("fields: differences") {
  Settings a, b;
  CHECK(differences(a, b).empty());
  b.trainer.learning_rate = std::nan("");
  b.columns = {"query, title"};
  CHECK(differences(a, b) == std::vector<std::string>{"trainer.learning_rate", "columns"});
  a = b;
  CHECK(differences(a, b).empty());
  b.phases["x"].epochs = 1;
  CHECK(differences(a, b) == std::vector<std::string>{"phases.x.epochs", "phases.x.learning_rate"});
  CHECK(differences(b, a) == std::vector<std::string>{"phases.x.epochs", "phases.x.learning_rate"});
}

TEST_CASE("fields: JSON of an older model keeps the other options, anything strange is refused") {
  Settings settings;
  settings.seed = 4;
  from_json(settings, R"({"trainer":{"epochs":7}})");
  CHECK(settings.trainer.epochs == 7);
  CHECK(settings.seed == 4);

  const auto refused = [&](const std::string& json, const char* part) {
    CAPTURE(json);
    check_fails(
        Fault::input, [&] { from_json(settings, json); }, "configuration: ", part);
  };
  refused("", "no JSON");
  refused("{", "no JSON");
  refused("{} {}", "no JSON");
  refused("{\"device\":\"\xff\"}", "no JSON");
  refused("[]", "no JSON object");
  refused(std::string(100'000, '['), "nested deeper than 32");
  refused(std::string(100'000, '{'), "no JSON");
  refused(R"({"seed":1,"seed":2})", "key \"seed\" is given twice");
  refused(R"({"trainer":{"epochs":1,"epochs":1}})", "key \"epochs\" is given twice");
  refused(R"({"sead":1})", "unknown key \"sead\"; did you mean \"seed\"?");
  refused(R"({"trainer":{"epoch":1}})", "did you mean \"trainer.epochs\"?");
  refused(R"({"trainer":1})", "trainer: got a value, expected a section");
  refused(R"({"seed":{}})", "seed: got an object, expected an integer");
  refused(R"({"seed":null})", "seed: got null");
  refused(R"({"seed":1.0})", "seed: got a number, expected an integer");
  refused(R"({"seed":9223372036854775808})", "beyond 63 bits");
  refused(R"({"trainer":{"epochs":2147483648}})", "trainer.epochs: got 2147483648");
  refused(R"({"columns":["a",1]})", "columns: got a list of other things");
  refused(R"({"trainer":{"learning_rate":"fast"}})",
          "trainer.learning_rate: got a string, expected a number");
}

TEST_CASE("fields: wrong declarations are our own fault") {
  Twice twice;
  check_fails(
      Fault::bug, [&] { Fields fields(twice); }, "option \"a\" is declared twice");
  Blank blank;
  check_fails(
      Fault::bug, [&] { Fields fields(blank); }, "an option is named \"a b\"");
}
