#include "tools/report.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/text.h"
#include "data/utf8.h"

namespace steelyard {

namespace {

// ---- text and numbers

// Safe between tags and inside quoted attributes. What HTML cannot hold (control characters, bytes that are
// no UTF-8) becomes the replacement character.
std::string escaped(std::string_view source) {
  constexpr int32_t kReplacement = 0xFFFD;
  std::string out;
  for (size_t at = 0; at < source.size();) {
    const CodePoint point = decode_utf8(source, at);
    at += static_cast<size_t>(point.length);
    const bool control = point.value < 0x20 || (point.value >= 0x7F && point.value < 0xA0);
    if (point.value == '&')
      out += "&amp;";
    else if (point.value == '<')
      out += "&lt;";
    else if (point.value == '>')
      out += "&gt;";
    else if (point.value == '"')
      out += "&quot;";
    else if (point.value == '\n' || point.value == '\t')
      out += static_cast<char>(point.value);
    else
      append_utf8(out, control ? kReplacement : point.value);
  }
  return out;
}

template <class... Format>
std::string formatted(double value, Format... format) {
  if (!std::isfinite(value)) return "—";
  char buffer[400];
  std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, format...).ptr);
  if (out.starts_with('-')) out.replace(0, 1, "−");
  return out;
}

std::string exact(double value) { return formatted(value); }  // reads back to the same bits
std::string fixed(double value, int digits) { return formatted(value, std::chars_format::fixed, digits); }

// For reading: four digits behind the point where that says something.
std::string readable(double value) {
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e6)) return formatted(value, std::chars_format::scientific, 2);
  return size == std::floor(size) ? fixed(value, 0) : fixed(value, 4);
}

// 12 000, with thin blanks that do not break.
std::string counted(int64_t value) {
  std::string out = std::to_string(value);
  for (int64_t at = static_cast<int64_t>(out.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    out.insert(static_cast<size_t>(at), "\u202F");
  return out;
}

std::string plural(size_t count, const char* noun) {
  return counted(static_cast<int64_t>(count)) + " " + noun + (count == 1 ? "" : "es");
}

// ---- the kinds of words

enum class Kind { word, phrase, inside, across, brought, other };
constexpr std::array kKinds = {Kind::word,   Kind::phrase,  Kind::inside,
                               Kind::across, Kind::brought, Kind::other};

const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"word", "phrase", "inside", "across", "brought", "other"};
  return kNames[static_cast<size_t>(kind)];
}

const char* meaning_of(Kind kind) {
  constexpr const char* kMeanings[] = {"words",
                                       "phrases",
                                       "letters inside a word",
                                       "letters across words",
                                       "words that a text does not hold",
                                       "entries that are no words"};
  return kMeanings[static_cast<size_t>(kind)];
}

Kind kind_of(const MatchLine& match) {
  const std::string_view surface = match.word;
  const auto wrapped = [&](char first, char last) {
    return surface.size() > 2 && surface.front() == first && surface.back() == last;
  };
  if (!match.query_source.empty() || !match.product_source.empty()) return Kind::brought;
  if (wrapped('(', ')')) return Kind::other;
  if (wrapped('*', '*')) return Kind::inside;
  if (wrapped('+', '+')) return Kind::across;
  return surface.find(' ') == std::string_view::npos ? Kind::word : Kind::phrase;
}

std::string_view letters_of(const MatchLine& match) {
  const std::string_view surface = match.word;
  const Kind kind = kind_of(match);
  return kind == Kind::inside || kind == Kind::across ? surface.substr(1, surface.size() - 2) : surface;
}

std::string styled(const MatchLine& match) {
  const Kind kind = kind_of(match);
  const std::string letters = escaped(letters_of(match));
  const std::string edge = kind == Kind::inside ? "<i>*</i>" : kind == Kind::across ? "<i>+</i>" : "";
  std::string from;
  if (!match.query_source.empty()) from += " from “" + escaped(match.query_source) + "” in the query";
  if (!match.product_source.empty()) from += " from “" + escaped(match.product_source) + "” in the product";
  if (!from.empty()) from = "<span class=\"faint\">" + from + "</span>";
  return text("<span class=\"term ", name_of(kind), "\">", edge, letters, edge, "</span>", from);
}

// ---- marked texts

// How strongly a word of a text takes part in the matches.
enum class Mark { none, letters, whole };

std::vector<Mark> marks_of(const Tokens& tokens, const std::vector<MatchLine>& matches) {
  struct Letters {
    std::string text;
    std::vector<int64_t> owner;  // the word of each of its bytes
    void add(std::string_view piece, int64_t word) {
      text += piece;
      owner.resize(text.size(), word);
    }
  };
  Letters joined, bounded;  // the words without blanks, and each between its boundaries
  for (int64_t i = 0; i < tokens.size(); ++i) {
    joined.add(tokens[i], i);
    for (const std::string_view piece : {std::string_view("<"), tokens[i], std::string_view(">")})
      bounded.add(piece, i);
  }
  std::vector<Mark> marks(static_cast<size_t>(tokens.size()), Mark::none);
  const auto mark = [&](int64_t word, Mark how) {
    Mark& now = marks[static_cast<size_t>(word)];
    now = std::max(now, how);
  };
  for (const MatchLine& match : matches) {
    const Kind kind = kind_of(match);
    const std::string_view letters = letters_of(match);
    if (letters.empty() || kind == Kind::other) continue;
    if (kind != Kind::inside && kind != Kind::across) {
      for (int64_t i = 0; i < tokens.size(); ++i) {
        const std::string_view rest = tokens.text().substr(static_cast<size_t>(tokens.word(i).begin));
        if (!rest.starts_with(letters) || (rest.size() > letters.size() && rest[letters.size()] != ' '))
          continue;
        const int64_t end = tokens.word(i).begin + static_cast<int64_t>(letters.size());
        for (int64_t j = i; j < tokens.size() && tokens.word(j).begin < end; ++j) mark(j, Mark::whole);
      }
    } else {
      const auto& [all, owner] = kind == Kind::inside ? bounded : joined;
      for (size_t at = all.find(letters); at != std::string::npos; at = all.find(letters, at + 1)) {
        const int64_t first = owner[at], last = owner[at + letters.size() - 1];
        if (kind == Kind::across && first == last) continue;
        for (int64_t i = first; i <= last; ++i) mark(i, Mark::letters);
      }
    }
  }
  return marks;
}

// The text with its matched words marked. Marks that touch are one: Chinese has no blanks.
std::string marked(const std::string& source, const Explanation& explanation) {
  Tokens tokens;
  Tokenizer(explanation.tokenizer, explanation.dictionary).tokenize(source, tokens);
  const std::vector<Mark> marks = marks_of(tokens, explanation.matches);
  std::string out;
  size_t written = 0;
  Mark open = Mark::none;
  const auto change = [&](Mark mark) {
    if (open != Mark::none) out += "</mark>";
    if (mark != Mark::none) out += text("<mark class=\"", mark == Mark::whole ? "whole" : "letters", "\">");
    open = mark;
  };
  for (int64_t i = 0; i < tokens.size(); ++i) {
    const auto begin = static_cast<size_t>(tokens.word(i).source_begin);
    const auto end = static_cast<size_t>(tokens.word(i).source_end);
    if (begin < written) continue;  // two words from one character
    const Mark mark = marks[static_cast<size_t>(i)];
    if (begin > written && open != Mark::none) change(Mark::none);
    out += escaped(std::string_view(source).substr(written, begin - written));
    if (mark != open) change(mark);
    out += escaped(std::string_view(source).substr(begin, end - begin));
    written = end;
  }
  change(Mark::none);
  return out + escaped(std::string_view(source).substr(written));
}

// ---- one explanation

struct Part {
  size_t number;  // place in the sum, from 1
  const MatchLine* match;
};

// Largest first.
std::vector<Part> parts_of(const Explanation& e) {
  std::vector<Part> parts;
  for (const MatchLine& match : e.matches) parts.push_back({parts.size() + 1, &match});
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return std::abs(a.match->contribution) > std::abs(b.match->contribution);
  });
  return parts;
}

double percent(double part, double whole) {
  return whole > 0 ? std::clamp(100 * part / whole, 0.0, 100.0) : 0;
}

std::string facts(const Explanation& e) {
  std::string out = "<dl class=\"facts\">";
  const auto fact = [&](const std::string& name, const std::string& value) {
    out += text("<div><dt>", name, "</dt><dd>", value, "</dd></div>");
  };
  fact("score", fixed(e.score, 4));
  fact("probability", std::isfinite(e.probability) ? fixed(100 * e.probability, 1) + " %" : "—");
  for (const auto& [side, bag] : {std::pair{"query", e.query_bag}, {"product", e.product_bag}}) {
    if (bag.terms + bag.expansion == 0) continue;  // dense vectors have none
    const bool expands = bag.expansion > 0;
    fact(text("words of the ", side, expands ? " + brought in" : ""),
         counted(bag.terms) + (expands ? " + " + counted(bag.expansion) : ""));
  }
  if (e.grade) fact("judged", formatted(*e.grade, std::chars_format::general, 4));
  return out + "</dl>\n";
}

// The whole sum as one bar, and what each kind of word adds to it.
std::string strip(const Explanation& e, const std::vector<Part>& parts) {
  double whole = 0;
  for (const Part& part : parts) whole += std::abs(part.match->contribution);
  std::string bars, key;
  for (const Kind kind : kKinds) {
    double sum = 0;
    for (const Part& part : parts) {
      if (kind_of(*part.match) != kind) continue;
      sum += part.match->contribution;
      const double width = percent(std::abs(part.match->contribution), whole);
      bars +=
          text("<span class=\"", name_of(kind), part.match->contribution < 0 ? " negative" : "",
               "\" style=\"width:", fixed(width, 3), "%\" title=\"", escaped(part.match->word), "\"></span>");
    }
    if (sum != 0)
      key += text("<li><span class=\"swatch ", name_of(kind), "\"></span>", meaning_of(kind), " <b>",
                  fixed(sum, 4), "</b></li>");
  }
  return text("<div class=\"strip\" role=\"img\" aria-label=\"the score ", fixed(e.score, 4),
              " as the sum of ", plural(parts.size(), "match"), "\">", bars, "</div>\n<ul class=\"key\">",
              key, "</ul>\n");
}

std::string parts_table(const std::vector<Part>& parts, size_t shown, const std::string& foot) {
  const double largest = parts.empty() ? 0 : std::abs(parts[0].match->contribution);
  std::string out =
      "<table class=\"parts\"><thead><tr><th class=\"number\">no.</th><th>shared word</th>"
      "<th class=\"number\">query × product</th><th class=\"number\">adds</th></tr></thead>\n<tbody>\n";
  for (const Part& part : std::span(parts).first(std::min(shown, parts.size()))) {
    const MatchLine& m = *part.match;
    out += text("<tr><td class=\"number faint\">", part.number, "</td><td class=\"grow\">", styled(m),
                "<span class=\"bar ", name_of(kind_of(m)), m.contribution < 0 ? " negative" : "",
                "\" style=\"width:", fixed(percent(std::abs(m.contribution), largest), 2),
                "%\"></span></td><td class=\"number faint\">", readable(m.query_weight), " × ",
                readable(m.product_weight), "</td><td class=\"number\">", fixed(m.contribution, 4),
                "</td></tr>\n");
  }
  return out + "</tbody>" + foot + "</table>\n";
}

// Every product with all its digits, in the order of the sum: whoever adds them gets the score to the last
// bit.
std::string exact_sum(const Explanation& e) {
  std::string rows;
  size_t number = 0;
  for (const MatchLine& m : e.matches)
    rows +=
        text("<tr><td class=\"faint\">", ++number, "</td><td>", styled(m), "</td><td>", exact(m.query_weight),
             "</td><td>× ", exact(m.product_weight), "</td><td>= ", exact(m.contribution), "</td></tr>\n");
  return text("<details><summary>All ", plural(e.matches.size(), "match"),
              " in the order of the sum, to the last digit</summary>\n<div class=\"wide\"><table "
              "class=\"digits\"><tbody>\n",
              rows, "</tbody><tfoot><tr><td></td><td>sum</td><td></td><td></td><td>= ", exact(e.score),
              "</td></tr></tfoot></table></div></details>\n");
}

std::string explanation_body(const Explanation& e, size_t shown) {
  std::string out = facts(e);
  if (e.matches.empty())
    return out + "<p class=\"note\">Query and product share no word: there is nothing to add.</p>\n";
  const std::vector<Part> parts = parts_of(e);
  double sum = 0;
  for (const MatchLine& m : e.matches) sum += m.contribution;
  std::string foot;
  const auto add_foot = [&](const char* kind, const std::string& name, const std::string& value) {
    foot += text("<tr class=\"", kind, "\"><td></td><td colspan=\"3\"><div class=\"ends\"><span>", name,
                 "</span><span>", value, "</span></div></td></tr>");
  };
  if (shown < parts.size()) {
    double rest = 0;
    for (const Part& part : std::span(parts).subspan(shown)) rest += part.match->contribution;
    add_foot("faint", plural(parts.size() - shown, "more match"), fixed(rest, 4));
  }
  add_foot("sum", "sum", exact(sum));
  out += strip(e, parts) + parts_table(parts, shown, "<tfoot>" + foot + "</tfoot>") + exact_sum(e);
  if (sum != e.score && !(std::isnan(sum) && std::isnan(e.score)))
    out += text("<p class=\"warning\">The contributions add up to ", exact(sum), ", but the score is ",
                exact(e.score), ".</p>\n");
  return out;
}

// ---- curves

struct Point {
  double x, y;
};
using Curve = std::vector<Point>;

// What metrics.jsonl holds, as curves over the steps.
struct Curves {
  Curve loss, norm, rate;
  using Named = std::vector<std::pair<std::string, Curve>>;  // in the order of the file
  Named dev, multipliers, violations;
  double last = 0;             // step
  std::optional<double> best;  // step of the model that was kept

  explicit Curves(std::string_view jsonl) {
    for (const std::string_view row : split(jsonl, '\n')) {
      const auto line = nlohmann::ordered_json::parse(row, nullptr, false);
      if (line.is_object() && line.contains("step") && line["step"].is_number()) read(line);
    }
  }

 private:
  void read(const nlohmann::ordered_json& line) {
    const double step = line["step"].get<double>();
    if (!std::isfinite(step) || step < 0) return;
    last = std::max(last, step);
    add(loss, line, "loss", step);
    add(norm, line, "norm", step);
    add(rate, line, "rate", step);
    add_all(dev, line, "dev", step);
    add_all(dev, line, "model", step);
    add_all(multipliers, line, "multipliers", step);
    add_all(violations, line, "violations", step);
    if (line.contains("best") && line["best"] == true) best = step;
  }

  static void add_all(Named& curves, const nlohmann::ordered_json& line, const char* of, double step) {
    if (!line.contains(of) || !line[of].is_object()) return;
    for (const auto& [name, value] : line[of].items()) {
      auto curve = std::find_if(curves.begin(), curves.end(),
                                [&name = name](const auto& known) { return known.first == name; });
      if (curve == curves.end()) curve = curves.insert(curves.end(), {name, {}});
      add(curve->second, line[of], name, step);
    }
  }

  static void add(Curve& curve, const nlohmann::ordered_json& object, const std::string& name, double step) {
    constexpr double kLargest = 1e100;  // what is larger has no place on an axis
    if (!object.contains(name) || !object[name].is_number()) return;
    const double value = object[name].get<double>();
    if (std::abs(value) < kLargest) curve.push_back({step, value});
  }
};

// The mean of the points around each, `window` of them, fewer at the ends.
Curve smoothed(const Curve& curve, size_t window) {
  std::vector<double> sums{0};
  for (const Point& p : curve) sums.push_back(sums.back() + p.y);
  Curve out;
  for (size_t i = 0; i < curve.size(); ++i) {
    const size_t reach = std::min({window / 2, i, curve.size() - 1 - i});
    out.push_back({curve[i].x, (sums[i + reach + 1] - sums[i - reach]) / static_cast<double>(2 * reach + 1)});
  }
  return out;
}

// A page of bounded size: neighbours are merged into their mean.
Curve thinned(const Curve& curve) {
  constexpr size_t kMost = 400;
  const size_t each = (curve.size() + kMost - 1) / kMost;
  if (each <= 1) return curve;
  Curve out;
  for (size_t i = 0; i < curve.size(); i += each) {
    const size_t end = std::min(i + each, curve.size());
    Point mean{0, 0};
    for (size_t j = i; j < end; ++j) mean.x += curve[j].x, mean.y += curve[j].y;
    const auto n = static_cast<double>(end - i);
    out.push_back({mean.x / n, mean.y / n});
  }
  return out;
}

// Maps low … high to from … to, and knows round values in between.
class Axis {
 public:
  Axis(double low, double high, double from, double to, bool logarithmic = false)
      : logarithmic_(logarithmic), low_(map(low)), high_(map(high)), from_(from), to_(to) {
    constexpr double kLeastSpan = 1e-9;  // relative: less is constant, and has no round values in between
    if (high_ - low_ > kLeastSpan * std::max(std::abs(low_), std::abs(high_))) return;
    const double pad = std::max(0.1 * std::abs(low_), 1e-6);
    low_ -= pad, high_ += pad;
  }

  double operator()(double value) const {
    return from_ + (map(value) - low_) / (high_ - low_) * (to_ - from_);
  }

  // Where the ticks are, and what is written there.
  std::vector<std::pair<double, std::string>> ticks() const {
    constexpr double kWanted = 4;
    const double span = high_ - low_, raw = span / kWanted;
    const double ten = std::pow(10, std::floor(std::log10(raw)));
    double step = raw <= ten ? ten : raw <= 2 * ten ? 2 * ten : raw <= 5 * ten ? 5 * ten : 10 * ten;
    if (logarithmic_) step = std::max(1.0, std::round(step));  // whole decades
    const int digits = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
    std::vector<std::pair<double, std::string>> out;
    constexpr double kSlack = 1e-6;  // of a step, for rounding
    for (double k = std::ceil(low_ / step - kSlack); k <= high_ / step + kSlack; ++k) {
      const double value = logarithmic_ ? std::pow(10, k * step) : k * step + 0.0;  // −0 becomes 0
      out.emplace_back(value, label(value, logarithmic_ ? std::max(0, -static_cast<int>(k * step)) : digits));
    }
    return out;
  }

 private:
  double map(double value) const { return logarithmic_ ? std::log10(value) : value; }
  static std::string label(double value, int digits) {
    if (std::abs(value) >= 1e7 || digits > 5) return formatted(value, std::chars_format::general, 3);
    if (digits == 0) return counted(std::llround(value));
    return fixed(value, digits);
  }

  bool logarithmic_;
  double low_, high_, from_, to_;
};

struct Chart {
  std::string title, about;
  std::string unit;  // above the axis of values
  const Curve& curve;
  double last = 0;  // the end of the axis of steps
  bool from_zero = false;
  bool smooth = false;
  std::optional<double> best = {};
};

std::string path_of(const Curve& curve, const Axis& x, const Axis& y, const char* kind) {
  std::string d;
  for (const Point& p : thinned(curve)) {
    char buffer[64];
    const auto put = [&](char* at, double value) {
      return std::to_chars(at, buffer + sizeof buffer, value, std::chars_format::fixed, 1).ptr;
    };
    char* at = buffer;
    *at++ = d.empty() ? 'M' : 'L';
    at = put(at, x(p.x));
    *at++ = ' ';
    d.append(buffer, put(at, y(p.y)));
  }
  return text("<path class=\"", kind, "\" d=\"", d, "\"/>\n");
}

std::string figure(const Chart& chart) {
  if (chart.curve.empty()) return "";
  constexpr double kWidth = 400, kHeight = 210, kLeft = 46, kRight = 12, kTop = 24, kBottom = 34;
  constexpr size_t kFewPoints = 40, kLeastToSmooth = 10;
  constexpr double kLogarithmicFrom = 100;  // largest / smallest

  const auto [low, high] = std::minmax_element(chart.curve.begin(), chart.curve.end(),
                                               [](const Point& a, const Point& b) { return a.y < b.y; });
  const bool logarithmic = !chart.from_zero && low->y > 0 && high->y / low->y > kLogarithmicFrom;
  const Axis x(0, chart.last, kLeft, kWidth - kRight);
  const Axis y(chart.from_zero ? std::min(0.0, low->y) : low->y, high->y, kHeight - kBottom, kTop + 8,
               logarithmic);

  std::string svg;
  for (const auto& [value, label] : y.ticks())
    svg += text("<path class=\"grid\" d=\"M", kLeft, " ", fixed(y(value), 1), "H", kWidth - kRight,
                "\"/><text x=\"", kLeft - 6, "\" y=\"", fixed(y(value) + 4, 1), "\" text-anchor=\"end\">",
                label, "</text>\n");
  for (const auto& [value, label] : x.ticks())
    svg += text("<text x=\"", fixed(x(value), 1), "\" y=\"", kHeight - kBottom + 16,
                "\" text-anchor=\"middle\">", label, "</text>\n");
  svg += text("<path class=\"axis\" d=\"M", kLeft, " ", kHeight - kBottom, "H", kWidth - kRight, "\"/>\n");
  svg += text("<text class=\"unit\" x=\"0\" y=\"11\">", escaped(chart.unit),
              logarithmic ? ", logarithmic" : "", "</text>\n");
  svg += text("<text class=\"unit\" x=\"", kWidth - kRight, "\" y=\"", kHeight - 3,
              "\" text-anchor=\"end\">step</text>\n");

  std::string about = chart.about;
  if (chart.smooth && chart.curve.size() >= kLeastToSmooth) {
    const size_t window = chart.curve.size() / 40 * 2 + 3;
    svg += path_of(chart.curve, x, y, "raw") + path_of(smoothed(chart.curve, window), x, y, "line");
    about += text(" Thin: as logged; thick: the mean of the ", window, " logged values around each.");
  } else {
    if (chart.curve.size() > 1) svg += path_of(chart.curve, x, y, "line");
    if (chart.curve.size() <= kFewPoints)
      for (const Point& p : chart.curve)
        svg += text("<circle class=\"dot\" cx=\"", fixed(x(p.x), 1), "\" cy=\"", fixed(y(p.y), 1),
                    "\" r=\"2.2\"/>\n");
  }
  for (const Point& p : chart.curve) {
    if (p.x != chart.best) continue;
    const double cx = x(p.x), cy = y(p.y);
    const bool right = cx > kWidth / 2;
    svg += text("<circle class=\"best\" cx=\"", fixed(cx, 1), "\" cy=\"", fixed(cy, 1),
                "\" r=\"5\"/><text class=\"value\" x=\"", fixed(right ? cx + 6 : cx - 6, 1), "\" y=\"",
                fixed(cy < kTop + 20 ? cy + 20 : cy - 11, 1), "\" text-anchor=\"", right ? "end" : "start",
                "\">", readable(p.y), "</text>\n");
  }
  return text("<figure><figcaption><b>", escaped(chart.title), "</b> ", escaped(about), "</figcaption>\n",
              "<svg viewBox=\"0 0 ", kWidth, " ", kHeight, "\" role=\"img\" aria-label=\"",
              escaped(chart.title), " over the steps\">\n", svg, "</svg></figure>\n");
}

// What a metric measures, and its unit.
struct AboutMetric {
  std::string_view name;
  const char *about, *unit;
};

// Of the metrics of data/metrics.h, where a task's name may stand before it (income.auc), and of the bags' figures.
AboutMetric about_metric(std::string_view name) {
  constexpr AboutMetric kAbout[] = {
      {"auc", "A relevant row scores above another one.", "probability"},
      {"gauc", "The same within each group, averaged.", "probability"},
      {"pr_auc", "Average precision.", "precision"},
      {"loss", "What training makes small.", "mean per row"},
      {"logloss", "Mean cross-entropy; less is better.", "nats per row"},
      {"ece", "Error of the probabilities; less is better.", "probability"},
      {"rmse", "Root of the mean squared error; less is better.", "units of the label"},
      {"spearman", "Rank correlation with the labels.", "correlation"},
      {"accuracy", "The right class is the most probable.", "share of rows"},
      {"macro_f1", "F1, averaged over the classes.", "F1"},
      {"ndcg10", "Discounted gain of the first ten.", "share of the ideal order’s"},
      {"ndcg10_all", "Discounted gain of the first ten of all items.", "share of the ideal order’s"},
      {"hr10", "The item is among the first ten.", "share of rows"},
      {"query_terms", "Of its text in a query’s bag.", "mean terms"},
      {"query_expansion", "Brought into a query’s bag.", "mean words"},
      {"query_dead", "Brought in by no query.", "words"},
      {"product_terms", "Of its text in a product’s bag.", "mean terms"},
      {"product_expansion", "Brought into a product’s bag.", "mean words"},
      {"product_dead", "Brought in by no product.", "words"},
  };
  const std::string_view last = name.substr(name.rfind('.') + 1);
  for (const AboutMetric& metric : kAbout)
    if (metric.name == last) return metric;
  return {name, "", ""};
}

std::string curves_section(const std::string& jsonl) {
  const Curves curves(jsonl);
  std::string dev;
  for (const auto& [name, curve] : curves.dev) {
    const AboutMetric metric = about_metric(name);
    dev += figure({.title = name,
                   .about = metric.about,
                   .unit = metric.unit,
                   .curve = curve,
                   .last = curves.last,
                   .best = curves.best});
  }
  const std::string training = figure({.title = "Training loss",
                                       .about = "Of one step’s rows.",
                                       .unit = "mean per row",
                                       .curve = curves.loss,
                                       .last = curves.last,
                                       .smooth = true}) +
                               figure({.title = "Gradient norm",
                                       .about = "Before clipping.",
                                       .unit = "Euclidean norm",
                                       .curve = curves.norm,
                                       .last = curves.last,
                                       .smooth = true}) +
                               figure({.title = "Learning rate",
                                       .about = "Over the schedule.",
                                       .unit = "factor of the configured rate",
                                       .curve = curves.rate,
                                       .last = curves.last,
                                       .from_zero = true});
  if (dev.empty() && training.empty()) return "";
  std::string goals;
  for (const auto& [name, curve] : curves.multipliers)
    goals += figure({.title = "Multiplier of " + name,
                     .about = "What the goal costs the one that is learned.",
                     .unit = "loss per loss",
                     .curve = curve,
                     .last = curves.last,
                     .from_zero = true});
  for (const auto& [name, curve] : curves.violations)
    goals += figure({.title = "Violation of " + name,
                     .about = "Above 0 the multiplier rises.",
                     .unit = "as the multiplier saw it",
                     .curve = curve,
                     .last = curves.last,
                     .from_zero = true,
                     .smooth = true});
  std::string out;
  if (!goals.empty())
    out += "<section><h2>Goals</h2>\n<div class=\"figures\">\n" + goals + "</div></section>\n";
  out += "<section><h2>Training</h2>\n";
  if (curves.best && !dev.empty())
    out += text("<p class=\"note\">A ring marks the evaluation after step ",
                counted(std::llround(*curves.best)), ", whose model was kept.</p>\n");
  return out + "<div class=\"figures\">\n" + dev + training + "</div></section>\n";
}

// ---- the other sections of a report

bool looks_like_number(std::string_view cell) {
  if (cell.starts_with("−")) cell.remove_prefix(std::string_view("−").size());
  if (cell.starts_with('-') || cell.starts_with('+')) cell.remove_prefix(1);
  return !cell.empty() && cell.front() >= '0' && cell.front() <= '9';
}

std::string table_section(const Table& table) {
  size_t columns = table.header.size();
  for (const auto& row : table.rows) columns = std::max(columns, row.size());
  std::vector<bool> is_number(columns, true);
  for (const auto& row : table.rows)
    for (size_t i = 0; i < row.size(); ++i)
      if (!row[i].empty() && row[i] != "—" && !looks_like_number(row[i])) is_number[i] = false;
  const auto cells = [&](const std::vector<std::string>& row, const char* tag) {
    std::string out = "<tr>";
    for (size_t i = 0; i < columns; ++i)
      out += text("<", tag, is_number[i] ? " class=\"number\">" : ">", i < row.size() ? escaped(row[i]) : "",
                  "</", tag, ">");
    return out + "</tr>\n";
  };
  std::string body;
  for (const auto& row : table.rows) body += cells(row, "td");
  return text("<section><h2>", escaped(table.title), "</h2>\n<div class=\"wide\"><table>\n<thead>",
              table.header.empty() ? "" : cells(table.header, "th"), "</thead>\n<tbody>", body,
              "</tbody></table></div>\n",
              table.note.empty() ? "" : "<p class=\"note\">" + escaped(table.note) + "</p>\n",
              "</section>\n");
}

std::string metrics_section(const Report& report) {
  if (report.metrics.empty()) return "";
  std::string out = text("<section><h2>", escaped(report.metrics_title), "</h2>\n<dl class=\"facts\">");
  for (const auto& [name, value] : report.metrics)
    out += text("<div><dt>", escaped(name), "</dt><dd>", readable(value), "</dd></div>");
  return out + "</dl></section>\n";
}

std::string examples_section(const char* title, const char* note, const std::vector<Explanation>& examples) {
  if (examples.empty()) return "";
  constexpr size_t kShown = 5;
  std::string out = text("<section><h2>", title, "</h2>\n<p class=\"note\">", note, "</p>\n");
  for (const Explanation& e : examples)
    out += text("<article><h3>", marked(e.query, e), "</h3>\n<p class=\"product\">", marked(e.product, e),
                "</p>\n", explanation_body(e, kShown), "</article>\n");
  return out + "</section>\n";
}

std::string paragraphs(std::string_view source) {
  std::string out;
  while (!source.empty()) {
    const size_t end = std::min(source.find("\n\n"), source.size());
    if (end > 0) out += "<p class=\"summary\">" + escaped(source.substr(0, end)) + "</p>\n";
    source.remove_prefix(std::min(end + 2, source.size()));
  }
  return out;
}

// ---- the page

constexpr const char* kStyle = R"css(
:root {
  color-scheme: light dark;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --paper: #fdfdfb; --ink: #1d2329; --faint: #626c76; --rule: #dfe3e6; --panel: #f4f5f3;
  --word: #2f6690; --phrase: #b07d2b; --inside: #6f9a8d; --across: #9b8bab; --brought: #a8543f; --other: #8a8a82;
  --warn: #a33b2e; --tint: #dbe7ef;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e4e6e8; --faint: #98a2ab; --rule: #2e343a; --panel: #1c2024;
    --word: #6fa8d6; --phrase: #d3a354; --inside: #7fb0a2; --across: #ab9cbd; --brought: #d88a74; --other: #a3a39a;
    --warn: #e38575; --tint: #263a4a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 56rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word;
}
h1, h2, h3 { line-height: 1.25; font-weight: 600; text-wrap: balance; }
h1 { font-size: 1.9rem; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.1rem; margin: 0 0 .15rem; }
p { margin: 0 0 .75rem; }
.eyebrow { color: var(--faint); font-size: .85rem; margin-bottom: .4rem; }
.summary { max-width: 42rem; }
.product { max-width: 42rem; }
.note, figcaption { color: var(--faint); font-size: .875rem; max-width: 42rem; }
.warning { color: var(--warn); }
.faint { color: var(--faint); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }

.facts { display: flex; flex-wrap: wrap; gap: .75rem 2.25rem; margin: 1rem 0; }
.facts dt { color: var(--faint); font-size: .8rem; }
.facts dd { margin: 0; font-size: 1.45rem; line-height: 1.3; font-variant-numeric: tabular-nums; }

table { border-collapse: collapse; font-size: .925rem; }
th { color: var(--faint); font-weight: 500; font-size: .8rem; text-align: left; vertical-align: bottom; }
th.number { text-align: right; }
th, td { padding: .35rem 1.25rem .35rem 0; border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
.wide { overflow-x: auto; margin-bottom: .75rem; }
.wide table { min-width: 50%; }

mark { background: none; color: inherit; border-radius: .1em; }
mark.whole { background: var(--tint); box-shadow: 0 0 0 .08em var(--tint); }
mark.letters { text-decoration: underline dotted 2px var(--inside); text-underline-offset: .22em; }

.strip { display: flex; height: 1.1rem; margin: 1.25rem 0 .5rem; border-radius: 2px; overflow: hidden; }
.strip span { min-width: 0; background: currentColor; box-shadow: inset -1px 0 var(--paper); }
.strip .negative, .bar.negative {
  background: repeating-linear-gradient(135deg, currentColor 0 3px, transparent 3px 6px);
}
.key {
  list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; margin: 0 0 1rem; padding: 0;
  color: var(--faint); font-size: .85rem;
}
.key b { color: var(--ink); font-weight: 500; font-variant-numeric: tabular-nums; }
.swatch {
  display: inline-block; width: .7em; height: .7em; margin-right: .45em; border-radius: 1px;
  background: currentColor;
}
.strip .word, .bar.word, .swatch.word { color: var(--word); }
.strip .phrase, .bar.phrase, .swatch.phrase { color: var(--phrase); }
.strip .inside, .bar.inside, .swatch.inside { color: var(--inside); }
.strip .across, .bar.across, .swatch.across { color: var(--across); }
.strip .brought, .bar.brought, .swatch.brought { color: var(--brought); }
.strip .other, .bar.other, .swatch.other { color: var(--other); }

.parts { width: 100%; margin-bottom: .75rem; }
.parts td { padding-top: .3rem; padding-bottom: .3rem; vertical-align: top; }
.parts .grow { width: 100%; }
.ends {
  display: flex; justify-content: space-between; gap: 1rem; font-variant-numeric: tabular-nums;
}
.bar { display: block; height: 3px; margin-top: .2rem; border-radius: 1px; background: currentColor; }
.term.word, .term.brought { font-weight: 600; }
.term.phrase { font-weight: 600; font-style: italic; }
.term.inside, .term.across { font-family: var(--mono); font-size: .92em; }
.term i { font-style: normal; color: var(--faint); opacity: .7; }
.sum td { font-weight: 600; border-bottom: 0; }

details { margin: .5rem 0 .75rem; }
summary { cursor: pointer; color: var(--faint); font-size: .875rem; }
summary:hover { color: var(--ink); }
.digits { margin-top: .5rem; font-size: .82rem; }
.digits td {
  white-space: nowrap; padding-top: .15rem; padding-bottom: .15rem;
  font-variant-numeric: tabular-nums;
}
.digits tfoot td { font-weight: 600; border-bottom: 0; }
pre {
  margin: .75rem 0 0; padding: 1rem; overflow-x: auto; background: var(--panel); border-radius: 4px;
  font: .82rem/1.5 var(--mono);
}
article { margin: 1.75rem 0 2.5rem; }

.figures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr));
  gap: 2rem 2.5rem; margin-top: 1.25rem;
}
figure { margin: 0; display: flex; flex-direction: column; justify-content: space-between; gap: .5rem; }
figcaption b { color: var(--ink); font-weight: 600; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 11px; fill: var(--faint); font-variant-numeric: tabular-nums; }
svg .value {
  fill: var(--ink); font-weight: 600; paint-order: stroke; stroke: var(--paper); stroke-width: 3px;
}
svg path { fill: none; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.grid { stroke: var(--rule); stroke-width: 1px; }
.axis { stroke: var(--faint); stroke-width: 1px; }
.line { stroke: var(--word); stroke-width: 1.75px; }
.raw { stroke: var(--word); stroke-width: 1px; opacity: .35; }
.dot { fill: var(--word); }
.best { fill: none; stroke: var(--phrase); stroke-width: 2px; }

@media (max-width: 36rem) {
  body { padding-top: 1.5rem; }
  h1 { font-size: 1.5rem; }
  .parts th:not(:last-child), .parts td:not(:last-child) { padding-right: .75rem; }
  .parts th:nth-child(3), .parts tbody td:nth-child(3) { display: none; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --ink: #000; --faint: #555; --rule: #ccc; --panel: #f6f6f6;
    --word: #2f6690; --phrase: #b07d2b; --inside: #6f9a8d; --across: #9b8bab; --brought: #a8543f; --other: #8a8a82;
    --warn: #a33b2e; --tint: #dbe7ef;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure, tr, .facts, .strip { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  pre { white-space: pre-wrap; }
}
)css";

std::string page(const std::string& title, const std::string& body) {
  return text(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      escaped(title), "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n", body, "</body>\n</html>\n");
}

}  // namespace

std::string explanation_page(const Explanation& e) {
  return page("Why this score: " + e.query,
              text("<main><p class=\"eyebrow\">Why this score</p>\n<h1>", marked(e.query, e),
                   "</h1>\n<p class=\"product\">", marked(e.product, e), "</p>\n",
                   explanation_body(e, e.matches.size()), "</main>\n"));
}

std::string report_page(const Report& report) {
  std::string body =
      text("<header><p class=\"eyebrow\">Steelyard report</p>\n<h1>", escaped(report.title), "</h1>\n",
           paragraphs(report.summary), "</header>\n<main>\n", metrics_section(report));
  for (const Table& table : report.tables) body += table_section(table);
  body += curves_section(report.metrics_jsonl);
  body += examples_section("Where the model is right", "Pairs that were judged, explained word by word.",
                           report.best);
  body += examples_section("Where it is wrong", "The pairs whose score is farthest from their judgement.",
                           report.worst);
  if (!report.config_toml.empty())
    body +=
        text("<section><h2>Configuration</h2>\n<details><summary>Every option of this run</summary>\n<pre>",
             escaped(report.config_toml), "</pre></details></section>\n");
  return page(report.title, body + "</main>\n");
}

}  // namespace steelyard
