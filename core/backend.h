// A device: its memory and its instruction set. Every function is pure virtual, so a backend that lacks a
// kernel does not compile. `core/cpu/` implements it for the processor, whose text is the reference; `cuda/`
// mirrors it.
//
// Rules of an instruction: shapes were checked by the caller (autograd/ops_*.cpp); outputs are assigned,
// gradients (names beginning with d, last in the list) are added to, or as a beta says, and may be empty when
// nobody needs them; no input overlaps an output unless said; single-threaded: parallelism is over shards
// (core/parallel.h); a row's bits do not depend on the other rows. Ids are in the device's memory. Legend:
// x [R,C] means any tensor seen as R rows of C columns.
#pragma once

#include "core/batch.h"
#include "core/functors.h"
#include "core/tensor.h"

namespace steelyard {

// What a long short-term memory saves for its gradient, by the positions of its Steps.
struct LstmTrace {
  Tensor activations;    // [n,4H]  σ(i) | σ(f) | σ(o) | tanh(g)
  Tensor hidden, cells;  // [s+n,H] those before the first step in front
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;
  virtual bool on_host() const = 0;  // may the host read and write the numbers in place?

  // ---- memory; Error(resources) when there is none left
  virtual void* allocate(size_t bytes) = 0;  // aligned to 64 bytes, uninitialised
  virtual void deallocate(void* data) = 0;
  virtual void upload(const void* host, void* device, size_t bytes) = 0;
  virtual void download(const void* device, void* host, size_t bytes) = 0;
  virtual void zero(Tensor x) = 0;
  virtual void copy(Tensor from, Tensor to) = 0;

  // ---- element-wise (core/functors.h); gradients: dx = dy · f′(x, y) + beta · dx, beta 0 assigns;
  // da += dc · ∂f/∂a(a, b)
  virtual void unary(UnaryId op, Tensor x, Tensor y) = 0;
  virtual void unary_grad(UnaryId op, Tensor x, Tensor y, Tensor dy, real beta, Tensor dx) = 0;
  virtual void binary(BinaryId op, Tensor a, Tensor b, Tensor c) = 0;
  virtual void binary_grad(BinaryId op, Tensor a, Tensor b, Tensor dc, Tensor da, Tensor db) = 0;
  virtual void affine(real scale, real shift, Tensor x,
                      Tensor y) = 0;                      // y = scale · x + shift; may be in place
  virtual void axpy(real scale, Tensor x, Tensor y) = 0;  // y += scale · x

  // ---- rows of a matrix
  virtual void add_row(Tensor x, Tensor b, Tensor y) = 0;     // y[r,c] = x[r,c] + b[c]
  virtual void sum_rows(Tensor x, Tensor y) = 0;              // y[c] += Σ_r x[r,c]
  virtual void scale_rows(Tensor x, Tensor w, Tensor y) = 0;  // y[r,c] += w[r] · x[r,c]
  virtual void dot_rows(Tensor a, Tensor b, Tensor y) = 0;    // y[r] += Σ_c a[r,c] · b[r,c]
  // y[r, to … to+count) += x[r, from … from+count)
  virtual void add_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) = 0;
  virtual void copy_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) = 0;

  // ---- matrix products
  virtual void gemm(Mat a, Mat b, real beta, Tensor c) = 0;  // c = a · b + beta · c; beta 0 assigns
  virtual void activate(UnaryId op, Tensor bias,
                        Tensor y) = 0;  // y[r,c] = f(y[r,c] + bias[c]); bias may be empty

  // ---- look-ups
  virtual void gather(Tensor table, Ids ids, Tensor y) = 0;  // y[j] = table[ids[j]]
  // y[i] += Σ_k x[order[k]] over starts[i] ≤ k < starts[i+1]: one row per distinct id, the gradient
  // of a table that is read by rows
  virtual void sum_groups(Tensor x, const RowIndex& index, Tensor y) = 0;
  // y[rows[i]] += x[i], for i ascending: the gradient of gather
  virtual void scatter_add(Tensor x, Ids rows, Tensor y) = 0;

  // Bag of rows: y[i] = Σ_j w[j] · table[ids[j]] over the positions j of segment i; w empty: 1. `owner[j]` is
  // j's segment, or −1.
  virtual void bag(Tensor table, Ids ids, Tensor w, const Segments& segments, Tensor y) = 0;
  // dvalues[i] += Σ_j w[j] · dy[owner[j]] over the positions j that read index.rows[i];  dw[j] +=
  // ⟨table[ids[j]], dy[owner[j]]⟩
  virtual void bag_grad(Tensor table, const RowIndex& index, Tensor w, Ids owner, Tensor dy, Tensor dvalues,
                        Tensor dw) = 0;

  // ---- segments: item i owns the rows begins[i] … ends[i) of x
  virtual void segment_sum(Tensor x, const Segments& segments, Tensor y) = 0;         // y[i] = Σ_j x[j]
  virtual void segment_sum_grad(const Segments& segments, Tensor dy, Tensor dx) = 0;  // dx[j] += dy[i]
  // Softmax over the elements begins[i] … ends[i] of the flat x; elements of no segment become 0.
  // y = eˣ⁻ᵐ / Σ eˣ⁻ᵐ, m the largest of the segment;  dx += y ⊙ (dy − ⟨y, dy⟩)
  virtual void softmax(Tensor x, const Segments& segments, Tensor y) = 0;
  virtual void softmax_grad(Tensor y, const Segments& segments, Tensor dy, Tensor dx) = 0;

  // ---- normalisation (Ba, Kiros & Hinton 2016): y = gain ⊙ (x − mean) · inverse + bias, inverse =
  // 1/√(variance + ε) mean, inverse [R] are saved for the gradient
  virtual void layer_norm(Tensor x, Tensor gain, Tensor bias, real epsilon, Tensor y, Tensor mean,
                          Tensor inverse) = 0;
  virtual void layer_norm_grad(Tensor x, Tensor gain, Tensor mean, Tensor inverse, Tensor dy, Tensor dx,
                               Tensor dgain, Tensor dbias) = 0;

  // ---- self-attention (Vaswani et al. 2017) within each text; no two overlap. qkv [R,3D] is q | k | v, and head
  // h owns columns h·D/heads … of each. Per head: y = softmax(q · kᵀ / √(D/heads)) · v, 0 for rows of no text;
  // lse [heads,R], the log-sum-exp of each row's scores, is saved for the gradient.
  virtual void attention(Tensor qkv, const Segments& texts, int64_t heads, Tensor y, Tensor lse) = 0;
  virtual void attention_grad(Tensor qkv, const Segments& texts, int64_t heads, Tensor lse, Tensor dy,
                              Tensor dqkv) = 0;

  // ---- long short-term memory (core/functors.h: LstmCell) over ragged sequences: i | f | o = gates + h₋₁ · U[:,0 … 3H),
  // g = content + h₋₁ · U[:,3H … 4H). gates [R,3H], content [R,H], U [H,4H], h [R,H]; first [s,2H] is h | c
  // before each sequence, empty: 0; last [s,2H], if not empty, becomes h | c behind it.
  virtual void lstm(Tensor gates, Tensor content, Tensor U, const Steps& steps, Tensor first, LstmTrace trace,
                    Arena& scratch, Tensor last, Tensor h) = 0;
  // dgates = … + beta · dgates, and so dcontent
  virtual void lstm_grad(Tensor U, const Steps& steps, LstmTrace trace, Tensor dh, Arena& scratch,
                         real beta_gates, Tensor dgates, real beta_content, Tensor dcontent, Tensor dU,
                         Tensor dfirst) = 0;

  // ---- dropout: y[i] += kept(key, i) ? x[i] / (1 − rate) : 0; its own gradient with dy for x
  virtual void dropout(uint64_t key, real rate, Tensor x, Tensor y) = 0;

  // ---- losses and sums
  virtual void weighted_sum(real scale, Tensor x, Tensor w,
                            Tensor y) = 0;  // y[0] = scale · Σ w[i] x[i]; w empty: 1
  virtual void weighted_sum_grad(real scale, Tensor w, Tensor dy,
                                 Tensor dx) = 0;  // dx[i] += scale · w[i] · dy[0]
  // loss[r] = log Σ_c e^z[r,c] − z[r, labels[r]]; a negative label: loss 0, no gradient. p [R,C] is the
  // softmax
  virtual void cross_entropy(Tensor z, Ids labels, Tensor loss, Tensor p) = 0;
  virtual void cross_entropy_grad(Tensor p, Ids labels, Tensor dloss, Tensor dz) = 0;
  virtual double dot(Tensor a, Tensor b) = 0;  // Σ a[i] · b[i]
  double sum_squares(Tensor x) {
    return dot(x, x);
  }  // NaN and Inf come through: the guard of training looks here

  // ---- optimisers (core/functors.h): w and its state, two tensors shaped like w or empty as the step needs
  virtual void update(const UpdateStep& step, Tensor w, Tensor state1, Tensor state2, Tensor g) = 0;
  // The same for the rows w[rows[i]] with g[i] only.
  virtual void update_rows(const UpdateStep& step, Tensor w, Tensor state1, Tensor state2, Ids rows,
                           Tensor g) = 0;
  // One number of state per row: s[r] += mean_c g²; w[r] −= decay · w[r] + rate · g / (√s[r] + ε), r =
  // rows[i]
  virtual void row_adagrad(const AdagradStep& step, Tensor w, Tensor sum, Ids rows, Tensor g) = 0;
};

Backend& cpu();
Backend& gpu();  // cuda/; Error(usage) in a build without CUDA

}  // namespace steelyard
