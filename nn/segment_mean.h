// Means over segments, which models of texts and of histories share.
#pragma once

#include "autograd/ops.h"

namespace steelyard {

Var inverse_lengths(Tape& tape, const Segments& segments);  // 1 / rows of each segment, 0 for none      → [n]
Var segment_mean(Var x, const Segments& segments);  // of the rows of each; 0 for none      [R,C] → [n,C]

}  // namespace steelyard
