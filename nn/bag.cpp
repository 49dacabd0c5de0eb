#include "nn/bag.h"

#include <algorithm>

namespace steelyard {

int64_t Bag::find(int32_t id) const {
  if (const int64_t term = terms.find(id); term >= 0) return term;
  const auto found = std::lower_bound(expansion.begin(), expansion.end(), id,
                                      [](const Entry& entry, int32_t wanted) { return entry.id < wanted; });
  return found != expansion.end() && found->id == id ? terms.size() + (found - expansion.begin()) : -1;
}

namespace {

template <class F>
void each_match(const Bag& query, const Bag& product, F&& f) {
  for (int64_t i = 0; i < query.size(); ++i) {
    const Entry entry = query[i];
    const int64_t j = product.find(entry.id);
    if (j < 0) continue;
    const double contribution = static_cast<double>(entry.weight) * static_cast<double>(product[j].weight);
    if (contribution != 0) f(i, j, contribution);
  }
}

}  // namespace

void match(const Bag& query, const Bag& product, std::vector<Match>& out) {
  out.clear();
  each_match(query, product, [&](int64_t i, int64_t j, double contribution) {
    out.push_back({i, j, contribution});
  });
}

double score(const Bag& query, const Bag& product) {
  double sum = 0;
  each_match(query, product, [&](int64_t, int64_t, double contribution) { sum += contribution; });
  return sum;
}

}  // namespace steelyard
