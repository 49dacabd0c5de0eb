#include "data/bag_index.h"

#include <algorithm>

#include "core/check.h"

namespace steelyard {
namespace {

constexpr int64_t kWindow = 1 << 15;  // products
constexpr int64_t kDense = 8;         // a word of every eighth product has a column

size_t at(int64_t i) { return static_cast<size_t>(i); }

// Better than what the heap holds at its front.
bool before(const BagHit& a, const BagHit& b) {
  return a.sum != b.sum ? a.sum > b.sum : a.product < b.product;
}

}  // namespace

BagIndex::BagIndex(const BagStore& store)
    : store_(&store), starts_(at(store.ids() + 1)), columns_(at(store.ids()), -1) {
  std::vector<int64_t> held(at(store.ids()));
  for (int64_t i = 0; i < store.size(); ++i) store.for_words(i, [&](int32_t id, int32_t) { ++held[at(id)]; });
  int32_t columns = 0;
  for (int64_t id = 0; id < store.ids(); ++id) {
    const bool dense = held[at(id)] * kDense >= store.size();
    if (dense) columns_[at(id)] = columns++;
    starts_[at(id + 1)] = starts_[at(id)] + (dense ? 0 : held[at(id)]);
  }
  products_.resize(at(starts_.back())), impacts_.resize(products_.size());
  dense_.resize(at(columns * store.size()));
  std::vector<int64_t> next(starts_.begin(), starts_.end() - 1);
  for (int64_t i = 0; i < store.size(); ++i)
    store.for_words(i, [&](int32_t id, int32_t impact) {
      if (columns_[at(id)] >= 0) {
        dense_[at(columns_[at(id)] * store.size() + i)] = static_cast<uint8_t>(impact);
        return;
      }
      const size_t place = at(next[at(id)]++);
      products_[place] = static_cast<int32_t>(i), impacts_[place] = static_cast<uint8_t>(impact);
    });
}

void BagIndex::search(const BagQuery& query, int64_t most, std::span<const uint64_t> allowed, Workspace& work,
                      std::vector<BagHit>& out) const {
  const int64_t n = store_->size();
  check(most > 0, "search: ", most, " products; expected at least 1");
  check(query.ids() == store_->ids(), "search: a query for ", query.ids(), " ids in a store of ",
        store_->ids());
  check(allowed.empty() || std::ssize(allowed) * 64 >= n, "search: ", allowed.size(),
        " words of a bitmap for ", n, " products");
  work.sums.assign(at(std::min(kWindow, n)), 0);
  work.lists.clear(), work.columns.clear(), work.heap.clear();
  for (const StoredWord& word : query.words()) {
    const size_t id = at(word.id);
    if (columns_[id] >= 0)
      work.columns.push_back({columns_[id] * n, 0, word.impact});
    else if (starts_[id] < starts_[id + 1])
      work.lists.push_back({starts_[id], starts_[id + 1], word.impact});
  }
  int32_t least = 0;  // a product needs more
  const auto offer = [&](BagHit hit) {
    if (!allowed.empty() && !(allowed[at(hit.product / 64)] >> (hit.product % 64) & 1)) return;
    if (std::ssize(work.heap) == most) {
      std::ranges::pop_heap(work.heap, before);
      work.heap.back() = hit;
    } else {
      work.heap.push_back(hit);
    }
    std::ranges::push_heap(work.heap, before);
    if (std::ssize(work.heap) == most) least = work.heap.front().sum;
  };
  for (int64_t first = 0; first < n; first += kWindow) {
    const int64_t count = std::min(kWindow, n - first);
    int32_t* const sums = work.sums.data();
    for (const Workspace::List& column : work.columns) {
      const uint8_t* const impacts = dense_.data() + column.next + first;
      for (int64_t i = 0; i < count; ++i) sums[i] += column.impact * impacts[i];
    }
    for (Workspace::List& list : work.lists)
      for (; list.next < list.end && products_[at(list.next)] < first + count; ++list.next)
        sums[products_[at(list.next)] - first] += list.impact * impacts_[at(list.next)];
    constexpr int64_t kGroup = 64;
    for (int64_t i = 0; i < count; i += kGroup) {
      const int64_t end = std::min(count, i + kGroup);
      int32_t greatest = 0;
      for (int64_t j = i; j < end; ++j) greatest = std::max(greatest, sums[j]);
      for (int64_t j = i; greatest > least && j < end; ++j)
        if (sums[j] > least) offer({static_cast<int32_t>(first + j), sums[j]});
    }
    std::fill_n(sums, count, 0);
  }
  out.assign(work.heap.begin(), work.heap.end());
  std::ranges::sort(out, before);
}

}  // namespace steelyard
