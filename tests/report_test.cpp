// The pages are well-formed, hold what they must and nothing that a reader's text could smuggle in
// (tools/report.h); progress leaves whole lines only (tools/progress.h).
#include "tools/report.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string_view>

#include <fcntl.h>
#include <sys/ioctl.h>

#include "tests/support.h"
#include "tools/progress.h"

using namespace steelyard;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// What is wrong with the nesting of the tags; empty if nothing is.
std::string fault_of(std::string_view html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string_view::npos; at = html.find('<', at)) {
    const size_t end = html.find('>', at);
    if (end == std::string_view::npos) return "a tag without end";
    const std::string_view tag = html.substr(at + 1, end - at - 1);
    at = end;
    if (tag.empty() || tag.find('<') != std::string_view::npos) return "a < that begins no tag";
    const bool closing = tag.front() == '/';
    const std::string name(tag.substr(closing, tag.find_first_of(" /", closing) - closing));
    if (tag.front() == '!' || tag.back() == '/' || name == "meta") continue;
    if (!closing) {
      open.push_back(name);
      if (name == "style") at = html.find("</style>", at);
    } else {
      if (open.empty() || open.back() != name)
        return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    }
  }
  return open.empty() ? "" : open.back() + " is never closed";
}

int count(std::string_view text, std::string_view part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

void check_sound(const std::string& page) {
  CHECK(fault_of(page) == "");
  CHECK(page.starts_with("<!DOCTYPE html>"));
  CHECK(holds(page, "prefers-color-scheme: dark"));
  for (const char* from_outside :
       {"<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", "http"})
    CHECK_MESSAGE(!holds(page, from_outside), from_outside);
  for (const char* unfit : {"nan", "inf\"", "NaN", "−0.0<"}) CHECK_MESSAGE(!holds(page, unfit), unfit);
}

Explanation faucet() {
  Explanation e{.query = "shower fuacet", .product = "Delta Shower-Faucets & valve"};
  e.matches = {{"shower", 0.5, 1.25, 0.625},
               {"shower valve", 1.5, 0.75, 1.125},
               {"*cet*", 0.1, 0.3, 0.1 * 0.3},
               {"+rfauc+", 0.5, 0.5, 0.25}};
  for (const MatchLine& match : e.matches) e.score += match.contribution;
  e.probability = 0.75;
  return e;
}

Report small_report() {
  Report report;
  report.title = "Small";
  report.metrics = {{"auc", 0.875}, {"spearman", kNan}};
  report.metrics_jsonl =
      "{\"step\":1,\"loss\":0.7,\"norm\":1.5,\"rate\":0.5}\n"
      "{\"step\":2,\"loss\":0.6,\"norm\":1.25,\"rate\":1}\n"
      "{\"step\":2,\"dev\":{\"auc\":0.75,\"spearman\":null},\"best\":true}\n"
      "{\"step\":3,\"loss\":0.5,\"norm\":1,\"rate\":1}\n"
      "{\"step\":4,\"dev\":{\"auc\":0.875,\"spearman\":0.5},\"model\":{\"product_expansion\":12.5},\"best\":"
      "true}\n"
      "{\"step\":6,\"dev\":{\"auc\":0.5,\"spearman\":0.25},\"best\":false}\n";
  return report;
}

// What Progress wrote to a stream in memory.
template <class F>
std::string written(F&& use) {
  char* bytes = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&bytes, &size);
  use(out);
  std::fclose(out);
  std::string result(bytes, size);
  std::free(bytes);
  return result;
}

// A terminal of our own: `use` gets its writing end; what arrived at the screen comes back.
template <class F>
std::string on_terminal(int columns, F&& use) {
  const int screen = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(screen >= 0);
  REQUIRE(grantpt(screen) == 0);
  REQUIRE(unlockpt(screen) == 0);
  std::FILE* out = std::fopen(ptsname(screen), "w");
  REQUIRE(out);
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  ioctl(screen, TIOCSWINSZ, &size);
  use(out);
  std::fclose(out);
  std::string result;  // what was written stays to be read until it ends with an error
  char buffer[1 << 12];
  for (ssize_t n; (n = read(screen, buffer, sizeof buffer)) > 0;)
    result.append(buffer, static_cast<size_t>(n));
  close(screen);
  return result;
}

// Sets a variable of the environment for a scope; nullptr removes it.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }

 private:
  void set(const char* value) { value ? setenv(name_, value, 1) : unsetenv(name_); }
  const char* name_;
  std::optional<std::string> before_;
};

StepRecord record(int64_t step, int64_t steps, double loss = 0.5) {
  return {.step = step, .steps = steps, .loss = loss, .norm = 1, .rate = 1};
}

}  // namespace

TEST_CASE("report: the checker of tags finds faults") {
  CHECK(fault_of("<p>a <b>b</b></p>") == "");
  CHECK(fault_of("<p>a <b>b</p></b>") != "");
  CHECK(fault_of("<p>a") != "");
  CHECK(fault_of("a</p>") != "");
  CHECK(fault_of("<p>1 < 2</p>") != "");
}

TEST_CASE("report: an explanation shows its sum, largest part first, with the number in the original order") {
  Explanation e = faucet();
  const std::string page = explanation_page(e);
  check_sound(page);
  CHECK(count(page, "2.0300000000000002</span>") == 1);  // 0.625 + 1.125 + 0.03 + 0.25, to the last digit
  CHECK(holds(page, "= 2.0300000000000002</td>"));
  CHECK(holds(page, "75.0 %"));
  CHECK(!holds(page, "judged"));
  CHECK(page.find("<td class=\"number faint\">2</td>") < page.find("<td class=\"number faint\">1</td>"));
  CHECK(!holds(page, "class=\"warning\""));

  SUBCASE("kinds of words are told apart") {
    for (const char* term : {"term word\">shower<", "term phrase\">shower valve<",
                             "term inside\"><i>*</i>cet<i>*</i><", "term across\"><i>+</i>rfauc<i>+</i><"})
      CHECK_MESSAGE(holds(page, term), term);
  }
  SUBCASE("matched parts are marked") {
    CHECK(holds(page, "<h1><mark class=\"whole\">shower</mark> <mark class=\"letters\">fuacet</mark></h1>"));
    CHECK(holds(
        page,
        "Delta <mark class=\"whole\">Shower</mark>-<mark class=\"letters\">Faucets</mark> &amp; valve"));
  }
  SUBCASE("a run at a boundary is marked where a word begins or ends") {
    e.query = "he ache";
    e.product = "hem";
    const auto marks = [&](const char* run) {
      e.matches = {{run, 1, 1, 1}};
      const std::string page = explanation_page(e);
      return page.substr(page.find("<h1>"), page.find("</h1>") - page.find("<h1>"));
    };
    CHECK(marks("*<he*") == "<h1><mark class=\"letters\">he</mark> ache");
    CHECK(marks("*he>*") == "<h1><mark class=\"letters\">he</mark> <mark class=\"letters\">ache</mark>");
    CHECK(marks("*<ac*") == "<h1>he <mark class=\"letters\">ache</mark>");
  }
  SUBCASE("marks that touch are one") {
    e.query = "红色裙";
    e.matches = {{"红", 1, 1, 1}, {"色", 1, 1, 1}, {"红 色", 1, 1, 1}};
    CHECK(holds(explanation_page(e), "<h1><mark class=\"whole\">红色</mark>裙</h1>"));
  }
  SUBCASE("a word that a text does not hold names the one that brought it in") {
    e.query = "sofa red";
    e.product = "couch";
    e.matches = {{.word = "sofa", .contribution = 1, .product_source = "couch"}, {.word = "(product)"}};
    const std::string page = explanation_page(e);
    CHECK(holds(page, "<h1><mark class=\"whole\">sofa</mark> red</h1>"));
    CHECK(holds(
        page, "<span class=\"term brought\">sofa</span><span class=\"faint\"> from “couch” in the product"));
    CHECK(holds(page, "<span class=\"term other\">(product)</span>"));
  }
  SUBCASE("how many words the bags hold") {
    CHECK(!holds(page, "words of the"));
    e.query_bag = {.terms = 3};
    e.product_bag = {.terms = 7, .expansion = 1234};
    const std::string page = explanation_page(e);
    check_sound(page);
    CHECK(holds(page, "<dt>words of the query</dt><dd>3</dd>"));
    CHECK(holds(page, "<dt>words of the product + brought in</dt><dd>7 + 1\u202F234</dd>"));
  }
  SUBCASE("a grade is shown") {
    e.grade = 7.0 / 3;
    CHECK(holds(explanation_page(e), "<dt>judged</dt><dd>2.333</dd>"));
  }
  SUBCASE("a sum that is not the score is not hidden") {
    e.score += 1e-15;
    CHECK(holds(explanation_page(e), "class=\"warning\""));
  }
}

TEST_CASE("report: explanations at the edge") {
  Explanation e{.query = "", .product = "a\xff\x01z"};
  std::string page = explanation_page(e);
  check_sound(page);
  CHECK(holds(page, "share no word"));
  CHECK(holds(page, "a\uFFFD\uFFFDz"));
  e.matches = {{"zero", 0, 0, 0}, {"*", 1, 1, 1}, {"++", 1, -1, -1}, {"", 1, 1, 1}};
  e.score = 1;
  page = explanation_page(e);
  check_sound(page);
  CHECK(holds(page, "−1.0000"));
  e.score = e.probability = e.matches[0].contribution = kNan;
  check_sound(explanation_page(e));
}

TEST_CASE("report: everything that comes in is escaped") {
  const std::string evil = "</style><script>alert(\"1\")</script>&amp;'";
  Report report = small_report();
  report.title = report.summary = report.metrics_title = report.config_toml = evil;
  report.metrics = {{evil, 1}};
  report.tables = {{evil, {evil, evil}, {{evil}, {"1", evil, evil}}, evil}};
  report.metrics_jsonl += "{\"step\":1,\"dev\":{\"</b><script>\":1,\"a.</svg>\":2}}\n";
  Explanation e{.query = evil, .product = evil};
  e.matches = {{evil, 1, 1, 1}, {"script", 1, 1, 1, evil, evil}};
  report.best = report.worst = {e};
  const std::string page = report_page(report);
  check_sound(page);
  check_sound(explanation_page(e));
  CHECK(count(page, "</style>") == 1);
  CHECK(holds(page, "<pre>&lt;/style&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;'</pre>"));
}

TEST_CASE("report: sections, curves and the kept model") {
  Report report = small_report();
  report.summary = "First.\n\nSecond.";
  report.tables = {{"Compared", {"model", "auc"}, {{"bm25", "0.8"}, {"deepbow"}}, "A note."}};
  report.best = {faucet()};
  report.config_toml = "[trainer]\nepochs = 3\n";
  const std::string page = report_page(report);
  check_sound(page);
  for (const char* part :
       {"<h1>Small</h1>", "<p class=\"summary\">Second.</p>", "<dt>auc</dt><dd>0.8750</dd>",
        "<dt>spearman</dt><dd>—</dd>", "<h2>Compared</h2>", "<td class=\"number\">0.8</td>", "A note.",
        "evaluation after step 4,", "<pre>[trainer]\nepochs = 3\n</pre>", "Where the model is right"})
    CHECK_MESSAGE(holds(page, part), part);
  CHECK(!holds(page, "Where it is wrong"));
  CHECK(count(page, "<svg") == 6);            // auc, spearman, the words, loss, norm, rate
  CHECK(count(page, "class=\"best\"") == 3);  // at step 4, in auc, spearman and the words
  CHECK(count(page, "class=\"value\"") == 3);
  CHECK(holds(page, "<b>product_expansion</b> Brought into a product’s bag."));
}

TEST_CASE("report: curves at the edge") {
  Report report;
  SUBCASE("nothing") { CHECK(!holds(report_page(report), "<svg")); }
  SUBCASE("lines that are none") {
    report.metrics_jsonl =
        "\n\n{\"step\":1,\"lo\n[1]\n7\n{}\n{\"step\":\"a\"}\n{\"step\":-1,\"loss\":1}\n{\"step\":2,\"dev\":"
        "3}";
    CHECK(!holds(report_page(report), "<svg"));
  }
  SUBCASE("null and what no axis can hold") {
    report.metrics_jsonl = "{\"step\":1,\"loss\":null,\"norm\":1e300,\"rate\":\"x\"}\n";
    CHECK(!holds(report_page(report), "<svg"));
  }
  SUBCASE("one point, at the beginning") {
    report.metrics_jsonl =
        "{\"step\":0,\"loss\":0,\"norm\":-5,\"rate\":0,\"dev\":{\"auc\":1},\"best\":true}\n";
    CHECK(count(report_page(report), "<svg") == 4);
  }
  SUBCASE("constant") {
    report.metrics_jsonl = "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":3}\n";
    CHECK(count(report_page(report), "<svg") == 1);
  }
  SUBCASE("tiny, huge, and both") {
    report.metrics_jsonl =
        "{\"step\":1,\"loss\":1e-90,\"norm\":1e99}\n{\"step\":1000000000000,\"loss\":3e90,\"norm\":-1e99}\n";
    CHECK(count(report_page(report), "<svg") == 2);
    CHECK(holds(report_page(report), "logarithmic"));
  }
  SUBCASE("nearly constant") {
    report.metrics_jsonl = "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":3.0000000000000004}\n";
    CHECK(count(report_page(report), "<svg") == 1);
  }
  SUBCASE("long runs make no long pages") {
    for (int step = 1; step <= 20000; ++step)
      report.metrics_jsonl += text("{\"step\":", step, ",\"loss\":0.5}\n");
    const std::string page = report_page(report);
    CHECK(page.size() < 40000);
    CHECK(holds(page, "the mean of the 1003 logged values"));
  }
  check_sound(report_page(report));
  CHECK(report_page(report).size() < 60000);
}

TEST_CASE("progress: lines on what is no terminal") {
  const std::string text = written([](std::FILE* out) {
    Progress progress(false, 256, out, 0);
    progress.message("resumed at step 10");
    progress.step(record(11, 20));
    progress.step(record(12, 20, kNan));
    progress.evaluated(12, {{{"auc", 0.75}, {"spearman", kNan}}, {{"query_terms", 7.25}}, "no word; a.key"},
                       true);
    progress.step(record(20, 20));
  });
  CHECK(text.starts_with("resumed at step 10\nstep 11/20  55 %  loss 0.5\nstep 12/20  60 %  loss 0.5  "));
  CHECK(holds(text, " rows/s  "));
  CHECK(holds(text,
              " s left\nstep 12  auc 0.7500  spearman undefined  query_terms 7.25  best  collapsed: no word; "
              "a.key\nstep 20/20  100 %  loss 0.5  "));
  CHECK(text.ends_with(" rows/s\n"));
  CHECK(!holds(text, "\x1b"));
  CHECK(!holds(text, "\r"));
}

TEST_CASE("progress: a line every few seconds and one at the end") {
  const std::string text = written([](std::FILE* out) {
    Progress progress(false, 0, out, 3600);
    for (int step = 1; step <= 1000; ++step) progress.step(record(step, 1000));
  });
  CHECK(count(text, "\n") == 1);
  CHECK(text.starts_with("step 1000/1000  100 %  loss 0.5  "));
  CHECK(text.ends_with(" steps/s\n"));
}

TEST_CASE("progress: quiet") {
  const auto use = [](std::FILE* out) {
    Progress progress(true, 1, out, 0);
    progress.message("a");
    progress.step(record(1, 1));
    progress.evaluated(1, {{{"auc", 1}}}, true);
  };
  CHECK(written(use) == "");
  CHECK(on_terminal(80, [&](std::FILE* out) {
          use(out);
          std::fputs("end", out);  // reading an empty terminal would wait
        }) == "end");
}

TEST_CASE("progress: a bar on a terminal is taken away before a line and finished at the end") {
  const Environment kind("TERM", "xterm"), plain("NO_COLOR", "1");
  const auto use = [](std::FILE* out) {
    Progress progress(false, 0, out);
    progress.step(record(1, 1));
    progress.message("saved");
    progress.step(record(2, 2));
  };
  const std::string wide = on_terminal(80, use);
  CHECK(holds(wide, "━━━ 1/1  loss 0.5\r\x1b[Ksaved\r\n\r\x1b[K━━━"));
  CHECK(wide.ends_with("\r\n"));
  CHECK(!holds(wide, "\x1b[3"));
  CHECK(holds(on_terminal(6, use), "\r\x1b[K1/1  \r\x1b[Ksaved\r\n"));

  const Environment colors("NO_COLOR", nullptr);
  CHECK(holds(on_terminal(80, use), "\x1b[32m━"));
  const Environment dumb("TERM", "dumb");
  CHECK(!holds(on_terminal(80, use), "\x1b"));
}
