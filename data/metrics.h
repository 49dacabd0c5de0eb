// How good a ranking or a probability is. All of it in double, over whole columns, independent of the order
// of the rows. A metric that the data do not define (AUC of one class, a correlation with a constant, a NaN
// among the inputs) is std::nullopt, which reports print as null; no metric returns NaN or infinity.
//
// Ties count as what they are: none of these functions lets the order of the input decide between equal
// scores.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace steelyard {

using Metric = std::optional<double>;
using Numbers = std::span<const double>;

// "TASK.KEY" for each metric of each task, and each key's mean over the tasks that define it; NaN where none does.
using NamedMetrics = std::vector<std::pair<const char*, Metric>>;
std::vector<std::pair<std::string, double>> with_means(
    const std::vector<std::pair<std::string, NamedMetrics>>& of_tasks);

// The probability that a positive row scores above a negative one, an equal score counting one half. Labels
// are 0 or 1. Undefined without a positive or without a negative row.
Metric auc(Numbers score, Numbers label);

// Average precision: Σ over the distinct scores, from the highest, of (recall there − recall before) ·
// precision there; rows of equal score enter together. Labels are 0 or 1. Undefined without a positive row.
Metric pr_auc(Numbers score, Numbers label);

// The mean of −y·ln p − (1−y)·ln(1−p), with p clipped to [1e-15, 1 − 1e-15]. Labels may be soft: 0 ≤ y ≤ 1.
Metric log_loss(Numbers probability, Numbers label);

// The root of the mean squared difference.
Metric rmse(Numbers prediction, Numbers truth);

// Spearman's rank correlation: Pearson's correlation of the ranks, equal values sharing the mean of their
// ranks. Undefined if either column is constant.
Metric spearman(Numbers a, Numbers b);

// NDCG@k: the mean over groups (a query's rows) of DCG / ideal DCG, with
//   DCG = Σ over ranks r = 1 … k of gain(relevance of the row at r) / log2(1 + r)
// in descending order of score, and the ideal one in descending order of gain. Rows of equal score share the
// gains of the ranks they fill: each has the mean gain of its tie, which is the expectation over all orders
// of the tied rows (McSherry and Najork 2008). Left out are groups with fewer than two rows and groups
// without a positive gain; every other group weighs the same. Undefined if none is left. Gains are not
// negative. Rows of a group need not be adjacent.
using Gain = std::function<double(double relevance)>;
Metric ndcg(Numbers score, Numbers relevance, std::span<const int64_t> group, int64_t k, const Gain& gain);

// 2^(relevance − 1) − 1: grades 1, 2, 3 gain 0, 1, 3.
double graded_gain(double relevance);

// Expected calibration error: probabilities fall into `bins` equal parts of [0, 1] (the last includes 1); Σ
// over the bins of their share of the rows times |mean label − mean probability|. Labels may be soft.
Metric calibration_error(Numbers probability, Numbers label, int bins = 15);

}  // namespace steelyard
