#include "nn/labelled.h"

#include <cmath>

namespace steelyard {

void ColumnsConfig::validate() const {
  for (const auto& [key, name] : {std::pair{"query", query}, {"product", product}, {"label", label}})
    if (name.empty()) fail(Fault::usage, "columns.", key, ": empty; expected the name of a column");
  if (!std::isfinite(high - low))
    fail(Fault::usage, "columns.high: ", high, " with low ", low, "; expected finite labels");
  if (!(low < high)) fail(Fault::usage, "columns.low: ", low, "; expected less than columns.high = ", high);
  if (!(positive > low && positive <= high))
    fail(Fault::usage, "columns.positive: ", positive, "; expected more than ", low, ", at most ", high);
}

PairReader::PairReader(const std::string& table, const ColumnsConfig& c, const std::string& bad_rows,
                       const std::atomic<bool>* stop)
    : reader_(table, {.required = {c.query, c.product, c.label, c.group.empty() ? c.query : c.group},
                      .bad_rows = bad_rows,
                      .stop = stop}),
      low_(c.low),
      high_(c.high) {}

bool PairReader::next(LabelledPair& pair) {
  while (reader_.next(row_)) {
    try {
      pair.grade = row_.number(2, low_, high_);
    } catch (const Error& error) {
      reader_.reject(error);
      continue;
    }
    pair.query = row_[0];
    pair.product = row_[1];
    pair.group = groups_.emplace(row_[3], static_cast<int32_t>(groups_.size())).first->second;
    return true;
  }
  if (reader_.rows() == 0) fail(Fault::input, reader_.name(), ": no rows");
  return false;
}

std::string PairReader::skipped() const { return reader_.summary(); }

}  // namespace steelyard
