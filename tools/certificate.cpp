#include "tools/certificate.h"

#include <charconv>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/text.h"

namespace steelyard {

namespace {

constexpr const char* kMeasured =
    "mean loss on the dev rows that chose no model; stderr from how parts of them differ";

std::string digits(double value, int count = 6) {
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, count).ptr};
}

}  // namespace

std::string certificate_json(const Outcome& outcome, std::string_view jsonl) {
  using nlohmann::ordered_json;
  ordered_json goals = ordered_json::array();
  for (const GoalResult& goal : outcome.goals) {
    ordered_json entry = {{"name", goal.name},
                          {"priority", goal.priority},
                          {"bound", nullptr},
                          {"slack", nullptr},
                          {"value", goal.value.mean},
                          {"stderr", goal.value.error},
                          {"rows", goal.value.rows},
                          {"multiplier", ordered_json::array()},
                          {"violation", ordered_json::array()},
                          {"step", ordered_json::array()},
                          {"held", goal.held()}};
    if (goal.bound) entry["bound"] = *goal.bound, entry["slack"] = *goal.limit - *goal.bound;
    goals.push_back(std::move(entry));
  }
  for (const std::string_view row : split(jsonl, '\n')) {
    const auto line = ordered_json::parse(row, nullptr, false);
    if (!line.is_object() || !line.contains("multipliers") || !line.contains("violations")) continue;
    for (ordered_json& goal : goals) {
      const std::string name = goal["name"];
      if (!line["multipliers"].contains(name)) continue;
      goal["multiplier"].push_back(line["multipliers"][name]);
      goal["violation"].push_back(line["violations"][name]);
      goal["step"].push_back(line["step"]);
    }
  }
  const ordered_json certificate = {{"goals", std::move(goals)},
                                    {"measured", kMeasured},
                                    {"checkpoint", outcome.best_step},
                                    {"held", outcome.held()}};
  return certificate.dump() + "\n";
}

bool certified(const std::filesystem::path& folder) {
  const auto path = folder / "certificate.json";
  const auto read = nlohmann::json::parse(MappedFile(path).text(), nullptr, false);
  if (!read.is_object() || !read.contains("held") || !read["held"].is_boolean())
    fail(Fault::input, path.string(), ": no certificate; expected what the run wrote");
  return read["held"];
}

Table certificate_table(const Outcome& outcome) {
  Table table{
      .title = "Goals in order of priority",
      .header = {"priority", "goal", "bound", "with slack", "loss", "standard error", "rows", ""},
      .rows = {},
      .note = text("A goal is held if its loss is at most its bound with slack. Measured: ", kMeasured,
                   ". This holds for the bounds as measured, on these rows; it is no theorem.")};
  for (const GoalResult& goal : outcome.goals)
    table.rows.push_back({std::to_string(goal.priority), goal.name, goal.bound ? digits(*goal.bound) : "—",
                          goal.limit ? digits(*goal.limit) : "—", digits(goal.value.mean),
                          digits(goal.value.error), std::to_string(goal.value.rows),
                          !goal.bound   ? "minimised"
                          : goal.held() ? "held"
                                        : "broken"});
  return table;
}

std::string certificate_line(const GoalResult& goal) {
  return text(goal.held() ? "held    " : "broken  ", goal.name, ": loss ", digits(goal.value.mean), " ± ",
              digits(goal.value.error), ", at most ", digits(*goal.limit));
}

}  // namespace steelyard
