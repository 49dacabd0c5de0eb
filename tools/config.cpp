#include "tools/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "core/file.h"

namespace steelyard {

namespace {

// toml++ builds a table for every dot of a key and destroys them recursively: a long chain would overflow the stack.
// Nested brackets it limits itself.
constexpr int64_t kMaxDots = 500;        // on one line
constexpr size_t kMaxFile = 1024 * 1024;  // bytes

std::string kind(const toml::node& node) {
  if (node.is_boolean()) return "a boolean";
  if (node.is_integer()) return "an integer";
  if (node.is_floating_point()) return "a number";
  if (node.is_string()) return "a string";
  if (node.is_array()) return "a list";
  if (node.is_table()) return "a table";
  return "a date or time";
}

// Puts the nodes of one document into the options. Positions are those of toml++; without a file (`--set`) they say
// nothing, and messages begin with the setting instead.
class Reader {
 private:
  // Says where an error of the options is.
  template <class F>
  auto at(toml::source_position position, F&& f) const {
    try {
      return f();
    } catch (const Error& error) {
      refuse(position, error.what());
    }
  }

 public:
  Reader(std::string place, bool with_positions, const Fields& fields)
      : place_(std::move(place)), with_positions_(with_positions), fields_(fields) {}

  void assign(const toml::table& table, const std::string& prefix) {
    for (const auto& [name, node] : table)
      assign(prefix + std::string(name.str()), node, name.source().begin);
  }

  void assign(const std::string& key, const toml::node& node, toml::source_position key_position) {
    if (const auto* section = node.as_table(); section && fields_.is_section(key)) return assign(*section, key + ".");
    // A key is wrong where it stands; a value where the value stands.
    const Field& field = *at(key_position, [&] { return &fields_.at(key); });
    at(node.source().begin, [&] { field.set(value(node, field)); });
  }

  [[noreturn]] void refuse(toml::source_position position, const std::string& what) const {
    if (with_positions_) fail(Fault::usage, place_, ":", position.line, ":", position.column, ": ", what);
    fail(Fault::usage, place_, ": ", what);
  }

 private:
  FieldValue value(const toml::node& node, const Field& field) const {
    if (const auto* x = node.as_boolean()) return x->get();
    if (const auto* x = node.as_integer()) return x->get();
    if (const auto* x = node.as_floating_point()) return x->get();
    if (const auto* x = node.as_string()) return x->get();
    const bool wants_list = std::holds_alternative<std::vector<std::string>*>(field.target);
    if (!node.is_array() || !wants_list)
      fail(Fault::usage, field.key, ": got ", kind(node), ", expected ", field.expected());
    std::vector<std::string> list;
    for (const toml::node& element : *node.as_array()) {
      if (!element.is_string())
        fail(Fault::usage, field.key, ": got a list with ", kind(element), ", expected a list of strings");
      list.push_back(element.as_string()->get());
    }
    return list;
  }

  std::string place_;
  bool with_positions_;
  const Fields& fields_;
};

std::string one_line(std::string_view text) {
  std::string result(text.substr(0, 300));
  for (char& c : result)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  return result;
}

// Where a line has too many dots; nothing if none has.
void check_dots(std::string_view text, const Reader& reader) {
  toml::source_index line = 1;
  int64_t dots = 0;
  for (const char c : text) {
    if (c == '\n') line++, dots = 0;
    if (c == '.' && ++dots > kMaxDots)
      reader.refuse({line, 1}, steelyard::text("more than ", kMaxDots, " dots on one line; expected less"));
  }
}

}  // namespace

void parse_config(std::string_view text, const std::string& path, const Fields& fields) {
  Reader reader(path, true, fields);
  if (text.size() > kMaxFile)
    fail(Fault::usage, path, ": a file of ", text.size(), " bytes; expected ", kMaxFile, " at most");
  check_dots(text, reader);
  try {
    const toml::table document = toml::parse(text);
    reader.assign(document, "");
  } catch (const toml::parse_error& error) {
    reader.refuse(error.source().begin, one_line(error.description()));
  }
}

void read_config(const std::filesystem::path& path, const Fields& fields) {
  MappedFile file;
  try {
    file = MappedFile(path);
  } catch (const Error& error) {
    fail(error.fault == Fault::input ? Fault::usage : error.fault, error.what());
  }
  parse_config(file.text(), path.string(), fields);
}

void apply_setting(std::string_view setting, const Fields& fields) {
  const std::string place = "--set " + one_line(setting.substr(0, 100));
  Reader reader(place, false, fields);
  const size_t equals = setting.find('=');
  if (equals == setting.npos || equals == 0) fail(Fault::usage, place, ": expected KEY=VALUE");
  const std::string key(setting.substr(0, equals));
  const std::string_view given = setting.substr(equals + 1);
  if (given.size() > kMaxFile) fail(Fault::usage, place, ": a value of ", given.size(), " bytes; expected less");
  check_dots(given, reader);

  toml::table document;
  try {
    document = toml::parse(text("value = ", given));
    // A line break could have smuggled in a second key.
    if (document.size() != 1) fail(Fault::usage, place, ": expected one value");
  } catch (const toml::parse_error& error) {
    const std::string_view not_bare = "\"'[{";
    if (!given.empty() && not_bare.find(given.front()) != not_bare.npos)
      fail(Fault::usage, place, ": ", one_line(error.description()));
    document = toml::table{{"value", given}};
  }
  reader.assign(key, *document.get("value"), {});
}

namespace {

// Help may have several lines.
void write_comment(std::ostream& out, const std::string& help) {
  if (help.empty()) return;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) out << "# " << one_line(line) << '\n';
}

}  // namespace

std::string dump_config(const Fields& fields) {
  std::ostringstream out;
  const auto write_options = [&](const std::string& section) {
    for (const Field& field : fields.all()) {
      if (field.section() != section) continue;
      write_comment(out, field.help);
      out << field.name() << " = " << to_text(field.value()) << '\n';
    }
  };
  // TOML wants the options of a table before its first section.
  write_options("");
  for (const Section& section : fields.sections()) {
    out << '\n';
    write_comment(out, section.help);
    out << '[' << section.key << "]\n";
    write_options(section.key);
  }
  return out.str();
}

}  // namespace steelyard
