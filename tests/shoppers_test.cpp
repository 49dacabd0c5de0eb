// The market's shoppers (data/shoppers.h): the same every time, and what they do shows what they like.
#include "data/shoppers.h"

#include <algorithm>
#include <map>

#include "data/events.h"
#include "tests/support.h"

using namespace steelyard;
using steelyard::test::check_fails;

namespace {

struct Made {
  Made() : market(make_market({})), shoppers(make_shoppers(market, {})) {}
  Market market;
  Shoppers shoppers;
};

const Made& made() {
  static const Made once;
  return once;
}

const Product& product_of(const ShopperEvent& event) {
  return made().market.products[static_cast<size_t>(event.product)];
}

// The share of the early events of those who do not drift for which `holds`.
template <class F>
double share(F holds) {
  double all = 0, held = 0;
  for (const ShopperEvent& event : made().shoppers.events) {
    const auto shopper = static_cast<size_t>(event.shopper);
    if (made().shoppers.late[shopper].since != made().shoppers.early[shopper].since) continue;
    ++all, held += holds(event, made().shoppers.early[shopper]);
  }
  return held / all;
}

}  // namespace

TEST_CASE("shoppers: a function of the seed") {
  const ShoppersConfig few{.shoppers = 30};
  const auto listed = [](const Shoppers& shoppers) {
    std::string out;
    for (const ShopperEvent& e : shoppers.events) out += text(e.shopper, " ", e.product, " ", e.behaviour, " ", e.time, "\n");
    return out;
  };
  const std::string once = listed(make_shoppers(made().market, few));
  CHECK(once == listed(make_shoppers(made().market, few)));
  CHECK(once != listed(make_shoppers(made().market, {.seed = 2, .shoppers = 30})));
}

TEST_CASE("shoppers: events are in order, inside the weeks, and a purchase has a click before it") {
  const Shoppers& shoppers = made().shoppers;
  REQUIRE(shoppers.early.size() == 800);
  CHECK(shoppers.events.size() > 800 * 40);
  CHECK(shoppers.events.size() < 800 * 200);
  std::map<int32_t, int64_t> counts;
  std::map<std::pair<int32_t, int32_t>, bool> clicked;
  int64_t before = Shoppers::kStart;
  for (const ShopperEvent& event : shoppers.events) {
    CHECK(event.time >= before);
    before = event.time;
    ++counts[event.behaviour];
    bool& seen = clicked[{event.shopper, event.product}];
    if (event.behaviour == Shoppers::click) seen = true;
    if (event.behaviour == Shoppers::buy) CHECK(seen);
  }
  CHECK(before < Shoppers::kStart + int64_t{10} * 7 * 24 * 3600);
  CHECK(counts[Shoppers::buy] > 800);
  CHECK(counts[Shoppers::buy] < counts[Shoppers::cart]);
  CHECK(counts[Shoppers::cart] < counts[Shoppers::click]);
}

TEST_CASE("shoppers: what they do shows what they like") {
  const std::vector<int> levels = price_levels(made().market);
  const double brand = share([](const ShopperEvent& e, const Taste& t) { return product_of(e).brand == t.brand; });
  const double price = share([&](const ShopperEvent& e, const Taste& t) {
    return levels[static_cast<size_t>(e.product)] == t.price_level;
  });
  const double category = share([](const ShopperEvent& e, const Taste& t) {
    return std::ranges::find(t.categories, product_of(e).category) != t.categories.end();
  });
  CHECK(brand > 5.0 / static_cast<double>(made().market.brands.size()));
  CHECK(price > 0.35);  // of four levels
  CHECK(category > 0.4);
}

TEST_CASE("shoppers: their files are a log that can be read") {
  const test::TempDir folder;
  const Market market = write_market(folder.path(), {});
  const Shoppers shoppers = write_shoppers(folder.path(), market, {.shoppers = 20});
  EventsConfig config;
  config.behaviour = "behaviour";
  config.behaviours.assign(std::begin(Shoppers::kBehaviours), std::end(Shoppers::kBehaviours));
  config.time = "time";
  config.time_format = "%Y-%m-%d %H:%M:%S";
  config.key = "id";
  config.attributes = {"category", "brand"};
  Catalogue catalogue(2);
  read_items(folder / "catalogue.tsv", config, "stop", catalogue);
  const int32_t items = catalogue.items.size();
  const Histories histories = read_histories(folder / "events.tsv", config, catalogue);
  CHECK(histories.events.size() == shoppers.events.size());
  CHECK(histories.size() <= 20);
  CHECK(catalogue.items.size() == items);  // all are of the catalogue
  CHECK(histories.events[0].time >= Shoppers::kStart);
}

TEST_CASE("shoppers: options out of range") {
  const auto refused = [](const ShoppersConfig& config, const char* part) {
    check_fails(
        Fault::usage, [&] { make_shoppers(made().market, config); }, part);
  };
  refused({.shoppers = 0}, "shoppers");
  refused({.weeks = 0}, "weeks");
  refused({.careless = 2}, "careless");
}
