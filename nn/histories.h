// Histories as training and serving read them: rows (data/examples.h) gathered for one step. Each history is
// read once; a view is what can be seen of it at a moment; an example asks about a view, perhaps of a
// candidate.
#pragma once

#include <array>

#include "data/examples.h"
#include "nn/list.h"

namespace steelyard {

struct HistoryRows {
  Ids user;
  Ragged<int32_t> item, minutes, older;
  std::array<Ragged<int32_t>, kProperties> properties;
  Ragged<int32_t> visible, moments, candidates;  // of the examples of each row
  std::span<const float> features;               // [examples,F]
  std::vector<std::span<const float>> labels;    // of each task, in the order of its name

  HistoryRows(const RowCache& cache, const Tasks& tasks);
  explicit HistoryRows(const RowColumns& columns, const Tasks& tasks = {});  // without tasks no labels
  int64_t size() const { return static_cast<int64_t>(user.size()); }

 private:
  // list(name) and numbers(name) give the columns.
  template <class List, class Numbers>
  void take(const Tasks& tasks, List list, Numbers numbers);
};

// Views of the tape's memory; positions count through the batch.
struct HistoryBatch {
  Ids items;                                // [n] of the events
  std::array<Ids, kProperties> properties;  // [n] each
  Segments histories;                       // [u]
  Ids seen, viewers, recency;  // [k] the events of each view, whose they are, how long ago (11 steps)
  Segments views;              // [v] in `seen`
  Segments newest;             // [v] the newest event of each view; none, if it is empty
  Ids view, row;               // [m] of each example
  Ids candidates;              // [m] −1: none
  std::span<real> features;    // [m,F]
  std::vector<std::span<const real>> labels;  // [m] of each task
};

constexpr int kRecencies = 11;

// `by_example`: examples share no view, because each looks with other eyes.
HistoryBatch gather_histories(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted,
                              bool by_example);

}  // namespace steelyard
