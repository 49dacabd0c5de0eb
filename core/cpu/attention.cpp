// Self-attention, one head of one text at a time. The matrices are small (65 × 16 is typical), and nothing is packed.
// Scores stand transposed, s[j,i] of key j and query i: a packet holds queries, and softmax needs no sum across a
// packet. Only the log-sum-exp of each query's scores is saved: saving softmax's result, n² numbers per text and head, would make
// a step up to 15 % faster.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/cpu/cpu_backend.h"
#include "core/cpu/product.h"

namespace steelyard {

namespace {

using Eigen::internal::padd, Eigen::internal::pexp, Eigen::internal::ploadu, Eigen::internal::plog,
    Eigen::internal::pmadd, Eigen::internal::pmax, Eigen::internal::pmul, Eigen::internal::pset1,
    Eigen::internal::pstoreu, Eigen::internal::psub;

int64_t padded(int64_t n) { return (n + kPacket - 1) / kPacket * kPacket; }

// c [rows,cols] = a [rows,inner] · b; cols is a multiple of kPacket.
void product(int64_t rows, Factor a, int64_t inner, Rows b, real* c, int64_t cols) {
  for_strips(rows, [&](auto height, int64_t i) {
    strip<height>(a.from(i, 0), b, inner, 0, c + i * cols, cols, cols);
  });
}

// One head of one text, and the scratch for its matrices; those of n queries are padded to m.
struct Head {
  Head(Tensor qkv, int64_t heads, int64_t number, int64_t begin, int64_t end)
      : number(number), begin(begin), n(end - begin), m(padded(n)), depth(qkv.cols() / 3) {
    width = depth / heads;
    wide = padded(width);
    const auto part = [&](int64_t i) {
      return Rows{qkv.data + begin * qkv.cols() + i * depth + number * width, qkv.cols()};
    };
    q = part(0), k = part(1), v = part(2);
    thread_local Eigen::Array<real, Eigen::Dynamic, 1> scratch;  // kept: a steady step allocates nothing
    const int64_t size = 2 * wide * m + 2 * n * m + 2 * n * wide + m;
    if (scratch.size() < size) scratch.resize(size);
    real* free = scratch.data();
    for (real** matrix : {&q_turned, &dy_turned}) *matrix = std::exchange(free, free + wide * m);
    for (real** matrix : {&p, &ds}) *matrix = std::exchange(free, free + n * m);
    for (real** matrix : {&widened, &result}) *matrix = std::exchange(free, free + n * wide);
    of_query = free;
  }

  real scale() const { return static_cast<real>(1 / std::sqrt(static_cast<double>(width))); }
  int64_t in_y() const { return begin * depth + number * width; }  // where its part of y begins

  // x [n,width] with zeros behind each row up to a multiple of kPacket
  Rows widen(Rows x) const {
    if (width == wide) return x;
    for (int64_t i = 0; i < n; ++i)
      std::fill(std::copy_n(x.data + i * x.stride, width, widened + i * wide), widened + (i + 1) * wide,
                real(0));
    return {widened, wide};
  }
  // to [wide,m] = factor · xᵀ
  template <class P>
  void turn(P factor, Rows x, real* to) const {
    x = widen(x);
    for (int64_t i = 0; i < m; i += kPacket)
      for (int64_t c = 0; c < wide; c += kPacket)
        transpose(factor, {x.data + i * x.stride + c, x.stride}, n - i, to + c * m + i, m);
  }
  // p = the scores
  void score() const {
    turn(pset1<Packet>(scale()), q, q_turned);
    product(n, {k.data, k.stride, 1}, width, {q_turned, m}, p, m);
  }
  // to [n,width] += a [n,n] · x [n,width]
  void add_product(Factor a, Rows x, real* to, int64_t stride) const {
    x = widen(x);
    product(n, a, n, x, result, wide);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t c = 0; c < width; ++c) to[i * stride + c] += result[i * wide + c];
  }

  int64_t number, begin, n, m, depth, width, wide;
  Rows q, k, v;
  real *q_turned, *dy_turned;  // [wide,m]
  real *p, *ds;                // [n,m]
  real *widened, *result;      // [n,wide]
  real* of_query;              // [m]
};

template <class F>
void for_heads(Tensor qkv, const Segments& texts, int64_t heads, F f) {
  for (size_t t = 0; t < texts.begins.size(); ++t)
    for (int64_t h = 0; h < heads; ++h) f(Head(qkv, heads, h, texts.begins[t], texts.ends[t]));
}

}  // namespace

void CpuBackend::attention(Tensor qkv, const Segments& texts, int64_t heads, Tensor y, Tensor lse) {
  zero(y);
  for_heads(qkv, texts, heads, [&](const Head& h) {
    h.score();
    for (int64_t i = 0; i < h.m; i += kPacket) {
      real* const p = h.p + i;
      Packet largest = ploadu<Packet>(p), sum = pset1<Packet>(0);
      for (int64_t j = h.m; j < h.n * h.m; j += h.m) largest = pmax(largest, ploadu<Packet>(p + j));
      for (int64_t j = 0; j < h.n * h.m; j += h.m) {
        const Packet e = pexp(psub(ploadu<Packet>(p + j), largest));
        pstoreu(p + j, e);
        sum = padd(sum, e);
      }
      pstoreu(h.of_query + i, sum);
      pstoreu(h.ds + i, padd(largest, plog(sum)));
    }
    std::copy_n(h.ds, h.n, lse.data + h.number * lse.cols() + h.begin);
    real* const to = y.data + h.in_y();
    h.add_product({h.p, 1, h.m}, h.v, to, h.depth);
    for (int64_t i = 0; i < h.n; ++i) {
      const real scale = 1 / h.of_query[i];
      for (int64_t c = 0; c < h.width; ++c) to[i * h.depth + c] *= scale;
    }
  });
}

// forward was  s = scale · q · kᵀ,  p = softmax(s) of each query,  y = p · v
// so now       dv = pᵀ · dy,  dp = dy · vᵀ,  ds = scale · p ⊙ (dp − ⟨p, dp⟩),  dq = ds · k,  dk = dsᵀ · q
void CpuBackend::attention_grad(Tensor qkv, const Segments& texts, int64_t heads, Tensor lse, Tensor dy,
                                Tensor dqkv) {
  for_heads(qkv, texts, heads, [&](const Head& h) {
    const Rows dy_of_head{dy.data + h.in_y(), h.depth};
    h.score();
    h.turn(pset1<Packet>(1), dy_of_head, h.dy_turned);
    product(h.n, {h.v.data, h.v.stride, 1}, h.width, {h.dy_turned, h.m}, h.ds, h.m);
    const real* const saved = lse.data + h.number * lse.cols() + h.begin;
    std::fill(std::copy_n(saved, h.n, h.of_query), h.of_query + h.m, real(0));
    for (int64_t i = 0; i < h.m; i += kPacket) {
      real *const p = h.p + i, *const ds = h.ds + i;
      const Packet log_sum = ploadu<Packet>(h.of_query + i), scale = pset1<Packet>(h.scale());
      Packet inner = pset1<Packet>(0);
      for (int64_t j = 0; j < h.n * h.m; j += h.m) {
        const Packet e = pexp(psub(ploadu<Packet>(p + j), log_sum));
        pstoreu(p + j, e);
        inner = pmadd(e, ploadu<Packet>(ds + j), inner);
      }
      for (int64_t j = 0; j < h.n * h.m; j += h.m) {
        const Packet scaled = pmul(scale, ploadu<Packet>(p + j));
        pstoreu(ds + j, pmul(scaled, psub(ploadu<Packet>(ds + j), inner)));
      }
    }
    const int64_t stride = dqkv.cols();
    real* const dq = dqkv.data + h.begin * stride + h.number * h.width;
    h.add_product({h.ds, 1, h.m}, h.k, dq, stride);
    h.add_product({h.ds, h.m, 1}, h.q, dq + h.depth, stride);
    h.add_product({h.p, h.m, 1}, dy_of_head, dq + 2 * h.depth, stride);
  });
}

}  // namespace steelyard
