// The layers of an encoder, as plain structs: parameters by path, and operator().
//
// Texts of different lengths stand one after the other in one matrix, and Segments say which rows are whose.
// There is no padding and so no mask: nothing is computed for rows that do not exist, and a text's bits
// cannot depend on its batch.
#pragma once

#include <deque>

#include "nn/linear.h"

namespace steelyard {

struct LayerNorm {
  LayerNorm(Parameters::Scope at, int64_t width)
      : gain(at.add("gain", {width}, constant(1))), bias(at.add("bias", {width}, constant(0))) {}
  Var operator()(Var x) const { return layer_norm(x, x.tape->leaf(gain), x.tape->leaf(bias)); }
  const Parameter &gain, &bias;
};

// x ← x + attention(norm(x));  x ← x + W₂ gelu(W₁ norm(x))      [R,D] → [R,D]
// (Vaswani et al. 2017; normalised before each part, Xiong et al. 2020)
class TransformerLayer {
 public:
  TransformerLayer(Parameters::Scope at, int64_t width, int64_t heads, double dropout);
  Var operator()(Var x, const Segments& texts) const;

 private:
  int64_t heads_;
  real dropout_;
  LayerNorm attention_norm_, feed_norm_;
  Linear qkv_, out_, widen_, narrow_;
};

// Layers one after the other and a last norm.
class Transformer {
 public:
  Transformer(Parameters::Scope at, int64_t layers, int64_t width, int64_t heads, double dropout);
  Var operator()(Var x, const Segments& texts) const;

 private:
  std::deque<TransformerLayer> layers_;
  LayerNorm norm_;
};

}  // namespace steelyard
