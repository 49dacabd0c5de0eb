#include "nn/bag.h"

namespace steelyard {

namespace {

template <class F>
void each_match(const Bag& query, const Bag& product, F&& f) {
  for (int64_t i = 0; i < query.terms.size(); ++i) {
    const int64_t j = product.terms.find(query.terms[i].id);
    if (j < 0) continue;
    const auto weight = [](const Bag& bag, int64_t term) {
      return static_cast<double>(bag.weights[static_cast<size_t>(term)]);
    };
    f(i, j, weight(query, i) * weight(product, j));
  }
}

}  // namespace

void match(const Bag& query, const Bag& product, std::vector<Match>& out) {
  out.clear();
  each_match(query, product, [&](int64_t i, int64_t j, double contribution) {
    out.push_back({static_cast<int32_t>(i), static_cast<int32_t>(j), contribution});
  });
}

double score(const Bag& query, const Bag& product) {
  double sum = 0;
  each_match(query, product, [&](int64_t, int64_t, double contribution) { sum += contribution; });
  return sum;
}

}  // namespace steelyard
