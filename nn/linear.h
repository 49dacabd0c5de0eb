// The layer that every model is made of.
#pragma once

#include <utility>

#include "autograd/ops.h"

namespace steelyard {

struct Linear {  // y = f(x · W + b)      [R,in] → [R,out]
  Linear(Parameters::Scope at, int64_t in, int64_t out, Init bias = constant(0))
      : W(at.add("W", {in, out}, glorot(in, out))), b(at.add("b", {out}, std::move(bias))) {}
  Var operator()(Var x, UnaryId activation = unary_id<Identity>) const {
    return linear(x, x.tape->leaf(W), x.tape->leaf(b), activation);
  }
  const Parameter &W, &b;
};

}  // namespace steelyard
