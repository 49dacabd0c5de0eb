// Configuration files and `--set`: positions, messages, and a dump that reads back (tools/config.h).
#include "tools/config.h"

#include <cstring>
#include <random>

#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;
using steelyard::test::TempDir;

namespace {

struct Adam {
  double learning_rate = 1e-3;
  double clip = 1.0 / 0.0;
  template <class F>
  void fields(F&& f) {
    f("learning_rate", learning_rate, "step size");
    f("clip", clip, "longest gradient\n(inf: any)");
  }
};

struct Trainer {
  Adam adam;
  int epochs = 3;
  template <class F>
  void fields(F&& f) {
    f("adam", adam, "the optimiser");
    f("epochs", epochs, "passes over the data");
  }
};

struct Settings {
  Trainer trainer;
  bool stem = true;
  int64_t seed = 1;
  std::string device = "cpu";
  std::vector<std::string> columns = {"query", "title"};
  std::map<std::string, Adam> groups;
  std::map<std::string, double> bound;
  template <class F>
  void fields(F&& f) {
    f("trainer", trainer, "how it is trained");
    f("stem", stem, "strip English endings");
    f("seed", seed, "");
    f("device", device, "cpu or gpu");
    f("columns", columns, "what is read");
    f("groups", groups, "of parameters");
    f("bound", bound, "of each");
  }
};

template <class... Parts>
void check_refused(const std::string& toml, const Parts&... parts) {
  Settings settings;
  check_fails(
      Fault::usage, [&] { parse_config(toml, "a.toml", settings); }, "a.toml:", parts...);
}

template <class... Parts>
void check_setting_refused(const std::string& setting, const Parts&... parts) {
  Settings settings;
  check_fails(
      Fault::usage, [&] { apply_setting(setting, settings); }, "--set ", parts...);
}

Settings with(const std::string& setting) {
  Settings settings;
  apply_setting(setting, settings);
  return settings;
}

std::string random_text(std::mt19937& random) {
  const std::vector<std::string> pieces = {"a",  "\"",   "\\", "\n", "\r", "\t", "\x01", "\x7f",
                                           "字", "🛒", " ",  "#",  "'",  "]",  "=",    "\"\"\""};
  std::string text;
  for (uint32_t n = random() % 8; n > 0; n--) text += pieces[random() % pieces.size()];
  return text;
}

double random_double(std::mt19937& random) {
  const uint64_t bits = (uint64_t{random()} << 32) | random();
  double x = 0;
  std::memcpy(&x, &bits, sizeof x);
  return random() % 4 == 0 ? static_cast<double>(static_cast<int>(random() % 100)) : x;
}

}  // namespace

TEST_CASE("config: a file is read, what it does not name keeps its value") {
  TempDir folder;
  test::write_file(folder / "a.toml",
                   "# a comment\r\nstem = false\r\ncolumns = [\"a\", 'b']\ntrainer.epochs = 7\n"
                   "[trainer.adam]\nlearning_rate = 1  # a whole number\n");
  Settings settings;
  read_config(folder / "a.toml", settings);
  CHECK(!settings.stem);
  CHECK(settings.columns == std::vector<std::string>{"a", "b"});
  CHECK(settings.trainer.epochs == 7);
  CHECK(settings.trainer.adam.learning_rate == 1.0);
  CHECK(settings.device == "cpu");
  parse_config("", "empty", settings);
  parse_config("columns = []\ntrainer = {epochs = 8, adam.clip = 0.5}", "inline", settings);
  CHECK(settings.columns.empty());
  CHECK(settings.trainer.epochs == 8);
  CHECK(settings.trainer.adam.clip == 0.5);
  check_fails(
      Fault::usage, [&] { read_config(folder / "none.toml", settings); }, "none.toml", "No such file");
}

TEST_CASE("config: errors name file, line, column and key") {
  check_refused("stem = true\nsead = 1", "a.toml:2:1: unknown key \"sead\"; did you mean \"seed\"?");
  check_refused(
      "[trainer]\n\n  lerning_rate = 1",
      "a.toml:3:3: unknown key \"trainer.lerning_rate\"; did you mean \"trainer.adam.learning_rate\"?");
  check_refused("[triner]\nepochs = 1", "a.toml:1:2: unknown key \"triner\"");
  check_refused("[[trainer]]\nepochs = 1", "a.toml:1:", "trainer: got a value, expected a section");
  check_refused("trainer = 3", "a.toml:1:1: trainer: got a value, expected a section");
  check_refused("trainer.epochs = \"3\"", "a.toml:1:18: trainer.epochs: got a string, expected an integer");
  check_refused("trainer.epochs = 3.0", "got a number, expected an integer");
  check_refused("trainer.epochs = 3000000000",
                "a.toml:1:18: trainer.epochs: got 3000000000, expected an integer from");
  check_refused("seed = 9223372036854775808", "a.toml:1:");
  check_refused("seed = {}", "a.toml:1:8: seed: got a table, expected an integer");
  check_refused("seed = [1]", "seed: got a list, expected an integer");
  check_refused("seed = 2020-01-01", "seed: got a date or time, expected an integer");
  check_refused("device = [\"cpu\"]", "device: got a list, expected a string");
  check_refused("columns = \"a\"", "columns: got a string, expected a list of strings");
  check_refused("columns = [\"a\", 1]", "columns: got a list with an integer, expected a list of strings");
  check_refused("[@a]", "a.toml:1:2: ");           // an assertion of toml++ 3.3.0
  check_refused("seed = \u00e9", "a.toml:1:8: ");  // its table of blanks, likewise
  check_refused("stem = yes", "a.toml:1:8: ");
  check_refused("seed = 1\nseed = 2", "a.toml:2:");
  check_refused("device = \"\xff\"", "a.toml:1:");
  check_refused(std::string("device = \"\0\"", 12), "a.toml:1:");
}

TEST_CASE("config: depth and size cannot hurt") {
  for (const size_t n : {1'000, 500'000}) {
    std::string chain, opened, closed;
    for (size_t i = 0; i < n; i++) chain += "a.", opened += "[", closed += "]";
    check_refused(chain + "a = 1", "a.toml:1:1: more than 500 dots on one line");
    check_refused("stem = true\n[" + chain + "a]", "a.toml:2:1: more than 500 dots");
    check_refused("seed = " + opened + closed.substr(0, 10), "a.toml:1:", "depth");
  }
  std::string chain;
  for (int i = 0; i < 499; i++) chain += "a.";
  check_refused("[" + chain + "a]\n" + chain + "a = 1", "unknown key \"a\"");
  std::string tables = "seed = ";
  for (int i = 0; i < 100'000; i++) tables += "{a=";
  check_refused(tables, "depth");
  check_refused("#" + std::string(1 << 20, '.'), "expected 1048576 at most");
  check_refused("\"" + std::string(1'000'000, 'x') + "\" = 1", "unknown key \"xxx");
}

TEST_CASE("config: one setting on the command line") {
  CHECK(with("device=gpu").device == "gpu");
  CHECK(with("device=\"gpu\"").device == "gpu");
  CHECK(with("device='12'").device == "12");
  CHECK(with("device=").device == "");
  CHECK(with("device=größe").device == "größe");
  CHECK(with("device=data/a=b.tsv").device == "data/a=b.tsv");
  CHECK(with("trainer.epochs=12").trainer.epochs == 12);
  CHECK(with("trainer.adam.learning_rate=5e-4").trainer.adam.learning_rate == 5e-4);
  CHECK(with("trainer.adam={learning_rate=2, clip=3.5}").trainer.adam.clip == 3.5);
  CHECK(!with("stem=false").stem);
  CHECK(with("columns=[\"a\", \"b\"]").columns == std::vector<std::string>{"a", "b"});

  check_setting_refused("device", "expected KEY=VALUE");
  check_setting_refused("=gpu", "expected KEY=VALUE");
  check_setting_refused("devise=gpu", "--set devise=gpu: unknown key \"devise\"; did you mean \"device\"?");
  check_setting_refused("trainer.epochs=twelve", "trainer.epochs: got a string, expected an integer");
  check_setting_refused("device=12", "device: got an integer, expected a string");
  check_setting_refused("device=\"gpu", "--set device=\"gpu: ");
  check_setting_refused("columns=[\"a\"", "--set columns=[\"a\": ");
  check_setting_refused("seed=1\nstem=false", "expected one value");
  check_setting_refused("device=\xff", "device: got a string that is not UTF-8");
  check_setting_refused("trainer=1", "trainer: got a value, expected a section");
  check_setting_refused("trainer.adam={clip=true}", "trainer.adam.clip: got a boolean, expected a number");
  std::string chain = "seed={";
  for (int i = 0; i < 100'000; i++) chain += "a.";
  check_setting_refused(chain, "more than 500 dots");
  check_setting_refused("seed=" + std::string(2 << 20, '1'), "expected less");
}

TEST_CASE("config: the dump is complete, commented, in order") {
  Settings settings;
  CHECK(dump_config(settings) ==
        "# strip English endings\nstem = true\nseed = 1\n# cpu or gpu\ndevice = \"cpu\"\n# what is read\n"
        "columns = [\"query\", \"title\"]\n\n# how it is trained\n[trainer]\n# passes over the data\nepochs "
        "= 3\n\n"
        "# the optimiser\n[trainer.adam]\n# step size\nlearning_rate = 0.001\n# longest gradient\n# (inf: "
        "any)\n"
        "clip = inf\n\n# of parameters\n[groups]\n\n# of each\n[bound]\n");
}

TEST_CASE("config: a dump reads back to the same configuration, for any values") {
  std::mt19937 random(11);
  for (int round = 0; round < 10'000; round++) {
    Settings settings;
    settings.stem = random() % 2;
    settings.seed = static_cast<int64_t>((uint64_t{random()} << 32) | random());
    settings.trainer.epochs = static_cast<int>(random());
    settings.trainer.adam = {random_double(random), random_double(random)};
    settings.device = random_text(random);
    settings.columns.clear();
    for (uint32_t n = random() % 4; n > 0; n--) settings.columns.push_back(random_text(random));
    const std::string dump = dump_config(settings);
    CAPTURE(dump);
    Settings read;
    parse_config(dump, "dump", read);
    REQUIRE(differences(settings, read).empty());
    REQUIRE(dump_config(read) == dump);
    const Fields fields = settings;
    Settings set_one_by_one;
    for (const Field& field : fields.all())
      apply_setting(field.key + "=" + to_text(field.value()), set_one_by_one);
    REQUIRE(differences(settings, set_one_by_one).empty());
  }
}

TEST_CASE("config: a family's sections are named by the file") {
  Settings settings;
  parse_config("[groups.tables]\nclip = 2\n[groups.b]\n", "a.toml", settings);
  CHECK(settings.groups.size() == 2);
  CHECK(settings.groups["tables"].clip == 2);
  apply_setting("groups.tables.clip=3", settings);
  CHECK(settings.groups["tables"].clip == 3);
  Settings read;
  parse_config(dump_config(settings), "dump", read);
  CHECK(differences(settings, read).empty());
  check_refused("[groups.\"a b\"]\n", "1:9: groups.\"a b\": expected a name");
  check_refused("groups.x = 1\n", "unknown key \"groups.x\"");
  apply_setting("groups.y.clip=1", settings);
  CHECK(settings.groups["y"].clip == 1);
  check_setting_refused("groups.y.clap=1", "did you mean");
  check_setting_refused("groups.a b.clip=1", "groups.\"a b\": expected a name");
}

TEST_CASE("config: and so are a family's values") {
  Settings settings;
  parse_config("[bound]\nclick = 0.5\n", "a.toml", settings);
  apply_setting("bound.buy=2", settings);
  CHECK(settings.bound == std::map<std::string, double>{{"buy", 2}, {"click", 0.5}});
  Settings read;
  parse_config(dump_config(settings), "dump", read);
  CHECK(differences(settings, read).empty());
  check_refused("[bound]\nclick = \"x\"\n", "2:9: bound.click: got");
  check_refused("[bound.click]\n", "bound.click");
  check_setting_refused("bound.a b=1", "a b");
}
