// Every differentiable function of the library: one formula and one line of shapes each. x [R,C] means any
// tensor seen as R rows of C columns. How one is made: autograd/ops_linear.cpp; how it is tested:
// tests/op_table.cpp, where every function of this page has a row. Wrong shapes are an Error before anything
// is computed.
#pragma once

#include "autograd/tape.h"
#include "core/functors.h"

namespace steelyard {

// ---- element-wise (core/functors.h)

Var unary(UnaryId op, Var x);           // y = f(x)        [any] → [same]
Var binary(BinaryId op, Var a, Var b);  // c = f(a, b)     [any], [same] → [same]

inline Var neg(Var x) { return unary(unary_id<Neg>, x); }            // −x
inline Var exp(Var x) { return unary(unary_id<Exp>, x); }            // eˣ
inline Var log(Var x) { return unary(unary_id<Log>, x); }            // log x
inline Var square(Var x) { return unary(unary_id<Square>, x); }      // x²
inline Var tanh(Var x) { return unary(unary_id<Tanh>, x); }          // tanh x
inline Var sigmoid(Var x) { return unary(unary_id<Sigmoid>, x); }    // 1 / (1 + e⁻ˣ)
inline Var relu(Var x) { return unary(unary_id<Relu>, x); }          // max(x, 0)
inline Var softplus(Var x) { return unary(unary_id<Softplus>, x); }  // log(1 + eˣ)
inline Var log_relu(Var x) { return unary(unary_id<LogRelu>, x); }   // log(1 + max(x, 0))
inline Var gelu(Var x) { return unary(unary_id<Gelu>, x); }  // ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))

inline Var operator+(Var a, Var b) { return binary(binary_id<Add>, a, b); }
inline Var operator-(Var a, Var b) { return binary(binary_id<Sub>, a, b); }
inline Var operator*(Var a, Var b) { return binary(binary_id<Mul>, a, b); }
inline Var operator/(Var a, Var b) { return binary(binary_id<Div>, a, b); }

Var affine(Var x, real scale, real shift = 0);  // y = scale · x + shift      [any] → [same]
Var dropout(
    Var x, real rate);  // y = kept ? x / (1 − rate) : 0, in Mode::train; x in Mode::score      [any] → [same]

// ---- matrices

Var matmul(Var a, Var b);             // c = a · b        [M,K], [K,N] → [M,N]
Var matmul_transposed(Var a, Var b);  // c = a · bᵀ       [M,K], [N,K] → [M,N]
// y = f(x · W + b)   f one of Identity, Tanh, Sigmoid, Relu (their slopes follow from y)     [..,K], [K,N],
// [N] → [..,N]
Var linear(Var x, Var W, Var b, UnaryId activation = unary_id<Identity>);
Var add_row(Var x, Var b);               // y[r,c] = x[r,c] + b[c]          [R,C], [C] → [R,C]
Var scale_rows(Var x, Var w);            // y[r,c] = w[r] · x[r,c]          [R,C], [R] → [R,C]
Var dot_rows(Var a, Var b);              // y[r] = Σ_c a[r,c] · b[r,c]      [R,C], [R,C] → [R]
Var concat(std::span<const Var> parts);  // columns side by side            [R,C₁], [R,C₂] … → [R,ΣCᵢ]
inline Var concat(std::initializer_list<Var> parts) {
  return concat(std::span<const Var>(parts.begin(), parts.size()));
}
Var slice_columns(Var x, int64_t begin,
                  int64_t count);  // y = x[:, begin … begin+count)      [R,C] → [R,count]
Var reshape(Var x, Shape shape);   // the same numbers in another shape
Var mix(Var x, Var g);             // y[r] = Σ_e g[r,e] · x[r, block e]      [R,E·D], [R,E] → [R,D]

// ---- look-ups; the index of a table comes from Tape::index. Spans of ids (indices, segments) are kept until
// the last backward.

// y[j] = table[ids[j]]      [V,D] → [m,D]
Var rows(Tape& tape, const Parameter& table, const RowIndex& index);
// y[i] = Σ_j w[j] · table[ids[j]] over segment i. `bag` without weights: w = 1.      [V,D], [m] → [n,D]
Var bag(Tape& tape, const Parameter& table, const RowIndex& index, const Segments& segments);
Var bag(const Parameter& table, const RowIndex& index, const Segments& segments, Var w);
// y[i] = f(Σ_k x[place of i's row of field k] · W_k + b), W_k the rows k·D … of W: `linear` of what the fields read,
// side by side, but a product for each distinct row and not for each that reads it. b may be none.
//                                                                          [u,D], [F·D,N], [N] → [n,N]
Var field_linear(Var x, const FieldRows& fields, Var W, Var b, UnaryId activation = unary_id<Identity>);
Var gather(Var x, Ids ids);  // y[j] = x[ids[j]]; ids of the host          [R,C] → [m,C]

// ---- segments and softmax

Var segment_sum(Var x, const Segments& segments);  // y[i] = Σ_j x[j] over segment i      [m,D] → [n,D]
// Softmax over each segment of the flat x; segments do not overlap, elements of none are 0.      [any] →
// [same]
Var softmax(Var x, const Segments& segments);
Var softmax(Var x);               // over each row              [R,C] → [R,C]
Var softmax(Var x, Ids lengths);  // over the first lengths[r] columns of row r, 0 behind; ids of the host

// Self-attention (Vaswani et al. 2017) within each text; none overlap, rows of none are 0. qkv is q | k | v, and
// head h owns columns h·D/heads … of each: softmax(q · kᵀ / √(D/heads)) · v; heads divide D.     [n,3D] → [n,D]
Var attention(Var qkv, const Segments& texts, int64_t heads);

// Long short-term memory over sequences, which are segments of the rows; none overlap, rows of none are 0. With
// z = h₋₁ · U the gates are i | f | o = σ(gates + z), c = f ⊙ c₋₁ + i ⊙ tanh(content + z), h = o ⊙ tanh(c); U's
// columns are i | f | o | c. `first` is h | c before each sequence, without it 0; `last`, if not empty, becomes
// h | c behind it and has no gradient.     [n,3H], [n,H], [H,4H], [sequences,2H] → [n,H]
Var lstm(Var gates, Var content, Var U, const Segments& sequences, Var first = {}, Tensor last = {});

// y = gain ⊙ (x − mean) / √(variance + ε) + bias over each row (Ba, Kiros & Hinton 2016)      [R,C], [C], [C]
// → [R,C]
Var layer_norm(Var x, Var gain, Var bias, real epsilon = real(1e-5));

// ---- losses, one number per row; `mean` makes them one

inline Var bce(Var z, Var target) { return binary(binary_id<Bce>, z, target); }  // log(1 + eᶻ) − target · z
inline Var squared_error(Var a, Var b) { return binary(binary_id<SquaredError>, a, b); }  // (a − b)²
Var cross_entropy(Var z,
                  Ids labels);  // log Σ_c e^z[r,c] − z[r, label]; 0 where the label is negative   [R,C] → [R]

Var sum(Var x);                      // Σ x            [any] → []
Var mean(Var x);                     // Σ x / n        [any] → []; 0 if n = 0
Var weighted_mean(Var x, Tensor w);  // Σ w x / Σ w    [n], [n] → []; 0 if Σ w = 0; w in host memory

}  // namespace steelyard
