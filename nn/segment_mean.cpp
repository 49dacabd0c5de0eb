#include "nn/segment_mean.h"

namespace steelyard {

Var inverse_lengths(Tape& tape, const Segments& segments) {
  const std::span<real> inverse = tape.array<real>(segments.size());
  for (size_t i = 0; i < inverse.size(); ++i) {
    const int32_t length = segments.ends[i] - segments.begins[i];
    inverse[i] = length > 0 ? 1 / static_cast<real>(length) : 0;
  }
  return tape.constant({segments.size()}, inverse);
}

Var segment_mean(Var x, const Segments& segments) {
  return scale_rows(segment_sum(x, segments), inverse_lengths(*x.tape, segments));
}

}  // namespace steelyard
