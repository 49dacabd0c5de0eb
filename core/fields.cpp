#include "core/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include "core/text.h"

namespace steelyard {

namespace {

using nlohmann::json;

constexpr int kMaxDepth = 32;  // of JSON; no configuration comes near
constexpr int64_t kMaxFamily = 64;

bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

std::string shown(std::string_view text) {
  constexpr size_t kLongest = 80;
  return json(text.substr(0, kLongest)).dump(-1, ' ', false, json::error_handler_t::replace);
}

// Escapes that JSON and TOML share. TOML also wants the character 7f escaped.
std::string quoted(const std::string& text) {
  std::string result = json(text).dump();
  for (size_t at = 0; (at = result.find('\x7f', at)) != result.npos;) result.replace(at, 1, "\\u007f");
  return result;
}

std::string to_text(double value) {
  if (std::isnan(value)) return "nan";
  char buffer[32];
  std::string digits(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  const bool whole = digits.find_first_of(".einf") == digits.npos;
  return whole ? digits + ".0" : digits;
}

std::string_view last_name(std::string_view key) { return key.substr(key.rfind('.') + 1); }

// A forgotten or wrong section costs as much as one wrong letter.
size_t distance(std::string_view given, std::string_view known) {
  return std::min(edit_distance(given, known), 1 + edit_distance(last_name(given), last_name(known)));
}

template <class... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Match(Cases...) -> Match<Cases...>;

const char* kind(const FieldValue& value) {
  static constexpr const char* kKinds[] = {"a boolean", "an integer", "a number", "a string",
                                           "a list of strings"};
  return kKinds[value.index()];
}

bool is_utf8(const std::string& text) {
  try {
    quoted(text);
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

}  // namespace

FieldValue Field::value() const {
  return std::visit(Match{[](const int* x) { return FieldValue(int64_t{*x}); },
                          [](const auto* x) { return FieldValue(*x); }},
                    target);
}

const char* Field::expected() const {
  static constexpr const char* kKinds[] = {"true or false", "an integer", "an integer",
                                           "a number",      "a string",   "a list of strings"};
  return kKinds[target.index()];
}

void Field::set(const FieldValue& value) const {
  const auto refuse = [&] { fail(Fault::usage, key, ": got ", kind(value), ", expected ", expected()); };
  const auto check_text = [&](const std::string& text) {
    if (!is_utf8(text)) fail(Fault::usage, key, ": got a string that is not UTF-8, expected UTF-8");
  };
  const auto assign =
      Match{[&](int* x, int64_t n) {
              if (n < std::numeric_limits<int>::min() || n > std::numeric_limits<int>::max())
                fail(Fault::usage, key, ": got ", n, ", expected an integer from ",
                     std::numeric_limits<int>::min(), " to ", std::numeric_limits<int>::max());
              *x = static_cast<int>(n);
            },
            [&](double* x, int64_t n) { *x = static_cast<double>(n); },
            [&](std::string* x, const std::string& s) {
              check_text(s);
              *x = s;
            },
            [&](std::vector<std::string>* x, const std::vector<std::string>& list) {
              for (const std::string& s : list) check_text(s);
              *x = list;
            },
            [&]<class T, class U>(T* x, const U& other) {
              if constexpr (std::is_same_v<T, U>)
                *x = other;
              else
                refuse();
            }};
  std::visit(assign, target, value);
}

std::string Field::section() const {
  const size_t dot = key.rfind('.');
  return dot == key.npos ? "" : key.substr(0, dot);
}

std::string Field::name() const { return std::string(last_name(key)); }

const Field* Fields::find(std::string_view key) const {
  const auto found =
      std::find_if(all_.begin(), all_.end(), [&](const Field& field) { return field.key == key; });
  return found == all_.end() ? nullptr : &*found;
}

bool Fields::is_section(std::string_view key) const {
  return std::any_of(sections_.begin(), sections_.end(),
                     [&](const Section& section) { return section.key == key; });
}

void Fields::make(std::string_view key, bool section) {
  if (is_section(key) || find(key)) return;
  for (const Family& family : families_) {
    if (family.sections != section || !key.starts_with(family.prefix)) continue;
    const std::string name(key.substr(family.prefix.size()));
    if (!is_name(name))
      fail(Fault::usage, family.prefix, shown(name), ": expected a name of letters, digits, - and _");
    const auto in_family = [&](const auto& member) {
      return member.key.starts_with(family.prefix) && member.key.find('.', family.prefix.size()) == key.npos;
    };
    if (std::ranges::count_if(sections_, in_family) + std::ranges::count_if(all_, in_family) >= kMaxFamily)
      fail(Fault::usage, key, ": expected at most ", kMaxFamily, " of its kind");
    const auto make = family.make;  // of a list that may move
    return make(*this, name);
  }
}

const Field& Fields::at(std::string_view key) const {
  if (const Field* field = find(key)) return *field;
  if (is_section(key)) fail(Fault::usage, key, ": got a value, expected a section");
  if (all_.empty()) fail(Fault::usage, "unknown key ", shown(key), "; there are no keys");
  const std::string_view compared = key.substr(0, 100);  // longer ones are nobody's slip
  const auto nearest = std::min_element(all_.begin(), all_.end(), [&](const Field& a, const Field& b) {
    return distance(compared, a.key) < distance(compared, b.key);
  });
  fail(Fault::usage, "unknown key ", shown(key), "; did you mean \"", nearest->key, "\"?");
}

void Fields::add(Field field) {
  check_new(field.key);
  all_.push_back(std::move(field));
}

void Fields::add_section(std::string key, std::string help) {
  check_new(key);
  sections_.push_back({std::move(key), std::move(help)});
}

void Fields::check_new(const std::string& key) const {
  const std::string_view name = last_name(key);
  check(is_name(name) && key.find("..") == key.npos, "fields: an option is named ", shown(name),
        "; expected letters, digits, - and _");
  check(!find(key) && !is_section(key), "fields: option ", shown(key), " is declared twice");
}

std::string to_text(const FieldValue& value) {
  return std::visit(Match{[](bool x) -> std::string { return x ? "true" : "false"; },
                          [](int64_t x) { return std::to_string(x); }, [](double x) { return to_text(x); },
                          [](const std::string& x) { return quoted(x); },
                          [](const std::vector<std::string>& list) {
                            std::string result = "[";
                            for (const std::string& x : list)
                              result += (&x == list.data() ? "" : ", ") + quoted(x);
                            return result + "]";
                          }},
                    value);
}

std::string to_json(const Fields& fields) {
  nlohmann::ordered_json result = nlohmann::ordered_json::object();
  for (const Field& field : fields.all()) {
    std::string pointer = "/" + field.key;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    auto& place = result[nlohmann::ordered_json::json_pointer(pointer)];
    const FieldValue value = field.value();
    const double* x = std::get_if<double>(&value);
    if (x && !std::isfinite(*x))
      place = to_text(value);
    else
      std::visit([&](const auto& v) { place = v; }, value);
  }
  return result.dump();
}

namespace {

// nlohmann keeps the last of equal keys and any depth; a configuration with either is damaged.
json parse_strictly(std::string_view text) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth) fail(Fault::input, "nested deeper than ", kMaxDepth);
    keys.resize(std::max(keys.size(), static_cast<size_t>(depth) + 1));
    if (event == json::parse_event_t::object_start) keys[static_cast<size_t>(depth)].clear();
    if (event == json::parse_event_t::key) {
      const bool is_new = keys[static_cast<size_t>(depth) - 1].insert(parsed.get<std::string>()).second;
      if (!is_new) fail(Fault::input, "key ", shown(parsed.get<std::string>()), " is given twice");
    }
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::exception&) {
    fail(Fault::input, "no JSON");
  }
}

FieldValue to_value(const json& given, const Field& field) {
  const auto refuse = [&](const char* what) {
    fail(Fault::usage, field.key, ": got ", what, ", expected ", field.expected());
  };
  if (given.is_boolean()) return given.get<bool>();
  if (given.is_number_unsigned() && given.get<uint64_t>() > INT64_MAX) refuse("an integer beyond 63 bits");
  if (given.is_number_integer()) return given.get<int64_t>();
  if (given.is_number_float()) return given.get<double>();
  if (given.is_string()) {
    const auto text = given.get<std::string>();
    const bool number = std::holds_alternative<double*>(field.target);
    if (number && (text == "inf" || text == "-inf")) return text == "inf" ? HUGE_VAL : -HUGE_VAL;
    if (number && text == "nan") return std::nan("");
    return text;
  }
  if (!given.is_array()) refuse(given.is_null() ? "null" : "an object");
  std::vector<std::string> list;
  for (const json& x : given) {
    if (!x.is_string()) refuse("a list of other things");
    list.push_back(x.get<std::string>());
  }
  return list;
}

void assign(Fields& fields, const json& object, const std::string& prefix) {
  for (const auto& [name, value] : object.items()) {
    const std::string key = prefix + name;
    fields.make(key, value.is_object());
    if (value.is_object() && fields.is_section(key)) {
      assign(fields, value, key + ".");
    } else {
      const Field& field = fields.at(key);
      field.set(to_value(value, field));
    }
  }
}

}  // namespace

void from_json(Fields fields, std::string_view text) {
  try {
    const json parsed = parse_strictly(text);
    if (!parsed.is_object()) fail(Fault::input, "no JSON object");
    assign(fields, parsed, "");
  } catch (const Error& error) {
    fail(Fault::input, "configuration: ", error.what());
  }
}

std::vector<std::string> differences(const Fields& a, const Fields& b) {
  std::vector<std::string> keys;
  for (const Field& field : a.all()) {
    const Field* other = b.find(field.key);
    if (!other || to_text(field.value()) != to_text(other->value())) keys.push_back(field.key);
  }
  for (const Field& field : b.all())
    if (!a.find(field.key)) keys.push_back(field.key);
  return keys;
}

}  // namespace steelyard
