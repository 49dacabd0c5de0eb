// Fuzzes what people and files say about options: TOML, one setting, JSON; the first byte chooses. Whatever
// is accepted must print to a text that reads back to the same configuration; whatever is not must be refused
// in one line.
#include <cstdlib>
#include <string>

#include "tools/config.h"

using namespace steelyard;

namespace {

struct Inner {
  int epochs = 3;
  double rate = 0.5;
  template <class F>
  void fields(F&& f) {
    f("epochs", epochs, "a");
    f("rate", rate, "b");
  }
};

struct Settings {
  bool b = true;
  int64_t i = 1;
  Inner t;
  std::string s = "x";
  std::vector<std::string> l = {"y"};
  std::map<std::string, Inner> m;
  template <class F>
  void fields(F&& f) {
    f("b", b, "");
    f("i", i, "");
    f("t", t, "");
    f("s", s, "");
    f("l", l, "");
    f("m", m, "");
  }
};

void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size == 0) return 0;
  const std::string content(reinterpret_cast<const char*>(input + 1), size - 1);
  const int kind = input[0] % 3;
  Settings settings;
  try {
    if (kind == 0) parse_config(content, "fuzz", settings);
    if (kind == 1) apply_setting(content, settings);
    if (kind == 2) from_json(settings, content);
  } catch (const Error& error) {
    require(error.fault == (kind == 2 ? Fault::input : Fault::usage));
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return 0;
  }
  Settings from_toml, json;
  parse_config(dump_config(settings), "dump", from_toml);
  from_json(json, to_json(settings));
  require(differences(settings, from_toml).empty());
  require(differences(settings, json).empty());
  return 0;
}
