#include "nn/histories.h"

#include <algorithm>

namespace steelyard {

namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// How long ago: in time, or where there is none by the events in between.
int32_t recency(bool timed, int64_t minutes, int64_t events) {
  if (timed) return ExampleMaker::gap(60 * std::max<int64_t>(0, minutes));
  return static_cast<int32_t>(events < 8 ? events : events < 12 ? 8 : events < 20 ? 9 : 10);
}

}  // namespace

template <class List, class Numbers>
void HistoryRows::take(const Tasks& tasks, List list, Numbers numbers) {
  item = list("item"), minutes = list("minutes"), older = list("older");
  visible = list("examples/visible"), moments = list("examples/minutes"), candidates = list("examples/item");
  for (size_t p = 0; p < kProperties; ++p) properties[p] = list(kPropertyNames[p]);
  features = numbers("feature");
  for (const auto& [name, task] : tasks) labels.push_back(numbers("label/" + name));
}

HistoryRows::HistoryRows(const RowCache& cache, const Tasks& tasks) : user(cache.ids("user")) {
  take(
      tasks, [&](const char* name) { return cache.ragged(name); },
      [&](const std::string& name) { return cache.numbers(name); });
}

HistoryRows::HistoryRows(const RowColumns& columns, const Tasks& tasks) : user(columns.ids.at("user")) {
  take(
      tasks, [&](const char* name) { return columns.lists.at(name).ragged(); },
      [&](const std::string& name) { return std::span<const float>(columns.numbers.at(name)); });
}

HistoryBatch gather_histories(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted,
                              bool by_example) {
  const auto u = std::ssize(wanted);
  const auto new_view = [&](int64_t row, size_t e) {
    const Ids visible = rows.visible[row], moments = rows.moments[row];
    return by_example || e == 0 || visible[e] != visible[e - 1] || moments[e] != moments[e - 1];
  };
  int64_t n = 0, m = 0, most_seen = 0;
  for (const int64_t row : wanted) {
    n += std::ssize(rows.item[row]), m += std::ssize(rows.visible[row]);
    for (size_t e = 0; e < rows.visible[row].size(); ++e)
      if (new_view(row, e)) most_seen += rows.visible[row][e];
  }
  check_count("gather_histories", std::max(most_seen, n));
  const bool timed = !rows.minutes.values.empty();
  const size_t F = rows.visible.values.empty() ? 0 : rows.features.size() / rows.visible.values.size();
  List items(tape, n), histories(tape, u + 1), views(tape, m + 1), view(tape, m), row_of(tape, m);
  List candidates(tape, m), newest(tape, m), behind_newest(tape, m);
  List seen(tape, most_seen), viewers(tape, most_seen), ago(tape, most_seen);
  std::array<std::span<int32_t>, kProperties> properties;
  for (size_t p = 0; p < kProperties; ++p)
    properties[p] = tape.array<int32_t>(rows.properties[p].values.empty() ? 0 : n);
  HistoryBatch batch;
  batch.features = tape.array<real>(m * static_cast<int64_t>(F));
  std::vector<std::span<real>> labels;
  for (size_t k = 0; k < rows.labels.size(); ++k) labels.push_back(tape.array<real>(m));
  for (const int64_t row : wanted) {
    const int32_t first = items.size();
    histories.add(first);
    for (const int32_t item : rows.item[row]) items.add(item);
    for (size_t p = 0; p < kProperties; ++p)
      if (!properties[p].empty()) std::ranges::copy(rows.properties[p][row], properties[p].begin() + first);
    const Ids visible = rows.visible[row], moments = rows.moments[row], asked = rows.candidates[row];
    for (size_t e = 0; e < visible.size(); ++e) {
      if (new_view(row, e)) {
        views.add(seen.size());
        newest.add(first + std::max(0, visible[e] - 1)), behind_newest.add(first + visible[e]);
        for (int32_t i = 0; i < visible[e]; ++i) {
          seen.add(first + i), viewers.add(views.size() - 1);
          ago.add(recency(timed, timed ? int64_t{rows.minutes[row][static_cast<size_t>(i)]} - moments[e] : 0,
                          visible[e] - 1 - i));
        }
      }
      const auto from = at(rows.visible.starts[at(row)]) + e, to = at(view.size());
      std::copy_n(rows.features.begin() + static_cast<std::ptrdiff_t>(from * F), F,
                  batch.features.begin() + static_cast<std::ptrdiff_t>(to * F));
      for (size_t k = 0; k < labels.size(); ++k) labels[k][to] = rows.labels[k][from];
      view.add(views.size() - 1), row_of.add(histories.size() - 1), candidates.add(asked[e]);
    }
  }
  histories.add(items.size()), views.add(seen.size());
  batch.items = items, batch.candidates = candidates, batch.view = view, batch.row = row_of,
  batch.newest = {newest, behind_newest};
  batch.seen = seen, batch.viewers = viewers, batch.recency = ago;
  for (size_t p = 0; p < kProperties; ++p) batch.properties[p] = properties[p];
  batch.histories = Segments::between(histories), batch.views = Segments::between(views);
  batch.labels.assign(labels.begin(), labels.end());
  return batch;
}

}  // namespace steelyard
