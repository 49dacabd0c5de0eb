// Self-attention within ragged texts: segments stand where others pad and mask.
#include <algorithm>

#include "autograd/ops.h"
#include "core/backend.h"

namespace steelyard {

Var attention(Var qkv, const Segments& texts, int64_t heads) {
  const int64_t n = qkv.rows(), depth = qkv.cols() / 3;
  check(qkv.cols() % 3 == 0 && heads > 0 && depth % heads == 0, "attention: ", heads,
        " heads for q | k | v of ", qkv.cols(), " columns");
  check(texts.begins.size() == texts.ends.size(), "attention: as many begins as ends");
  const std::span<bool> taken = qkv.tape->array<bool>(n);
  std::fill(taken.begin(), taken.end(), false);
  for (size_t t = 0; t < texts.begins.size(); ++t) {
    const int32_t begin = texts.begins[t], end = texts.ends[t];
    check(begin >= 0 && begin <= end && end <= n, "attention: text ", begin, " … ", end, " of ", n, " rows");
    const auto rows = taken.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    check(std::find(rows.begin(), rows.end(), true) == rows.end(), "attention: text ", begin, " … ", end,
          " overlaps another");
    std::fill(rows.begin(), rows.end(), true);
  }
  const Tensor y = qkv.tape->alloc({n, depth}), lse = qkv.tape->alloc({heads, n});
  qkv.backend().attention(qkv.value(), texts, heads, y, lse);
  return qkv.tape->record("attention", y, {qkv}, [qkv, texts, heads, lse](Tensor dy) {
    qkv.backend().attention_grad(qkv.value(), texts, heads, lse, dy, qkv.grad());
  });
}

}  // namespace steelyard
