#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include <utf8proc.h>

#include "core/check.h"
#include "data/utf8.h"

namespace steelyard {
namespace {

enum Kind : uint8_t { separator, letter, mark, digit, ideograph };

// Unicode's stream-safe limit (UAX 15): no language stacks more, and a bound keeps sorting them linear.
constexpr int kMostMarks = 30;

constexpr int32_t kFractionSlash = 0x2044, kTradeMark = 0x2122, kServiceMark = 0x2120;

// Scripts written without blanks whose characters mean something alone. After decomposition no compatibility
// ideograph is left but a dozen in F900–FAFF that are ideographs in their own right.
bool is_ideograph(int32_t code) {
  constexpr std::pair<int32_t, int32_t> kRanges[] = {
      {0x2E80, 0x2FDF},    // radicals
      {0x3005, 0x3007},    // iteration mark, closing mark, zero
      {0x3021, 0x3029},    // Suzhou numerals
      {0x3040, 0x30FF},    // hiragana, katakana
      {0x3105, 0x312F},    // bopomofo
      {0x31A0, 0x31FF},    // bopomofo, strokes, katakana, each extended
      {0x3400, 0x4DBF},    // ideographs, extension A
      {0x4E00, 0x9FFF},    // ideographs
      {0xF900, 0xFAFF},    // compatibility ideographs
      {0x1AFF0, 0x1B16F},  // kana, extended
      {0x20000, 0x3FFFF},  // ideographs, the later extensions
  };
  return code >= 0x2E80 && std::any_of(std::begin(kRanges), std::end(kRanges), [&](auto range) {
           return code >= range.first && code <= range.second;
         });
}

Kind kind_of(int32_t code) {
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
      return is_ideograph(code) ? ideograph : letter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return mark;
    case UTF8PROC_CATEGORY_ND:
      return digit;
    default:
      return separator;
  }
}

constexpr bool between(int32_t code, char first, char last) { return code >= first && code <= last; }

bool is_inch_sign(int32_t code) { return code == '"' || code == 0x201D; }                     // " ”
bool is_foot_sign(int32_t code) { return code == '\'' || code == 0x2019 || code == 0x2032; }  // ' ’ ′
bool is_apostrophe(int32_t code) { return code == '\'' || code == 0x2019; }

// What each unit is called after a number. `v` and `w` are here because 12v is never anything else; `a` is
// not, because it is an article.
struct Unit {
  std::string_view written, name;
};
constexpr Unit kUnits[] = {
    {"amps", "amp"},     {"ampere", "amp"}, {"amperes", "amp"}, {"cubic", "cu"},  {"feet", "ft"},
    {"foot", "ft"},      {"gallon", "gal"}, {"gallons", "gal"}, {"inch", "in"},   {"inches", "in"},
    {"kilogram", "kg"},  {"lbs", "lb"},     {"ounce", "oz"},    {"ounces", "oz"}, {"pound", "lb"},
    {"pounds", "lb"},    {"quart", "qt"},   {"quarts", "qt"},   {"square", "sq"}, {"v", "volt"},
    {"volts", "volt"},   {"w", "watt"},     {"watts", "watt"},  {"yard", "yd"},   {"yards", "yd"},
    {"kilograms", "kg"},
};

// The word at the end of a text, lower-case ASCII letters, whose ending is to be taken off.
class Ending {
 public:
  Ending(std::string& text, size_t begin) : text_(text), begin_(begin) {}

  // The plural. After Porter's step 1a and Harman's "s" stemmer (How Effective Is Suffixing?, 1991), with two
  // differences: -es goes whole where English adds it whole (boxes, switches), and -ies becomes -y, because
  // people read these words in explanations. Words of up to three letters (gas, bus) stay.
  void strip_plural() {
    if (size() < 4 || at(size() - 1) != 's') return;
    if (ends("sses") || ends("ches") || ends("shes") || ends("xes") || ends("zzes")) return cut(2);
    if (ends("ies") && size() >= 5) return replace(3, "y");
    if (ends("ss") || ends("us") || ends("is")) return;
    cut(1);
  }

  // -ed and -ing: step 1b of M. F. Porter, An algorithm for suffix stripping, 1980. Step 1c (y → i) is left
  // out, see above; in its place -ied becomes -y.
  void strip_past_and_gerund() {
    if (ends("eed")) {
      if (measure(size() - 3) > 0) cut(1);
      return;
    }
    if (ends("ied")) return size() >= 5 ? replace(3, "y") : cut(1);
    const size_t length = ends("ed") ? 2 : ends("ing") ? 3 : 0;
    if (length == 0 || !has_vowel(size() - length)) return;
    cut(length);
    if (ends("at") || ends("bl") || ends("iz")) return replace(0, "e");
    if (ends_in_double_consonant()) {
      if (!ends("l") && !ends("s") && !ends("z")) cut(1);
      return;
    }
    if (measure(size()) == 1 && ends_consonant_vowel_consonant()) replace(0, "e");
  }

 private:
  size_t size() const { return text_.size() - begin_; }
  char at(size_t i) const { return text_[begin_ + i]; }
  bool ends(std::string_view ending) const {
    return std::string_view(text_).substr(begin_).ends_with(ending);
  }
  void cut(size_t count) { text_.resize(text_.size() - count); }
  void replace(size_t count, std::string_view with) {
    cut(count);
    text_ += with;
  }

  // y is a consonant at the start and after a vowel, a vowel after a consonant. Walks to the left at most
  // over a run of y, which alternate.
  bool is_consonant(size_t i) const {
    size_t run = 0;
    while (at(i) == 'y' && i > 0) --i, ++run;
    const bool consonant = std::string_view("aeiou").find(at(i)) == std::string_view::npos;
    return consonant == (run % 2 == 0);
  }
  bool has_vowel(size_t length) const {
    for (size_t i = 0; i < length; ++i)
      if (!is_consonant(i)) return true;
    return false;
  }
  // Porter's m: how often a vowel is followed by a consonant. Only "0, 1, more" matters, so it stops at 2.
  int measure(size_t length) const {
    int count = 0;
    for (size_t i = 1; i < length && count < 2; ++i) count += !is_consonant(i - 1) && is_consonant(i);
    return count;
  }
  bool ends_in_double_consonant() const {
    return size() >= 2 && at(size() - 1) == at(size() - 2) && is_consonant(size() - 1);
  }
  bool ends_consonant_vowel_consonant() const {  // Porter's *o: the last one is not w, x or y
    const size_t n = size();
    return n >= 3 && is_consonant(n - 3) && !is_consonant(n - 2) && is_consonant(n - 1) && !ends("w") &&
           !ends("x") && !ends("y");
  }

  std::string& text_;
  size_t begin_;
};

}  // namespace

// Steps 1 to 4 over one text: first all characters, then the words among them.
class WordCutter {
 public:
  explicit WordCutter(Tokens& out) : out_(out), points_(out.points_), text_(out.text_) {
    out.text_.clear();
    out.words_.clear();
    points_.clear();
  }

  void read(std::string_view utf8) {
    for (size_t at = 0; at < utf8.size();) {
      const CodePoint point = decode_utf8(utf8, at);
      const auto begin = static_cast<int64_t>(at), end = begin + point.length;
      at += static_cast<size_t>(point.length);
      if (point.value >= 0 && point.value < 0x80)
        add_ascii(point.value, begin, end);
      else if (point.value < 0 || point.value == kTradeMark || point.value == kServiceMark)
        add(' ', separator, begin, end);
      else
        add_decomposed(point.value, begin, end);
    }
  }

  // The index after the word that begins at point i: letters and ideographs with their marks.
  size_t end_of_letters(size_t i) const {
    const bool alone = kind(i) == ideograph;
    int marks = 0;
    for (++i;; ++i) {
      if (kind(i) == letter && !alone)
        marks = 0;
      else if (kind(i) != mark || ++marks > kMostMarks)
        return i;
    }
  }

  // Appends the number that begins at point i and returns the index after it.
  size_t append_number(size_t i) {
    const size_t first = i;
    begin_word();
    while (kind(i) == digit) {
      append_utf8(text_, code(i++));
      const bool inner = code(i) == '.' || code(i) == '/' || code(i) == kFractionSlash;
      if (inner && kind(i + 1) == digit) {
        text_.push_back(code(i) == '.' ? '.' : '/');
        ++i;
      } else if (code(i) == ',' && groups_thousands(i)) {
        ++i;
      }
    }
    end_word(first, i);
    return i;
  }

  // Appends points [first, last), letters or ideographs, composed; true if all of them are ASCII.
  bool append_letters(size_t first, size_t last) {
    begin_word();
    const bool ascii = std::all_of(points_.begin() + static_cast<std::ptrdiff_t>(first),
                                   points_.begin() + static_cast<std::ptrdiff_t>(last),
                                   [](const Tokens::Point& point) { return point.code < 0x80; });
    if (ascii)
      for (size_t i = first; i < last; ++i) text_.push_back(static_cast<char>(code(i)));
    else
      for (const int32_t code : compose(first, last)) append_utf8(text_, code);
    end_word(first, last);
    return ascii;
  }

  // Reads the run of ideographs that begins at point i, one code for each with its marks; returns the index
  // after it.
  size_t read_run(size_t i) {
    out_.run_.clear();
    while (kind(i) == ideograph) {
      const size_t end = end_of_letters(i);
      const auto codes = compose(i, end);
      out_.run_.push_back(codes.size() == 1 ? codes[0] : Tokenizer::kNoCode);
      i = end;
    }
    return i;
  }

  // Appends the words of that run and returns the index after it.
  size_t append_run(size_t i, const Dictionary& dictionary) {
    read_run(i);
    dictionary.segment(out_.run_, out_.cut_);
    for (size_t at = 0; at < out_.run_.size();) {
      const size_t first = i;
      for (const size_t next = out_.cut_.next(at); at < next; ++at) i = end_of_letters(i);
      append_letters(first, i);
    }
    return i;
  }

  // Appends in or ft where a sign for it stands at point i, behind a number, and returns the index after it.
  size_t append_unit_sign(size_t i) {
    const bool two = is_foot_sign(code(i)) && is_foot_sign(code(i + 1));  // '' and ″, which decomposes to ′′
    const bool inch = is_inch_sign(code(i)) || two;
    if (!inch && (!is_foot_sign(code(i)) || after_possessive(i) > i)) return i;
    const size_t last = i + (two ? 2 : 1);
    begin_word();
    text_ += inch ? "in" : "ft";
    end_word(i, last);
    return last;
  }

  // Gives the last word the name of the unit it is; false if it is none.
  bool rename_unit() {
    const std::string_view written = last_word();
    for (const Unit& unit : kUnits) {
      if (written == unit.name) return true;
      if (written != unit.written) continue;
      replace_last_word(unit.name);
      return true;
    }
    return false;
  }

  // The index after a possessive 's at point i, or i if there is none: a letter after the s makes it none.
  size_t after_possessive(size_t i) const {
    const bool found =
        is_apostrophe(code(i)) && code(i + 1) == 's' && kind(i + 2) != letter && kind(i + 2) != mark;
    return found ? i + 2 : i;
  }

  Kind kind(size_t i) const { return i < points_.size() ? static_cast<Kind>(points_[i].kind) : separator; }
  size_t points() const { return points_.size(); }
  std::string_view last_word() const {
    return std::string_view(text_).substr(static_cast<size_t>(out_.words_.back().begin));
  }
  Ending ending() { return Ending(text_, static_cast<size_t>(out_.words_.back().begin)); }
  void close_last_word() { out_.words_.back().end = static_cast<int64_t>(text_.size()); }

 private:
  int32_t code(size_t i) const { return i < points_.size() ? points_[i].code : ' '; }

  void add(int32_t code, Kind kind, int64_t begin, int64_t end) {
    points_.push_back({code, kind, begin, end});
  }

  void add_ascii(int32_t code, int64_t begin, int64_t end) {
    if (between(code, 'A', 'Z')) code += 'a' - 'A';
    add(code, between(code, 'a', 'z') ? letter : between(code, '0', '9') ? digit : separator, begin, end);
  }

  void add_decomposed(int32_t value, int64_t begin, int64_t end) {
    constexpr auto kHow = static_cast<utf8proc_option_t>(
        UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE | UTF8PROC_STABLE);
    std::array<int32_t, 64> parts;  // the longest decomposition in Unicode has 18
    int unused = 0;
    const auto count = utf8proc_decompose_char(value, parts.data(), parts.size(), kHow, &unused);
    invariant(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()), "decomposition of U+",
              value);
    const auto last = parts.begin() + count;
    const bool fraction = std::find(parts.begin(), last, kFractionSlash) != last && count > 1;
    if (fraction) add(' ', separator, begin, end);
    for (auto part = parts.begin(); part != last; ++part) {
      if (*part < 0x80)
        add_ascii(*part, begin, end);
      else
        add(*part, kind_of(*part), begin, end);
    }
    if (fraction) add(' ', separator, begin, end);
  }

  bool groups_thousands(size_t comma) const {
    return kind(comma + 1) == digit && kind(comma + 2) == digit && kind(comma + 3) == digit &&
           kind(comma + 4) != digit;
  }

  // Canonical order (marks by combining class, equal ones in place), then composition.
  std::span<const int32_t> compose(size_t first, size_t last) {
    auto& codes = out_.composed_;
    codes.clear();
    for (size_t i = first; i < last; ++i) {
      const int32_t code = points_[i].code;
      const auto order = utf8proc_get_property(code)->combining_class;
      size_t to = codes.size();
      if (order != 0)
        while (to > 0 && utf8proc_get_property(codes[to - 1])->combining_class > order) --to;
      codes.insert(codes.begin() + static_cast<std::ptrdiff_t>(to), code);
    }
    constexpr auto kHow = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    const auto count =
        utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kHow);
    invariant(count > 0, "composition: ", utf8proc_errmsg(count));
    return {codes.data(), static_cast<size_t>(count)};
  }

  void begin_word() {
    if (!out_.words_.empty()) text_.push_back(' ');
    const auto begin = static_cast<int64_t>(text_.size());
    out_.words_.push_back({begin, begin, 0, 0, false});
  }
  void end_word(size_t first, size_t last) {
    out_.words_.back().source_begin = points_[first].begin;
    out_.words_.back().source_end = points_[last - 1].end;
    out_.words_.back().ideographs = kind(first) == ideograph;
    close_last_word();
  }
  void replace_last_word(std::string_view with) {
    text_.resize(static_cast<size_t>(out_.words_.back().begin));
    text_ += with;
    close_last_word();
  }

  Tokens& out_;
  std::vector<Tokens::Point>& points_;
  std::string& text_;
};

Tokenizer::Tokenizer(const TokenizerConfig& config, const Dictionary* dictionary)
    : stem_(config.stem == "english"  ? Stem::english
            : config.stem == "plural" ? Stem::plural
                                      : Stem::none),
      units_(config.units),
      dictionary_(dictionary) {
  if (stem_ == Stem::none && config.stem != "none")
    fail(Fault::usage, "tokenizer.stem: got \"", config.stem, "\"; expected none, plural or english");
}

void Tokenizer::tokenize(std::string_view utf8, Tokens& out) const {
  WordCutter cutter(out);
  cutter.read(utf8);
  bool after_number = false;  // or after cu and sq behind a number, which another unit follows
  for (size_t i = 0; i < cutter.points();) {
    switch (cutter.kind(i)) {
      case separator:
      case mark:  // a mark without a letter
        ++i;
        break;
      case digit: {
        const size_t end = cutter.append_number(i);
        const size_t sign_end = units_ ? cutter.append_unit_sign(end) : end;
        after_number = sign_end == end;
        i = after_number ? cutter.after_possessive(end) : sign_end;
        break;
      }
      case ideograph:
        if (dictionary_) {
          i = cutter.after_possessive(cutter.append_run(i, *dictionary_));
          after_number = false;
          break;
        }
        [[fallthrough]];
      case letter: {
        const size_t end = cutter.end_of_letters(i);
        const bool ascii = cutter.append_letters(i, end);
        i = cutter.after_possessive(end);
        const bool unit = units_ && after_number && cutter.rename_unit();
        after_number = unit && (cutter.last_word() == "cu" || cutter.last_word() == "sq");
        if (ascii && !unit && stem_ != Stem::none) {
          cutter.ending().strip_plural();
          if (stem_ == Stem::english) cutter.ending().strip_past_and_gerund();
          cutter.close_last_word();
        }
        break;
      }
    }
  }
}

std::span<const int32_t> Tokenizer::run(std::string_view utf8, Tokens& scratch) {
  WordCutter cutter(scratch);
  cutter.read(utf8);
  if (cutter.read_run(0) < cutter.points()) return {};
  return scratch.run_;
}

}  // namespace steelyard
