// What a run by priority (optim/priorities.h) held: certificate.json and its part of report.html. It is true of the
// bounds as they were measured and of these rows; no theorem is claimed for networks.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "optim/trainer.h"
#include "tools/report.h"

namespace steelyard {

// {"goals":[{"name","priority","bound","slack","value","stderr","rows","multiplier":[…],"violation":[…],"step":[…],
// "held"}],"measured","checkpoint","held"}. A goal's loss, `value`, must be at most bound + slack; the last goal has
// none. Multipliers and violations are those of the log, `step` says when.
std::string certificate_json(const Outcome& outcome, std::string_view metrics_jsonl);
bool certified(
    const std::filesystem::path& folder);  // does the certificate there say that all is held? Error(input)
Table certificate_table(const Outcome& outcome);
std::string certificate_line(const GoalResult& goal);  // for people; of one that is bounded

}  // namespace steelyard
