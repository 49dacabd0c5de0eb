// Kinship of terms from texts alone: what the space must be where it is known, and the same bits on any number of threads.
#include "nn/latent.h"

#include <cmath>
#include <numeric>

#include "core/random.h"
#include "data/row_cache.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

// Pairs of texts, each a list of ids.
struct Texts {
  RowColumns::Lists queries, products;
  std::vector<int32_t> query, product;

  void add(std::initializer_list<int32_t> of_query, std::initializer_list<int32_t> of_product) {
    const auto text = [](RowColumns::Lists& lists, std::initializer_list<int32_t> ids) {
      for (int32_t id : ids) lists.add(id);
      lists.end();
    };
    query.push_back(static_cast<int32_t>(query.size()));
    product.push_back(static_cast<int32_t>(product.size()));
    text(queries, of_query);
    text(products, of_product);
  }
  std::vector<real> vectors(int64_t terms, int64_t width, int threads = 1) {
    std::vector<int32_t> rows(static_cast<size_t>(terms));
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<real> weights(static_cast<size_t>(terms), 1);
    return latent_vectors({queries.ragged(), products.ragged(), query, product}, {rows, weights}, width,
                          Workers(threads));
  }
};

double cosine(const std::vector<real>& x, int64_t width, int64_t a, int64_t b) {
  double sum = 0;
  for (int64_t j = 0; j < width; ++j)
    sum += static_cast<double>(x[static_cast<size_t>(a * width + j)]) *
           static_cast<double>(x[static_cast<size_t>(b * width + j)]);
  return sum;
}

}  // namespace

TEST_CASE("latent: terms of one company are one, of two that never meet nothing to each other") {
  Texts texts;
  for (int i = 0; i < 5; ++i) texts.add({0}, {1, 2});
  for (int i = 0; i < 4; ++i) texts.add({3, 4}, {5});
  for (const int64_t width : {2, 3}) {  // the matrix has rank 2: a third column is 0
    CAPTURE(width);
    const std::vector<real> x = texts.vectors(7, width);
    for (const int64_t a : {0, 1, 2})
      for (const int64_t b : {0, 1, 2}) CHECK(cosine(x, width, a, b) == doctest::Approx(1).epsilon(1e-5));
    for (const int64_t a : {3, 4, 5}) CHECK(cosine(x, width, a, 3) == doctest::Approx(1).epsilon(1e-5));
    for (const int64_t a : {0, 1, 2})
      for (const int64_t b : {3, 4, 5}) CHECK(std::abs(cosine(x, width, a, b)) < 1e-5);
    CHECK(cosine(x, width, 6, 6) == 0);  // no text holds it
  }
}

TEST_CASE("latent: synonyms that never share a text are akin through what stands beside them") {
  Texts texts;  // 0 couch, 1 sofa, 2 leather, 3 corner; 4 lamp, 5 shade
  for (int i = 0; i < 3; ++i) texts.add({0}, {2, 3}), texts.add({1}, {2, 3});
  for (int i = 0; i < 9; ++i) texts.add({2}, {2, 3}), texts.add({4}, {4, 5});
  const std::vector<real> x = texts.vectors(6, 2);
  CHECK(cosine(x, 2, 0, 1) > 0.99);
  CHECK(std::abs(cosine(x, 2, 0, 4)) < 0.01);
}

TEST_CASE("latent: the same bits on any number of threads") {
  Texts texts;
  for (uint64_t i = 0; i < 900; ++i) {
    const auto id = [&](uint64_t k) { return static_cast<int32_t>(random_bits(key_of(i, "id"), k) % 600); };
    texts.add({id(0), id(1)}, {id(2), id(3), id(4)});
  }
  const std::vector<real> one = texts.vectors(600, 16), eight = texts.vectors(600, 16, 8);
  CHECK(one == eight);
  for (int64_t row = 0; row < 600; ++row)
    CHECK(cosine(one, 16, row, row) == doctest::Approx(1).epsilon(1e-4));
}
