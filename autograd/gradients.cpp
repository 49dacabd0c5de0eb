#include "autograd/gradients.h"

#include <algorithm>
#include <bit>
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
    const Tensor total = part_of(*this);
    if (parts.empty()) return backend.zero(total);
    backend.copy(part_of(parts[0]), total);
    for (const Gradients& part : parts.subspan(1)) backend.axpy(1, part_of(part), total);
  });
  for (const Parameter& p : parameters_->all())
    if (p.table) merge_rows(parts, static_cast<size_t>(p.index), workers);
}

// The ids are cut into ranges, each merged by one thread: the rows that occur are marked in a bitmap, the
// marks are counted, and the lists are added in order to the places that the counts give.
void Gradients::merge_rows(std::span<const Gradients> parts, size_t table, const Workers& workers) {
  std::vector<RowGrad> lists;
  for (const Gradients& part : parts)
    lists.insert(lists.end(), part.rows_[table].begin(), part.rows_[table].end());
  if (lists.empty()) return;

  const Parameter& parameter = parameters_->all()[table];
  Backend& backend = parameters_->backend();
  constexpr int64_t kRanges = 64, kBits = 64;
  const int64_t words =
      (parameter.shape.rows() + kRanges * kBits - 1) / (kRanges * kBits);  // of a range's bitmap
  const int64_t cols = parameter.shape.cols();
  const auto part_of = [&](const RowGrad& list, int64_t range) {  // positions of the list's rows in the range
    const auto place = [&](int64_t row) { return std::lower_bound(list.rows.begin(), list.rows.end(), row); };
    const auto first = place(range * words * kBits), last = place((range + 1) * words * kBits);
    return std::pair(first - list.rows.begin(), last - list.rows.begin());
  };
  std::array<int64_t, kRanges + 1> starts{};  // of the ranges' places, large enough if no row occurs twice
  for (int64_t range = 0; range < kRanges; ++range) {
    int64_t most = 0;
    for (const RowGrad& list : lists) {
      const auto [first, last] = part_of(list, range);
      most += last - first;
    }
    starts[static_cast<size_t>(range) + 1] = starts[static_cast<size_t>(range)] + most;
  }

  const std::span<uint64_t> all_marks = arena_.array<uint64_t>(kRanges * words);
  const std::span<int32_t> all_ranks = arena_.array<int32_t>(kRanges * words);  // marks before each word
  const std::span<int32_t> rows = arena_.array<int32_t>(starts[kRanges]);
  const Tensor values = arena_.tensor({starts[kRanges], cols});
  std::vector<RowGrad>& merged = rows_[table];
  merged.resize(kRanges);
  workers.each(kRanges, [&](int64_t range) {
    const int64_t first_row = range * words * kBits, start = starts[static_cast<size_t>(range)];
    uint64_t* marks = all_marks.data() + range * words;
    int32_t* ranks = all_ranks.data() + range * words;
    std::fill_n(marks, words, uint64_t{0});
    for (const RowGrad& list : lists)
      for (auto [i, last] = part_of(list, range); i < last; ++i) {
        const int64_t bit = list.rows[static_cast<size_t>(i)] - first_row;
        marks[bit / kBits] |= uint64_t{1} << (bit % kBits);
      }
    int32_t count = 0;
    for (int64_t word = 0; word < words; ++word) {
      ranks[word] = count;
      for (uint64_t left = marks[word]; left; left &= left - 1)
        rows[static_cast<size_t>(start + count++)] =
            static_cast<int32_t>(first_row + word * kBits + std::countr_zero(left));
    }
    merged[static_cast<size_t>(range)] = {
        rows.subspan(static_cast<size_t>(start), static_cast<size_t>(count)), values.slice(start, count)};
    backend.zero(values.slice(start, count));
    for (const RowGrad& list : lists)
      for (auto [i, last] = part_of(list, range); i < last; ++i) {
        const int64_t bit = list.rows[static_cast<size_t>(i)] - first_row, word = bit / kBits;
        const uint64_t below = marks[word] & ((uint64_t{1} << (bit % kBits)) - 1);
        const int64_t to = start + ranks[word] + std::popcount(below);
        if (cols == 1)
          values.data[to] += list.values.data[i];
        else
          backend.axpy(1, list.values.slice(i, 1), values.slice(to, 1));
      }
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

void Gradients::scale(real factor, Chosen chosen) {
  Backend& backend = parameters_->backend();
  if (chosen.empty()) backend.affine(factor, 0, dense(), dense());
  for (const Parameter& p : parameters_->all()) {
    if (!is_chosen(chosen, p)) continue;
    if (!p.table && !chosen.empty()) backend.affine(factor, 0, dense(p), dense(p));
    for (const RowGrad& grad : rows(p)) backend.affine(factor, 0, grad.values, grad.values);
  }
}

double Gradients::dot(const Gradients& other, Chosen chosen) const {
  Backend& backend = parameters_->backend();
  double sum = 0;
  for (const Parameter& p : parameters_->all()) {
    if (!is_chosen(chosen, p)) continue;
    if (!p.table) {
      sum += backend.dot(dense(p), other.dense(p));
      continue;
    }
    // Both are lists of ascending rows, cut into pieces.
    auto theirs = other.rows(p).begin();
    const auto end = other.rows(p).end();
    size_t at = 0;  // in their piece
    for (const RowGrad& mine : rows(p))
      for (size_t i = 0; i < mine.rows.size(); ++i) {
        while (theirs != end && (at == theirs->rows.size() || theirs->rows[at] < mine.rows[i]))
          if (at == theirs->rows.size())
            ++theirs, at = 0;
          else
            ++at;
        if (theirs == end) break;
        if (theirs->rows[at] == mine.rows[i])
          sum += backend.dot(mine.values.slice(static_cast<int64_t>(i), 1),
                             theirs->values.slice(static_cast<int64_t>(at), 1));
      }
  }
  return sum;
}

}  // namespace steelyard
