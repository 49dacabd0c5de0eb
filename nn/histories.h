// Histories as training and serving read them: rows (data/examples.h) gathered for one step. Each history is
// read once; a view is what can be seen of it at a moment; an example asks about a view, perhaps of a
// candidate.
#pragma once

#include <array>

#include "data/examples.h"
#include "nn/list.h"

namespace steelyard {

// The examples of one group, by row.
struct ExampleRows {
  Ragged<int32_t> visible, moments, items;                 // moments: minutes before the row's
  std::span<const float> numbers;                          // [examples,F]
  std::vector<std::span<const float>> labels, importance;  // of each of its tasks; importance: empty is 1
};

struct HistoryRows {
  Ids user;
  Ragged<int32_t> item, minutes, older, query;
  std::vector<Ragged<int32_t>> profile;
  std::array<Ragged<int32_t>, kProperties> properties;
  std::vector<ExampleRows> groups;

  // Views of what the maker has made.
  HistoryRows(const RowCache& cache, const ExampleMaker& maker);
  HistoryRows(const RowColumns& columns, const ExampleMaker& maker);
  int64_t size() const { return static_cast<int64_t>(user.size()); }

 private:
  // list(name) and numbers(name) give the columns.
  template <class List, class Numbers>
  void take(const ExampleMaker& maker, List list, Numbers numbers);
};

// Views of the tape's memory; positions count through the batch.
struct ExampleBatch {
  Ids view, items;                                        // [m] of each example; −1: no item
  std::span<real> numbers;                                // [m,F]
  std::vector<std::span<const real>> labels, importance;  // of each task [m]
};
struct HistoryBatch {
  Ids items;                                      // [n] of the events
  std::array<Ids, kProperties> properties;        // [n] each
  Segments histories;                             // [u] the rows
  std::pair<Ids, Segments> query;                 // the words of each row
  std::vector<std::pair<Ids, Segments>> profile;  // of each column the values of each row
  Ids seen, viewers, recency;  // [k] the events of each view, whose they are, how long ago (11 steps)
  bool all_seen = false;       // `seen` counts from 0 to n − 1: each history has one view, of all of it
  Segments views;              // [v] in `seen`
  Segments newest;             // [v] the newest event of each view; none, if it is empty
  Ids row, target;             // [v] the row of each view, and the item that it looks for; −1: none
  std::vector<ExampleBatch> groups;
};

constexpr int kRecencies = 11;

// `by_example`: examples share no view, because each looks with other eyes.
HistoryBatch gather_histories(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted,
                              bool by_example);

}  // namespace steelyard
