#include "data/bag_score.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#else
// Vectors that this processor lacks are passed to inlined functions only.
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

#include "core/check.h"

namespace steelyard {
namespace {

// Vectors of a block's lanes: compilers turn them into instructions of whatever processor.
template <int kLanes>
struct Vectors {
  typedef uint16_t Keys __attribute__((vector_size(2 * kLanes)));
  typedef int16_t Impacts __attribute__((vector_size(2 * kLanes)));
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  typedef int32_t Sums __attribute__((vector_size(2 * kLanes)));  // half as many
};

// g++ takes a loop that only prefetches for an empty one.
inline void prefetch(const void* line) {
  __builtin_prefetch(line);
  asm volatile("");
}

template <class V>
V load(const void* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// sums += a · b, products of neighbours summed in pairs.
template <int kLanes, class V = Vectors<kLanes>>
void multiply_add(typename V::Impacts a, const uint8_t* b, typename V::Sums& sums) {
#ifdef __AVX2__
  using Sums = typename V::Sums;
  if constexpr (kLanes == 16)
    sums += reinterpret_cast<Sums>(
        _mm256_madd_epi16(reinterpret_cast<__m256i>(a), _mm256_cvtepu8_epi16(load<__m128i>(b))));
  else
    sums += reinterpret_cast<Sums>(
        _mm_madd_epi16(reinterpret_cast<__m128i>(a),
                       _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(b)))));
#else
  for (int i = 0; i < kLanes / 2; ++i)
    sums[i] += int32_t{a[2 * i]} * b[2 * i] + int32_t{a[2 * i + 1]} * b[2 * i + 1];
#endif
}

template <class Sums>
int32_t total(Sums sums) {
  if constexpr (sizeof sums == 32) {
    typedef int32_t Half __attribute__((vector_size(16)));
    return total(load<Half>(&sums) + load<Half>(reinterpret_cast<const char*>(&sums) + 16));
  } else {
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
}

// kDepth 0: as the store says.
template <int kLanes, int kDepth>
class Scorer {
 public:
  Scorer(const BagStore& store, const BagQuery& query) : store_(store), query_(query) {}

  int32_t operator()(int64_t product) const {
    using V = Vectors<kLanes>;
    const int32_t depth = kDepth > 0 ? kDepth : store_.layout().depth;
    const uint16_t* keys = store_.keys(product);
    const uint8_t* impacts = store_.impacts(product);
    const auto* const words = query_.broadcast().data();
    const int32_t* const starts = query_.starts().data();
    typename V::Sums sums{};
    for (int b = 0; b < 64 / kLanes; ++b) {
      const auto *const begin = words + starts[b], *const end = words + starts[b + 1];
      for (int32_t d = 0; d < depth; ++d, keys += kLanes, impacts += kLanes) {
        if (begin == end) continue;
        const auto held = load<typename V::Keys>(keys);
        typename V::Impacts matched{};  // a key is that of one word at most
        for (const auto* word = begin; word != end; ++word)
          matched |= static_cast<typename V::Impacts>(held == load<typename V::Keys>(word->key)) &
                     load<typename V::Impacts>(word->impact);
        multiply_add<kLanes>(matched, impacts, sums);
      }
    }
    int32_t sum = total(sums);
    store_.for_overflow(product, [&](int32_t id, int32_t impact) {
      if (!query_.perhaps(id)) [[likely]]
        return;
      const auto [first, last] = query_.block(store_.layout().block(id));
      const auto word =
          std::lower_bound(first, last, id, [](const StoredWord& w, int32_t i) { return w.id < i; });
      if (word != last && word->id == id) sum += word->impact * impact;
    });
    return sum;
  }

 private:
  const BagStore& store_;
  const BagQuery& query_;
};

// product(j) for j from 0 on. What a product needs is asked for in two turns ahead of it: where its overflow begins is known
// only when the first has come.
template <class Product>
void sums_of(const BagStore& store, const BagQuery& query, Product product, std::span<int32_t> sums) {
  check(query.ids() == store.ids(), "score: a query for ", query.ids(), " ids in a store of ", store.ids());
  constexpr size_t kAhead = 16, kOverflowAhead = 8;
  const size_t n = sums.size();
  const int64_t bytes = store.layout().bytes();
  const auto fetch = [&](size_t j) {
    const int64_t i = product(j);
    const auto* const from = reinterpret_cast<const char*>(store.keys(i));
    for (const char* line = from; line < from + bytes; line += 64) prefetch(line);
  };
  const auto fetch_overflow = [&](size_t j) { prefetch(store.overflow(product(j))); };
  for (size_t j = 0; j < std::min(kAhead, n); ++j) fetch(j);
  for (size_t j = 0; j < std::min(kOverflowAhead, n); ++j) fetch_overflow(j);
  const auto with = [&](const auto& scorer) {
    for (size_t j = 0; j < n; ++j) {
      if (j + kAhead < n) fetch(j + kAhead);
      if (j + kOverflowAhead < n) fetch_overflow(j + kOverflowAhead);
      sums[j] = scorer(product(j));
    }
  };
  const BagLayout& layout = store.layout();
  if (layout.lanes == 16)
    layout.depth == 1 ? with(Scorer<16, 1>(store, query)) : with(Scorer<16, 0>(store, query));
  else
    layout.depth == 1 ? with(Scorer<8, 1>(store, query)) : with(Scorer<8, 0>(store, query));
}

}  // namespace

void BagQuery::set(const BagStore& store, std::span<const BagWord> words) {
  const BagLayout& layout = store.layout();
  ids_ = store.ids();
  words_.clear(), broadcast_.clear(), starts_.assign(1, 0), filter_.fill(0);
  const auto asked = [&](const BagWord& word) {
    return word.weight != 0 && word.id >= 0 && word.id < store.ids();
  };
  double most = 0, all = 0;
  for (const BagWord& word : words) {
    if (!(word.weight >= 0) || std::isinf(word.weight))
      fail(Fault::input, "query word \"", word.surface, "\": weight ", word.weight,
           "; expected a number of at least 0");
    if (!asked(word)) continue;
    most = std::max(most, static_cast<double>(word.weight)), all += static_cast<double>(word.weight);
    words_.push_back({word.id, 0});
  }
  // A sum of all impacts, each times 255, stays below 2³¹, though each of at most 2¹⁹ may be rounded up to 1.
  scale_ = most > 0 ? coarse(std::max(most / 32767, all / 7'800'000)) : 1;
  size_t next = 0;
  for (const BagWord& word : words)
    if (asked(word))
      words_[next++].impact =
          static_cast<int32_t>(std::max(1L, std::lround(static_cast<double>(word.weight) / scale_)));
  std::ranges::sort(words_, {}, [&](const StoredWord& w) { return std::pair(layout.block(w.id), w.id); });
  check(std::ranges::adjacent_find(words_, {}, &StoredWord::id) == words_.end(),
        "BagQuery: a word is there twice");
  for (const StoredWord& w : words_) {
    while (std::ssize(starts_) <= layout.block(w.id))
      starts_.push_back(static_cast<int32_t>(broadcast_.size()));
    filter_[static_cast<size_t>(w.id / 64 % 64)] |= uint64_t{1} << (w.id % 64);
    Broadcast& to = broadcast_.emplace_back();
    std::ranges::fill(to.key, layout.key(w.id));
    std::ranges::fill(to.impact, static_cast<int16_t>(w.impact));
  }
  starts_.resize(static_cast<size_t>(layout.blocks) + 1, static_cast<int32_t>(broadcast_.size()));
}

void score(const BagStore& store, const BagQuery& query, std::span<const int32_t> products,
           std::span<int32_t> sums) {
  check(products.size() == sums.size(), "score: ", products.size(), " products, ", sums.size(), " sums");
  for (const int32_t product : products)
    check(product >= 0 && product < store.size(), "score: product ", product, " of ", store.size());
  sums_of(
      store, query, [&](size_t j) { return int64_t{products[j]}; }, sums);
}

void score_from(const BagStore& store, const BagQuery& query, int64_t first, std::span<int32_t> sums) {
  check(first >= 0 && first + std::ssize(sums) <= store.size(), "score_from: products ", first, " to ",
        first + std::ssize(sums), " of ", store.size());
  sums_of(
      store, query, [&](size_t j) { return first + static_cast<int64_t>(j); }, sums);
}

void match(const BagStore& store, const BagQuery& query, int64_t product, std::vector<BagMatch>& out) {
  out.clear();
  std::vector<StoredWord> bag;
  store.bag(product, bag);
  for (const StoredWord& word : query.words()) {
    const auto held = std::ranges::lower_bound(bag, word.id, {}, &StoredWord::id);
    if (held == bag.end() || held->id != word.id) continue;
    const double query_weight = word.impact * query.scale(), product_weight = held->impact * store.scale();
    out.push_back({word.id, query_weight, product_weight, query_weight * product_weight});
  }
  std::ranges::sort(out, [](const BagMatch& a, const BagMatch& b) {
    return std::pair(-a.contribution, a.id) < std::pair(-b.contribution, b.id);
  });
}

}  // namespace steelyard
