#include "nn/transformer.h"

namespace steelyard {

namespace {
constexpr int64_t kWiden = 4;  // the feed-forward part's inner width over its outer
}

TransformerLayer::TransformerLayer(Parameters::Scope at, int64_t width, int64_t heads, double dropout)
    : heads_(heads),
      dropout_(static_cast<real>(dropout)),
      attention_norm_(at / "attention_norm", width),
      feed_norm_(at / "feed_norm", width),
      qkv_(at / "qkv", width, 3 * width),
      out_(at / "out", width, width),
      widen_(at / "widen", width, kWiden * width),
      narrow_(at / "narrow", kWiden * width, width) {}

Var TransformerLayer::operator()(Var x, const Segments& texts) const {
  x = x + dropout(out_(attention(qkv_(attention_norm_(x)), texts, heads_)), dropout_);
  return x + dropout(narrow_(gelu(widen_(feed_norm_(x)))), dropout_);
}

Transformer::Transformer(Parameters::Scope at, int64_t layers, int64_t width, int64_t heads, double dropout)
    : norm_(at / "norm", width) {
  for (int64_t i = 0; i < layers; ++i) layers_.emplace_back(at / std::to_string(i), width, heads, dropout);
}

Var Transformer::operator()(Var x, const Segments& texts) const {
  for (const TransformerLayer& layer : layers_) x = layer(x, texts);
  return norm_(x);
}

}  // namespace steelyard
