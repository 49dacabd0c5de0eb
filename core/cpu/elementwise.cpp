#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"
#include "core/random.h"

namespace steelyard {

void CpuBackend::unary(UnaryId op, Tensor x, Tensor y) {
  with_op(UnaryOps{}, op,
          [&]<class Op>() { for_lanes(x.size(), [&](auto i) { i.store(y.data, Op::f(i.load(x.data))); }); });
}

void CpuBackend::unary_grad(UnaryId op, Tensor x, Tensor y, Tensor dy, real beta, Tensor dx) {
  with_op(UnaryOps{}, op, [&]<class Op>() {
    for_lanes(x.size(), [&](auto i) {
      const Lane slope = i.load(dy.data) * Op::df(i.load(x.data), i.load(y.data));
      i.store(dx.data, beta == 0 ? slope : Lane(slope + beta * i.load(dx.data)));
    });
  });
}

void CpuBackend::binary(BinaryId op, Tensor a, Tensor b, Tensor c) {
  with_op(BinaryOps{}, op, [&]<class Op>() {
    for_lanes(a.size(), [&](auto i) { i.store(c.data, Op::f(i.load(a.data), i.load(b.data))); });
  });
}

void CpuBackend::binary_grad(BinaryId op, Tensor a, Tensor b, Tensor dc, Tensor da, Tensor db) {
  // Two loops: a and b may be one variable, whose gradient then gets both parts in turn.
  with_op(BinaryOps{}, op, [&]<class Op>() {
    if (!da.empty())
      for_lanes(a.size(), [&](auto i) {
        add_to(i, da.data, Lane(i.load(dc.data) * Op::dfa(i.load(a.data), i.load(b.data))));
      });
    if (!db.empty())
      for_lanes(a.size(), [&](auto i) {
        add_to(i, db.data, Lane(i.load(dc.data) * Op::dfb(i.load(a.data), i.load(b.data))));
      });
  });
}

void CpuBackend::affine(real scale, real shift, Tensor x, Tensor y) {
  for_lanes(x.size(), [&](auto i) { i.store(y.data, Lane(scale * i.load(x.data) + shift)); });
}

void CpuBackend::axpy(real scale, Tensor x, Tensor y) {
  for_lanes(x.size(), [&](auto i) { add_to(i, y.data, Lane(scale * i.load(x.data))); });
}

void CpuBackend::dropout(uint64_t key, real rate, Tensor x, Tensor y) {
  const real scale = 1 / (1 - rate);
  for (int64_t i = 0; i < x.size(); ++i)
    y.data[i] += random_uniform(key, static_cast<uint64_t>(i)) >= rate ? scale * x.data[i] : 0;  // no branch
}

void CpuBackend::weighted_sum(real scale, Tensor x, Tensor w, Tensor y) {
  const double sum = w.empty()
                         ? sum_lanes(x.size(), [&](auto i) { return i.load(x.data); })
                         : sum_lanes(x.size(), [&](auto i) { return Lane(i.load(x.data) * i.load(w.data)); });
  y.data[0] = static_cast<real>(static_cast<double>(scale) * sum);
}

void CpuBackend::weighted_sum_grad(real scale, Tensor w, Tensor dy, Tensor dx) {
  const real slope = scale * dy.data[0];
  if (!w.empty()) return axpy(slope, w, dx);
  for_lanes(dx.size(), [&](auto i) { add_to(i, dx.data, Lane::Constant(slope)); });
}

double CpuBackend::dot(Tensor a, Tensor b) {
  return sum_lanes(a.size(), [&](auto i) { return Lane(i.load(a.data) * i.load(b.data)); });
}

}  // namespace steelyard
