// Impressions of the market: products that the shop showed to its shoppers, one row each, with three goals that are known
// to be in conflict, so that methods for several tasks can be tried without data. Nothing measured here says anything about
// a real shop.
//
// Each category and each brand has three hidden numbers out of −1, 0 and 1, drawn independently: worth makes bought, show
// makes looked at, dream makes put aside. With a category's and a brand's summed, the odds of a goal are 2^score,
//
//   buy       −5 + 2 worth + 1 − |price level − age group| + [delivery ≤ 2 days] + [discount ≥ 20 %]
//                − [position > 5] + [two earlier purchases or more]
//   click     −2 + 2 show + price level + [phone] + [evening] − [position > 3] − [position > 6]
//   bookmark  −1 + 2 dream + [desktop] − [morning] + [delivery > 4 days] − [two earlier purchases or more]
//
// Why they conflict: the three numbers stand at right angles, so what a network knows of a brand for one goal tells it
// nothing for another, and an embedding of two columns holds two of them. A third goal costs one of the others. Purchases
// are the rarest, so their loss is the smallest and has the least to gain: whoever minimises the sum gives them up first.
// Dear products are looked at and, but by the oldest, not bought; slow ones are put aside and not bought.
//
// Of some shoppers the age or the city is not known, of some products the delivery; the odds know all. The city and the
// days since the last impression mean nothing. Streams are of its own, and scores whole: the other files stay as they
// are, and the same impressions come out on every machine.
#pragma once

#include <array>
#include <span>

#include "data/metrics.h"
#include "data/shoppers.h"

namespace steelyard {

struct ImpressionsConfig {
  int64_t seed = 1;
  int each = 22;

  template <class F>
  void fields(F&& f) {
    f("seed", seed, "the impressions are a function of it, of market, shoppers and the options here");
    f("each", each, "impressions of each shopper");
  }
};

struct Impressions {
  static constexpr size_t kGoals = 3;
  static constexpr const char* kNames[kGoals] = {"buy", "click", "bookmark"};
  using Appeal = std::array<int, kGoals>;  // worth, show, dream

  struct Shown {
    int32_t shopper = 0, product = 0;
    int device = 0, hours = 0;   // places in their names
    int position = 1;            // on the page, to 10
    int delivery = 1;            // days, to 7
    int discount = 0;            // per cent
    int since = 0;               // days since the shopper's last one; 0: it is the first
    int bought = 0;              // of those before
    bool delivery_known = true;  // is the cell filled?
    std::array<int, kGoals> score = {};
    std::array<bool, kGoals> label = {};
  };
  std::vector<Appeal> of_category, of_brand;  // by place in Market
  std::vector<bool> age_known, city_known;    // by shopper
  std::vector<Shown> rows;                    // by shopper

  static double chance(int score);  // of a label
  // The AUC of the true chances, which no model passes but by luck.
  Metric oracle_auc(size_t goal, std::span<const size_t> rows) const;
};

// Error(usage) if an option is out of range.
Impressions make_impressions(const Market& market, const Shoppers& shoppers, const ImpressionsConfig& config);

// Makes them and writes them into the folder of write_market, as TSV files with headers:
//   impressions.tsv          user, category, brand, price_level, age, city, device, hours, position, price, delivery_days,
//                            discount, days_since, earlier_buys, buy, click, bookmark (1 or 0)
//   impressions_chances.tsv  user, buy, click, bookmark: the true chances of the same rows, for those who ask what a model has
//                            found. No model may read it.
Impressions write_impressions(const std::filesystem::path& folder, const Market& market,
                              const Shoppers& shoppers, const ImpressionsConfig& config);

}  // namespace steelyard
