#include "autograd/ops.h"
#include "core/backend.h"

namespace steelyard {

Var layer_norm(Var x, Var gain, Var bias, real epsilon) {
  check(gain.size() == x.cols() && bias.size() == x.cols(), "layer_norm: gain ", gain.shape(), " and bias ",
        bias.shape(), " for ", x.shape());
  Tape& tape = *x.tape;
  const Tensor y = tape.alloc(x.shape()), mean = tape.alloc({x.rows()}), inverse = tape.alloc({x.rows()});
  tape.backend().layer_norm(x.value(), gain.value(), bias.value(), epsilon, y, mean, inverse);
  return tape.record("layer_norm", y, {x, gain, bias}, [x, gain, bias, mean, inverse](Tensor dy) {
    x.backend().layer_norm_grad(x.value(), gain.value(), mean, inverse, dy, x.grad(), gain.grad(),
                                bias.grad());
  });
}

Var cross_entropy(Var z, Ids labels) {
  check(static_cast<int64_t>(labels.size()) == z.rows(), "cross_entropy: ", labels.size(), " labels for ",
        z.rows(), " rows");
  for (int32_t label : labels)
    check(label < z.cols(), "cross_entropy: label ", label, "; expected less than ", z.cols());
  Tape& tape = *z.tape;
  const Ids kept = tape.upload(labels);
  const Tensor loss = tape.alloc({z.rows()}), p = tape.alloc(z.shape());
  tape.backend().cross_entropy(z.value(), kept, loss, p);
  return tape.record("cross_entropy", loss, {z}, [z, kept, p](Tensor dloss) {
    z.backend().cross_entropy_grad(p, kept, dloss, z.grad());  // dz[r,c] += (p[r,c] − [c = label]) · dloss[r]
  });
}

namespace {

Var scaled_sum(const char* name, Var x, Tensor w, real scale) {
  const Tensor y = x.tape->alloc({});
  x.backend().weighted_sum(scale, x.value(), w, y);
  return x.tape->record(name, y, {x},
                        [x, w, scale](Tensor dy) { x.backend().weighted_sum_grad(scale, w, dy, x.grad()); });
}

}  // namespace

Var sum(Var x) { return scaled_sum("sum", x, {}, 1); }

Var mean(Var x) { return scaled_sum("mean", x, {}, x.size() ? 1 / static_cast<real>(x.size()) : real(0)); }

Var weighted_mean(Var x, Tensor w) {
  check(w.size() == x.size(), "weighted_mean: ", w.shape, " weights for ", x.shape());
  double total = 0;
  for (int64_t i = 0; i < w.size(); ++i) total += w.data[i];
  const Tensor weights = x.tape->alloc(w.shape);
  x.backend().upload(w.data, weights.data, sizeof(real) * static_cast<size_t>(w.size()));
  return scaled_sum("weighted_mean", x, weights, total > 0 ? static_cast<real>(1 / total) : real(0));
}

}  // namespace steelyard
