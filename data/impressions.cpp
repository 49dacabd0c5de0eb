#include "data/impressions.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"
#include "data/dice.h"

namespace steelyard {
namespace {

constexpr std::array kDevices = {"phone", "tablet", "desktop"};
constexpr std::array kHours = {"morning", "afternoon", "evening"};
constexpr int kPhone = 0, kDesktop = 2, kMorning = 0, kEvening = 2;
constexpr std::array kDiscounts = {0, 0, 0, 10, 20, 30};
constexpr double kUnknown = 0.1;

std::vector<Impressions::Appeal> appeals(int64_t seed, const char* purpose, size_t count) {
  std::vector<Impressions::Appeal> out(count);
  for (size_t i = 0; i < count; ++i) {
    Dice dice(seed, purpose, static_cast<int64_t>(i));
    for (int& each : out[i]) each = dice.below(3) - 1;
  }
  return out;
}

}  // namespace

double Impressions::chance(int score) {
  const double odds = std::ldexp(1.0, score);
  return odds / (1 + odds);
}

Metric Impressions::oracle_auc(size_t goal, std::span<const size_t> wanted) const {
  std::vector<double> chances, labels;
  for (const size_t row : wanted) {
    chances.push_back(chance(rows[row].score[goal]));
    labels.push_back(rows[row].label[goal]);
  }
  return auc(chances, labels);
}

Impressions make_impressions(const Market& market, const Shoppers& shoppers,
                             const ImpressionsConfig& config) {
  require(config.each >= 1 && config.each <= 1000, "impressions.each", config.each, "1 … 1000");
  Impressions made;
  made.of_category = appeals(config.seed, "appeal of a category", market.categories.size());
  made.of_brand = appeals(config.seed, "appeal of a brand", market.brands.size());
  const std::vector<int> levels = price_levels(market);
  for (size_t s = 0; s < shoppers.profiles.size(); ++s) {
    Dice dice(config.seed, "impressions", static_cast<int64_t>(s));
    made.age_known.push_back(!dice.chance(kUnknown));
    made.city_known.push_back(!dice.chance(kUnknown));
    int bought = 0;
    for (int i = 0; i < config.each; ++i) {
      Impressions::Shown row{.shopper = static_cast<int32_t>(s)};
      row.product = dice.below(static_cast<int>(market.products.size()));
      row.device = dice.below(static_cast<int>(kDevices.size()));
      row.hours = dice.below(static_cast<int>(kHours.size()));
      row.position = 1 + dice.below(10);
      row.delivery = 1 + dice.below(7);
      row.delivery_known = !dice.chance(kUnknown);
      row.discount = dice.one_of(kDiscounts);
      row.since = i == 0 ? 0 : 1 + dice.below(30);
      row.bought = bought;

      const Product& product = market.products[static_cast<size_t>(row.product)];
      const Impressions::Appeal &category = made.of_category[static_cast<size_t>(product.category)],
                                &brand = made.of_brand[static_cast<size_t>(product.brand)];
      const auto appeal = [&](size_t goal) { return 2 * (category[goal] + brand[goal]); };
      const int level = levels[static_cast<size_t>(row.product)];
      const int fit = 1 - std::abs(level - shoppers.profiles[s].age), regular = bought >= 2;
      row.score = {
          -5 + appeal(0) + fit + (row.delivery <= 2) + (row.discount >= 20) - (row.position > 5) + regular,
          -2 + appeal(1) + level + (row.device == kPhone) + (row.hours == kEvening) - (row.position > 3) -
              (row.position > 6),
          -1 + appeal(2) + (row.device == kDesktop) - (row.hours == kMorning) + (row.delivery > 4) - regular};
      for (size_t goal = 0; goal < Impressions::kGoals; ++goal)
        row.label[goal] = dice.chance(Impressions::chance(row.score[goal]));
      bought += row.label[0];
      made.rows.push_back(row);
    }
  }
  return made;
}

Impressions write_impressions(const std::filesystem::path& folder, const Market& market,
                              const Shoppers& shoppers, const ImpressionsConfig& config) {
  Impressions made = make_impressions(market, shoppers, config);
  const std::vector<int> levels = price_levels(market);
  std::string table =
      "user\tcategory\tbrand\tprice_level\tage\tcity\tdevice\thours\tposition\tprice\tdelivery_"
      "days\tdiscount\t"
      "days_since\tearlier_buys";
  std::string chances = "user";
  for (const char* name : Impressions::kNames) table += text("\t", name), chances += text("\t", name);
  table += '\n', chances += '\n';
  for (const Impressions::Shown& row : made.rows) {
    const auto s = static_cast<size_t>(row.shopper), p = static_cast<size_t>(row.product);
    const Product& product = market.products[p];
    const ShopperProfile& profile = shoppers.profiles[s];
    const std::string user = Shoppers::name(s);
    table += text(user, '\t', market.categories[static_cast<size_t>(product.category)], '\t',
                  market.brands[static_cast<size_t>(product.brand)], '\t', levels[p], '\t',
                  made.age_known[s] ? Shoppers::kAges[static_cast<size_t>(profile.age)] : "", '\t',
                  made.city_known[s] ? Shoppers::kCities[static_cast<size_t>(profile.city)] : "", '\t',
                  kDevices[static_cast<size_t>(row.device)], '\t', kHours[static_cast<size_t>(row.hours)],
                  '\t', row.position, '\t', number(static_cast<double>(product.cents) / 100), '\t',
                  row.delivery_known ? std::to_string(row.delivery) : "", '\t', row.discount, '\t',
                  row.since ? std::to_string(row.since) : "", '\t', row.bought);
    chances += user;
    for (size_t goal = 0; goal < Impressions::kGoals; ++goal) {
      table += row.label[goal] ? "\t1" : "\t0";
      chances += '\t' + number(Impressions::chance(row.score[goal]));
    }
    table += '\n', chances += '\n';
  }
  write_atomically(folder / "impressions.tsv", table);
  write_atomically(folder / "impressions_chances.tsv", chances);
  return made;
}

}  // namespace steelyard
