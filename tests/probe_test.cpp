// The linear probe (tools/probe.h): it finds what is there, and nothing where nothing is.
#include "tools/probe.h"

#include "core/random.h"
#include "tests/support.h"

using namespace steelyard;

TEST_CASE("probe: a label that lies in the vectors is found, a shuffled one is not") {
  std::vector<std::vector<real>> vectors;
  std::vector<int> labels, noise;
  for (uint64_t i = 0; i < 600; ++i) {
    std::vector<real> x;
    for (uint64_t j = 0; j < 12; ++j) x.push_back(random_normal(i, j) * static_cast<real>(j + 1));
    labels.push_back(static_cast<int>(i * 7 % 3));
    x[static_cast<size_t>(2 + labels.back())] += 30;
    noise.push_back(static_cast<int>(random_bits(1, i) % 3));
    vectors.push_back(std::move(x));
  }
  CHECK(probe(vectors, labels) > 0.95);
  CHECK(probe(vectors, labels, 5) < 0.5);
  CHECK(probe(vectors, noise) < 0.45);
  CHECK(probe(vectors, noise) > 0.2);
}

TEST_CASE("probe: columns that say nothing do no harm") {
  std::vector<std::vector<real>> vectors(40, std::vector<real>(5));
  std::vector<int> labels;
  for (size_t i = 0; i < vectors.size(); ++i)
    labels.push_back(i % 4 < 2), vectors[i][3] = static_cast<real>(labels[i]);
  CHECK(probe(vectors, labels) == 1);
  vectors[0].pop_back();
  labels.pop_back();
  test::check_fails(
      Fault::bug, [&] { probe(vectors, labels); }, "40 vectors, 39 labels");
}
