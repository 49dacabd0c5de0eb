// Twins: what a fused function computes, composed from simple ones. They are slow and short, and no program
// of the library ever runs them; tests/twin_test.cpp compares each fused function with its twin, values and
// all gradients.
#pragma once

#include <cmath>
#include <numeric>
#include <vector>

#include "autograd/ops.h"

namespace steelyard::test {

inline Var filled(Tape& tape, Shape shape, real value) {
  return tape.constant(shape, std::vector<real>(static_cast<size_t>(shape.size()), value));
}

// f(x · W + b)
inline Var linear_twin(Var x, Var W, Var b, UnaryId f) { return unary(f, add_row(matmul(x, W), b)); }

// Σ_j w[j] · table[ids[j]] over each segment: look up, scale, sum
inline Var bag_twin(Tape& tape, const Parameter& table, const RowIndex& index, const Segments& segments) {
  return segment_sum(rows(tape, table, index), segments);
}
inline Var bag_twin(const Parameter& table, const RowIndex& index, const Segments& segments, Var w) {
  return segment_sum(scale_rows(rows(*w.tape, table, index), w), segments);
}

// −log p[label], picked by a matrix of ones and zeros; a row without a label picks nothing
inline Var cross_entropy_twin(Var z, Ids labels) {
  std::vector<real> picked(static_cast<size_t>(z.size()));
  for (size_t r = 0; r < labels.size(); ++r)
    if (labels[r] >= 0) picked[r * static_cast<size_t>(z.cols()) + static_cast<size_t>(labels[r])] = 1;
  return neg(dot_rows(log(softmax(z)), z.tape->constant(z.shape(), picked)));
}

// The mean of each row is a product with 1/C; (variance + ε)^−½ = e^(−½ log(variance + ε))
inline Var layer_norm_twin(Var x, Var gain, Var bias, real epsilon) {
  Tape& tape = *x.tape;
  const real part = 1 / static_cast<real>(x.cols());
  const Var ones = filled(tape, x.shape(), 1);
  const Var centred = x - scale_rows(ones, dot_rows(x, filled(tape, x.shape(), part)));
  const Var variance = affine(dot_rows(centred, centred), part);
  const Var normal = scale_rows(centred, exp(affine(log(affine(variance, 1, epsilon)), real(-0.5))));
  const Var gains = matmul(filled(tape, {x.rows(), 1}, 1), reshape(gain, {1, gain.size()}));
  return add_row(reshape(normal, gains.shape()) * gains, bias);
}

// eˣ / Σ eˣ, the sum of each segment brought back to its elements; 0 outside. Not safe for large x, as the
// fused one is.
inline Var softmax_twin(Var x, const Segments& segments) {
  Tape& tape = *x.tape;
  std::vector<int32_t> owner(static_cast<size_t>(x.size()));
  std::vector<real> inside(owner.size());
  for (size_t i = 0; i < segments.begins.size(); ++i)
    for (auto j = static_cast<size_t>(segments.begins[i]); j < static_cast<size_t>(segments.ends[i]); ++j)
      owner[j] = static_cast<int32_t>(i), inside[j] = 1;
  const Var e = exp(reshape(x, {x.size(), 1}));
  // An empty segment has the sum 0: the added 1 keeps its inverse finite, and nobody looks at it.
  std::vector<real> empty;
  for (size_t i = 0; i < segments.begins.size(); ++i) empty.push_back(segments.begins[i] == segments.ends[i]);
  const Var sums = segment_sum(e, segments) + tape.constant({segments.size(), 1}, empty);
  const Var p = e / gather(sums, owner) * tape.constant({x.size(), 1}, inside);
  return reshape(p, x.shape());
}

// Text by text and head by head; a matrix of ones and zeros puts the rows of a text back to their place.
inline Var attention_twin(Var qkv, const Segments& texts, int64_t heads) {
  Tape& tape = *qkv.tape;
  const int64_t depth = qkv.cols() / 3, width = depth / heads;
  Var y = filled(tape, {qkv.rows(), depth}, 0);
  for (size_t t = 0; t < texts.begins.size(); ++t) {
    std::vector<int32_t> rows(static_cast<size_t>(texts.ends[t] - texts.begins[t]));
    std::iota(rows.begin(), rows.end(), texts.begins[t]);
    std::vector<real> back(static_cast<size_t>(qkv.rows()) * rows.size());
    for (size_t j = 0; j < rows.size(); ++j) back[static_cast<size_t>(rows[j]) * rows.size() + j] = 1;
    const Var text = gather(qkv, rows);
    std::vector<Var> parts;
    for (int64_t head = 0; head < heads; ++head) {
      const auto part = [&](int64_t i) { return slice_columns(text, i * depth + head * width, width); };
      const Var scores = affine(matmul_transposed(part(0), part(1)),
                                static_cast<real>(1 / std::sqrt(static_cast<double>(width))));
      parts.push_back(matmul(softmax(scores), part(2)));
    }
    y = y + matmul(tape.constant({qkv.rows(), static_cast<int64_t>(rows.size())}, back), concat(parts));
  }
  return y;
}

// One unit after the other, sequence by sequence: the formulas of the header, row by row
inline Var lstm_twin(Var gates, Var content, Var U, const Segments& sequences, Var first) {
  Tape& tape = *gates.tape;
  const int64_t H = content.cols(), n = content.rows();
  Var all = filled(tape, {n, H}, 0);
  for (size_t s = 0; s < sequences.begins.size(); ++s) {
    const int32_t number = static_cast<int32_t>(s);
    const Var state = gather(first, Ids(&number, 1));
    Var h = slice_columns(state, 0, H), c = slice_columns(state, H, H);
    for (int32_t row = sequences.begins[s]; row < sequences.ends[s]; ++row) {
      const Var z = concat({gather(gates, Ids(&row, 1)), gather(content, Ids(&row, 1))}) + matmul(h, U);
      const auto part = [&](int64_t i) { return slice_columns(z, i * H, H); };
      c = sigmoid(part(1)) * c + sigmoid(part(0)) * tanh(part(3));
      h = sigmoid(part(2)) * tanh(c);
      std::vector<real> place(static_cast<size_t>(n));
      place[static_cast<size_t>(row)] = 1;
      all = all + matmul(tape.constant({n, 1}, place), h);
    }
  }
  return all;
}

}  // namespace steelyard::test
