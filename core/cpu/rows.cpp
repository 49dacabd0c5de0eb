#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"
#include "core/cpu/product.h"

namespace steelyard {

namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// kPackets packets of y + Σ_j w · x, from a column on.
template <int kPackets>
struct PacketSums {
  template <class Row>
  PacketSums(int64_t begin, int64_t end, Row row, int64_t column, const real* y) : column(column) {
    using Eigen::internal::padd, Eigen::internal::ploadu, Eigen::internal::pmul, Eigen::internal::pset1;
    for (int p = 0; p < kPackets; ++p) sums[p] = ploadu<Packet>(y + column + p * kPacket);
    for (int64_t j = begin; j < end; ++j) {
      const auto [w, x] = row(j, column, kPackets * kPacket);
      if (!x) continue;
      const Packet scale = pset1<Packet>(w);
      for (int p = 0; p < kPackets; ++p)
        sums[p] = padd(sums[p], pmul(scale, ploadu<Packet>(x + column + p * kPacket)));
    }
  }
  void store(real* y) const {
    for (int p = 0; p < kPackets; ++p) Eigen::internal::pstoreu(y + column + p * kPacket, sums[p]);
  }
  int64_t column;
  Packet sums[kPackets];
};

// What can be done with rows of a width. Rows of one number, as in a bag of words, are worth a loop of their
// own.
struct OneColumn {
  static constexpr int64_t cols = 1;
  void copy(const real* x, real* y) const { *y = *x; }
  void add(const real* x, real* y) const { *y += *x; }
  void add_scaled(real w, const real* x, real* y) const { *y += w * *x; }
  real dot(const real* a, const real* b) const { return *a * *b; }
  template <class Row>
  void add_all(int64_t begin, int64_t end, Row row, real* y) const {
    for (int64_t j = begin; j < end; ++j)
      if (const auto [w, x] = row(j, 0, cols); x) add_scaled(w, x, y);
  }
};
struct Columns {
  int64_t cols;
  void copy(const real* x, real* y) const { std::copy_n(x, cols, y); }
  void add(const real* x, real* y) const {
    for_lanes(cols, [&](auto i) { add_to(i, y, i.load(x)); });
  }
  void add_scaled(real w, const real* x, real* y) const {
    for_lanes(cols, [&](auto i) { add_to(i, y, Lane(w * i.load(x))); });
  }
  real dot(const real* a, const real* b) const {
    return static_cast<real>(sum_lanes(cols, [&](auto i) { return Lane(i.load(a) * i.load(b)); }));
  }
  // y += Σ_j w · x in the order of j, without those whose x is null; (w, x) = row(j, first, count) says which of x's
  // columns are read. The sums of some columns at a time stay in registers; the last columns, which do not fill a packet,
  // are summed up as part of one that reaches back, and stored last.
  template <class Row>
  void add_all(int64_t begin, int64_t end, Row row, real* y) const {
    if (begin == end) return;
    if (cols < kPacket) {
      for (int64_t j = begin; j < end; ++j)
        if (const auto [w, x] = row(j, 0, cols); x) add_scaled(w, x, y);
      return;
    }
    const bool whole = cols % kPacket == 0;
    const PacketSums<1> last(begin, whole ? begin : end, row, cols - kPacket, y);
    int64_t c = 0;
    for (; c + 8 * kPacket <= cols; c += 8 * kPacket) PacketSums<8>(begin, end, row, c, y).store(y);
    for (; c + kPacket <= cols; c += kPacket) PacketSums<1>(begin, end, row, c, y).store(y);
    if (!whole) last.store(y);
  }
};
template <class F>
void by_width(int64_t cols, F&& f) {
  if (cols == 1)
    f(OneColumn{});
  else
    f(Columns{cols});
}

// y = softmax(x); returns log Σ eˣ.
double softmax_of(const real* x, real* y, int64_t n) {
  if (n == 0) return 0;
  const real largest = *std::max_element(x, x + n);
  for_lanes(n, [&](auto i) { i.store(y, math::exp(Lane(i.load(x) - largest))); });
  const double sum = sum_lanes(n, [&](auto i) { return i.load(y); });
  const real scale = static_cast<real>(1 / sum);
  for_lanes(n, [&](auto i) { i.store(y, Lane(scale * i.load(y))); });
  return std::log(sum) + static_cast<double>(largest);
}

}  // namespace

void CpuBackend::add_row(Tensor x, Tensor b, Tensor y) {
  const int64_t cols = x.cols();
  for (int64_t r = 0; r < x.rows(); ++r)
    for_lanes(cols,
              [&](auto i) { i.store(y.data + r * cols, Lane(i.load(x.data + r * cols) + i.load(b.data))); });
}

void CpuBackend::sum_rows(Tensor x, Tensor y) {
  by_width(x.cols(), [&](auto width) {
    for (int64_t r = 0; r < x.rows(); ++r) width.add(x.data + r * width.cols, y.data);
  });
}

void CpuBackend::scale_rows(Tensor x, Tensor w, Tensor y) {
  by_width(x.cols(), [&](auto width) {
    for (int64_t r = 0; r < x.rows(); ++r)
      width.add_scaled(w.data[r], x.data + r * width.cols, y.data + r * width.cols);
  });
}

void CpuBackend::dot_rows(Tensor a, Tensor b, Tensor y) {
  by_width(a.cols(), [&](auto width) {
    for (int64_t r = 0; r < a.rows(); ++r)
      y.data[r] += width.dot(a.data + r * width.cols, b.data + r * width.cols);
  });
}

void CpuBackend::add_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) {
  by_width(count, [&](auto width) {
    for (int64_t r = 0; r < x.rows(); ++r)
      width.add(x.data + r * x.cols() + from, y.data + r * y.cols() + to);
  });
}

void CpuBackend::copy_columns(Tensor x, int64_t from, Tensor y, int64_t to, int64_t count) {
  by_width(count, [&](auto width) {
    for (int64_t r = 0; r < x.rows(); ++r)
      width.copy(x.data + r * x.cols() + from, y.data + r * y.cols() + to);
  });
}

void CpuBackend::gather(Tensor table, Ids ids, Tensor y) {
  by_width(table.cols(), [&](auto width) {
    for (size_t j = 0; j < ids.size(); ++j) {
      if (j + kAhead < ids.size()) prefetch_row(table.data + ids[j + kAhead] * width.cols, width.cols);
      width.copy(table.data + ids[j] * width.cols, y.data + static_cast<int64_t>(j) * width.cols);
    }
  });
}

void CpuBackend::sum_groups(Tensor x, const RowIndex& index, Tensor y) {
  by_width(x.cols(), [&](auto width) {
    real* to = y.data;
    for (size_t i = 0; i < index.rows.size(); ++i, to += width.cols)
      for (int32_t k = index.starts[i]; k < index.starts[i + 1]; ++k)
        width.add(x.data + index.order[at(k)] * width.cols, to);
  });
}

void CpuBackend::scatter_add(Tensor x, Ids rows, Tensor y) {
  by_width(x.cols(), [&](auto width) {
    for (size_t i = 0; i < rows.size(); ++i)
      width.add(x.data + static_cast<int64_t>(i) * width.cols, y.data + rows[i] * width.cols);
  });
}

void CpuBackend::bag(Tensor table, Ids ids, Tensor w, const Segments& segments, Tensor y) {
  zero(y);
  by_width(table.cols(), [&](auto width) {
    real* to = y.data;
    for (size_t s = 0; s < segments.begins.size(); ++s, to += width.cols) {
      const auto row = [&](int64_t j, int64_t first, int64_t count) {
        if (at(j) + kAhead < ids.size())
          prefetch_row(table.data + ids[at(j) + kAhead] * width.cols + first, count);
        return std::pair(w.empty() ? real(1) : w.data[j], table.data + ids[at(j)] * width.cols);
      };
      width.add_all(segments.begins[s], segments.ends[s], row, to);
    }
  });
}

void CpuBackend::bag_grad(Tensor table, const RowIndex& index, Tensor w, Ids owner, Tensor dy, Tensor dvalues,
                          Tensor dw) {
  by_width(table.cols(), [&](auto width) {
    const auto dy_of = [&](int64_t j) -> const real* { return dy.data + owner[at(j)] * width.cols; };
    real* to = dvalues.data;
    const auto row = [&](int64_t k, int64_t, int64_t) {
      const int32_t j = index.order[at(k)];
      return std::pair(w.empty() ? real(1) : w.data[j], owner[at(j)] < 0 ? nullptr : dy_of(j));
    };
    for (size_t i = 0; !dvalues.empty() && i < index.rows.size(); ++i, to += width.cols)
      width.add_all(index.starts[i], index.starts[i + 1], row, to);
    for (int64_t j = 0; !dw.empty() && j < dw.size(); ++j)
      if (owner[at(j)] >= 0) dw.data[j] += width.dot(table.data + index.ids[at(j)] * width.cols, dy_of(j));
  });
}

void CpuBackend::segment_sum(Tensor x, const Segments& segments, Tensor y) {
  zero(y);
  by_width(x.cols(), [&](auto width) {
    real* to = y.data;
    for (size_t s = 0; s < segments.begins.size(); ++s, to += width.cols)
      for (int64_t j = segments.begins[s]; j < segments.ends[s]; ++j) width.add(x.data + j * width.cols, to);
  });
}

void CpuBackend::segment_sum_grad(const Segments& segments, Tensor dy, Tensor dx) {
  by_width(dx.cols(), [&](auto width) {
    const real* from = dy.data;
    for (size_t s = 0; s < segments.begins.size(); ++s, from += width.cols)
      for (int64_t j = segments.begins[s]; j < segments.ends[s]; ++j)
        width.add(from, dx.data + j * width.cols);
  });
}

void CpuBackend::softmax(Tensor x, const Segments& segments, Tensor y) {
  zero(y);
  for (size_t s = 0; s < segments.begins.size(); ++s) {
    const int64_t n = segments.ends[s] - segments.begins[s];
    softmax_of(x.data + segments.begins[s], y.data + segments.begins[s], n);
  }
}

void CpuBackend::softmax_grad(Tensor y, const Segments& segments, Tensor dy, Tensor dx) {
  for (size_t s = 0; s < segments.begins.size(); ++s) {
    const int64_t n = segments.ends[s] - segments.begins[s], begin = segments.begins[s];
    const real *p = y.data + begin, *dp = dy.data + begin;
    const auto inner = static_cast<real>(sum_lanes(n, [&](auto i) { return Lane(i.load(p) * i.load(dp)); }));
    for_lanes(n, [&](auto i) { add_to(i, dx.data + begin, Lane(i.load(p) * (i.load(dp) - inner))); });
  }
}

void CpuBackend::cross_entropy(Tensor z, Ids labels, Tensor loss, Tensor p) {
  const int64_t cols = z.cols();
  for (int64_t r = 0; r < z.rows(); ++r) {
    const real* logits = z.data + r * cols;
    const double log_sum = softmax_of(logits, p.data + r * cols, cols);
    const int32_t label = labels[at(r)];
    loss.data[r] = label < 0 ? real(0) : static_cast<real>(log_sum - static_cast<double>(logits[label]));
  }
}

void CpuBackend::cross_entropy_grad(Tensor p, Ids labels, Tensor dloss, Tensor dz) {
  const Columns width{p.cols()};
  for (int64_t r = 0; r < p.rows(); ++r) {
    const int32_t label = labels[at(r)];
    if (label < 0) continue;
    width.add_scaled(dloss.data[r], p.data + r * width.cols, dz.data + r * width.cols);
    dz.data[r * width.cols + label] -= dloss.data[r];
  }
}

}  // namespace steelyard
