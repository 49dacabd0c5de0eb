// Configuration structs declare each option once:
//
//   struct TokenizerConfig {
//     bool stem = true;  int max_words = 32;
//     template <class F> void fields(F&& f) {
//       f("stem", stem, "strip English endings");
//       f("max_words", max_words, "words kept per text");
//     }
//   };
//
// Everything else walks these declarations: reading TOML, `--set key=value`, help, the copy inside a model
// file. A field is a bool, an int, an int64_t, a double, a string, a vector of strings, a struct with fields of
// its own (a section), or a map from names to such structs (a family: [tasks.buy] makes its entry "buy") or to doubles (bound.click = 0.3).
//
// `Fields` is such a walk as a list: dotted keys, pointers to the values, help. Whoever works with
// options takes `Fields`, to which any configuration converts, and needs no template.
// Next: tools/config.h.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/check.h"

namespace steelyard {

struct AnyVisitor {
  template <class T>
  void operator()(const char*, T&, const char*) const {}
};

template <class T>
concept HasFields = requires(T& t) {
  t.fields(AnyVisitor{});
};

using FieldValue = std::variant<bool, int64_t, double, std::string, std::vector<std::string>>;

// One option of one configuration object, which must outlive it.
struct Field {
  std::string key;  // dotted: "trainer.learning_rate"
  std::string help;
  std::variant<bool*, int*, int64_t*, double*, std::string*, std::vector<std::string>*> target;

  FieldValue value() const;
  // Error(usage) "KEY: got …, expected …" if type or range do not fit. A whole number is a double too.
  void set(const FieldValue& value) const;
  const char* expected() const;  // its type in words: "an integer"
  std::string section() const;   // "trainer"; empty at the top
  std::string name() const;      // "learning_rate"
};

struct Section {
  std::string key;
  std::string help;
};

class Fields {
 public:
  Fields() = default;  // of nothing
  // Implicit on purpose: `read_config(path, config)`.
  template <HasFields T>
  Fields(T& config) {  // NOLINT
    config.fields(Walk{*this, ""});
  }

  const std::vector<Field>& all() const& { return all_; }              // as declared
  const std::vector<Section>& sections() const& { return sections_; }  // as declared, outer before inner
  const Field* find(std::string_view key) const;                       // nullptr if there is none
  const Field& at(std::string_view key) const;  // Error(usage) names the nearest known key
  bool is_section(std::string_view key) const;
  // Makes the section or the value of this key, FAMILY.NAME, if it is not there and there is such a family.
  // Error(usage): a bad name.
  void make(std::string_view key, bool section);

  // A loop over a temporary's options would run after its end.
  const std::vector<Field>& all() const&& = delete;
  const std::vector<Section>& sections() const&& = delete;

 private:
  struct Walk {
    Fields& into;
    std::string prefix;

    template <class T>
    void operator()(const char* name, T& value, const char* help) const {
      if constexpr (HasFields<T>) {
        into.add_section(prefix + name, help);
        value.fields(Walk{into, prefix + name + "."});
      } else {
        into.add({.key = prefix + name, .help = help, .target = &value});
      }
    }
    template <HasFields T>
    void operator()(const char* name, std::map<std::string, T>& family, const char* help) const {
      into.add_section(prefix + name, help);
      const std::string inner = prefix + name + ".";
      const auto make = [&family, inner](Fields& fields, const std::string& of) {
        Walk{fields, inner}(of.c_str(), family[of], "");
      };
      into.families_.push_back({inner, true, make});
      for (const auto& [of, entry] : family) make(into, of);
    }
    void operator()(const char* name, std::map<std::string, double>& family, const char* help) const {
      into.add_section(prefix + name, help);
      const std::string inner = prefix + name + ".";
      const auto make = [&family, inner](Fields& fields, const std::string& of) {
        fields.add({.key = inner + of, .help = "", .target = &family[of]});
      };
      into.families_.push_back({inner, false, make});
      for (const auto& [of, entry] : family) make(into, of);
    }
  };

  struct Family {
    std::string prefix;  // "tasks."
    bool sections;       // or values
    std::function<void(Fields&, const std::string& name)> make;
  };

  void add(Field field);
  void add_section(std::string key, std::string help);
  void check_new(const std::string& key) const;

  std::vector<Field> all_;
  std::vector<Section> sections_;
  std::vector<Family> families_;
};

// A value as TOML writes it; JSON writes it the same way, except for infinity and NaN. Doubles are the
// shortest text that reads back to the same bits.
std::string to_text(const FieldValue& value);

// The options as one JSON object, sections nested; infinity and NaN are the texts "inf", "-inf", "nan".
std::string to_json(const Fields& fields);
// Sets what the JSON names; other options keep their values, as an older model needs it. Error(input).
void from_json(Fields fields, std::string_view json);

// The keys in which two configurations of one type differ; empty if they are equal. NaN equals NaN.
std::vector<std::string> differences(const Fields& a, const Fields& b);

}  // namespace steelyard
