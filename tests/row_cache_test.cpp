#include "data/row_cache.h"

#include "tests/support.h"

namespace steelyard {
namespace {

RowColumns small() {
  RowColumns columns;
  const std::vector<std::vector<int32_t>> words{{3, 1, 4}, {}, {1, 5}, {9}};
  for (const auto& row : words) {
    for (const char* name : {"query", "title"}) {
      for (int32_t id : row) columns.lists[name].add(id);
      columns.lists[name].end();
    }
    columns.ids["group"].push_back(static_cast<int32_t>(row.size()));
  }
  columns.numbers["relevance"] = {3.5f, 0.5f, 2.5f};
  return columns;
}

// Was the small cache built, or found?
bool built(const std::filesystem::path& path, const std::string& key) {
  bool was = false;
  RowCache::open_or_build(path, key, [&] { return was = true, small(); });
  return was;
}

std::vector<int32_t> row(const RowCache& cache, const char* name, int64_t i) {
  const Ids ids = cache.ragged(name)[i];
  return {ids.begin(), ids.end()};
}

TEST_CASE("what was built is found again, and built only once") {
  const test::TempDir folder;
  int builds = 0;
  for (int time = 0; time < 3; ++time) {
    const RowCache cache =
        RowCache::open_or_build(folder / "rows", "key 1", [&] { return ++builds, small(); });
    CHECK(builds == 1);
    CHECK(cache.ragged("query").size() == 4);
    CHECK(row(cache, "query", 0) == std::vector<int32_t>{3, 1, 4});
    CHECK(row(cache, "query", 1).empty());
    CHECK(row(cache, "title", 2) == std::vector<int32_t>{1, 5});
    CHECK(row(cache, "title", 3) == std::vector<int32_t>{9});
    CHECK(cache.ids("group").size() == 4);
    CHECK(cache.ids("group")[2] == 2);
    CHECK(cache.numbers("relevance").size() == 3);
    CHECK(cache.numbers("relevance")[2] == 2.5f);
  }
  CHECK(built(folder / "rows", "key 2"));
  CHECK(built(folder / "rows", "key 1"));  // the old key is gone
}

TEST_CASE("a damaged cache is built again, whichever bit and wherever it is cut") {
  const test::TempDir folder;
  const auto path = folder / "rows";
  RowCache::open_or_build(path, "key", small);
  const std::string good = test::read_file(path);
  int rebuilt = 0, tried = 0;
  const auto damaged = [&](const std::string& bytes) {
    test::write_file(path, bytes);
    rebuilt += built(path, "key");
    ++tried;
    REQUIRE(row(RowCache::open_or_build(path, "key", small), "query", 0) == std::vector<int32_t>{3, 1, 4});
  };
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
    damaged(bytes);
  }
  for (size_t size = 0; size < good.size(); size += 7) damaged(good.substr(0, size));
  damaged(good + "x");
  CHECK(rebuilt == tried);
  CHECK(tried > 500);
  CHECK(test::read_file(path) == good);  // equal columns give equal bytes
}

TEST_CASE("a whole file that is no row cache is built again") {
  const test::TempDir folder;
  const auto path = folder / "rows";
  const Metadata metadata{{"format", "steelyard rows 2"}, {"key", "key"}};
  const std::vector<int32_t> values{1, 2, 3};
  const std::vector<float> numbers{1, 2};
  const auto built_instead_of = [&](const std::vector<int64_t>& starts, std::span<const float> column,
                                    const Metadata& about) {
    write_tensor_file(path,
                      {NamedArray::of<int64_t>("t/starts", starts),
                       NamedArray::of<int32_t>("t/values", values), NamedArray::of<float>("n", column)},
                      about);
    return built(path, "key");
  };
  CHECK_FALSE(built_instead_of({0, 1, 3}, numbers, metadata));
  CHECK_FALSE(built_instead_of({0, 3}, numbers, metadata));  // each column has its own length
  CHECK(built_instead_of({0, 4, 3}, numbers, metadata));
  CHECK(built_instead_of({0, -1, 3}, numbers, metadata));
  CHECK(built_instead_of({1, 1, 3}, numbers, metadata));
  CHECK(built_instead_of({0, 1, 2}, numbers, metadata));
  CHECK(built_instead_of({}, numbers, metadata));
  CHECK(built_instead_of({0, 1, 3}, numbers, {{"format", "steelyard rows 1"}, {"key", "key"}}));
  CHECK(built_instead_of({0, 1, 3}, numbers, {{"format", "steelyard rows 2"}}));
  write_tensor_file(path, {NamedArray::of<int64_t>("t/starts", std::vector<int64_t>{0})}, metadata);
  CHECK(built(path, "key"));
}

TEST_CASE("no rows, and misuse") {
  const test::TempDir folder;
  const RowCache empty = RowCache::open_or_build(folder / "empty", "key", [] {
    RowColumns columns;
    columns.lists["t"];
    columns.ids["i"];
    columns.numbers["n"];
    return columns;
  });
  CHECK(empty.ragged("t").size() == 0);
  CHECK(empty.ids("i").empty());
  CHECK(empty.numbers("n").empty());
  test::check_fails(
      Fault::bug, [&] { empty.ragged("n"); }, "no column n/starts");
  test::check_fails(
      Fault::bug, [&] { empty.numbers("i"); }, "no column i of this type");
  test::check_fails(
      Fault::bug, [&] { RowCache::open_or_build(folder / "a", "key", [] { return RowColumns{}; }); },
      "nothing to write");
  test::check_fails(Fault::resources,
                    [&] { RowCache::open_or_build(folder / "absent" / "rows", "key", small); });
}

}  // namespace
}  // namespace steelyard
