#include "data/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "core/check.h"

namespace steelyard {
namespace {

void check_sizes(const char* metric, size_t a, size_t b) {
  check(a == b, metric, ": columns differ in length; got ", a, " and ", b, "; expected the same");
}

bool any_nan(Numbers values) {
  return std::any_of(values.begin(), values.end(), [](double x) { return std::isnan(x); });
}

void check_labels(const char* metric, Numbers labels, bool soft) {
  for (const double y : labels)
    check(soft ? y >= 0 && y <= 1 : y == 0 || y == 1, metric, ": got the label ", y,
          soft ? "; expected 0 to 1" : "; expected 0 or 1");
}

Metric finite(double value) { return std::isfinite(value) ? Metric(value) : std::nullopt; }

std::vector<size_t> ascending(Numbers values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  return order;
}

// Calls f(begin, end) for each run of equal values in this order.
template <class F>
void for_each_tie(Numbers values, std::span<const size_t> order, F&& f) {
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    f(begin, end);
  }
}

// From 1; equal values share the mean of their ranks.
std::vector<double> average_ranks(Numbers values) {
  const std::vector<size_t> order = ascending(values);
  std::vector<double> ranks(values.size());
  for_each_tie(values, order, [&](size_t begin, size_t end) {
    const double rank = (static_cast<double>(begin + 1) + static_cast<double>(end)) / 2;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = rank;
  });
  return ranks;
}

}  // namespace

// The Mann-Whitney statistic: (sum of the positives' ranks − its least possible value) / (positives ·
// negatives). Ranks are multiples of 1/2, so the sum is exact in any order.
Metric auc(Numbers score, Numbers label) {
  check_sizes("auc", score.size(), label.size());
  if (any_nan(score) || any_nan(label)) return {};
  check_labels("auc", label, false);
  const std::vector<double> ranks = average_ranks(score);
  double positives = 0, sum = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    positives += label[i];
    sum += label[i] * ranks[i];
  }
  const double negatives = static_cast<double>(ranks.size()) - positives;
  if (positives == 0 || negatives == 0) return {};
  return (sum - positives * (positives + 1) / 2) / (positives * negatives);
}

Metric pr_auc(Numbers score, Numbers label) {
  check_sizes("pr_auc", score.size(), label.size());
  if (any_nan(score) || any_nan(label)) return {};
  check_labels("pr_auc", label, false);
  std::vector<size_t> order = ascending(score);
  std::reverse(order.begin(), order.end());
  const double positives = std::accumulate(label.begin(), label.end(), 0.0);
  if (positives == 0) return {};
  double found = 0, sum = 0;
  for_each_tie(score, order, [&](size_t begin, size_t end) {
    const double before = found;
    for (size_t i = begin; i < end; ++i) found += label[order[i]];
    sum += (found - before) * (found / static_cast<double>(end));
  });
  return sum / positives;
}

Metric log_loss(Numbers probability, Numbers label) {
  check_sizes("log_loss", probability.size(), label.size());
  if (label.empty() || any_nan(probability) || any_nan(label)) return {};
  check_labels("log_loss", label, true);
  constexpr double least = 1e-15;
  double sum = 0;
  for (size_t i = 0; i < label.size(); ++i) {
    const double p = std::clamp(probability[i], least, 1 - least);
    sum -= label[i] * std::log(p) + (1 - label[i]) * std::log1p(-p);
  }
  return sum / static_cast<double>(label.size());
}

Metric rmse(Numbers prediction, Numbers truth) {
  check_sizes("rmse", prediction.size(), truth.size());
  double sum = 0;
  for (size_t i = 0; i < truth.size(); ++i) sum += (prediction[i] - truth[i]) * (prediction[i] - truth[i]);
  return truth.empty() ? Metric() : finite(std::sqrt(sum / static_cast<double>(truth.size())));
}

Metric spearman(Numbers a, Numbers b) {
  check_sizes("spearman", a.size(), b.size());
  if (any_nan(a) || any_nan(b)) return {};
  const std::vector<double> x = average_ranks(a), y = average_ranks(b);
  const double mean = (static_cast<double>(a.size()) + 1) / 2;
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
    xy += (x[i] - mean) * (y[i] - mean);
  }
  if (xx == 0 || yy == 0) return {};
  return std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0);
}

Metric ndcg(Numbers score, Numbers relevance, std::span<const int64_t> group, int64_t k, const Gain& gain) {
  check_sizes("ndcg", score.size(), relevance.size());
  check_sizes("ndcg", score.size(), group.size());
  check(k >= 1, "ndcg: got k = ", k, "; expected at least 1");
  if (any_nan(score) || any_nan(relevance)) return {};

  struct Item {
    int64_t group;
    double score, gain;
  };
  std::vector<Item> items;
  for (size_t i = 0; i < score.size(); ++i) {
    items.push_back({group[i], score[i], gain(relevance[i])});
    check(items.back().gain >= 0, "ndcg: got the gain ", items.back().gain, "; expected none below 0");
  }
  // By group, then as ranked. Tied rows are ordered by gain so that their sum has the same bits for any input
  // order.
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    if (a.group != b.group) return a.group < b.group;
    return a.score != b.score ? a.score > b.score : a.gain > b.gain;
  });

  const auto discount = [](size_t rank) { return 1 / std::log2(1 + static_cast<double>(rank)); };
  double sum = 0;
  int64_t groups = 0;
  std::vector<double> gains;
  for (size_t begin = 0, end = 0; begin < items.size(); begin = end) {
    while (end < items.size() && items[end].group == items[begin].group) ++end;
    const size_t size = end - begin, depth = std::min(size, static_cast<size_t>(k));
    gains.clear();
    for (size_t i = begin; i < end; ++i) gains.push_back(items[i].gain);
    std::sort(gains.begin(), gains.end(), std::greater<>());
    if (size < 2 || gains.front() <= 0) continue;

    double dcg = 0, ideal = 0;
    for (size_t rank = 1; rank <= depth; ++rank) ideal += gains[rank - 1] * discount(rank);
    for (size_t first = 0, last = 0; first < depth; first = last) {  // one tie after the other
      double tied_gain = 0, tied_discount = 0;
      while (last < size && items[begin + last].score == items[begin + first].score) {
        tied_gain += items[begin + last].gain;
        if (last < depth) tied_discount += discount(last + 1);
        ++last;
      }
      dcg += tied_gain / static_cast<double>(last - first) * tied_discount;
    }
    sum += dcg / ideal;
    ++groups;
  }
  return groups == 0 ? Metric() : finite(sum / static_cast<double>(groups));
}

double graded_gain(double relevance) { return std::exp2(relevance - 1) - 1; }

Metric calibration_error(Numbers probability, Numbers label, int bins) {
  check_sizes("calibration_error", probability.size(), label.size());
  check(bins >= 1, "calibration_error: got ", bins, " bins; expected at least 1");
  if (label.empty() || any_nan(probability) || any_nan(label)) return {};
  check_labels("calibration_error", label, true);
  std::vector<double> excess(static_cast<size_t>(bins));  // Σ (label − probability)
  for (size_t i = 0; i < label.size(); ++i) {
    check(probability[i] >= 0 && probability[i] <= 1, "calibration_error: got the probability ",
          probability[i], "; expected 0 to 1");
    const int bin = std::min(bins - 1, static_cast<int>(probability[i] * bins));
    excess[static_cast<size_t>(bin)] += label[i] - probability[i];
  }
  double sum = 0;
  for (const double e : excess) sum += std::abs(e);  // n_bin/n · |Σ/n_bin| = |Σ|/n
  return sum / static_cast<double>(label.size());
}

std::vector<std::pair<std::string, double>> with_means(
    const std::vector<std::pair<std::string, NamedMetrics>>& of_tasks) {
  struct Mean {
    double sum = 0, count = 0;
  };
  std::vector<std::pair<std::string, double>> list;
  std::map<std::string, Mean> means;
  for (const auto& [task, metrics] : of_tasks)
    for (const auto& [key, value] : metrics) {
      list.emplace_back(task + "." + key, value.value_or(std::numeric_limits<double>::quiet_NaN()));
      Mean& mean = means[key];
      if (value) mean.sum += *value, ++mean.count;
    }
  for (const auto& [key, mean] : means) list.emplace_back(key, mean.sum / mean.count);
  return list;
}

}  // namespace steelyard
