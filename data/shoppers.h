// Shoppers of the market: what they like is known, what they do follows from it, so that models of users can be tried
// without data, and asked how much of the truth they have found. Nothing measured here says anything about real shoppers.
//
// A shopper visits the shop on some days, in the evening and at weekends rather than otherwise. A visit serves a need: a
// category, mostly a favourite one, until something of it is bought or the need forgotten; what was bought is not needed
// again for weeks, unless two needs of one category were open (some 7 % of the purchases). Products of the category are clicked in proportion to
//
//   popularity · 2^utility,   utility = 3 [the favourite brand] + 2, 1 or 0 [price level hit, next to it, further]
//                                       + 2 [the preferred attribute] + a private liking of 0 … 2
//
// that is by a softmax of the utility, or what was seen before is looked at again, carted and bookmarked products first. The
// useful ones are bookmarked or carted, and bought with a probability that grows with utility and, more, with what happened to
// them before. Some clicks are careless and mean nothing. Some shoppers' taste becomes another in the middle of the weeks.
//
// Some visits are seen as the shop saw them: a query and the page of products that it showed. A shopper's age hints at the
// price level, the city at nothing.
//
// All numbers are whole or products and quotients of such, so the same shoppers come out on every machine.
#pragma once

#include "data/market.h"

namespace steelyard {

struct ShoppersConfig {
  int64_t seed = 1;
  int shoppers = 800;
  int weeks = 10;
  double visits = 0.3;
  double careless = 0.05;
  double drifting = 0.3;

  template <class F>
  void fields(F&& f) {
    f("seed", seed, "the shoppers are a function of it, of the market and of the options here");
    f("shoppers", shoppers, "how many they are");
    f("weeks", weeks, "how long they are watched");
    f("visits", visits, "mean probability of a visit on a working day; half as much again at weekends");
    f("careless", careless, "share of clicks on a product at random");
    f("drifting", drifting, "share of shoppers whose taste becomes another in the middle");
  }
};

// What a shopper likes.
struct Taste {
  int64_t since = 0;            // as times of events
  int brand = 0;                // in Market::brands
  std::vector<int> categories;  // in Market::categories, ascending: up to three that have the brand
  int price_level = 0;          // quartile of the prices in a category: 0 cheap … 3 dear
  int attribute = -1;           // in Market::attributes; −1: none
  double decisiveness = 0;      // from 0 (looks around) to 1 (buys); a character, which does not drift
};

struct ShopperEvent {
  int32_t shopper = 0, product = 0,
          behaviour = 0;  // in Shoppers::early, Market::products, Shoppers::kBehaviours
  int64_t time = 0;       // seconds since 1970
};

// What a shopper says about himself: places in Shoppers::kAges and kCities.
struct ShopperProfile {
  int age = 0, city = 0;
};

// A visit as the shop saw it.
struct Page {
  struct Shown {
    int32_t product;
    int mark;  // the furthest that it came: −1, or a Shoppers::Behaviour
  };
  int32_t shopper = 0;
  int64_t time = 0;  // before the visit's first event
  int category = 0;  // whose name was the query
  std::vector<Shown> shown;
};

struct Shoppers {
  enum Behaviour : int32_t { click, bookmark, cart, buy };
  static constexpr const char* kBehaviours[] = {"click", "bookmark", "cart", "buy"};
  static constexpr const char* kAges[] = {"18-29", "30-44", "45-59", "60-"};
  static constexpr const char* kCities[] = {"Ashford", "Brook", "Coleby", "Dunmore", "Elmswell"};
  static constexpr int64_t kStart = 1704067200;  // of the first week: Monday, 2024-01-01
  static std::string name(size_t shopper);       // in the files

  std::vector<Taste> early, late;        // of each shopper; the late one is the early one unless it drifts
  std::vector<ShopperProfile> profiles;  // of each shopper
  std::vector<ShopperEvent> events;      // in the order of time; a shopper's times differ
  std::vector<Page> pages;               // of some visits, and of every one that ended in a purchase
};

// Of a market in English. Error(usage) if an option is out of range.
Shoppers make_shoppers(const Market& market, const ShoppersConfig& config);
// The price level of each product.
std::vector<int> price_levels(const Market& market);

// Makes the shoppers and writes them into the folder of write_market, as TSV files with headers:
//   events.tsv     user, item, behaviour, time; the item is the catalogue's id
//   items.tsv      id, category, brand, price_level
//   users.tsv      user, age, city
//   pages.tsv      user, time, query, item, popularity, cheap, dear (places in the category, 1 is the most), importance (buy 5,
//                  cart 2, else 1), click, buy (empty without a click)
//   purchases.tsv  user, time (before the visit), query, price_level of what it ended with
//   shoppers.tsv   user, since, brand, price_level, categories (parted by |), attribute, decisiveness: the late taste, for
//                  those who ask what a model has found. No model may read it.
Shoppers write_shoppers(const std::filesystem::path& folder, const Market& market,
                        const ShoppersConfig& config);

}  // namespace steelyard
