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
// Everything else walks these declarations: reading TOML, `--set key=value`, help, the copy inside a model file. A field
// is a bool, an int, an int64_t, a double, a string, a vector of strings, or a struct with fields of its own (a section).
#pragma once

#include <concepts>

namespace steelyard {

struct AnyVisitor {
  template <class T>
  void operator()(const char*, T&, const char*) const {}
};

template <class T>
concept HasFields = requires(T& t) { t.fields(AnyVisitor{}); };

}  // namespace steelyard
