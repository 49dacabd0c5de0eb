// The market's shoppers (data/shoppers.h): the same every time, and what they do shows what they like.
#include "data/shoppers.h"

#include <algorithm>
#include <map>

#include "data/events.h"
#include "data/table.h"
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

constexpr int64_t kHour = 3600, kDay = 24 * kHour;

const Taste& early(const ShopperEvent& event) {
  return made().shoppers.early[static_cast<size_t>(event.shopper)];
}
const Taste& late(const ShopperEvent& event) {
  return made().shoppers.late[static_cast<size_t>(event.shopper)];
}
bool drifts(const ShopperEvent& event) { return late(event).since != early(event).since; }

// The share of the clicks in `of` for which `holds`.
template <class Of, class F>
double share(Of of, F holds) {
  double all = 0, held = 0;
  for (const ShopperEvent& event : made().shoppers.events)
    if (event.behaviour == Shoppers::click && of(event)) ++all, held += holds(event);
  return held / all;
}

}  // namespace

TEST_CASE("shoppers: a function of the seed") {
  const ShoppersConfig few{.shoppers = 30};
  const auto listed = [](const Shoppers& shoppers) {
    std::string out;
    for (const ShopperEvent& e : shoppers.events)
      out += text(e.shopper, " ", e.product, " ", e.behaviour, " ", e.time, "\n");
    return out;
  };
  const std::string once = listed(make_shoppers(made().market, few));
  CHECK(once == listed(make_shoppers(made().market, few)));
  const Shoppers others = make_shoppers(made().market, {.seed = 2, .shoppers = 30});
  CHECK(once != listed(others));
  bool same = true;
  for (size_t i = 0; i < 30; ++i) same = same && others.early[i].brand == made().shoppers.early[i].brand;
  CHECK(!same);
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
  const auto steady = [](const ShopperEvent& e) { return !drifts(e); };
  // Shares if they liked nothing: of one brand of all, one level of four, up to three categories.
  CHECK(share(steady, [](const ShopperEvent& e) { return product_of(e).brand == early(e).brand; }) >
        10.0 / static_cast<double>(made().market.brands.size()));
  CHECK(share(steady, [&](const ShopperEvent& e) {
          return levels[static_cast<size_t>(e.product)] == early(e).price_level;
        }) > 0.35);
  CHECK(share(steady, [](const ShopperEvent& e) {
          return std::ranges::count(early(e).categories, product_of(e).category) > 0;
        }) > 30.0 / static_cast<double>(made().market.categories.size()));
  for (const size_t level : {0, 1, 2, 3}) {
    const auto count = static_cast<double>(std::ranges::count(levels, static_cast<int>(level)));
    CHECK(count / static_cast<double>(levels.size()) == doctest::Approx(0.25).epsilon(0.1));
  }
}

TEST_CASE("shoppers: some like another brand from the middle on") {
  const auto before = [](const ShopperEvent& e) { return drifts(e) && e.time < late(e).since; };
  const auto after = [](const ShopperEvent& e) { return drifts(e) && e.time >= late(e).since; };
  const auto old_brand = [](const ShopperEvent& e) { return product_of(e).brand == early(e).brand; };
  const auto new_brand = [](const ShopperEvent& e) { return product_of(e).brand == late(e).brand; };
  CHECK(share(before, old_brand) > 3 * share(before, new_brand));
  CHECK(share(after, new_brand) > 3 * share(after, old_brand));
  const auto all = static_cast<double>(made().shoppers.late.size());
  double drifting = 0;
  for (size_t i = 0; i < made().shoppers.late.size(); ++i) {
    const int64_t passed = made().shoppers.late[i].since - Shoppers::kStart;
    if (passed == 0) continue;
    ++drifting;
    CHECK(passed >= 7 * kDay * 4);
    CHECK(passed <= 7 * kDay * 6);
  }
  CHECK(drifting / all == doctest::Approx(ShoppersConfig{}.drifting).epsilon(0.2));
}

TEST_CASE("shoppers: they come in the evening and at weekends, and not at night") {
  const auto any = [](const ShopperEvent&) { return true; };
  const auto hour = [](const ShopperEvent& e) { return e.time % kDay / kHour; };
  CHECK(share(any, [&](const ShopperEvent& e) { return hour(e) >= 18; }) > 1.5 * 6 / 24);
  CHECK(share(any, [&](const ShopperEvent& e) { return hour(e) < 6; }) == 0);
  CHECK(share(any, [](const ShopperEvent& e) { return (e.time - Shoppers::kStart) / kDay % 7 >= 5; }) >
        1.2 * 2 / 7);
}

TEST_CASE("shoppers: what is in the cart is bought more often than what was looked at") {
  std::map<std::pair<int32_t, int32_t>, int32_t>
      furthest;                         // of a shopper and a product, before it was bought
  double came[3] = {}, bought[3] = {};  // by how far
  for (const ShopperEvent& event : made().shoppers.events) {
    int32_t& mark = furthest[{event.shopper, event.product}];
    if (event.behaviour != Shoppers::buy) {
      mark = std::max(mark, event.behaviour);
      continue;
    }
    ++bought[mark];
  }
  for (const auto& [pair, mark] : furthest) ++came[mark];
  CHECK(bought[Shoppers::cart] / came[Shoppers::cart] > 10 * bought[Shoppers::click] / came[Shoppers::click]);
}

TEST_CASE("shoppers: their files are a log that can be read") {
  const test::TempDir folder;
  const Market market = write_market(folder.path(), {});
  std::map<std::filesystem::path, std::string> files;
  for (const auto& file : std::filesystem::directory_iterator(folder.path()))
    files[file.path()] = test::read_file(file.path());
  const Shoppers shoppers = write_shoppers(folder.path(), market, {.shoppers = 20});
  for (const auto& file : files)
    CHECK_MESSAGE(file.second == test::read_file(file.first), file.first.string());
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == std::ssize(files) + 6);
  EventsConfig config;
  config.behaviour = "behaviour";
  config.behaviours.assign(std::begin(Shoppers::kBehaviours), std::end(Shoppers::kBehaviours));
  config.time = "time";
  config.time_format = "%Y-%m-%d %H:%M:%S";
  config.key = "id";
  config.attributes = {"category", "brand"};
  Catalogue catalogue(2);
  read_items(folder / "catalogue.tsv", config, catalogue);
  const int32_t items = catalogue.items.size();
  const Histories histories = read_histories(folder / "events.tsv", config, catalogue);
  CHECK(histories.events.size() == shoppers.events.size());
  CHECK(histories.size() <= 20);
  CHECK(catalogue.items.size() == items);       // all are of the catalogue
  std::map<int32_t, int64_t> made_of, read_of;  // by behaviour
  for (const ShopperEvent& event : shoppers.events) ++made_of[event.behaviour];
  for (const Event& event : histories.events) ++read_of[event.behaviour];
  CHECK(made_of == read_of);

  TableReader log(folder / "events.tsv", {.required = {"user", "item", "time"}});
  size_t i = 0;
  int64_t seconds = 0;
  for (Row row; log.next(row); ++i) {  // a file that is read in its order is in that of time
    const ShopperEvent& event = shoppers.events[i];
    CHECK(row[1] == market.products[static_cast<size_t>(event.product)].id);
    REQUIRE(parse_time(config, row[2], seconds));
    CHECK(seconds == event.time);
  }
  CHECK(i == shoppers.events.size());

  TableReader tastes(folder / "shoppers.tsv",
                     {.required = {"user", "since", "brand", "price_level", "categories"}});
  i = 0;
  for (Row row; tastes.next(row); ++i) {
    const Taste& taste = shoppers.late[i];
    REQUIRE(parse_time(config, row[1], seconds));
    CHECK(seconds == taste.since);
    CHECK(row[2] == market.brands[static_cast<size_t>(taste.brand)]);
    CHECK(row.number(3, 0, 3) == taste.price_level);
    CHECK(std::ranges::count(row[4], '|') + 1 == std::ssize(taste.categories));
    CHECK(row[4].starts_with(market.categories[static_cast<size_t>(taste.categories[0])]));
  }
  CHECK(i == 20);
}

TEST_CASE("shoppers: a page is a visit as the shop saw it, and nothing of the visit is before it") {
  std::map<int32_t, std::vector<const ShopperEvent*>> of_shopper;
  std::map<int32_t, int64_t> bought;
  for (const ShopperEvent& event : made().shoppers.events) {
    of_shopper[event.shopper].push_back(&event);
    bought[event.shopper] += event.behaviour == Shoppers::buy;
  }
  int64_t shown = 0, clicked = 0;
  for (const Page& page : made().shoppers.pages) {
    const std::vector<const ShopperEvent*>& events = of_shopper[page.shopper];
    const auto first =
        std::ranges::find_if(events, [&](const ShopperEvent* e) { return e->time > page.time; });
    REQUIRE(first != events.end());
    CHECK((*first)->time == page.time + 1);
    std::map<int32_t, int> marks;
    for (auto e = first; e != events.end() && (*e)->time / kDay == (page.time + 1) / kDay; ++e) {
      int& mark = marks.emplace((*e)->product, -1).first->second;
      mark = std::max(mark, (*e)->behaviour);
    }
    CHECK(page.shown.size() > 1);
    for (const Page::Shown& product : page.shown) {
      CHECK(made().market.products[static_cast<size_t>(product.product)].category == page.category);
      const auto found = marks.find(product.product);
      CHECK(product.mark == (found == marks.end() ? -1 : found->second));
      ++shown, clicked += product.mark >= 0, bought[page.shopper] -= product.mark == Shoppers::buy;
    }
  }
  for (const auto& left : bought) CHECK(left.second == 0);  // every purchase has its page
  CHECK(clicked * 10 > shown);
  CHECK(clicked * 10 < shown * 6);
}

TEST_CASE("shoppers: tables of pages, purchases and users say what happened") {
  const test::TempDir folder;
  const Market market = make_market({});
  const Shoppers shoppers = write_shoppers(folder.path(), market, {.shoppers = 300});
  int64_t rows = 0, buys = 0;
  TableReader pages(folder / "pages.tsv", {.required = {"query", "item", "popularity", "cheap", "dear",
                                                        "importance", "click", "buy"}});
  for (Row row; pages.next(row); ++rows) {
    CHECK(row.number(3, 0, 1) + row.number(4, 0, 1) == doctest::Approx(1));
    CHECK(row.has(7) == (row.number(6, 0, 1) == 1));  // what was not clicked was not asked for
    const bool buy = row.has(7) && row.number(7, 0, 1) == 1;
    CHECK((row.number(5) == 5) == buy);
    buys += buy;
  }
  int64_t shown = 0;
  for (const Page& page : shoppers.pages) shown += std::ssize(page.shown);
  CHECK(rows == shown);
  int64_t purchases = 0;
  TableReader levels(folder / "purchases.tsv", {.required = {"user", "time", "query", "price_level"}});
  for (Row row; levels.next(row); ++purchases) CHECK(row.number(3, 0, 3) >= 0);
  CHECK(purchases == buys);
  // Half of the ages are the price level's, of the other half each fourth.
  const std::vector<std::string> ages = {"18-29", "30-44", "45-59", "60-"};
  TableReader users(folder / "users.tsv", {.required = {"user", "age", "city"}});
  size_t i = 0, alike = 0;
  for (Row row; users.next(row); ++i)
    alike += row[1] == ages[static_cast<size_t>(shoppers.early[i].price_level)];
  CHECK(i == 300);
  CHECK(static_cast<double>(alike) / 300 == doctest::Approx(0.625).epsilon(0.15));
}

TEST_CASE("shoppers: options out of range") {
  const auto refused = [](const ShoppersConfig& config, const char* part) {
    check_fails(
        Fault::usage, [&] { make_shoppers(made().market, config); }, part);
  };
  refused({.shoppers = 0}, "shoppers.shoppers: 0; expected");
  refused({.weeks = 1}, "shoppers.weeks: 1; expected");
  refused({.visits = 1.5}, "shoppers.visits: 1.5; expected");
  refused({.careless = 2}, "shoppers.careless: 2; expected");
  refused({.drifting = -0.5}, "shoppers.drifting: -0.5; expected");
}
