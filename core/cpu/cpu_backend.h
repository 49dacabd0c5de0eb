// The processor's Backend. The kernels are grouped as in cuda/: elementwise.cpp, linear.cpp, rows.cpp,
// norm.cpp, attention.cpp, lstm.cpp, optim.cpp.
#pragma once

#include "core/backend.h"

namespace steelyard {

class CpuBackend final : public Backend {
 public:
  const char* name() const override { return "cpu"; }
  bool on_host() const override { return true; }

  void* allocate(size_t bytes) override;
  void deallocate(void* data) override;
  void upload(const void* host, void* device, size_t bytes) override;
  void download(const void* device, void* host, size_t bytes) override;
  void zero(Tensor x) override;
  void copy(Tensor from, Tensor to) override;

  void unary(UnaryId op, Tensor x, Tensor y) override;
  void unary_grad(UnaryId op, Tensor x, Tensor y, Tensor dy, real beta, Tensor dx) override;
  void binary(BinaryId op, Tensor a, Tensor b, Tensor c) override;
  void binary_grad(BinaryId op, Tensor a, Tensor b, Tensor dc, Tensor da, Tensor db) override;
  void affine(real scale, real shift, Tensor x, Tensor y) override;
  void axpy(real scale, Tensor x, Tensor y) override;

  void add_row(Tensor x, Tensor b, Tensor y) override;
  void sum_rows(Tensor x, Tensor y) override;
  void scale_rows(Tensor x, Tensor w, Tensor y) override;
  void dot_rows(Tensor a, Tensor b, Tensor y) override;
  void add_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) override;
  void copy_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) override;

  void gemm(Mat a, Mat b, real beta, Tensor c) override;
  void activate(UnaryId op, Tensor bias, Tensor y) override;

  void gather(Tensor table, Ids ids, Tensor y) override;
  void sum_groups(Tensor x, const RowIndex& index, Tensor y) override;
  void scatter_add(Tensor x, Ids rows, Tensor y) override;
  void bag(Tensor table, Ids ids, Tensor w, const Segments& segments, Tensor y) override;
  void bag_grad(Tensor table, const RowIndex& index, Tensor w, Ids owner, Tensor dy, Tensor dvalues,
                Tensor dw) override;

  void segment_sum(Tensor x, const Segments& segments, Tensor y) override;
  void segment_sum_grad(const Segments& segments, Tensor dy, Tensor dx) override;
  void softmax(Tensor x, const Segments& segments, Tensor y) override;
  void softmax_grad(Tensor y, const Segments& segments, Tensor dy, Tensor dx) override;

  void layer_norm(Tensor x, Tensor gain, Tensor bias, real epsilon, Tensor y, Tensor mean,
                  Tensor inverse) override;
  void layer_norm_grad(Tensor x, Tensor gain, Tensor mean, Tensor inverse, Tensor dy, Tensor dx, Tensor dgain,
                       Tensor dbias) override;

  void attention(Tensor qkv, const Segments& texts, int64_t heads, Tensor y, Tensor lse) override;
  void attention_grad(Tensor qkv, const Segments& texts, int64_t heads, Tensor lse, Tensor dy,
                      Tensor dqkv) override;

  void lstm(Tensor gates, Tensor content, Tensor U, const Steps& steps, Tensor first, LstmTrace trace,
            Arena& scratch, Tensor last, Tensor h) override;
  void lstm_grad(Tensor U, const Steps& steps, LstmTrace trace, Tensor dh, Arena& scratch, real beta_gates,
                 Tensor dgates, real beta_content, Tensor dcontent, Tensor dU, Tensor dfirst) override;

  void dropout(uint64_t key, real rate, Tensor x, Tensor y) override;

  void weighted_sum(real scale, Tensor x, Tensor w, Tensor y) override;
  void weighted_sum_grad(real scale, Tensor w, Tensor dy, Tensor dx) override;
  void cross_entropy(Tensor z, Ids labels, Tensor loss, Tensor p) override;
  void cross_entropy_grad(Tensor p, Ids labels, Tensor dloss, Tensor dz) override;
  double dot(Tensor a, Tensor b) override;

  void update(const UpdateStep& step, Tensor w, Tensor state1, Tensor state2, Tensor g) override;
  void update_rows(const UpdateStep& step, Tensor w, Tensor state1, Tensor state2, Ids rows,
                   Tensor g) override;
  void row_adagrad(const AdagradStep& step, Tensor w, Tensor sum, Ids rows, Tensor g) override;
};

}  // namespace steelyard
