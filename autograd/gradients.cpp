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

// The ids are cut into ranges; each range is merged by one thread, the lists always in the same order, into a
// place of its own that is large enough for the case that no row occurs twice.
void Gradients::merge_rows(std::span<const Gradients> parts, size_t table, const Workers& workers) {
  std::vector<RowGrad> lists;
  for (const Gradients& part : parts)
    lists.insert(lists.end(), part.rows_[table].begin(), part.rows_[table].end());
  if (lists.empty()) return;
  constexpr size_t kMostLists = 256;
  check(lists.size() <= kMostLists, "gradients: more than ", kMostLists, " look-ups of \"",
        parameters_->all()[table].path, "\" in one step");

  const Parameter& parameter = parameters_->all()[table];
  Backend& backend = parameters_->backend();
  constexpr size_t kRanges = 64;
  const int64_t width = (parameter.shape.rows() + kRanges - 1) / kRanges, cols = parameter.shape.cols();
  std::vector<std::array<size_t, kRanges + 1>> cuts(lists.size());  // where each range begins in each list
  std::array<int64_t, kRanges + 1> starts{};                        // and in the result
  for (size_t l = 0; l < lists.size(); ++l)
    for (size_t range = 0; range <= kRanges; ++range) {
      const Ids& rows = lists[l].rows;
      const auto first = std::lower_bound(rows.begin(), rows.end(), static_cast<int64_t>(range) * width);
      cuts[l][range] = static_cast<size_t>(first - rows.begin());
      starts[range] += first - rows.begin();
    }

  const std::span<int32_t> rows = arena_.array<int32_t>(starts[kRanges]);
  const Tensor values = arena_.tensor({starts[kRanges], cols});
  std::vector<RowGrad>& merged = rows_[table];
  merged.resize(kRanges);
  workers.each(kRanges, [&](int64_t piece) {
    const auto range = static_cast<size_t>(piece);
    std::array<size_t, kMostLists> next;
    for (size_t l = 0; l < lists.size(); ++l) next[l] = cuts[l][range];
    int64_t to = starts[range];
    for (;; ++to) {
      int32_t row = INT32_MAX;
      for (size_t l = 0; l < lists.size(); ++l)
        if (next[l] < cuts[l][range + 1]) row = std::min(row, lists[l].rows[next[l]]);
      if (row == INT32_MAX) break;
      rows[static_cast<size_t>(to)] = row;
      bool first = true;
      for (size_t l = 0; l < lists.size(); ++l) {
        if (next[l] == cuts[l][range + 1] || lists[l].rows[next[l]] != row) continue;
        const auto from = static_cast<int64_t>(next[l]++);
        if (cols == 1)
          values.data[to] = lists[l].values.data[from] + (first ? real(0) : values.data[to]);
        else if (first)
          backend.copy(lists[l].values.slice(from, 1), values.slice(to, 1));
        else
          backend.axpy(1, lists[l].values.slice(from, 1), values.slice(to, 1));
        first = false;
      }
    }
    const int64_t count = to - starts[range];
    merged[range] = {rows.subspan(static_cast<size_t>(starts[range]), static_cast<size_t>(count)),
                     values.slice(starts[range], count)};
  });
  std::erase_if(merged, [](const RowGrad& grad) { return grad.rows.empty(); });
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
