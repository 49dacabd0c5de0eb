#include "data/row_cache.h"

#include "tests/support.h"

namespace steelyard {
namespace {

RowColumns small() {
  RowColumns columns;
  const std::vector<std::vector<int32_t>> words{{3, 1, 4}, {}, {1, 5}, {9}};
  for (const auto& row : words) columns.texts["query"].push_back(row);
  for (const auto& row : words) {
    columns.texts["title"].push_back(row);
    columns.numbers["relevance"].push_back(static_cast<float>(row.size()) + 0.5f);
  }
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
    CHECK(cache.rows() == 4);
    CHECK(cache.ragged("query").size() == 4);
    CHECK(row(cache, "query", 0) == std::vector<int32_t>{3, 1, 4});
    CHECK(row(cache, "query", 1).empty());
    CHECK(row(cache, "title", 2) == std::vector<int32_t>{1, 5});
    CHECK(row(cache, "title", 3) == std::vector<int32_t>{9});
    CHECK(cache.column("relevance").size() == 4);
    CHECK(cache.column("relevance")[2] == 2.5f);
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
  const Metadata metadata{{"format", "steelyard rows 1"}, {"key", "key"}, {"rows", "2"}};
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
  CHECK(built_instead_of({0, 4, 3}, numbers, metadata));
  CHECK(built_instead_of({0, -1, 3}, numbers, metadata));
  CHECK(built_instead_of({1, 1, 3}, numbers, metadata));
  CHECK(built_instead_of({0, 1, 2}, numbers, metadata));
  CHECK(built_instead_of({0, 3}, numbers, metadata));
  CHECK(built_instead_of({}, numbers, metadata));
  CHECK(built_instead_of({0, 1, 3}, std::span(numbers).first(1), metadata));
  CHECK(
      built_instead_of({0, 1, 3}, numbers, {{"format", "steelyard rows 1"}, {"key", "key"}, {"rows", "3"}}));
  CHECK(
      built_instead_of({0, 1, 3}, numbers, {{"format", "steelyard rows 2"}, {"key", "key"}, {"rows", "2"}}));
  CHECK(built_instead_of({0, 1, 3}, numbers, {{"format", "steelyard rows 1"}, {"rows", "2"}}));
  write_tensor_file(path, {NamedArray::of<int32_t>("t/values", values)}, metadata);
  CHECK(built(path, "key"));
}

TEST_CASE("no rows, and misuse") {
  const test::TempDir folder;
  const RowCache empty = RowCache::open_or_build(folder / "empty", "key", [] {
    RowColumns columns;
    columns.texts["t"];
    columns.numbers["n"];
    return columns;
  });
  CHECK(empty.rows() == 0);
  CHECK(empty.ragged("t").size() == 0);
  CHECK(empty.column("n").empty());
  test::check_fails(
      Fault::bug, [&] { empty.ragged("n"); }, "no texts named n");
  test::check_fails(
      Fault::bug, [&] { empty.column("t"); }, "no numbers named t");
  test::check_fails(
      Fault::bug, [&] { RowCache::open_or_build(folder / "a", "key", [] { return RowColumns{}; }); },
      "nothing to write");
  test::check_fails(
      Fault::bug,
      [&] {
        RowCache::open_or_build(folder / "b", "key", [] {
          RowColumns columns = small();
          columns.numbers["relevance"].pop_back();
          return columns;
        });
      },
      "column relevance has 3 entries; expected 4");
  test::check_fails(Fault::resources,
                    [&] { RowCache::open_or_build(folder / "absent" / "rows", "key", small); });
}

}  // namespace
}  // namespace steelyard
