// What the verbs do with a model of a table's rows (nn/table_model.h).
#pragma once

#include <string>

#include "nn/table_model.h"

namespace steelyard {

// A header, then a line of each row of DATA: what each task says, of classes a column TASK=CLASS for each.
void score_rows(const TableModel& model, const std::string& data, int threads);
// The metrics of all rows, or of a part of them: "train", "dev", "test".
void evaluate_rows(const TableModel& model, const std::string& data, const std::string& part, int threads);
// Of one row, counted from 1: what each task says, and its features in the order of what they do for it.
void explain_row(const TableModel& model, const std::string& data, int64_t row, bool json);

}  // namespace steelyard
