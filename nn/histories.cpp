#include "nn/histories.h"

#include <algorithm>
#include <tuple>
#include <utility>

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
void HistoryRows::take(const ExampleMaker& maker, List list, Numbers numbers) {
  item = list("item"), minutes = list("minutes"), older = list("older"), query = list("query");
  for (size_t k = 0; k < maker.profile_columns(); ++k) profile.push_back(list(text("profile/", k)));
  for (size_t p = 0; p < kProperties; ++p) properties[p] = list(kPropertyNames[p]);
  for (const ExampleGroup& group : maker.groups()) {
    const std::string& name = group.name;
    ExampleRows& rows = groups.emplace_back();
    rows.visible = list(name + "/visible"), rows.moments = list(name + "/minutes"),
    rows.items = list(name + "/item");
    rows.numbers = numbers(name + "/numbers");
    for (const Task& task : group.tasks) {
      rows.labels.push_back(numbers(name + "/label/" + task.name));
      rows.importance.push_back(group.of_table() ? numbers(name + "/importance/" + task.name)
                                                 : std::span<const float>());
    }
  }
}

HistoryRows::HistoryRows(const RowCache& cache, const ExampleMaker& maker) : user(cache.ids("user")) {
  take(
      maker, [&](const std::string& name) { return cache.ragged(name); },
      [&](const std::string& name) { return cache.numbers(name); });
}

HistoryRows::HistoryRows(const RowColumns& columns, const ExampleMaker& maker)
    : user(columns.ids.at("user")) {
  take(
      maker, [&](const std::string& name) { return columns.lists.at(name).ragged(); },
      [&](const std::string& name) {
        const auto found = columns.numbers.find(name);  // a request has no labels
        return found == columns.numbers.end() ? std::span<const float>()
                                              : std::span<const float>(found->second);
      });
}

HistoryBatch gather_histories(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted,
                              bool by_example) {
  HistoryBatch batch;
  std::tie(batch.items, batch.histories) = gather_lists(tape, rows.item, wanted);
  for (size_t p = 0; p < kProperties; ++p)
    batch.properties[p] = gather_lists(tape, rows.properties[p], wanted).first;
  batch.query = gather_lists(tape, rows.query, wanted);
  for (const Ragged<int32_t>& lists : rows.profile)
    batch.profile.push_back(gather_lists(tape, lists, wanted));

  const auto new_view = [&](const ExampleRows& of, int64_t row, size_t e) {
    const Ids visible = of.visible[row], moments = of.moments[row];
    return by_example || e == 0 || visible[e] != visible[e - 1] || moments[e] != moments[e - 1];
  };
  int64_t examples = 0, most_seen = 0;
  for (const ExampleRows& of : rows.groups)
    for (const int64_t row : wanted) {
      examples += std::ssize(of.visible[row]);
      for (size_t e = 0; e < of.visible[row].size(); ++e)
        if (new_view(of, row, e)) most_seen += of.visible[row][e];
    }
  check_count("gather_histories", std::max(most_seen, examples));
  const bool timed = !rows.minutes.values.empty();
  List views(tape, examples + 1), row_of(tape, examples), target(tape, examples);
  List newest(tape, examples), behind_newest(tape, examples);
  List seen(tape, most_seen), viewers(tape, most_seen), ago(tape, most_seen);
  struct Of {  // a group
    List view, items;
    std::vector<std::span<real>> labels, importance;
  };
  std::vector<Of> groups;
  for (const ExampleRows& of : rows.groups) {
    int64_t m = 0;
    for (const int64_t row : wanted) m += std::ssize(of.visible[row]);
    Of& group = groups.emplace_back(Of{List(tape, m), List(tape, m), {}, {}});
    const int64_t F = of.visible.values.empty() ? 0 : std::ssize(of.numbers) / std::ssize(of.visible.values);
    batch.groups.push_back({{}, {}, tape.array<real>(m * F), {}, {}});
    for (size_t k = 0; k < of.labels.size(); ++k) {
      group.labels.push_back(tape.array<real>(of.labels[k].empty() ? 0 : m));
      group.importance.push_back(tape.array<real>(of.importance[k].empty() ? 0 : m));
    }
  }
  for (size_t r = 0; r < wanted.size(); ++r) {
    const int64_t row = wanted[r];
    const int32_t first = batch.histories.begins[r];
    for (size_t g = 0; g < groups.size(); ++g) {
      const ExampleRows& of = rows.groups[g];
      const Ids visible = of.visible[row], moments = of.moments[row], items = of.items[row];
      const size_t F = visible.empty() ? 0 : of.numbers.size() / of.visible.values.size();
      for (size_t e = 0; e < visible.size(); ++e) {
        if (new_view(of, row, e)) {
          views.add(seen.size()), row_of.add(static_cast<int32_t>(r)), target.add(items[e]);
          newest.add(first + std::max(0, visible[e] - 1)), behind_newest.add(first + visible[e]);
          for (int32_t i = 0; i < visible[e]; ++i) {
            seen.add(first + i), viewers.add(views.size() - 1);
            ago.add(recency(timed, timed ? int64_t{rows.minutes[row][at(i)]} - moments[e] : 0,
                            visible[e] - 1 - i));
          }
        }
        const size_t from = at(of.visible.starts[at(row)]) + e, to = at(groups[g].view.size());
        std::copy_n(of.numbers.begin() + static_cast<std::ptrdiff_t>(from * F), F,
                    batch.groups[g].numbers.begin() + static_cast<std::ptrdiff_t>(to * F));
        const auto copy = [&](std::span<real> out, std::span<const float> in) {
          if (!in.empty()) out[to] = in[from];
        };
        for (size_t k = 0; k < of.labels.size(); ++k)
          copy(groups[g].labels[k], of.labels[k]), copy(groups[g].importance[k], of.importance[k]);
        groups[g].view.add(views.size() - 1), groups[g].items.add(items[e]);
      }
    }
  }
  views.add(seen.size());
  const Ids of_seen = seen;
  batch.all_seen = of_seen.size() == batch.items.size();
  for (size_t i = 0; i < of_seen.size() && batch.all_seen; ++i)
    batch.all_seen = of_seen[i] == static_cast<int32_t>(i);
  batch.seen = seen, batch.viewers = viewers, batch.recency = ago, batch.row = row_of, batch.target = target;
  batch.views = Segments::between(views), batch.newest = {newest, behind_newest};
  for (size_t g = 0; g < groups.size(); ++g) {
    batch.groups[g].view = groups[g].view, batch.groups[g].items = groups[g].items;
    batch.groups[g].labels.assign(groups[g].labels.begin(), groups[g].labels.end());
    batch.groups[g].importance.assign(groups[g].importance.begin(), groups[g].importance.end());
  }
  return batch;
}

}  // namespace steelyard
