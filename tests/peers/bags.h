// A catalogue of a million products of 48 words, and what scoring them is measured against: the inner product of 128 floats
// or bytes, in AVX2 and prefetched alike, and a merge of two sorted lists.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <immintrin.h>

#include "data/bag_index.h"

namespace steelyard::peers {

class Catalogue {
 public:
  static constexpr int64_t kProducts = 1'000'000, kIds = 1 << 18, kCached = 20'000, kWidth = 128;

  explicit Catalogue(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / "bags";
    BagStoreBuilder builder(kIds);
    for (int64_t i = 0; i < kProducts; ++i) {
      const std::vector<BagWord> bag = words(48);
      builder.add(std::to_string(i), bag);
    }
    builder.write(path, {});
    store = std::make_unique<BagStore>(path);
    std::vector<StoredWord> bag;
    starts.push_back(0);
    for (int64_t i = 0; i < kProducts; ++i) {
      store->bag(i, bag);
      sorted.insert(sorted.end(), bag.begin(), bag.end());
      starts.push_back(std::ssize(sorted));
    }
    order.resize(kProducts), sums.resize(kProducts), cached.resize(kCached);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (int32_t& product : cached) product = static_cast<int32_t>(random() % kCached);
    floats.resize(kProducts * kWidth), bytes.resize(floats.size());
    for (float& x : floats) x = static_cast<float>(random() % 1000) / 1000;
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<int8_t>(floats[i] * 127);
  }

  // Frequent words have low numbers, and weights are seldom large.
  std::vector<BagWord> words(int count) {
    std::uniform_real_distribution<double> uniform(0, 1);
    std::map<int32_t, float> drawn;
    while (std::ssize(drawn) < count) {
      const double place = uniform(random);
      drawn.emplace(static_cast<int32_t>(kIds * place * place * place),
                    static_cast<float>(0.01 + 3 * std::pow(uniform(random), 4)));
    }
    std::vector<BagWord> bag;
    for (const auto& [id, weight] : drawn) bag.push_back({id, weight, "w"});
    return bag;
  }
  BagQuery query(int count) {
    BagQuery q;
    q.set(*store, words(count));
    return q;
  }

  std::mt19937_64 random{1};
  std::unique_ptr<BagStore> store;
  std::unique_ptr<BagIndex> index;
  std::vector<StoredWord> sorted;  // of all products, those of i from starts[i] on
  std::vector<int64_t> starts;
  std::vector<int32_t> order, cached, sums;
  std::vector<float> floats;
  std::vector<int8_t> bytes;
};

inline float inner_product(const float* a, const float* b) {
  __m256 sums[4] = {};
  for (int i = 0; i < Catalogue::kWidth; i += 32)
    for (int k = 0; k < 4; ++k)
      sums[k] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8 * k), _mm256_loadu_ps(b + i + 8 * k), sums[k]);
  const __m256 all = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}
inline int32_t inner_product(const int8_t* a, const int8_t* b) {
  __m256i sums = _mm256_setzero_si256();
  for (int i = 0; i < Catalogue::kWidth; i += 16) {
    const __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
    const __m256i y = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(x, y));
  }
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

// f(product, its line ahead) over `products`, sixteen ahead.
template <class Ahead, class Score>
void in_order(std::span<const int32_t> products, Ahead ahead, Score score) {
  constexpr size_t kAhead = 16;
  for (size_t j = 0; j < products.size(); ++j) {
    if (j + kAhead < products.size()) ahead(products[j + kAhead]);
    score(j, products[j]);
  }
}
inline void prefetch(const void* from, int64_t bytes) {
  for (int64_t line = 0; line < bytes; line += 64) {
    __builtin_prefetch(static_cast<const char*>(from) + line);
    asm volatile("");
  }
}

// Of the first vector with each of these, or with all in their order.
template <class T>
void inner_products(Catalogue& c, const std::vector<T>& vectors, std::span<const int32_t> products) {
  const auto at = [&](int64_t product) { return vectors.data() + product * Catalogue::kWidth; };
  in_order(
      products, [&](int32_t product) { prefetch(at(product), Catalogue::kWidth * int64_t{sizeof(T)}); },
      [&](size_t j, int32_t product) {
        c.sums[j] = static_cast<int32_t>(inner_product(at(0), at(product)));
      });
}
template <class T>
void inner_products(Catalogue& c, const std::vector<T>& vectors) {
  for (size_t i = 0; i < c.sums.size(); ++i)
    c.sums[i] = static_cast<int32_t>(
        inner_product(vectors.data(), vectors.data() + i * static_cast<size_t>(Catalogue::kWidth)));
}

inline void merges(Catalogue& c, const BagQuery& query, std::span<const int32_t> products) {
  std::vector<StoredWord> words(query.words().begin(), query.words().end());
  std::ranges::sort(words, {}, &StoredWord::id);
  in_order(
      products,
      [&](int32_t product) { prefetch(c.sorted.data() + c.starts[static_cast<size_t>(product)], 384); },
      [&](size_t j, int32_t product) {
        const auto i = static_cast<size_t>(product);
        const StoredWord *held = c.sorted.data() + c.starts[i], *const end =
                                                                    c.sorted.data() + c.starts[i + 1];
        int32_t sum = 0;
        for (const StoredWord& word : words) {
          while (held != end && held->id < word.id) ++held;
          if (held != end && held->id == word.id) sum += held->impact * word.impact;
        }
        c.sums[j] = sum;
      });
}

// bags_ORDER_qWORDS, floats_ORDER, bytes_ORDER, merge_random_q8 over ORDER random, stream (a million products) or cache (20,000);
// search_q8: the ten best of all, for twenty queries in turn.
inline std::map<std::string, std::function<std::function<void()>()>> bag_benches(
    const std::filesystem::path& folder) {
  const auto catalogue = [folder, made = std::make_shared<std::unique_ptr<Catalogue>>()]() -> Catalogue& {
    if (!*made) *made = std::make_unique<Catalogue>(folder);
    return **made;
  };
  std::map<std::string, std::function<std::function<void()>()>> benches;
  for (const std::string where : {"random", "stream", "cache"}) {
    const auto products = [where](Catalogue& c) {
      return std::span<const int32_t>(where == "random" ? c.order : c.cached);
    };
    const auto inner = [=](const auto& vectors_of) {
      return [=] {
        Catalogue& c = catalogue();
        return [&c, &vectors = vectors_of(c), where, products] {
          where == "stream" ? inner_products(c, vectors) : inner_products(c, vectors, products(c));
        };
      };
    };
    benches["floats_" + where] = inner([](Catalogue & c) -> auto& { return c.floats; });
    benches["bytes_" + where] = inner([](Catalogue & c) -> auto& { return c.bytes; });
    for (const int words : {8, 24})
      benches["bags_" + where + "_q" + std::to_string(words)] = [=] {
        Catalogue& c = catalogue();
        return [&c, where, products, query = c.query(words)] {
          if (where == "stream") return score_from(*c.store, query, 0, c.sums);
          score(*c.store, query, products(c), std::span(c.sums).first(products(c).size()));
        };
      };
  }
  benches["merge_random_q8"] = [=] {
    Catalogue& c = catalogue();
    return [&c, query = c.query(8)] { merges(c, query, c.order); };
  };
  benches["search_q8"] = [=] {
    Catalogue& c = catalogue();
    if (!c.index) c.index = std::make_unique<BagIndex>(*c.store);
    std::vector<BagQuery> queries;
    for (int i = 0; i < 20; ++i) queries.push_back(c.query(8));
    return [&c, queries, work = std::make_shared<BagIndex::Workspace>(),
            hits = std::vector<BagHit>()]() mutable {
      for (const BagQuery& query : queries) c.index->search(query, 10, {}, *work, hits);
    };
  };
  return benches;
}

}  // namespace steelyard::peers
