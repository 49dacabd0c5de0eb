// The market's impressions (data/impressions.h): the same every time, their labels follow the formulas, and the goals
// compete for what a network can hold.
#include "data/impressions.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/random.h"
#include "data/table.h"
#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;

namespace {

constexpr size_t kGoals = Impressions::kGoals;

struct Made {
  Market market = make_market({});
  Shoppers shoppers = make_shoppers(market, {});
  Impressions impressions = make_impressions(market, shoppers, {});
  std::vector<int> levels = price_levels(market);
};

const Made& made() {
  static const Made once;
  return once;
}
const Impressions& impressions() { return made().impressions; }
const Product& product_of(const Impressions::Shown& row) {
  return made().market.products[static_cast<size_t>(row.product)];
}
Impressions::Appeal appeal_of(const Impressions::Shown& row) {
  const Product& product = product_of(row);
  Impressions::Appeal sum = impressions().of_category[static_cast<size_t>(product.category)];
  for (size_t goal = 0; goal < kGoals; ++goal)
    sum[goal] += impressions().of_brand[static_cast<size_t>(product.brand)][goal];
  return sum;
}

std::vector<size_t> all_rows() {
  std::vector<size_t> rows(impressions().rows.size());
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

template <class F>
std::vector<double> column(F value) {
  std::vector<double> out;
  for (const Impressions::Shown& row : impressions().rows) out.push_back(value(row));
  return out;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n,
               mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

std::string listed(const Impressions& of) {
  std::string out;
  for (const Impressions::Shown& row : of.rows) {
    out += text(row.shopper, " ", row.product, " ", row.position);
    for (const bool label : row.label) out += label ? " 1" : " 0";
  }
  return out;
}

}  // namespace

TEST_CASE("impressions: a function of the seed") {
  CHECK(impressions().rows.size() == 17600);
  CHECK(listed(make_impressions(made().market, made().shoppers, {})) == listed(impressions()));
  const Impressions others = make_impressions(made().market, made().shoppers, {.seed = 2});
  CHECK(listed(others) != listed(impressions()));
  CHECK(others.of_brand != impressions().of_brand);
  // A shopper's first ones do not depend on how many follow.
  const Impressions few = make_impressions(made().market, made().shoppers, {.each = 3});
  REQUIRE(few.rows.size() == 2400);
  bool same = true;
  for (size_t i = 0; i < few.rows.size(); ++i) {
    const Impressions::Shown &one = few.rows[i], &other = impressions().rows[i / 3 * 22 + i % 3];
    same = same && one.product == other.product && one.score == other.score && one.label == other.label;
  }
  CHECK(same);
}

TEST_CASE("impressions: the market's other files are what they have always been") {
  const test::TempDir folder;
  const Market market = write_market(folder.path(), {});
  const Shoppers shoppers = write_shoppers(folder.path(), market, {});
  write_impressions(folder.path(), market, shoppers, {});
  const std::pair<const char*, uint64_t> files[] = {
      {"catalogue.tsv", 0x97419ac4d7dc9e72}, {"relevance_train.tsv", 0x723e6f0731d35b70},
      {"events.tsv", 0x4383a9a564ade41},     {"items.tsv", 0xfaea18d950c5d9d6},
      {"pages.tsv", 0xf5663754e610459},      {"purchases.tsv", 0xf01dd2417651baa5},
      {"shoppers.tsv", 0xae038f0b51890891},  {"users.tsv", 0x4cdcfc0a9513a540}};
  for (const auto& file : files)
    CHECK_MESSAGE(key_part(test::read_file(folder / file.first)) == file.second, file.first);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 6 + 6 + 2);
}

TEST_CASE("impressions: scores are the formulas of the header") {
  std::map<int32_t, int> bought;
  bool same = true;
  for (const Impressions::Shown& row : impressions().rows) {
    const Impressions::Appeal appeal = appeal_of(row);
    const int level = made().levels[static_cast<size_t>(row.product)];
    const int age = made().shoppers.profiles[static_cast<size_t>(row.shopper)].age;
    int buy = -5 + 2 * appeal[0] + 1 - std::abs(level - age), click = -2 + 2 * appeal[1] + level,
        bookmark = -1 + 2 * appeal[2];
    if (row.delivery <= 2) ++buy;
    if (row.discount >= 20) ++buy;
    if (row.position > 5) --buy;
    if (bought[row.shopper] >= 2) ++buy, --bookmark;
    if (row.device == 0) ++click;
    if (row.hours == 2) ++click;
    if (row.position > 3) --click;
    if (row.position > 6) --click;
    if (row.device == 2) ++bookmark;
    if (row.hours == 0) --bookmark;
    if (row.delivery > 4) ++bookmark;
    same = same && row.score == std::array<int, kGoals>{buy, click, bookmark} &&
           row.bought == bought[row.shopper];
    bought[row.shopper] += row.label[0];
  }
  CHECK(same);
  CHECK(Impressions::chance(0) == 0.5);
  CHECK(Impressions::chance(1) == doctest::Approx(2.0 / 3));
  CHECK(Impressions::chance(-3) == doctest::Approx(1.0 / 9));
}

TEST_CASE("impressions: labels come as often as their chances say, at every score") {
  for (size_t goal = 0; goal < kGoals; ++goal) {
    std::map<int, std::pair<double, double>> seen;  // by score: rows, labels
    for (const Impressions::Shown& row : impressions().rows) {
      seen[row.score[goal]].first += 1;
      seen[row.score[goal]].second += row.label[goal];
    }
    CHECK(seen.size() > 10);
    for (const auto& at : seen) {
      const double rows = at.second.first, chance = Impressions::chance(at.first);
      const double deviation = std::sqrt(rows * chance * (1 - chance));
      CAPTURE(Impressions::kNames[goal]);
      CAPTURE(at.first);
      CHECK(std::abs(at.second.second - rows * chance) < 4 * deviation + 1);
    }
  }
}

TEST_CASE("impressions: what serves one goal tells nothing of another, and the first has the least to gain") {
  std::vector<double> appeal[kGoals], score[kGoals], label[kGoals];
  double gain[kGoals];  // of a model that knows the truth over one that knows how often
  for (size_t goal = 0; goal < kGoals; ++goal) {
    appeal[goal] = column([&](const auto& row) { return appeal_of(row)[goal]; });
    score[goal] = column([&](const auto& row) { return row.score[goal]; });
    label[goal] = column([&](const auto& row) { return row.label[goal]; });
    const std::vector<double> chance =
        column([&](const auto& row) { return Impressions::chance(row.score[goal]); });
    const double share = std::accumulate(label[goal].begin(), label[goal].end(), 0.0) / 17600;
    gain[goal] = log_loss(std::vector<double>(chance.size(), share), label[goal]).value() -
                 log_loss(chance, label[goal]).value();
    CHECK(correlation(appeal[goal], score[goal]) > 0.8);  // it is most of what there is to know
  }
  for (size_t one = 0; one < kGoals; ++one)
    for (size_t other = 0; other < one; ++other) {
      CAPTURE(one);
      CAPTURE(other);
      CHECK(std::abs(correlation(appeal[one], appeal[other])) < 0.25);
      CHECK(std::abs(auc(score[one], label[other]).value() - 0.5) < 0.15);
    }
  CHECK(gain[1] > 1.5 * gain[0]);
  CHECK(gain[2] > 1.5 * gain[0]);
  // Three directions, not two: of each, the other two explain little.
  for (size_t goal = 0; goal < kGoals; ++goal) {
    const auto &a = appeal[goal], &b = appeal[(goal + 1) % kGoals], &c = appeal[(goal + 2) % kGoals];
    const double ab = correlation(a, b), ac = correlation(a, c), bc = correlation(b, c);
    CHECK((ab * ab + ac * ac - 2 * ab * ac * bc) / (1 - bc * bc) < 0.1);
  }
}

TEST_CASE("impressions: the truth separates well, and not without error") {
  const std::vector<size_t> rows = all_rows();
  for (size_t goal = 0; goal < kGoals; ++goal) {
    const double oracle = impressions().oracle_auc(goal, rows).value();
    CAPTURE(oracle);
    CHECK(oracle > 0.82);
    CHECK(oracle < 0.88);
  }
  CHECK(!impressions().oracle_auc(0, {}).has_value());
}

TEST_CASE("impressions: their files say what was made, with cells that are empty") {
  const test::TempDir folder;
  const Market& market = made().market;
  const Impressions written = write_impressions(folder.path(), market, made().shoppers, {});
  TableReader table(folder / "impressions.tsv",
                    {.required = {"user", "category", "brand", "price_level", "age", "city", "device",
                                  "hours", "position", "price", "delivery_days", "discount", "days_since",
                                  "earlier_buys", "buy", "click", "bookmark"}});
  TableReader chances(folder / "impressions_chances.tsv", {.required = {"user", "buy", "click", "bookmark"}});
  size_t i = 0;
  double no_age = 0, no_city = 0, no_delivery = 0;
  for (Row row, chance; table.next(row); ++i) {
    REQUIRE(chances.next(chance));
    const Impressions::Shown& shown = written.rows[i];
    const auto s = static_cast<size_t>(shown.shopper);
    const Product& product = product_of(shown);
    CHECK(row[0] == Shoppers::name(s));
    CHECK(row[1] == market.categories[static_cast<size_t>(product.category)]);
    CHECK(row[2] == market.brands[static_cast<size_t>(product.brand)]);
    CHECK(row.number(3) == made().levels[static_cast<size_t>(shown.product)]);
    if (row.has(4)) CHECK(row[4] == Shoppers::kAges[made().shoppers.profiles[s].age]);
    if (row.has(5)) CHECK(row[5] == Shoppers::kCities[made().shoppers.profiles[s].city]);
    CHECK(row.number(8, 1, 10) == shown.position);
    CHECK(std::llround(row.number(9) * 100) == product.cents);
    if (row.has(10)) CHECK(row.number(10, 1, 7) == shown.delivery);
    CHECK(row.number(11, 0, 30) == shown.discount);
    CHECK(row.has(12) == (i % 22 != 0));  // the first one of a shopper has none before
    CHECK(row.number(13) == shown.bought);
    no_age += !row.has(4), no_city += !row.has(5), no_delivery += !row.has(10);
    CHECK(chance[0] == row[0]);
    for (size_t goal = 0; goal < kGoals; ++goal) {
      CHECK(row.number(14 + goal, 0, 1) == shown.label[goal]);
      CHECK(chance.number(1 + goal) == Impressions::chance(shown.score[goal]));
    }
  }
  CHECK(i == written.rows.size());
  for (const double empty : {no_age, no_city, no_delivery}) {
    CHECK(empty / static_cast<double>(i) > 0.07);
    CHECK(empty / static_cast<double>(i) < 0.15);
  }
}

TEST_CASE("impressions: options out of range") {
  check_fails(
      Fault::usage, [] { make_impressions(made().market, made().shoppers, {.each = 0}); },
      "impressions.each: 0; expected 1 … 1000");
}
