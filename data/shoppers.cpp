#include "data/shoppers.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <map>
#include <numeric>
#include <span>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"
#include "data/dice.h"

namespace steelyard {
namespace {

constexpr int64_t kHour = 3600, kDay = 24 * kHour;
constexpr int kLevels = 4;

// A visit begins in these hours in proportion to the numbers, and ends on the same day.
constexpr std::array kHours = {0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 4, 4, 3, 3, 3, 4, 5, 7, 9, 10, 9, 5};

// The market as shoppers find it.
struct Shop {
  const Market& market;
  const ShoppersConfig& config;
  std::vector<std::vector<int>> shelves{market.categories.size()};  // products by category
  std::vector<std::vector<int>> of_brand{market.brands.size()};     // products by brand
  std::vector<int> levels = price_levels(market);
  std::vector<double> popularity;

  Shop(const Market& m, const ShoppersConfig& c) : market(m), config(c) {
    for (int p = 0; p < static_cast<int>(m.products.size()); ++p) {
      shelves[static_cast<size_t>(product(p).category)].push_back(p);
      of_brand[static_cast<size_t>(product(p).brand)].push_back(p);
      popularity.push_back(1.0 / (1 + Dice(c.seed, "popularity", p).below(8)));
    }
  }

  const Product& product(int p) const { return market.products[static_cast<size_t>(p)]; }
  const Product& any(Dice& dice) const { return dice.one_of(market.products); }
  int64_t end() const { return Shoppers::kStart + 7 * kDay * config.weeks; }

  Taste taste(Dice& dice) const {
    Taste taste;
    taste.since = Shoppers::kStart;
    taste.brand = any(dice).brand;
    const std::vector<int>& sold = of_brand[static_cast<size_t>(taste.brand)];
    for (int i = 0; i < 3; ++i) taste.categories.push_back(product(dice.one_of(sold)).category);
    std::sort(taste.categories.begin(), taste.categories.end());
    taste.categories.erase(std::unique(taste.categories.begin(), taste.categories.end()),
                           taste.categories.end());
    taste.price_level = dice.below(kLevels);
    const std::vector<int>& attributes = product(dice.one_of(sold)).attributes;
    if (dice.chance(0.5) && !attributes.empty()) taste.attribute = dice.one_of(attributes);
    taste.decisiveness = (1 + dice.below(10)) / 10.0;
    return taste;
  }
};

// One shopper over the weeks.
class Visitor {
 public:
  Visitor(const Shop& shop, int number, const Taste& early, const Taste& late)
      : shop_(shop),
        number_(number),
        early_(early),
        late_(late),
        dice_(shop.config.seed, "visits", number),
        page_dice_(shop.config.seed, "pages", number),
        liking_(key_of(static_cast<uint64_t>(shop.config.seed), "liking", number)) {}

  void watch(std::vector<ShopperEvent>& events, std::vector<Page>& pages) {
    const double often = shop_.config.visits * (0.5 + dice_.uniform());
    for (int day = 0; day < 7 * shop_.config.weeks; ++day) {
      const bool weekend = day % 7 >= 5;
      if (!dice_.chance(often * (weekend ? 1.5 : 1))) continue;
      const int& hour = dice_.one_of(kHours, [](int weight) { return weight; });
      now_ = Shoppers::kStart + day * kDay + (&hour - kHours.data()) * kHour + dice_.below(kHour);
      taste_ = now_ < late_.since ? &early_ : &late_;
      const size_t before = events.size();
      const int64_t began = now_;
      const int category = visit(events);
      const std::span<const ShopperEvent> visited(events.begin() + static_cast<std::ptrdiff_t>(before),
                                                  events.end());
      if (visited.back().behaviour == Shoppers::buy || page_dice_.chance(kPaged))
        pages.push_back(page(visited, began - 1, category));
    }
  }

 private:
  struct Seen {
    int product, mark;  // the furthest that it came: click, bookmark or cart
  };
  struct Need {
    int category;
    std::vector<Seen> seen;
  };
  static constexpr int kMostUtility = 9;
  static constexpr double kResumed = 0.7, kFavourite = 0.85, kAgain = 0.4, kMore = 0.65, kPaged = 0.05;
  static constexpr size_t kPage = 10;
  static constexpr size_t kMostNeeds = 3;
  static constexpr int64_t kSatisfied = 28 * kDay;

  int utility(int p) const {
    const Product& product = shop_.product(p);
    const bool has = std::find(product.attributes.begin(), product.attributes.end(), taste_->attribute) !=
                     product.attributes.end();
    const int off = std::abs(shop_.levels[static_cast<size_t>(p)] - taste_->price_level);
    const auto liking = static_cast<int>(random_bits(liking_, static_cast<uint64_t>(p)) % 3);
    return 3 * (product.brand == taste_->brand) + std::max(0, 2 - off) + 2 * has + liking;
  }

  bool satisfied(int category) const { return satisfied_[static_cast<size_t>(category)] > now_; }

  // One that is open, or a new one, for which the oldest is forgotten.
  size_t choose_need() {
    if (!needs_.empty() && dice_.chance(kResumed))
      return static_cast<size_t>(dice_.below(static_cast<int>(needs_.size())));
    int category = 0;
    do category = dice_.chance(kFavourite) ? dice_.one_of(taste_->categories) : shop_.any(dice_).category;
    while (satisfied(category));
    if (needs_.size() == kMostNeeds) needs_.erase(needs_.begin());
    needs_.push_back({category, {}});
    return needs_.size() - 1;
  }

  Seen& look(Need& need) {
    std::vector<Seen>& seen = need.seen;
    if (!seen.empty() && dice_.chance(kAgain))
      return dice_.one_of(seen, [&](const Seen& s) { return 1 << (utility(s.product) + 2 * s.mark); });
    const std::vector<int>& shelf = shop_.shelves[static_cast<size_t>(need.category)];
    const int product = dice_.one_of(
        shelf, [&](int p) { return shop_.popularity[static_cast<size_t>(p)] * (1 << utility(p)); });
    for (Seen& s : seen)
      if (s.product == product) return s;
    seen.push_back({product, Shoppers::click});
    return seen.back();
  }

  // What was looked at of the category, and others of it at random, in the order of the catalogue.
  Page page(std::span<const ShopperEvent> visited, int64_t time, int category) {
    std::map<int32_t, int> shown;
    for (const ShopperEvent& event : visited)
      if (shop_.product(event.product).category == category) {
        int& mark = shown.emplace(event.product, -1).first->second;
        mark = std::max(mark, event.behaviour);
      }
    const std::vector<int>& shelf = shop_.shelves[static_cast<size_t>(category)];
    for (size_t tries = 0; shown.size() < kPage && tries < 4 * kPage; ++tries)
      shown.emplace(page_dice_.one_of(shelf), -1);
    Page page{number_, time, category, {}};
    for (const auto& [product, mark] : shown) page.shown.push_back({product, mark});
    return page;
  }

  // Gives the category of the need that it served.
  int visit(std::vector<ShopperEvent>& events) {
    const auto add = [&](int product, Shoppers::Behaviour behaviour) {
      events.push_back({number_, product, behaviour, now_});
      now_ += 10 + dice_.below(110);
    };
    const size_t chosen = choose_need();
    Need& need = needs_[chosen];
    const int category = need.category;
    do {
      if (dice_.chance(shop_.config.careless)) {
        add(dice_.below(static_cast<int>(shop_.market.products.size())), Shoppers::click);
        continue;
      }
      Seen& seen = look(need);
      add(seen.product, Shoppers::click);
      const double want = static_cast<double>(utility(seen.product)) / kMostUtility;
      constexpr double kBuys[] = {0.1, 0.5, 0.9};  // by mark
      if (dice_.chance(kBuys[seen.mark] * want * taste_->decisiveness)) {
        add(seen.product, Shoppers::buy);
        satisfied_[static_cast<size_t>(category)] = now_ + kSatisfied;
        needs_.erase(needs_.begin() + static_cast<std::ptrdiff_t>(chosen));
        return category;
      }
      const auto mark = dice_.chance(0.8 * want * want) ? Shoppers::cart
                        : dice_.chance(0.3 * want)      ? Shoppers::bookmark
                                                        : Shoppers::click;
      if (mark > seen.mark) seen.mark = mark, add(seen.product, mark);
    } while (dice_.chance(kMore));
    return category;
  }

  const Shop& shop_;
  const int number_;
  const Taste &early_, &late_, *taste_ = nullptr;
  Dice dice_, page_dice_;
  const uint64_t liking_;
  int64_t now_ = 0;
  std::vector<Need> needs_;                                                      // open ones, oldest first
  std::vector<int64_t> satisfied_ = std::vector<int64_t>(shop_.shelves.size());  // until when, by category
};

void check_config(const ShoppersConfig& config) {
  require(config.shoppers >= 1 && config.shoppers <= 100'000, "shoppers.shoppers", config.shoppers,
          "1 … 100000");
  require(config.weeks >= 2 && config.weeks <= 520, "shoppers.weeks", config.weeks, "2 … 520");
  for (const auto& [key, share] : {std::pair{"shoppers.visits", config.visits},
                                   {"shoppers.careless", config.careless},
                                   {"shoppers.drifting", config.drifting}})
    require(share >= 0 && share <= 1, key, share, "0 … 1");
}

std::string date(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  char out[32];
  return {out, std::strftime(out, sizeof out, "%Y-%m-%d %H:%M:%S", &parts)};
}

}  // namespace

namespace {

// The products of each category by price.
std::vector<std::vector<std::pair<int64_t, int>>> by_price(const Market& market) {
  std::vector<std::vector<std::pair<int64_t, int>>> shelves(market.categories.size());  // price and product
  for (int p = 0; p < static_cast<int>(market.products.size()); ++p) {
    const Product& product = market.products[static_cast<size_t>(p)];
    shelves[static_cast<size_t>(product.category)].emplace_back(product.cents, p);
  }
  for (auto& shelf : shelves) std::sort(shelf.begin(), shelf.end());
  return shelves;
}

void write_pages(const std::filesystem::path& folder, const Shop& shop, const Shoppers& made) {
  const Market& market = shop.market;
  std::vector<double> dear(market.products.size());  // place in the category, from 0 to 1
  for (const auto& shelf : by_price(market))
    for (size_t i = 0; i < shelf.size(); ++i)
      dear[static_cast<size_t>(shelf[i].second)] =
          (static_cast<double>(i) + 1) / static_cast<double>(shelf.size() + 1);
  std::string pages = "user\ttime\tquery\titem\tpopularity\tcheap\tdear\timportance\tclick\tbuy\n";
  std::string purchases = "user\ttime\tquery\tprice_level\n";
  for (const Page& page : made.pages) {
    const std::string of_visit = Shoppers::name(static_cast<size_t>(page.shopper)) + '\t' + date(page.time) +
                                 '\t' + market.categories[static_cast<size_t>(page.category)] + '\t';
    for (const Page::Shown& shown : page.shown) {
      const auto product = static_cast<size_t>(shown.product);
      const bool bought = shown.mark == Shoppers::buy;
      pages += of_visit + market.products[product].id + '\t' + number(shop.popularity[product]) + '\t' +
               number(1 - dear[product]) + '\t' + number(dear[product]) + '\t' +
               (bought                         ? "5"
                : shown.mark == Shoppers::cart ? "2"
                                               : "1") +
               '\t' + (shown.mark >= 0 ? "1" : "0") + '\t' +
               (shown.mark < 0 ? ""
                : bought       ? "1"
                               : "0") +
               '\n';
      if (bought) purchases += of_visit + std::to_string(shop.levels[product]) + '\n';
    }
  }
  write_atomically(folder / "pages.tsv", pages);
  write_atomically(folder / "purchases.tsv", purchases);
}

}  // namespace

std::string Shoppers::name(size_t shopper) {
  const std::string digits = std::to_string(shopper + 1);
  return "U" + std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
}

std::vector<int> price_levels(const Market& market) {
  std::vector<int> levels(market.products.size());
  for (const auto& shelf : by_price(market)) {
    for (size_t i = 0; i < shelf.size(); ++i)
      levels[static_cast<size_t>(shelf[i].second)] = static_cast<int>(kLevels * i / shelf.size());
  }
  return levels;
}

Shoppers make_shoppers(const Market& market, const ShoppersConfig& config) {
  check_config(config);
  const Shop shop(market, config);
  Shoppers made;
  for (int shopper = 0; shopper < config.shoppers; ++shopper) {
    Dice dice(config.seed, "taste", shopper);
    const Taste& early = made.early.emplace_back(shop.taste(dice));
    Taste& late = made.late.emplace_back(early);
    if (dice.chance(config.drifting)) {
      late = shop.taste(dice);
      late.decisiveness = early.decisiveness;
      late.since += kDay * (7 * config.weeks * (40 + dice.below(20)) / 100);
    }
    Dice profile(config.seed, "profile", shopper);
    const int age = profile.chance(0.5) ? early.price_level : profile.below(std::size(Shoppers::kAges));
    made.profiles.push_back({age, profile.below(std::size(Shoppers::kCities))});
    Visitor(shop, shopper, early, late).watch(made.events, made.pages);
  }
  std::stable_sort(made.events.begin(), made.events.end(),
                   [](const ShopperEvent& a, const ShopperEvent& b) { return a.time < b.time; });
  return made;
}

Shoppers write_shoppers(const std::filesystem::path& folder, const Market& market,
                        const ShoppersConfig& config) {
  Shoppers made = make_shoppers(market, config);
  std::string events = "user\titem\tbehaviour\ttime\n";
  for (const ShopperEvent& event : made.events)
    events += Shoppers::name(static_cast<size_t>(event.shopper)) + '\t' +
              market.products[static_cast<size_t>(event.product)].id + '\t' +
              Shoppers::kBehaviours[event.behaviour] + '\t' + date(event.time) + '\n';
  write_atomically(folder / "events.tsv", events);

  const Shop shop(market, config);
  write_pages(folder, shop, made);
  std::string items = "id\tcategory\tbrand\tprice_level\n";
  for (size_t p = 0; p < market.products.size(); ++p) {
    const Product& product = market.products[p];
    items += product.id + '\t' + market.categories[static_cast<size_t>(product.category)] + '\t' +
             market.brands[static_cast<size_t>(product.brand)] + '\t' + std::to_string(shop.levels[p]) + '\n';
  }
  write_atomically(folder / "items.tsv", items);
  std::string users = "user\tage\tcity\n";
  for (size_t i = 0; i < made.early.size(); ++i) {
    const ShopperProfile& profile = made.profiles[i];
    users += Shoppers::name(i) + '\t' + Shoppers::kAges[profile.age] + '\t' +
             Shoppers::kCities[profile.city] + '\n';
  }
  write_atomically(folder / "users.tsv", users);

  std::string tastes = "user\tsince\tbrand\tprice_level\tcategories\tattribute\tdecisiveness\n";
  for (size_t i = 0; i < made.late.size(); ++i) {
    const Taste& taste = made.late[i];
    std::string categories;
    for (const int c : taste.categories)
      categories += (categories.empty() ? "" : "|") + market.categories[static_cast<size_t>(c)];
    tastes += Shoppers::name(i) + '\t' + date(taste.since) + '\t' +
              market.brands[static_cast<size_t>(taste.brand)] + '\t' + std::to_string(taste.price_level) +
              '\t' + categories + '\t' +
              (taste.attribute < 0 ? "" : market.attributes[static_cast<size_t>(taste.attribute)]) + '\t' +
              number(taste.decisiveness) + '\n';
  }
  write_atomically(folder / "shoppers.tsv", tastes);
  return made;
}

}  // namespace steelyard
