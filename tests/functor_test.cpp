// The formulas of core/functors.h as lanes compute them, against the C library in long double. The bounds
// asserted here are the ones stated beside each formula. An ULP is that of the true result, or of `scale` if
// the result is smaller: where terms of size `scale` cancel, no more can be had. The lanes are reached
// through the processor's Backend, as ops reach them, so Eigen stays out of the tests.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/backend.h"
#include "core/functors.h"
#include "core/random.h"
#include "tests/support.h"

using namespace steelyard;

namespace {

using exact = long double;
using Numbers = std::vector<real>;

constexpr real kInfinity = std::numeric_limits<real>::infinity(),
               kNaN = std::numeric_limits<real>::quiet_NaN();

exact sigmoid(exact x) { return 1 / (1 + std::exp(-x)); }
exact softplus(exact x) { return std::max<exact>(x, 0) + std::log1p(std::exp(-std::abs(x))); }
exact gelu_tanh(exact x) {
  return std::tanh(std::sqrt(2 / std::acos(exact(-1))) * (x + exact(0.044715) * x * x * x));
}
exact gelu_slope(exact x) {
  const exact t = gelu_tanh(x),
              inner = std::sqrt(2 / std::acos(exact(-1))) * (1 + 3 * exact(0.044715) * x * x);
  return (1 + t) / 2 + x / 2 * (1 - t * t) * inner;
}

struct Bound {
  double ulps;
  double scale = 0;
};

struct UnaryReference {
  UnaryId id;
  double low, high;  // the range over which the bounds hold
  Bound value, slope;
  exact (*f)(exact);
  exact (*df)(exact);
};

// clang-format off
const UnaryReference kUnary[] = {
    {unary_id<Identity>, -1e30, 1e30, {0}, {0}, [](exact x) { return x; }, [](exact) { return exact(1); }},
    {unary_id<Neg>, -1e30, 1e30, {0}, {0}, [](exact x) { return -x; }, [](exact) { return exact(-1); }},
    {unary_id<Exp>, -80, 80, {2}, {2},
     [](exact x) { return std::exp(x); }, [](exact x) { return std::exp(x); }},
    {unary_id<Log>, 1e-30, 1e30, {2}, {0.5},
     [](exact x) { return std::log(x); }, [](exact x) { return 1 / x; }},
    {unary_id<Square>, -1e15, 1e15, {0.5}, {0}, [](exact x) { return x * x; }, [](exact x) { return 2 * x; }},
    {unary_id<Tanh>, -300, 300, {6}, {6, 1},
     [](exact x) { return std::tanh(x); }, [](exact x) { return 1 - std::tanh(x) * std::tanh(x); }},
    {unary_id<Sigmoid>, -300, 300, {2, 1}, {2, 1}, sigmoid, [](exact x) { return sigmoid(x) * sigmoid(-x); }},
    {unary_id<Relu>, -1e30, 1e30, {0}, {0},
     [](exact x) { return std::max<exact>(x, 0); }, [](exact x) { return exact(x > 0); }},
    {unary_id<Softplus>, -80, 300, {4}, {2, 1}, softplus, sigmoid},
    {unary_id<LogRelu>, -300, 1e30, {3}, {2},
     [](exact x) { return std::log1p(std::max<exact>(x, 0)); }, [](exact x) { return x > 0 ? 1 / (1 + x) : 0; }},
    {unary_id<Gelu>, -300, 300, {6, 1}, {40, 1},
     [](exact x) { return x / 2 * (1 + gelu_tanh(x)); }, gelu_slope},
};
// clang-format on

struct BinaryReference {
  BinaryId id;
  double low, high;
  Bound value, slope;
  exact (*f)(exact, exact);
  exact (*dfa)(exact, exact);
  exact (*dfb)(exact, exact);
};

exact one(exact, exact) { return 1; }

// clang-format off
const BinaryReference kBinary[] = {
    {binary_id<Add>, -300, 300, {0.5}, {0}, [](exact a, exact b) { return a + b; }, one, one},
    {binary_id<Sub>, -300, 300, {0.5}, {0},
     [](exact a, exact b) { return a - b; }, one, [](exact, exact) { return exact(-1); }},
    {binary_id<Mul>, -300, 300, {0.5}, {0},
     [](exact a, exact b) { return a * b; }, [](exact, exact b) { return b; }, [](exact a, exact) { return a; }},
    {binary_id<Div>, 1e-3, 300, {0.5}, {2},
     [](exact a, exact b) { return a / b; }, [](exact, exact b) { return 1 / b; },
     [](exact a, exact b) { return -a / (b * b); }},
    {binary_id<Bce>, -30, 30, {2, 30}, {3, 1},
     [](exact z, exact t) { return softplus(z) - t * z; }, [](exact z, exact t) { return sigmoid(z) - t; },
     [](exact z, exact) { return -z; }},
    {binary_id<SquaredError>, -300, 300, {3}, {0.5},
     [](exact a, exact b) { return (a - b) * (a - b); }, [](exact a, exact b) { return 2 * (a - b); },
     [](exact a, exact b) { return 2 * (b - a); }},
};
// clang-format on

Tensor view(Numbers& x) { return {x.data(), {static_cast<int64_t>(x.size())}, &cpu()}; }

struct Results {
  Numbers value, slope, slope_b;
};

Results run(UnaryId id, Numbers x) {
  Results r{Numbers(x.size()), Numbers(x.size()), {}};
  Numbers ones(x.size(), 1);
  cpu().unary(id, view(x), view(r.value));
  cpu().unary_grad(id, view(x), view(r.value), view(ones), 0, view(r.slope));
  return r;
}

Results run(BinaryId id, Numbers a, Numbers b) {
  Results r{Numbers(a.size()), Numbers(a.size()), Numbers(a.size())};
  Numbers ones(a.size(), 1);
  cpu().binary(id, view(a), view(b), view(r.value));
  cpu().binary_grad(id, view(a), view(b), view(ones), view(r.slope), view(r.slope_b));
  return r;
}

const char* name(UnaryId id) {
  const char* name = "";
  with_op(UnaryOps{}, id, [&]<class Op>() { name = Op::name; });
  return name;
}
const char* name(BinaryId id) {
  const char* name = "";
  with_op(BinaryOps{}, id, [&]<class Op>() { name = Op::name; });
  return name;
}

double error_in_ulps(real got, exact wanted, const Bound& bound) {
  int exponent = 0;
  std::frexp(std::max({std::abs(wanted), exact(bound.scale), exact(std::numeric_limits<real>::min())}),
             &exponent);
  return static_cast<double>(std::abs(got - wanted) /
                             std::ldexp(exact(std::numeric_limits<real>::epsilon()), exponent - 1));
}

// Numbers of [low, high]: evenly spaced over all of it and around 0, and of every magnitude.
Numbers samples(double low, double high) {
  Numbers x;
  for (int i = 0; i <= 50'000; ++i) {
    x.push_back(static_cast<real>(low + (high - low) * i / 50'000));
    x.push_back(static_cast<real>(-12 + 24.0 * i / 50'000));
  }
  for (double size = 1e-30; size < 1e30; size *= 1.01) {
    x.push_back(static_cast<real>(size));
    x.push_back(static_cast<real>(-size));
  }
  std::erase_if(x, [&](real v) { return v < static_cast<real>(low) || v > static_cast<real>(high); });
  return x;
}

struct Worst {
  double ulps = 0;
  real at = 0;
  void see(double error, real x) {
    if (!(error <= ulps)) ulps = error, at = x;
  }
};

void check_bound(const char* op, const char* what, const Worst& worst, const Bound& bound) {
  CHECK_MESSAGE(worst.ulps <= bound.ulps,
                text(op, ": ", what, ": ", worst.ulps, " ULP at ", worst.at, "; stated ", bound.ulps));
}

bool same_bits(const Numbers& a, const Numbers& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0;
}

}  // namespace

TEST_CASE("functors: unary values and slopes keep the stated bounds") {
  size_t position = 0;
  for (const UnaryReference& op : kUnary) {
    CHECK(static_cast<size_t>(op.id) == position++);  // the list is complete and in order
    const Numbers x = samples(op.low, op.high);
    const Results got = run(op.id, x);
    Worst value, slope;
    for (size_t i = 0; i < x.size(); ++i) {
      value.see(error_in_ulps(got.value[i], op.f(x[i]), op.value), x[i]);
      slope.see(error_in_ulps(got.slope[i], op.df(x[i]), op.slope), x[i]);
    }
    check_bound(name(op.id), "value", value, op.value);
    check_bound(name(op.id), "slope", slope, op.slope);
  }
}

TEST_CASE("functors: binary values and slopes keep the stated bounds") {
  size_t position = 0;
  for (const BinaryReference& op : kBinary) {
    CHECK(static_cast<size_t>(op.id) == position++);
    Numbers a(100'000), b(a.size());
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<real>(op.low + (op.high - op.low) * random_uniform(1, i));
      b[i] = static_cast<real>(op.low + (op.high - op.low) * random_uniform(2, i));
      if (op.id == binary_id<Bce>) b[i] = random_uniform(2, i);  // a target
    }
    const Results got = run(op.id, a, b);
    Worst value, slope_a, slope_b;
    for (size_t i = 0; i < a.size(); ++i) {
      value.see(error_in_ulps(got.value[i], op.f(a[i], b[i]), op.value), a[i]);
      slope_a.see(error_in_ulps(got.slope[i], op.dfa(a[i], b[i]), op.slope), a[i]);
      slope_b.see(error_in_ulps(got.slope_b[i], op.dfb(a[i], b[i]), op.slope), a[i]);
    }
    check_bound(name(op.id), "value", value, op.value);
    check_bound(name(op.id), "slope by a", slope_a, op.slope);
    check_bound(name(op.id), "slope by b", slope_b, op.slope);
  }
}

TEST_CASE("functors: an element has the same bits in a full lane and in a tail of any length") {
  for (const UnaryReference& op : kUnary) {
    CAPTURE(name(op.id));
    Numbers x = samples(op.low, op.high);
    x.resize(1600);
    for (real special : {real(0), real(-0.0), real(300), real(-300), kInfinity, -kInfinity, kNaN})
      x.push_back(special);
    x.resize(1616, 1);
    const Results full = run(op.id, x);
    for (size_t begin = 0; begin < x.size(); begin += 16)
      for (size_t count = 1; count < 16; ++count) {
        const auto part = [&](const Numbers& all) {
          return Numbers(all.begin() + static_cast<int64_t>(begin),
                         all.begin() + static_cast<int64_t>(begin + count));
        };
        const Results tail = run(op.id, part(x));
        CHECK((same_bits(tail.value, part(full.value)) && same_bits(tail.slope, part(full.slope))));
      }
  }
}

TEST_CASE("functors: what happens at the ends of the number line") {
  const auto f = [](UnaryId id, real x) { return run(id, {x}).value[0]; };
  const auto df = [](UnaryId id, real x) { return run(id, {x}).slope[0]; };
  for (const UnaryReference& op : kUnary) {
    CAPTURE(name(op.id));
    const bool hides_nan = op.id == unary_id<Relu> || op.id == unary_id<LogRelu>;
    CHECK((hides_nan ? f(op.id, kNaN) == 0 : std::isnan(f(op.id, kNaN))));
    for (const real x : {real(300), real(-300), real(0), real(-0.0)}) {
      CAPTURE(x);
      if (op.id == unary_id<Exp> || (op.id == unary_id<Log> && x <= 0) ||
          (op.id == unary_id<Softplus> && x < 0))
        continue;
      CHECK(error_in_ulps(f(op.id, x), op.f(x), op.value) <= op.value.ulps);
      CHECK(error_in_ulps(df(op.id, x), op.df(x), op.slope) <= op.slope.ulps);
    }
    if (op.id == unary_id<Gelu>) continue;
    const exact above = op.f(std::numeric_limits<exact>::infinity());
    CHECK(static_cast<exact>(f(op.id, kInfinity)) == above);
    const exact below = op.f(-std::numeric_limits<exact>::infinity());
    const exact got = f(op.id, -kInfinity);
    if (op.id != unary_id<Log>) CHECK((got == below || std::abs(got - below) < 3e-39));
  }
  CHECK(f(unary_id<Log>, 0) == -kInfinity);
  CHECK(std::isnan(f(unary_id<Log>, -1)));
  CHECK(std::isnan(f(unary_id<Log>, -kInfinity)));
  CHECK(f(unary_id<Exp>, -kInfinity) < real(3e-39));
  CHECK(f(unary_id<Softplus>, -300) < real(3e-39));
  CHECK(f(unary_id<Exp>, sizeof(real) == 4 ? 89 : 710) == kInfinity);
  CHECK(f(unary_id<Tanh>, 300) == 1);
  CHECK(f(unary_id<Sigmoid>, -300) == 0);
  CHECK(std::signbit(f(unary_id<Tanh>, real(-0.0))));
  CHECK(f(unary_id<Gelu>, kInfinity) == kInfinity);
  CHECK(std::isnan(f(unary_id<Gelu>, -kInfinity)));
}

// One step from m = 0.1, v = 0.2 against the formulas in long double, relative to the weight.
TEST_CASE("functors: optimiser steps") {
  Numbers w = samples(-3, 3), g(w.size());
  for (size_t i = 0; i < w.size(); ++i) g[i] = random_normal(1, i);
  const real epsilon = std::numeric_limits<real>::epsilon();
  const auto close = [&](real got, exact wanted, exact size) {
    return std::abs(got - wanted) <= 4 * static_cast<exact>(epsilon) * (std::abs(wanted) + size);
  };
  const AdamStep adam{.rate = real(0.01),
                      .decay = real(0.001),
                      .epsilon = real(1e-8),
                      .beta1 = real(0.9),
                      .beta2 = real(0.999),
                      .correction1 = real(1.5),
                      .correction2 = real(2.5)};
  Numbers moved = w, m(w.size(), real(0.1)), v(w.size(), real(0.2));
  cpu().update(adam, view(moved), view(m), view(v), view(g));
  bool right = true;
  for (size_t i = 0; i < w.size(); ++i) {
    const exact x = g[i], b1 = adam.beta1, b2 = adam.beta2, m1 = b1 * real(0.1) + (1 - b1) * x,
                v1 = b2 * real(0.2) + (1 - b2) * x * x;
    const exact step = adam.rate * m1 * adam.correction1 / (std::sqrt(v1 * adam.correction2) + adam.epsilon);
    right = right && close(m[i], m1, 1) && close(v[i], v1, 1) &&
            close(moved[i], w[i] - adam.decay * w[i] - step, std::abs(w[i]) + 0.1L);
  }
  CHECK(right);
  const AdagradStep adagrad{.rate = real(0.01), .decay = real(0.001), .epsilon = real(1e-8)};
  Numbers sum(w.size(), real(0.2));
  moved = w;
  cpu().update(adagrad, view(moved), view(sum), {}, view(g));
  for (size_t i = 0; i < w.size(); ++i) {
    const exact x = g[i], s = real(0.2) + x * x, step = adagrad.rate * x / (std::sqrt(s) + adagrad.epsilon);
    right = right && close(sum[i], s, 1) &&
            close(moved[i], w[i] - adagrad.decay * w[i] - step, std::abs(w[i]) + 0.1L);
  }
  CHECK(right);
}
