#include "autograd/gradients.h"

#include <algorithm>
#include <cmath>

#include "core/backend.h"

namespace steelyard {

Gradients::Gradients(const Parameters& parameters)
    : parameters_(&parameters),
      dense_(parameters.backend(), {parameters.dense_size()}),
      rows_(parameters.all().size()),
      arena_(parameters.backend()) {
  clear();
}

void Gradients::clear() {
  parameters_->backend().zero(dense());
  for (auto& list : rows_) list.clear();
  arena_.reset();
}

Tensor Gradients::dense(const Parameter& p) const {
  check(!p.table, "gradients: \"", p.path, "\" is a table: read it by rows");
  return {dense_.tensor().data + p.dense_offset, p.shape, &parameters_->backend()};
}

const std::vector<RowGrad>& Gradients::rows(const Parameter& table) const {
  return rows_[static_cast<size_t>(table.index)];
}

Tensor Gradients::add_rows(const Parameter& table, Ids rows) {
  std::span<int32_t> kept = arena_.array<int32_t>(static_cast<int64_t>(rows.size()));
  parameters_->backend().upload(rows.data(), kept.data(), rows.size_bytes());
  const Tensor values = arena_.tensor({static_cast<int64_t>(rows.size()), table.shape.cols()});
  parameters_->backend().zero(values);
  rows_[static_cast<size_t>(table.index)].push_back({kept, values});
  return values;
}

void Gradients::merge(std::span<const Gradients> parts, const Workers& workers) {
  for (auto& list : rows_) list.clear();
  arena_.reset();
  Backend& backend = parameters_->backend();
  constexpr int64_t kGrain = 1 << 14;
  workers.rows(dense().size(), kGrain, [&](int64_t begin, int64_t end) {
    const auto part_of = [&](const Gradients& g) {
      return Tensor{g.dense().data + begin, {end - begin}, &backend};
    };
    backend.zero(part_of(*this));
    for (const Gradients& part : parts) backend.axpy(1, part_of(part), part_of(*this));
  });
  for (const Parameter& p : parameters_->all())
    if (p.table) merge_rows(parts, static_cast<size_t>(p.index), workers);
}

// The ids are cut into ranges; each range is merged by one thread, the lists always in the same order. First
// the distinct rows of each range are counted, so that the second pass knows where to write.
void Gradients::merge_rows(std::span<const Gradients> parts, size_t table, const Workers& workers) {
  std::vector<RowGrad> lists;
  for (const Gradients& part : parts)
    lists.insert(lists.end(), part.rows_[table].begin(), part.rows_[table].end());
  std::erase_if(lists, [](const RowGrad& list) { return list.rows.empty(); });
  if (lists.empty()) return;

  const Parameter& parameter = parameters_->all()[table];
  Backend& backend = parameters_->backend();
  constexpr int64_t kRanges = 64;
  const int64_t width = (parameter.shape.rows() + kRanges - 1) / kRanges;
  const int64_t cols = parameter.shape.cols();

  // Calls visit(row, list, position) for every entry of the range, rows ascending, lists in order.
  const auto walk = [&](int64_t range, auto&& visit) {
    constexpr size_t kMost = 64;
    check(lists.size() <= kMost, "gradients: more than ", kMost, " look-ups of \"", parameter.path,
          "\" in one step");
    std::array<size_t, kMost> next{}, last{};
    for (size_t l = 0; l < lists.size(); ++l) {
      const auto place = [&](int64_t row) {
        const Ids& rows = lists[l].rows;
        return static_cast<size_t>(std::lower_bound(rows.begin(), rows.end(), row) - rows.begin());
      };
      next[l] = place(range * width);
      last[l] = place((range + 1) * width);
    }
    for (;;) {
      int32_t row = INT32_MAX;
      for (size_t l = 0; l < lists.size(); ++l)
        if (next[l] < last[l]) row = std::min(row, lists[l].rows[next[l]]);
      if (row == INT32_MAX) return;
      for (size_t l = 0; l < lists.size(); ++l)
        if (next[l] < last[l] && lists[l].rows[next[l]] == row)
          visit(row, l, static_cast<int64_t>(next[l]++));
    }
  };

  std::array<int64_t, kRanges + 1> starts{};
  workers.each(kRanges, [&](int64_t range) {
    int64_t distinct = 0, previous = -1;
    walk(range, [&](int32_t row, size_t, int64_t) { distinct += std::exchange(previous, row) != row; });
    starts[static_cast<size_t>(range) + 1] = distinct;
  });
  for (size_t range = 0; range < kRanges; ++range) starts[range + 1] += starts[range];

  const int64_t total = starts[kRanges];
  std::span<int32_t> rows = arena_.array<int32_t>(total);
  const Tensor values = arena_.tensor({total, cols});
  backend.zero(values);
  workers.each(kRanges, [&](int64_t range) {
    int64_t to = starts[static_cast<size_t>(range)] - 1, previous = -1;
    walk(range, [&](int32_t row, size_t list, int64_t from) {
      if (std::exchange(previous, row) != row) rows[static_cast<size_t>(++to)] = row;
      if (cols == 1)
        values.data[to] += lists[list].values.data[from];
      else
        backend.axpy(1, lists[list].values.slice(from, 1), values.slice(to, 1));
    });
  });
  rows_[table].push_back({rows, values});
}

double Gradients::norm() const {
  Backend& backend = parameters_->backend();
  double sum = backend.sum_squares(dense());
  for (const auto& list : rows_)
    for (const RowGrad& grad : list) sum += backend.sum_squares(grad.values);
  return std::sqrt(sum);
}

void Gradients::scale(real factor) {
  Backend& backend = parameters_->backend();
  backend.affine(factor, 0, dense(), dense());
  for (const auto& list : rows_)
    for (const RowGrad& grad : list) backend.affine(factor, 0, grad.values, grad.values);
}

}  // namespace steelyard
