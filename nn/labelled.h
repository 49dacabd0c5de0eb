// Labelled pairs of query and product as tables have them: the one reader of training, evaluation, examples and
// `--dry-run`, so that all of them see the same rows. Next: nn/pairs.h, which has them encoded.
#pragma once

#include <unordered_map>

#include "data/table.h"

namespace steelyard {

// The columns of the tables, by their headers; kept in the model, so that scoring reads what training read.
struct ColumnsConfig {
  std::string query = "query", product = "product", label = "label", group;
  double low = 0, high = 1, positive = 0.5;

  template <class F>
  void fields(F&& f) {
    f("query", query, "text of the query");
    f("product", product, "text of the product");
    f("label", label, "graded relevance, low … high");
    f("group", group, "rows that rank against each other (ndcg10); empty: the query");
    f("low", low, "label of a wrong product");
    f("high", high, "label of a perfect product");
    f("positive", positive, "least label that counts as relevant (auc, pr_auc)");
  }
  void validate() const;
  double share(double grade) const { return (grade - low) / (high - low); }  // low … high as 0 … 1
};

struct LabelledPair {
  std::string_view query, product;  // until the reader's next call
  double grade = 0;                 // low … high
  int32_t group = 0;  // equal for rows that rank against each other; from 0, in the order of the table
};

class PairReader {
 public:
  // The options are those of a TableRequest. Error(input) as for any table.
  PairReader(const std::string& table, const ColumnsConfig& columns, const std::string& bad_rows,
             const std::atomic<bool>* stop = nullptr);

  bool next(LabelledPair& pair);  // false at the end; Error(input) if there was no pair, or a bad label
  std::string skipped() const;    // a line about the rows that were skipped; empty if none was

 private:
  TableReader reader_;
  Row row_;
  double low_, high_;
  std::unordered_map<std::string, int32_t> groups_;
};

}  // namespace steelyard
