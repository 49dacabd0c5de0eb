// Bags in service: what was stored comes back, and every way to score, search and explain gives the same number.
#include "data/bag_store.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "data/bag_index.h"
#include "data/bag_score.h"
#include "tests/allocation_counter.h"
#include "tests/support.h"

namespace steelyard {
namespace {

using Words = std::map<int32_t, float>;

std::vector<BagWord> bag_of(const Words& words) {
  std::vector<BagWord> bag;
  for (const auto& [id, weight] : words) bag.push_back({id, weight, "w"});
  return bag;
}

// Frequent words have low numbers, and weights are seldom large.
Words some_words(std::mt19937_64& random, int count, int64_t ids) {
  std::uniform_real_distribution<double> uniform(0, 1);
  Words words;
  while (std::ssize(words) < count) {
    const double place = uniform(random);
    words[static_cast<int32_t>(static_cast<double>(ids) * place * place * place)] =
        static_cast<float>(0.01 + 3 * std::pow(uniform(random), 4));
  }
  return words;
}

struct Catalogue {
  Catalogue(int n, int words, int64_t ids, uint64_t seed = 1) : random(seed) {
    BagStoreBuilder builder(ids);
    for (int i = 0; i < n; ++i) {
      bags.push_back(some_words(random, words / 2 + i % (words + 1), ids));
      builder.add(text("product ", i), bag_of(bags.back()));
    }
    builder.write(folder / "bags", {});
    store.emplace(folder / "bags");
  }
  BagQuery query(int words) {
    BagQuery q;
    q.set(*store, bag_of(some_words(random, words, store->ids())));
    return q;
  }
  // By the definition: the query as a vector over all words.
  std::vector<int32_t> vector_of(const BagQuery& query) const {
    std::vector<int32_t> impacts(static_cast<size_t>(store->ids()));
    for (const StoredWord& word : query.words()) impacts[static_cast<size_t>(word.id)] = word.impact;
    return impacts;
  }
  int32_t sum(const std::vector<int32_t>& query, int64_t product) {
    store->bag(product, stored);
    int32_t sum = 0;
    for (const StoredWord& held : stored) sum += query[static_cast<size_t>(held.id)] * held.impact;
    return sum;
  }

  test::TempDir folder;
  std::mt19937_64 random;
  std::vector<Words> bags;
  std::optional<BagStore> store;
  std::vector<StoredWord> stored;
};

constexpr int64_t kFourBlocks = 4 << 16, kEightBlocks = 8 << 16;

TEST_CASE("bags: what is stored is what was given, within half of a step") {
  for (const int64_t ids : {int64_t{300}, kFourBlocks, kFourBlocks + 1, kEightBlocks})
    for (const int words : {1, 48, 400}) {
      CAPTURE(ids);
      CAPTURE(words);
      if (words > ids / 4) continue;
      Catalogue c(40, words, ids);
      CHECK(c.store->size() == 40);
      CHECK(c.store->layout().lanes == (ids <= kFourBlocks ? 16 : 8));
      for (int64_t i = 0; i < 40; ++i) {
        const Words& given = c.bags[static_cast<size_t>(i)];
        CHECK(c.store->product(i) == text("product ", i));
        CHECK(c.store->find(text("product ", i)) == i);
        c.store->bag(i, c.stored);
        REQUIRE(c.stored.size() == given.size());
        size_t at = 0;
        for (const auto& [id, weight] : given) {
          const StoredWord& word = c.stored[at++];
          CHECK(word.id == id);
          CHECK(word.impact >= 1);
          const double off = std::abs(word.impact * c.store->scale() - static_cast<double>(weight));
          CHECK((off <= c.store->scale() / 2 * 1.0001 || word.impact == 1));
        }
      }
      CHECK(c.store->find("product") == -1);
      CHECK(c.store->find("product 40") == -1);
    }
}

TEST_CASE("bags: products of 48 words take 260 bytes each, all in") {
  for (const int64_t ids : {kFourBlocks, kEightBlocks}) {
    const test::TempDir folder;
    std::mt19937_64 random(3);
    BagStoreBuilder one(ids), many(ids);
    for (int i = 0; i < 20'000; ++i) {
      const std::vector<BagWord> bag = bag_of(some_words(random, 48, ids));
      if (i < 10'000) one.add(text(100'000'000 + i), bag);
      many.add(text(100'000'000 + i), bag);
    }
    one.write(folder / "one", {}), many.write(folder / "many", {});
    // The words themselves are once in a store, so a product more is what counts.
    const auto size = [&](const char* name) {
      return static_cast<double>(std::filesystem::file_size(folder / name));
    };
    const double words = [&] {
      const TensorFile small(folder / "one"), large(folder / "many");
      return static_cast<double>(large.at("words/ids").size() - small.at("words/ids").size()) * 9;
    }();
    const double bytes = (size("many") - size("one") - words) / 10'000;
    CAPTURE(bytes);
    CHECK(bytes <= 260);
    CHECK(BagStore(folder / "many").layout().depth == 1);
  }
}

TEST_CASE("bags: a million pairs are scored to the bit as by hand, and contributions sum to the score") {
  int64_t pairs = 0, matches = 0, overflow = 0;
  for (const int64_t ids : {int64_t{2'000}, kFourBlocks, kEightBlocks})
    for (const auto& [n, words, query_words, queries] :
         {std::array{2'000, 48, 8, 80}, std::array{2'000, 48, 24, 40}, std::array{500, 200, 60, 100},
          std::array{500, 12, 3, 90}}) {
      Catalogue c(n, words, ids, static_cast<uint64_t>(ids + words));
      for (int64_t i = 0; i < n; ++i) c.store->for_overflow(i, [&](int32_t, int32_t) { ++overflow; });
      std::vector<int32_t> products(static_cast<size_t>(n)), sums(products.size()), streamed(products.size());
      for (int q = 0; q < queries; ++q) {
        const BagQuery query = c.query(query_words);
        const std::vector<int32_t> vector = c.vector_of(query);
        for (int32_t& product : products)
          product = static_cast<int32_t>(c.random() % static_cast<uint64_t>(n));
        score(*c.store, query, products, sums);
        score_from(*c.store, query, 0, streamed);
        std::vector<BagMatch> listed;
        for (size_t j = 0; j < products.size(); ++j) {
          const auto product = static_cast<size_t>(products[j]);
          if (sums[j] != c.sum(vector, products[j]) || streamed[product] != sums[j]) FAIL("another sum");
          if (j % 7 == 0) {
            match(*c.store, query, products[j], listed);
            double sum = 0;
            for (const BagMatch& m : listed) sum += m.contribution;
            if (sum != sums[j] * query.scale() * c.store->scale()) FAIL("contributions give another score");
            matches += std::ssize(listed);
          }
          ++pairs;
        }
      }
    }
  CHECK(pairs > 1'000'000);
  CHECK(matches > 10'000);
  CHECK(overflow > 1'000);
}

TEST_CASE("bags: a search finds what scoring all products finds, ties in the order of the catalogue") {
  for (const int64_t ids : {int64_t{500}, kEightBlocks}) {
    Catalogue c(3'000, 40, ids);
    const BagIndex index(*c.store);
    BagIndex::Workspace work;
    std::vector<BagHit> hits, expected;
    std::vector<int32_t> sums(3'000);
    for (int q = 0; q < 200; ++q) {
      const BagQuery query = c.query(1 + q % 30);
      std::vector<uint64_t> allowed;
      if (q % 3 == 0)
        for (int i = 0; i < 47; ++i) allowed.push_back(c.random() & c.random());
      const int64_t most = std::array{1, 10, 100, 5'000}[static_cast<size_t>(q % 4)];
      score_from(*c.store, query, 0, sums);
      expected.clear();
      for (int32_t i = 0; i < 3'000; ++i)
        if (sums[static_cast<size_t>(i)] > 0 &&
            (allowed.empty() || allowed[static_cast<size_t>(i / 64)] >> (i % 64) & 1))
          expected.push_back({i, sums[static_cast<size_t>(i)]});
      std::ranges::stable_sort(expected, [](const BagHit& a, const BagHit& b) { return a.sum > b.sum; });
      expected.resize(std::min(expected.size(), static_cast<size_t>(most)));
      index.search(query, most, allowed, work, hits);
      CHECK(hits == expected);
    }
  }
}

TEST_CASE("bags: words that share an id keep the names that products gave them") {
  const test::TempDir folder;
  BagStoreBuilder builder(100);
  builder.add("a", std::vector<BagWord>{{7, 1, "faucet"}, {8, 1, "sink"}});
  builder.add("b", std::vector<BagWord>{{7, 1, "falcon"}, {8, 1, "sink"}, {9, 0, "not kept"}});
  builder.add("c", std::vector<BagWord>{{7, 1, "faucet"}});
  builder.write(folder / "bags", {{"note", "kept"}});
  const BagStore store(folder / "bags");
  CHECK(store.surface(0, 7) == "faucet");
  CHECK(store.surface(1, 7) == "falcon");
  CHECK(store.surface(1, 8) == "sink");
  CHECK(store.surface(2, 7) == "faucet");
  CHECK(store.surface(2, 9) == "");
  CHECK(store.metadata().at("note") == "kept");
}

TEST_CASE("bags: a query without a known word finds nothing, and words that no product can have are left out") {
  Catalogue c(10, 5, 300);
  BagQuery query;
  query.set(*c.store, std::vector<BagWord>{{300, 1, "new"}, {-1, 1, "none"}, {5, 0, "off"}});
  CHECK(query.words().empty());
  std::vector<int32_t> sums(10, 1);
  score_from(*c.store, query, 0, sums);
  CHECK(std::ranges::count(sums, 0) == 10);
  std::vector<BagHit> hits{{1, 1}};
  BagIndex::Workspace work;
  BagIndex(*c.store).search(query, 3, {}, work, hits);
  CHECK(hits.empty());
}

TEST_CASE("bags: weights from tiny to huge, and queries of hundreds of words, do not overflow") {
  const test::TempDir folder;
  BagStoreBuilder builder(5'000);
  Words all;
  for (int32_t id = 0; id < 4'000; ++id) all[id] = 3e30f;
  builder.add("full", bag_of(all));
  builder.add("tiny", std::vector<BagWord>{{4'000, 1e-30f, "t"}});
  builder.write(folder / "bags", {});
  const BagStore store(folder / "bags");
  BagQuery query;
  query.set(store, bag_of(all));
  std::vector<int32_t> sums(2);
  score_from(store, query, 0, sums);
  CHECK(sums[0] > 1'900'000'000);
  for (auto& [id, weight] : all) weight = id < 250 ? 1.0f : 1e-9f;  // most are rounded up to an impact of 1
  query.set(store, bag_of(all));
  score_from(store, query, 0, sums);
  CHECK(sums[0] > 0);
  for (auto& [id, weight] : all) weight = 3e30f;
  query.set(store, bag_of(all));
  score_from(store, query, 0, sums);
  CHECK(sums[1] == 0);
  CHECK(sums[0] * query.scale() * store.scale() == doctest::Approx(4'000 * 9e60).epsilon(0.002));
}

TEST_CASE("bags: eight threads share a store and an index, and a search allocates nothing") {
  Catalogue c(2'000, 48, kFourBlocks);
  const BagIndex index(*c.store);
  std::vector<BagQuery> queries;
  for (int q = 0; q < 64; ++q) queries.push_back(c.query(2 + q % 20));
  const auto search_all = [&](BagIndex::Workspace& work, std::vector<BagHit>& hits,
                              std::vector<int32_t>& sums) {
    int64_t sum = 0;
    for (const BagQuery& query : queries) {
      index.search(query, 10, {}, work, hits);
      score_from(*c.store, query, 100, sums);
      for (const BagHit& hit : hits) sum += hit.sum + sums[static_cast<size_t>(hit.product % 100)];
    }
    return sum;
  };
  BagIndex::Workspace work;
  std::vector<BagHit> hits;
  std::vector<int32_t> sums(100);
  const int64_t expected = search_all(work, hits, sums), before = test::allocations();
  CHECK(search_all(work, hits, sums) == expected);
  CHECK(test::allocations() == before);
  std::vector<int64_t> found(8);
  std::vector<std::thread> threads;
  for (int64_t& mine : found)
    threads.emplace_back([&] {
      BagIndex::Workspace own_work;
      std::vector<BagHit> own_hits;
      std::vector<int32_t> own_sums(100);
      mine = search_all(own_work, own_hits, own_sums);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(std::ranges::count(found, expected) == 8);
}

TEST_CASE("bags: what cannot be stored is refused in one line") {
  const test::TempDir folder;
  BagStoreBuilder builder(10);
  test::check_fails(
      Fault::input, [&] { builder.write(folder / "bags", {}); }, "no products; expected at least one");
  builder.add("a", {});
  test::check_fails(
      Fault::input, [&] { builder.add("a", {}); }, "product \"a\" is there twice");
  test::check_fails(
      Fault::input,
      [&] {
        builder.add("b", std::vector<BagWord>{{1, -1, "tap"}});
      },
      "\"b\"", "\"tap\"", "weight -1; expected a number of at least 0");
  test::check_fails(
      Fault::bug,
      [&] {
        builder.add("c", std::vector<BagWord>{{10, 1, "tap"}});
      },
      "id 10 of 10");
  test::check_fails(
      Fault::bug,
      [&] {
        builder.add("d", std::vector<BagWord>{{1, 1, "x"}, {1, 2, "x"}});
      },
      "there twice");
  test::check_fails(
      Fault::usage, [&] { BagStoreBuilder(kEightBlocks + 1); }, "524289 terms", "expected at most 524288");
  CHECK(!std::filesystem::exists(folder / "bags"));
}

TEST_CASE("bags: a file that is damaged, cut or no store is refused") {
  Catalogue c(5, 6, 300);
  const std::string whole = test::read_file(c.folder / "bags");
  const auto opened = [&](const std::string& content) {
    test::write_file(c.folder / "other", content);
    test::check_fails(
        Fault::input, [&] { BagStore(c.folder / "other"); }, "other");
  };
  for (size_t i = 0; i < whole.size(); i += 13) {
    opened(whole.substr(0, i));
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 4);
    opened(flipped);
  }
  // Whole files with right checksums whose numbers lead elsewhere.
  const TensorFile file(c.folder / "bags");
  const auto changed = [&](const std::string& name, auto change, const std::string& expected) {
    std::vector<NamedArray> arrays = file.arrays();
    std::vector<int32_t> values;
    for (NamedArray& array : arrays)
      if (array.name == name) {
        const auto old = array.values<int32_t>();
        values.assign(old.begin(), old.end());
        change(values);
        array = NamedArray::of<int32_t>(name, values);
      }
    write_tensor_file(c.folder / "other", arrays, file.metadata());
    CAPTURE(name);
    test::check_fails(
        Fault::input, [&] { BagStore(c.folder / "other"); }, expected,
        "expected a store of bags as `index` writes it");
  };
  using Values = std::vector<int32_t>;
  changed(
      "overflow", [](Values& v) { v.clear(); }, "overflow");
  changed(
      "overflow", [](Values& v) { v.back() |= 1 << 23; }, "overflow");
  changed(
      "products/order", [](Values& v) { v.pop_back(); }, "products");
  changed(
      "products/starts", [](Values& v) { v[1] = v.back() + 1; }, "products");
  changed(
      "products/order", [](Values& v) { v[0] = 5; }, "order of products");
  changed(
      "words/starts", [](Values& v) { v.pop_back(); }, "words");
  changed(
      "words/ids", [](Values& v) { std::ranges::reverse(v); }, "words");
  changed(
      "others/ids", [](Values& v) { v.push_back(1); }, "others");
  for (const auto& [key, value] : Metadata{{"format", "steelyard bags 0"},
                                           {"ids", "-1"},
                                           {"ids", "9x"},
                                           {"ids", "1"},
                                           {"depth", "0"},
                                           {"depth", "99"},
                                           {"scale", "nan"},
                                           {"scale", "0.1"}}) {
    Metadata metadata = file.metadata();
    metadata[key] = value;
    write_tensor_file(c.folder / "other", file.arrays(), metadata);
    const std::string which = key;
    CAPTURE(which);
    test::check_fails(
        Fault::input, [&] { BagStore(c.folder / "other"); }, "expected a store of bags");
  }
}

TEST_CASE("bags: a product that was refused leaves nothing behind") {
  const test::TempDir folder;
  BagStoreBuilder builder(10);
  builder.add("a", std::vector<BagWord>{{1, 1, "x"}});
  test::check_fails(
      Fault::input,
      [&] {
        builder.add("b", std::vector<BagWord>{{5, 1, "y"}, {6, -1, "z"}});
      },
      "\"b\"");
  builder.add("c", std::vector<BagWord>{{7, 1, "w"}});
  builder.write(folder / "bags", {});
  const BagStore store(folder / "bags");
  std::vector<StoredWord> bag;
  store.bag(1, bag);
  CHECK(store.size() == 2);
  CHECK(store.product(1) == "c");
  CHECK(bag.size() == 1);
  CHECK(bag.at(0).id == 7);
}

TEST_CASE("bags: a store that holds a word twice, or one that no vocabulary has, is refused") {
  const test::TempDir folder;
  BagStoreBuilder builder(100);
  Words many;
  for (int32_t id = 0; id < 96; ++id) many[id] = 1;  // 24 in each block
  builder.add("many", bag_of(many));
  for (int i = 0; i < 10; ++i) builder.add(text(i), std::vector<BagWord>{{3, 1, "x"}, {7, 1, "y"}});
  builder.write(folder / "bags", {});
  const TensorFile file(folder / "bags");
  const auto slots = file.at("slots").values<int64_t>();
  const auto overflow = file.at("overflow").values<int32_t>();
  const auto changed = [&](auto change) {
    std::vector<int64_t> other_slots(slots.begin(), slots.end());
    std::vector<int32_t> other_overflow(overflow.begin(), overflow.end());
    change(reinterpret_cast<uint16_t*>(other_slots.data()), other_overflow);
    std::vector<NamedArray> arrays = file.arrays();
    for (NamedArray& array : arrays) {
      if (array.name == "slots") array = NamedArray::of<int64_t>("slots", other_slots);
      if (array.name == "overflow") array = NamedArray::of<int32_t>("overflow", other_overflow);
    }
    write_tensor_file(folder / "other", arrays, file.metadata());
    return BagStore(folder / "other").size();
  };
  const auto refused = [&](auto change) {
    test::check_fails(
        Fault::input, [&] { changed(change); }, "words of a product");
  };
  const auto depth = BagStore(folder / "bags").layout().depth;
  REQUIRE(depth == 1);
  REQUIRE(overflow.size() > 3);
  CHECK(changed([](uint16_t*, std::vector<int32_t>&) {}) == 11);
  refused([](uint16_t* keys, std::vector<int32_t>&) { keys[0] = 25; });               // an id of 100
  refused([](uint16_t* keys, std::vector<int32_t>&) { keys[0] = keys[1]; });          // twice
  refused([](uint16_t*, std::vector<int32_t>& words) { words[1] = words[2]; });       // twice
  refused([](uint16_t*, std::vector<int32_t>& words) { words[1] &= 0xffffff; });      // no impact
  refused([](uint16_t*, std::vector<int32_t>& words) { words.back() |= 0x7f0000; });  // an id beyond all
}

TEST_CASE("bags: a query for another store, and a product that is not there, are bugs of the caller") {
  Catalogue c(10, 5, 300), other(10, 5, kEightBlocks);
  std::vector<int32_t> sums(1);
  const BagIndex index(*c.store);
  BagIndex::Workspace work;
  std::vector<BagHit> hits;
  for (const BagQuery& query : {BagQuery(), other.query(3)}) {
    test::check_fails(
        Fault::bug, [&] { score_from(*c.store, query, 0, sums); }, "ids in a store of 300");
    test::check_fails(
        Fault::bug, [&] { index.search(query, 1, {}, work, hits); }, "ids in a store of 300");
  }
  for (const int32_t product : {-1, 10})
    test::check_fails(
        Fault::bug, [&] { score(*c.store, c.query(2), std::vector{product}, sums); }, "of 10");
}

}  // namespace
}  // namespace steelyard
