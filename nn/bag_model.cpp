#include "nn/bag_model.h"

namespace steelyard {

Var match_scores(const PairBatch& pairs, Var query, Var product) {
  return segment_sum(gather(query, pairs.query_matches) * gather(product, pairs.product_matches),
                     pairs.matches);
}

}  // namespace steelyard
