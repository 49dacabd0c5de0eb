// Every element-wise formula of the library, once. X is `real` in a CUDA thread and `Lane` (16 reals) in a
// CPU loop; f is the value, df the derivative by the input (unary: may use the output y, which saves the
// function; binary: dfa and dfb). To add one: write the struct, add it to its list, give it a line in
// autograd/ops.h and a row in the op table.
//
// Math<X> supplies the transcendental functions: Math<real> here, Math<Lane> in core/cpu/lane.h, so that
// Eigen stays out of every header that others include.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <variant>

#include "core/real.h"

namespace steelyard {

template <class X>
struct Math;

template <>
struct Math<real> {
  HD static real exp(real x) { return std::exp(x); }
  HD static real log(real x) { return std::log(x); }
  HD static real log1p(real x) { return std::log1p(x); }
  HD static real tanh(real x) { return std::tanh(x); }
  HD static real sqrt(real x) { return std::sqrt(x); }
  HD static real max(real x, real y) { return x > y ? x : y; }
  HD static real if_positive(real x, real a, real b) { return x > 0 ? a : b; }  // x > 0 ? a : b
};

namespace math {
template <class X>
HD X exp(const X& x) {
  return Math<X>::exp(x);
}
template <class X>
HD X log(const X& x) {
  return Math<X>::log(x);
}
template <class X>
HD X log1p(const X& x) {
  return Math<X>::log1p(x);
}
template <class X>
HD X tanh(const X& x) {
  return Math<X>::tanh(x);
}
template <class X>
HD X sqrt(const X& x) {
  return Math<X>::sqrt(x);
}
template <class X>
HD X max(const X& x, const X& y) {
  return Math<X>::max(x, y);
}
template <class X>
HD X constant(double c) {
  return X(static_cast<real>(c));
}
template <class X>
HD X if_positive(const X& x, const X& a, const X& b) {
  return Math<X>::if_positive(x, a, b);
}

// ½ (1 + tanh ½x): half the cost of the form with exp, and it cannot overflow.
template <class X>
HD X sigmoid(const X& x) {
  return X(real(0.5) * (tanh(X(real(0.5) * x)) + real(1)));
}
// log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|)
template <class X>
HD X softplus(const X& x) {
  return X(if_positive(x, x, constant<X>(0)) + log1p(exp(if_positive(x, X(-x), x))));
}
}  // namespace math

// ---- unary: y = f(x), dy/dx = df(x, y)
//
// The bounds beside the formulas are of the processor's lanes against the exact result, in units in the last
// place (ULP) of the result, or of 1 where it says "of 1" and the result is smaller: terms of size 1 cancel
// there. They hold in float and in double, and tests/functor_test.cpp asserts them. Without a word, f and df
// are exact or correctly rounded. NaN gives NaN and ±Inf the limit, unless said otherwise.

struct Identity {
  static constexpr const char* name = "identity";
  template <class X>
  HD static X f(const X& x) {
    return x;
  }
  template <class X>
  HD static X df(const X&, const X&) {
    return math::constant<X>(1);
  }
};
struct Neg {
  static constexpr const char* name = "neg";
  template <class X>
  HD static X f(const X& x) {
    return X(-x);
  }
  template <class X>
  HD static X df(const X&, const X&) {
    return math::constant<X>(-1);
  }
};
struct Exp {
  static constexpr const char* name = "exp";
  template <class X>
  HD static X f(const X& x) {
    return math::exp(x);
  }
  template <class X>
  HD static X df(const X&, const X& y) {
    return y;
  }
};  // f, df: 2 ULP for |x| ≤ 80; below, in float, never less than 2.9e-39, even at −Inf
struct Log {
  static constexpr const char* name = "log";
  template <class X>
  HD static X f(const X& x) {
    return math::log(x);
  }
  template <class X>
  HD static X df(const X& x, const X&) {
    return X(real(1) / x);
  }
};  // f: 2 ULP; log 0 = −Inf, NaN below
struct Square {
  static constexpr const char* name = "square";
  template <class X>
  HD static X f(const X& x) {
    return X(x * x);
  }
  template <class X>
  HD static X df(const X& x, const X&) {
    return X(real(2) * x);
  }
};
struct Tanh {
  static constexpr const char* name = "tanh";
  template <class X>
  HD static X f(const X& x) {
    return math::tanh(x);
  }
  template <class X>
  HD static X df(const X&, const X& y) {
    return X(real(1) - y * y);
  }
};  // f: 6 ULP; df: 6 ULP of 1
struct Sigmoid {
  static constexpr const char* name = "sigmoid";
  template <class X>
  HD static X f(const X& x) {
    return math::sigmoid(x);
  }
  template <class X>
  HD static X df(const X&, const X& y) {
    return X(y * (real(1) - y));
  }
};  // f, df: 2 ULP of 1; in float exactly 0 below about −18
struct Relu {
  static constexpr const char* name = "relu";
  template <class X>
  HD static X f(const X& x) {
    return math::if_positive(x, x, math::constant<X>(0));
  }
  template <class X>
  HD static X df(const X&, const X& y) {
    return math::if_positive(y, math::constant<X>(1), math::constant<X>(0));
  }
};  // f(NaN) = 0: look for NaN before it
struct Softplus {
  static constexpr const char* name = "softplus";
  template <class X>
  HD static X f(const X& x) {
    return math::softplus(x);
  }
  template <class X>
  HD static X df(const X& x, const X&) {
    return math::sigmoid(x);
  }
};  // f: 4 ULP for x ≥ −80; df: 2 ULP of 1
// Saturating weight of a word: log(1 + max(x, 0))   (SPLADE, Formal et al. 2021)
struct LogRelu {
  static constexpr const char* name = "log_relu";
  template <class X>
  HD static X f(const X& x) {
    return math::log1p(Relu::f(x));
  }
  template <class X>
  HD static X df(const X& x, const X&) {
    return math::if_positive(x, X(real(1) / (real(1) + math::max(x, math::constant<X>(0)))),
                             math::constant<X>(0));
  }
};  // f: 3 ULP; df: 2 ULP; f(NaN) = 0
// ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))   (Hendrycks & Gimpel 2016, the tanh form)
struct Gelu {
  static constexpr const char* name = "gelu";
  static constexpr double kScale = 0.7978845608028654, kCube = 0.044715;
  template <class X>
  HD static X inner(const X& x) {
    return math::tanh(X(real(kScale) * x * (real(1) + real(kCube) * x * x)));
  }
  template <class X>
  HD static X f(const X& x) {
    return X(real(0.5) * x * (real(1) + inner(x)));
  }
  template <class X>
  HD static X df(const X& x, const X&) {
    const X t = inner(x);
    const X slope = X(real(kScale) * (real(1) + real(3 * kCube) * x * x));
    return X(real(0.5) * (real(1) + t) + real(0.5) * x * (real(1) - t * t) * slope);
  }
};  // f: 6 ULP of 1; df: 40 ULP of 1; −Inf gives NaN, and so does df at ±Inf

// ---- binary: c = f(a, b), ∂c/∂a = dfa(a, b), ∂c/∂b = dfb(a, b)

struct Add {
  static constexpr const char* name = "add";
  template <class X>
  HD static X f(const X& a, const X& b) {
    return X(a + b);
  }
  template <class X>
  HD static X dfa(const X&, const X&) {
    return math::constant<X>(1);
  }
  template <class X>
  HD static X dfb(const X&, const X&) {
    return math::constant<X>(1);
  }
};
struct Sub {
  static constexpr const char* name = "sub";
  template <class X>
  HD static X f(const X& a, const X& b) {
    return X(a - b);
  }
  template <class X>
  HD static X dfa(const X&, const X&) {
    return math::constant<X>(1);
  }
  template <class X>
  HD static X dfb(const X&, const X&) {
    return math::constant<X>(-1);
  }
};
struct Mul {
  static constexpr const char* name = "mul";
  template <class X>
  HD static X f(const X& a, const X& b) {
    return X(a * b);
  }
  template <class X>
  HD static X dfa(const X&, const X& b) {
    return b;
  }
  template <class X>
  HD static X dfb(const X& a, const X&) {
    return a;
  }
};
struct Div {
  static constexpr const char* name = "div";
  template <class X>
  HD static X f(const X& a, const X& b) {
    return X(a / b);
  }
  template <class X>
  HD static X dfa(const X&, const X& b) {
    return X(real(1) / b);
  }
  template <class X>
  HD static X dfb(const X& a, const X& b) {
    return X(-a / (b * b));
  }
};  // ∂c/∂b: 2 ULP
// Binary cross-entropy of a logit z against a target t in [0, 1]: log(1 + eᶻ) − t z
struct Bce {
  static constexpr const char* name = "bce";
  template <class X>
  HD static X f(const X& z, const X& t) {
    return X(math::softplus(z) - t * z);
  }
  template <class X>
  HD static X dfa(const X& z, const X& t) {
    return X(math::sigmoid(z) - t);
  }
  template <class X>
  HD static X dfb(const X& z, const X&) {
    return X(-z);
  }
};  // f: 2 ULP of 30 for |z| ≤ 30, t in [0, 1]; ∂c/∂z: 3 ULP of 1
struct SquaredError {
  static constexpr const char* name = "squared_error";
  template <class X>
  HD static X f(const X& a, const X& b) {
    return X((a - b) * (a - b));
  }
  template <class X>
  HD static X dfa(const X& a, const X& b) {
    return X(real(2) * (a - b));
  }
  template <class X>
  HD static X dfb(const X& a, const X& b) {
    return X(real(2) * (b - a));
  }
};  // f: 3 ULP

// ---- one unit of a long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000):
// c = σ(f) c₋₁ + σ(i) tanh(g),  h = σ(o) tanh(c)

struct LstmCell {
  // i, f, o, g become their activations, c₋₁ becomes c. Gives h.
  template <class X>
  HD static X forward(X& i, X& f, X& o, X& g, X& c) {
    i = math::sigmoid(i), f = math::sigmoid(f), o = math::sigmoid(o), g = math::tanh(g);
    c = X(f * c + i * g);
    return X(o * math::tanh(c));
  }
  // The activations i, f, o, g become the gradients of what they were before, ∂L/∂c that of c₋₁.
  template <class X>
  HD static void backward(X& i, X& f, X& o, X& g, const X& before, const X& c, const X& dh, X& dc) {
    const X t = math::tanh(c);
    dc = X(dc + dh * o * Tanh::df(t, t));
    const X by_i = X(dc * g * Sigmoid::df(i, i)), by_g = X(dc * i * Tanh::df(g, g));
    const X by_f = X(dc * before * Sigmoid::df(f, f));
    o = X(dh * t * Sigmoid::df(o, o));
    dc = X(dc * f);
    i = by_i, f = by_f, g = by_g;
  }
};

// ---- optimisers: one number w of a parameter, its state (as many numbers as kStates says), its gradient g.
// `rate` is the learning rate, `decay` the learning rate times the weight decay, which acts on w itself and
// not through the gradient (Loshchilov & Hutter 2019). optim/optimizer.h says which is which.

struct SgdStep {  // w ← w − rate · g
  static constexpr int kStates = 0;
  real rate, decay;
  template <class X>
  HD void operator()(X& w, X&, X&, const X& g) const {
    w = X(w - decay * w - rate * g);
  }
};
struct AdagradStep {  // s ← s + g²;  w ← w − rate · g / (√s + ε)   (Duchi, Hazan & Singer 2011)
  static constexpr int kStates = 1;
  real rate, decay, epsilon;
  template <class X>
  HD void operator()(X& w, X& sum, X&, const X& g) const {
    sum = X(sum + g * g);
    w = X(w - decay * w - rate * g / (math::sqrt(sum) + epsilon));
  }
};
struct AdamStep {  // m, v: means of g and g²;  w ← w − rate · m̂ / (√v̂ + ε)   (Kingma & Ba 2015)
  static constexpr int kStates = 2;
  real rate, decay, epsilon, beta1, beta2;
  real correction1, correction2;  // 1 / (1 − βᵗ): m̂ = correction1 · m, v̂ = correction2 · v
  template <class X>
  HD void operator()(X& w, X& m, X& v, const X& g) const {
    m = X(beta1 * m + (real(1) - beta1) * g);
    v = X(beta2 * v + (real(1) - beta2) * g * g);
    w = X(w - decay * w - rate * (m * correction1) / (math::sqrt(X(v * correction2)) + epsilon));
  }
};
using UpdateStep = std::variant<SgdStep, AdagradStep, AdamStep>;

// ---- the closed lists, walked by every backend and by the tests

template <class... Ops>
struct TypeList {};

using UnaryOps = TypeList<Identity, Neg, Exp, Log, Square, Tanh, Sigmoid, Relu, Softplus, LogRelu, Gelu>;
using BinaryOps = TypeList<Add, Sub, Mul, Div, Bce, SquaredError>;

template <class Op, class... Ops>
constexpr int position_of(TypeList<Ops...>) {
  int position = 0, found = -1;
  ((std::is_same_v<Op, Ops> ? found = position : 0, ++position), ...);
  return found;
}

enum class UnaryId : int {};
enum class BinaryId : int {};
template <class Op>
constexpr UnaryId unary_id{position_of<Op>(UnaryOps{})};
template <class Op>
constexpr BinaryId binary_id{position_of<Op>(BinaryOps{})};

// Calls f with the op of this position as its template argument: with_op(UnaryOps{}, id, [&]<class Op>() { …
// }).
template <class Id, class F, class... Ops>
void with_op(TypeList<Ops...>, Id id, F&& f) {
  int position = 0;
  ((position++ == static_cast<int>(id) ? f.template operator()<Ops>() : void()), ...);
}

}  // namespace steelyard
