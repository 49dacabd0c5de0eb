#include "data/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "tests/support.h"

namespace steelyard {
namespace {

using Column = std::vector<double>;
using Groups = std::vector<int64_t>;

const double kNan = std::nan("");
const double kInfinity = std::numeric_limits<double>::infinity();

doctest::Approx about(double value) { return doctest::Approx(value).epsilon(1e-12); }

double value(Metric metric) {
  REQUIRE(metric.has_value());
  return *metric;
}

// Few distinct values, so that there are many ties.
struct Random {
  std::mt19937 engine;
  explicit Random(unsigned seed) : engine(seed) {}
  double step(int values) { return static_cast<double>(engine() % static_cast<unsigned>(values)) / values; }
  Column column(size_t n, int values) {
    Column out(n);
    for (double& x : out) x = step(values);
    return out;
  }
  Column labels(size_t n) {
    Column out(n);
    for (double& x : out) x = engine() % 3 == 0;
    return out;
  }
};

TEST_CASE("auc by hand") {
  CHECK(value(auc(Column{0.1, 0.4, 0.35, 0.8}, Column{0, 0, 1, 1})) == 0.75);
  CHECK(value(auc(Column{1, 2, 3, 4}, Column{0, 0, 1, 1})) == 1);
  CHECK(value(auc(Column{1, 2, 3, 4}, Column{1, 1, 0, 0})) == 0);
  CHECK(value(auc(Column{5, 5, 5}, Column{0, 1, 0})) == 0.5);
  CHECK(value(auc(Column{1, 2, 2, 3}, Column{0, 0, 1, 1})) == 0.875);
  CHECK(value(auc(Column{-kInfinity, kInfinity}, Column{0, 1})) == 1);
}

TEST_CASE("auc is the share of the pairs in the right order") {
  Random random(1);
  for (int round = 0; round < 50; ++round) {
    const size_t n = 2 + random.engine() % 80;
    const Column score = random.column(n, 12), label = random.labels(n);
    double right = 0, pairs = 0;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        if (label[i] == 1 && label[j] == 0) {
          right += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
          ++pairs;
        }
    const Metric got = auc(score, label);
    CHECK(got.has_value() == (pairs > 0));
    if (got) CHECK(*got == about(right / pairs));
  }
}

TEST_CASE("pr_auc by hand") {
  // Ranked: 0.8 (1), 0.4 (0), 0.35 (1), 0.1 (0): precision 1 at recall 1/2, 2/3 at recall 1.
  CHECK(value(pr_auc(Column{0.1, 0.4, 0.35, 0.8}, Column{0, 0, 1, 1})) == about(0.5 * 1 + 0.5 * 2 / 3));
  CHECK(value(pr_auc(Column{1, 1, 1, 1}, Column{0, 1, 0, 0})) == 0.25);
  CHECK(value(pr_auc(Column{2, 2, 1}, Column{1, 0, 1})) == about(0.5 * 0.5 + 0.5 * 2 / 3));
  CHECK(value(pr_auc(Column{3, 2}, Column{1, 1})) == 1);
}

TEST_CASE("pr_auc is the sum over thresholds") {
  Random random(2);
  for (int round = 0; round < 50; ++round) {
    const size_t n = 1 + random.engine() % 60;
    const Column score = random.column(n, 9), label = random.labels(n);
    const double positives = std::accumulate(label.begin(), label.end(), 0.0);
    Column thresholds = score;
    std::sort(thresholds.begin(), thresholds.end(), std::greater<>());
    thresholds.erase(std::unique(thresholds.begin(), thresholds.end()), thresholds.end());
    double sum = 0, recall = 0;
    for (const double threshold : thresholds) {
      double taken = 0, found = 0;
      for (size_t i = 0; i < n; ++i)
        if (score[i] >= threshold) ++taken, found += label[i];
      sum += (found / positives - recall) * found / taken;
      recall = found / positives;
    }
    const Metric got = pr_auc(score, label);
    CHECK(got.has_value() == (positives > 0));
    if (got) CHECK(*got == about(sum));
  }
}

TEST_CASE("log_loss and rmse by hand") {
  CHECK(value(log_loss(Column{0.5, 0.5}, Column{0, 1})) == about(std::log(2.0)));
  CHECK(value(log_loss(Column{0.9, 0.2}, Column{1, 0})) == about(-(std::log(0.9) + std::log(0.8)) / 2));
  CHECK(value(log_loss(Column{0.25}, Column{0.25})) == about(-0.25 * std::log(0.25) - 0.75 * std::log(0.75)));
  CHECK(value(log_loss(Column{0}, Column{1})) == about(-std::log(1e-15)));
  CHECK(value(log_loss(Column{1}, Column{0})) == doctest::Approx(-std::log(1e-15)).epsilon(1e-2));
  CHECK(value(log_loss(Column{1}, Column{1})) < 1e-14);
  CHECK(value(rmse(Column{1, 2, 3}, Column{1, 2, 5})) == about(std::sqrt(4.0 / 3)));
  CHECK(value(rmse(Column{1}, Column{1})) == 0);
}

TEST_CASE("spearman by hand") {
  CHECK(value(spearman(Column{1, 2, 3, 4, 5}, Column{5, 6, 7, 8, 7})) == about(0.8207826816681233));
  CHECK(value(spearman(Column{1, 2, 3}, Column{10, 100, 1000})) == about(1));
  CHECK(value(spearman(Column{1, 2, 3}, Column{3, 2, 1})) == about(-1));
  // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
  CHECK(value(spearman(Column{0, 1, 1, 2}, Column{1, 2, 3, 4})) == about(4.5 / std::sqrt(4.5 * 5)));
}

TEST_CASE("spearman is Pearson on ranks counted one by one") {
  Random random(3);
  const auto ranks = [](const Column& x) {
    Column out;
    for (const double a : x) {
      double below = 0, equal = 0;
      for (const double b : x) below += b < a, equal += b == a;
      out.push_back(below + (equal + 1) / 2);
    }
    return out;
  };
  for (int round = 0; round < 50; ++round) {
    const size_t n = 3 + random.engine() % 60;
    const Column a = random.column(n, 7), b = random.column(n, 30);
    const Column x = ranks(a), y = ranks(b);
    const double count = static_cast<double>(n);
    const double mx = std::accumulate(x.begin(), x.end(), 0.0) / count,
                 my = std::accumulate(y.begin(), y.end(), 0.0) / count;
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; ++i)
      xx += (x[i] - mx) * (x[i] - mx), yy += (y[i] - my) * (y[i] - my), xy += (x[i] - mx) * (y[i] - my);
    if (xx > 0 && yy > 0)
      CHECK(value(spearman(a, b)) == doctest::Approx(xy / std::sqrt(xx * yy)).epsilon(1e-9));
  }
}

TEST_CASE("ndcg by hand") {
  CHECK(graded_gain(1) == 0);
  CHECK(graded_gain(2) == 1);
  CHECK(graded_gain(3) == 3);
  const double second = 1 / std::log2(3.0), third = 0.5;
  const Column relevance{3, 2, 1};
  const Groups one{7, 7, 7};
  CHECK(value(ndcg(Column{3, 2, 1}, relevance, one, 10, graded_gain)) == about(1));
  CHECK(value(ndcg(Column{1, 2, 3}, relevance, one, 10, graded_gain)) ==
        about((second + 3 * third) / (3 + second)));
  CHECK(value(ndcg(Column{1, 2, 3}, relevance, one, 1, graded_gain)) == 0);
  CHECK(value(ndcg(Column{1, 2, 3}, relevance, one, 2, graded_gain)) == about(second / (3 + second)));
  // A tie of the first two: each gains 2.
  CHECK(value(ndcg(Column{2, 2, 1}, relevance, one, 10, graded_gain)) ==
        about((2 + 2 * second) / (3 + second)));
  CHECK(value(ndcg(Column{2, 2, 1}, relevance, one, 1, graded_gain)) == about(2.0 / 3));
  // Groups of one row (2), without a gain (3) and a good one (1), not adjacent.
  const Groups groups{1, 2, 3, 1, 3};
  CHECK(value(ndcg(Column{1, 1, 1, 2, 2}, Column{3, 3, 1, 2, 1}, groups, 10, graded_gain)) ==
        about((1 + 3 * second) / (3 + second)));
  CHECK(!ndcg(Column{1, 2}, Column{1, 1}, Groups{1, 1}, 10, graded_gain));
  CHECK(!ndcg(Column{1, 2}, Column{3, 3}, Groups{1, 2}, 10, graded_gain));
  CHECK(value(ndcg(Column{1, 2}, Column{0, 5}, Groups{1, 1}, 10, [](double g) { return g; })) == about(1));
}

TEST_CASE("ndcg of ties is the mean over all orders") {
  Random random(4);
  for (int round = 0; round < 30; ++round) {
    const size_t n = 2 + random.engine() % 5;
    const int64_t k = 1 + static_cast<int64_t>(random.engine() % 6);
    const Column score = random.column(n, 3);
    Column relevance(n);
    for (double& r : relevance) r = 1 + static_cast<double>(random.engine() % 3);
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    double best = 0, sum = 0, orders = 0;
    do {
      double dcg = 0;
      for (size_t r = 0; r < std::min(n, static_cast<size_t>(k)); ++r)
        dcg += graded_gain(relevance[order[r]]) / std::log2(static_cast<double>(r) + 2);
      best = std::max(best, dcg);
      if (std::is_sorted(order.begin(), order.end(), [&](size_t a, size_t b) { return score[a] > score[b]; }))
        sum += dcg, ++orders;
    } while (std::next_permutation(order.begin(), order.end()));
    const Metric got = ndcg(score, relevance, Groups(n, 1), k, graded_gain);
    CHECK(got.has_value() == (best > 0));
    if (got) CHECK(*got == about(sum / orders / best));
  }
}

TEST_CASE("calibration_error by hand") {
  CHECK(value(calibration_error(Column{0.5, 0.5}, Column{0, 1})) == 0);
  CHECK(value(calibration_error(Column{1, 0}, Column{1, 0})) == 0);
  CHECK(value(calibration_error(Column{1, 0}, Column{0, 1})) == 1);
  // Two bins: {0.1, 0.3} with labels {0, 1} and {0.9} with 1: 2/3 · |0.5 − 0.2| + 1/3 · 0.1.
  CHECK(value(calibration_error(Column{0.1, 0.3, 0.9}, Column{0, 1, 1}, 2)) ==
        about(2.0 / 3 * 0.3 + 0.1 / 3));
  CHECK(value(calibration_error(Column{0.2, 0.6}, Column{0.6, 0.2}, 1)) == doctest::Approx(0).epsilon(1e-15));
  CHECK(value(calibration_error(Column{0.2, 0.6}, Column{0.6, 0.2}, 2)) == about(0.4));
}

TEST_CASE("the order of the rows does not matter") {
  Random random(5);
  const size_t n = 300;
  const Column p = random.column(n, 40), y = random.labels(n), grade = random.column(n, 5);
  Groups group(n);
  for (int64_t& g : group) g = static_cast<int64_t>(random.engine() % 40);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random.engine);
  Column p2, y2, grade2;
  Groups group2;
  for (const size_t i : order) {
    p2.push_back(p[i]);
    y2.push_back(y[i]);
    grade2.push_back(grade[i]);
    group2.push_back(group[i]);
  }
  const auto gain = [](double g) { return g; };
  CHECK(value(auc(p, y)) == value(auc(p2, y2)));
  CHECK(value(pr_auc(p, y)) == value(pr_auc(p2, y2)));
  CHECK(value(ndcg(p, grade, group, 5, gain)) == value(ndcg(p2, grade2, group2, 5, gain)));
  CHECK(value(spearman(p, grade)) == about(value(spearman(p2, grade2))));
  CHECK(value(log_loss(p, y)) == about(value(log_loss(p2, y2))));
  CHECK(value(rmse(p, y)) == about(value(rmse(p2, y2))));
  CHECK(value(calibration_error(p, y)) == about(value(calibration_error(p2, y2))));
}

TEST_CASE("what is not defined is null, never NaN") {
  const Column none, one{1}, two{1, 2}, same{3, 3}, nan{kNan, 1}, zeros{0, 0}, ones{1, 1}, mixed{0, 1};
  const Groups pair{1, 1};
  for (const auto metric : {auc, pr_auc, log_loss, rmse, spearman}) {
    CHECK(!metric(none, none));
    CHECK(!metric(nan, mixed));
    CHECK(!metric(mixed, nan));
  }
  CHECK(!auc(two, zeros));
  CHECK(!auc(two, ones));
  CHECK(!pr_auc(two, zeros));
  CHECK(!spearman(one, one));
  CHECK(!spearman(two, same));
  CHECK(!spearman(same, two));
  CHECK(!rmse(Column{kInfinity}, one));
  CHECK(!ndcg(nan, two, pair, 5, graded_gain));
  CHECK(!ndcg(none, none, Groups{}, 5, graded_gain));
  CHECK(!calibration_error(none, none));
  CHECK(!calibration_error(nan, mixed));
}

TEST_CASE("misuse is refused") {
  const Column two{0, 1}, three{0, 1, 1};
  for (const auto metric : {auc, pr_auc, log_loss, rmse, spearman})
    test::check_fails(
        Fault::bug, [&] { metric(two, three); }, "columns differ in length; got 2 and 3");
  test::check_fails(
      Fault::bug,
      [&] {
        auc(two, Column{0, 0.5});
      },
      "auc: got the label 0.5; expected 0 or 1");
  test::check_fails(
      Fault::bug,
      [&] {
        log_loss(two, Column{0, 2});
      },
      "got the label 2; expected 0 to 1");
  test::check_fails(
      Fault::bug,
      [&] {
        calibration_error(Column{2, 0}, two);
      },
      "got the probability 2");
  test::check_fails(
      Fault::bug, [&] { calibration_error(two, two, 0); }, "got 0 bins");
  test::check_fails(
      Fault::bug, [&] { ndcg(two, two, Groups{1}, 5, graded_gain); }, "got 2 and 1");
  test::check_fails(
      Fault::bug,
      [&] {
        ndcg(two, two, Groups{1, 1}, 0, graded_gain);
      },
      "got k = 0");
  test::check_fails(
      Fault::bug,
      [&] {
        ndcg(two, two, Groups{1, 1}, 5, graded_gain);
      },
      "got the gain -0.5");
}

}  // namespace
}  // namespace steelyard
