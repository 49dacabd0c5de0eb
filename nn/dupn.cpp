#include "nn/dupn.h"

#include <algorithm>
#include <cmath>

#include "core/backend.h"
#include "nn/segment_mean.h"
#include "nn/task_loss.h"

namespace steelyard {

namespace {

constexpr int64_t kAttend = 128, kAttendMore = 64;  // the paper's layers

// Row 0 of a table of embeddings, that of what is not known, begins at 0.
Init embedding(int64_t width, double deviation) {
  const Init draw = normal(static_cast<real>(deviation));
  return [=](uint64_t key, int64_t index) { return index < width ? real(0) : draw(key, index); };
}

// 0 for an id that a newer catalogue gave.
int32_t known(int32_t id, const Parameter& table) { return id < table.shape.rows() ? id : 0; }

// The sum of a table's rows over each list of values      [lists,width]
Var sums(Tape& tape, const Parameter& table, const std::pair<Ids, Segments>& lists) {
  List values(tape, std::ssize(lists.first));
  for (const int32_t value : lists.first) values.add(known(value, table));
  return bag(tape, table, tape.index(values), lists.second);
}

// Columns of all; none of nothing.
Var side_by_side(const std::vector<Var>& parts) {
  if (parts.empty()) return {};
  return parts.size() == 1 ? parts[0] : concat(parts);
}

}  // namespace

void DupnConfig::validate() const {
  for (const auto& [key, width] : {std::pair{"dupn.item_width", item_width},
                                   {"dupn.attribute_width", attribute_width},
                                   {"dupn.property_width", property_width},
                                   {"dupn.profile_width", profile_width},
                                   {"dupn.query_width", query_width},
                                   {"dupn.hidden", hidden},
                                   {"dupn.head_width", head_width}})
    require(width >= 1 && width <= 4096, key, width, "1 … 4096");
  require(sequence == "lstm" || sequence == "none", "dupn.sequence", sequence, "lstm or none");
  require(pooling == "attention" || pooling == "mean" || pooling == "none", "dupn.pooling", pooling,
          "attention, mean or none");
  require(head_layers >= 0 && head_layers <= 16, "dupn.head_layers", head_layers, "0 … 16");
  for (const auto& [key, rate] : {std::pair{"dupn.dropout", dropout}, {"dupn.item_dropout", item_dropout}})
    require(rate >= 0 && rate < 1, key, rate, "0 ≤ rate < 1");
  require(item_penalty >= 0 && std::isfinite(item_penalty), "dupn.item_penalty", item_penalty, "0 or more");
  require(!target || pooling == "attention", "dupn.target", "true", "dupn.pooling = \"attention\" beside it");
}

Dupn::Dupn(Parameters::Scope at, const DupnConfig& config, const DupnSizes& sizes,
           const std::vector<ExampleGroup>& groups)
    : config_(config), sizes_(sizes), groups_(groups) {
  constexpr double kDeviation = 0.05;
  const auto table = [&](Parameters::Scope where, const std::string& name, int64_t rows, int64_t width) {
    return &where.table(name, {rows, width}, embedding(width, kDeviation), {.grown = {}});
  };
  item_ = table(at / "item", "id", sizes.items, config.item_width);
  for (size_t k = 0; k < sizes.values.size(); ++k)
    attributes_.push_back(
        table(at / "item", "attribute" + std::to_string(k), sizes.values[k], config.attribute_width));
  depth_ = config.item_width + std::ssize(sizes.values) * config.attribute_width;
  const bool seen =
      (config.sequence == "lstm" && config.gates) || (config.pooling == "attention" && config.attention);
  for (size_t p = 0; p < kProperties; ++p) {
    properties_.push_back(nullptr);
    if (sizes.properties[p] == 0 || !seen) continue;
    properties_.back() = &(at / "property")
                              .table(kPropertyNames[p], {sizes.properties[p], config.property_width},
                                     normal(static_cast<real>(kDeviation)));
    property_depth_ += config.property_width;
  }
  for (size_t k = 0; k < sizes.profile.size(); ++k)
    profile_.push_back(table(at / "profile", std::to_string(k), sizes.profile[k], config.profile_width));
  const int64_t profile_depth = std::ssize(profile_) * config.profile_width;
  if (sizes.words > 0 && config.pooling == "attention")
    words_ = table(at / "query", "words", sizes.words, config.query_width);
  state_ = depth_;
  if (config.sequence == "lstm") {
    const int64_t H = state_ = config.hidden;
    // Forget gates begin open (Jozefowicz, Zaremba & Sutskever 2015).
    const auto open = [H](uint64_t, int64_t index) {
      return index >= H && index < 2 * H ? real(1) : real(0);
    };
    gates_.emplace(at / "lstm/gates", depth_ + (config.gates ? property_depth_ : 0), 3 * H, open);
    content_.emplace(at / "lstm/content", depth_, H);
    recurrent_ = &(at / "lstm").add("U", {H, 4 * H}, glorot(H, H));
    if (config.learned_start) start_ = &(at / "lstm").add("start", {1, 2 * H}, constant(0));
  }
  if (config.pooling == "attention") {
    const int64_t seen = state_ + (config.attention ? property_depth_ : 0);
    attend_.emplace(at / "attention/0", seen, kAttend);
    if (config.attention)
      attend_recency_ =
          &(at / "attention").table("recency", {kRecencies, kAttend}, normal(static_cast<real>(kDeviation)));
    if (config.target)
      attend_target_ = &(at / "attention").add("target", {depth_, kAttend}, glorot(depth_, kAttend));
    if (!profile_.empty())
      attend_profile_ =
          &(at / "attention").add("profile", {profile_depth, kAttend}, glorot(profile_depth, kAttend));
    if (words_)
      attend_query_ = &(at / "attention")
                           .add("query", {config.query_width, kAttend}, glorot(config.query_width, kAttend));
    attend_more_.emplace(at / "attention/1", kAttend, kAttendMore);
    attend_last_ =
        &(at / "attention")
             .add("2", {kAttendMore, 1}, glorot(kAttendMore, 1));  // no bias: softmax would not see it
  }
  rep_ = (config.pooling != "none" ? state_ : 0) + (config.newest_state ? state_ : 0) +
         (config.newest_item ? depth_ : 0) + profile_depth;
  for (const ExampleGroup& group : groups_)
    for (const Task& task : group.tasks) {
      const Parameters::Scope where = at / "heads" / task.name;
      if (task.kind != "next") {
        add_head(where, task, group);
        continue;
      }
      next_.emplace(where, rep_, depth_);
      popularity_ = &where.table("popularity", {sizes.items, 1}, constant(0));
    }
}

void Dupn::add_head(Parameters::Scope at, const Task& task, const ExampleGroup& group) {
  Head& head = heads_[task.name];
  const bool rank = task.kind == "rank";
  const int64_t F = rank ? 0 : group.numbers, E = config_.candidate && group.items && !rank ? depth_ : 0;
  const int64_t in = rep_ + E + F,
                last = rank ? group.numbers : std::max<int64_t>(1, std::ssize(task.classes));
  const int64_t out = config_.head_layers > 0 ? config_.head_width : last;
  // Weights begin alike and above 0, below which they would not learn.
  const Init begin = constant(rank ? real(0.1) : real(0));
  if (rep_ > 0) head.rep = &at.add("rep", {rep_, out}, glorot(in, out));
  if (E > 0) head.candidate = &at.add("candidate", {E, out}, glorot(in, out));
  if (F > 0) head.numbers = &at.add("features", {F, out}, glorot(in, out));
  head.b = &at.add("b", {out}, config_.head_layers > 0 ? constant(0) : begin);
  if (config_.head_layers > 0 && F > 0) head.wide = &at.add("wide", {F, last}, constant(0));
  for (int layer = 1; layer < config_.head_layers; ++layer)
    head.rest.emplace_back(at / std::to_string(layer), config_.head_width, config_.head_width);
  if (config_.head_layers > 0)
    head.rest.emplace_back(at / std::to_string(config_.head_layers), config_.head_width, last, begin);
}

Var Dupn::items(Tape& tape, Ids ids, const Catalogue& catalogue) const {
  const auto n = std::ssize(ids);
  for (const int32_t id : ids)
    check(id >= -1 && id < catalogue.items.size(), "items: no item ", id, " of ", catalogue.items.size());
  List some(tape, n), own(tape, n);
  for (const int32_t id : ids) some.add(std::max(0, id)), own.add(known(std::max(0, id), *item_));
  std::vector<Var> parts = {rows(tape, *item_, tape.index(own))};
  for (size_t k = 0; k < attributes_.size(); ++k)
    parts.push_back(
        sums(tape, *attributes_[k], gather_lists(tape, catalogue.attributes[k].ragged(), Ids(some))));
  return side_by_side(parts);
}

Var Dupn::property(Tape& tape, const HistoryBatch& batch) const {
  std::vector<Var> parts;
  for (size_t p = 0; p < kProperties; ++p)
    if (properties_[p]) parts.push_back(rows(tape, *properties_[p], tape.index(batch.properties[p])));
  return side_by_side(parts);
}

Var Dupn::states(Var e, const HistoryBatch& batch, Var first, Tensor last) const {
  if (!gates_) return e;
  Tape& tape = *e.tape;
  if (!first.tape && start_) {
    const std::span<int32_t> zeros = tape.array<int32_t>(batch.histories.size());
    std::ranges::fill(zeros, 0);
    first = gather(tape.leaf(*start_), zeros);
  }
  const Var p = config_.gates ? property(tape, batch) : Var{};
  return lstm((*gates_)(p.tape ? concat({e, p}) : e), (*content_)(e), tape.leaf(*recurrent_), batch.histories,
              first, last);
}

Var Dupn::profile(Tape& tape, const HistoryBatch& batch) const {
  std::vector<Var> parts;
  for (size_t k = 0; k < profile_.size(); ++k) parts.push_back(sums(tape, *profile_[k], batch.profile[k]));
  return side_by_side(parts);
}

Var Dupn::query(Tape& tape, const HistoryBatch& batch) const {
  if (!words_) return {};
  return scale_rows(sums(tape, *words_, batch.query), inverse_lengths(tape, batch.query.second));
}

Var Dupn::represent(Var e, Var h, const HistoryBatch& batch, const Catalogue& catalogue, Var* weights) const {
  Tape& tape = *e.tape;
  std::vector<Var> parts;
  const auto of_seen = [&](Var x) { return batch.all_seen ? x : gather(x, batch.seen); };
  const Var seen = config_.pooling == "none" ? Var{} : of_seen(h);
  const Var u = profile(tape, batch);
  if (config_.pooling == "attention") {
    const Var p = config_.attention ? property(tape, batch) : Var{};
    Var z = of_seen((*attend_)(p.tape ? concat({h, p}) : h));
    if (attend_recency_) z = z + rows(tape, *attend_recency_, tape.index(batch.recency));
    if (attend_target_)
      z = z + gather(matmul(items(tape, batch.target, catalogue), tape.leaf(*attend_target_)), batch.viewers);
    const auto see = [&](Var of_row, const Parameter& W) {
      z = z + gather(gather(matmul(of_row, tape.leaf(W)), batch.row), batch.viewers);
    };
    if (attend_profile_) see(u, *attend_profile_);
    if (attend_query_) see(query(tape, batch), *attend_query_);
    const Var more = drop((*attend_more_)(drop(relu(z)), unary_id<Relu>));
    const Var a = softmax(matmul(more, tape.leaf(*attend_last_)), batch.views);
    if (weights) *weights = a;
    parts.push_back(segment_sum(scale_rows(seen, reshape(a, {a.size()})), batch.views));
  } else if (config_.pooling == "mean") {
    parts.push_back(segment_mean(seen, batch.views));
  }
  if (config_.newest_state) parts.push_back(segment_sum(h, batch.newest));
  if (config_.newest_item) parts.push_back(segment_sum(e, batch.newest));
  if (u.tape) parts.push_back(gather(u, batch.row));
  return parts.empty() ? Var{} : drop(side_by_side(parts));
}

Var Dupn::logits(const Task& task, Var rep, Var candidates, const ExampleBatch& examples, Tape& tape) const {
  const Head& head = heads_.at(task.name);
  const auto m = std::ssize(examples.view);
  const Var numbers = m > 0 && !examples.numbers.empty()
                          ? tape.constant({m, std::ssize(examples.numbers) / m}, examples.numbers)
                          : Var{};
  Var z;
  const auto add = [&](Var x) { z = z.tape ? z + x : x; };
  if (head.numbers) add(matmul(numbers, tape.leaf(*head.numbers)));
  if (head.candidate) add(matmul(candidates, tape.leaf(*head.candidate)));
  const bool of_views = !z.tape;  // nothing of the example has come in
  if (head.rep) {
    const Var of_rep = matmul(rep, tape.leaf(*head.rep));  // once per view, not per candidate
    add(of_views ? of_rep : gather(of_rep, examples.view));
  }
  z = add_row(z, tape.leaf(*head.b));
  if (!head.rest.empty()) {
    z = drop(relu(z));
    for (size_t layer = 0; layer + 1 < head.rest.size(); ++layer)
      z = drop(head.rest[layer](z, unary_id<Relu>));
    z = head.rest.back()(z);
  }
  if (head.wide) z = z + matmul(numbers, tape.leaf(*head.wide));
  if (of_views) z = gather(z, examples.view);
  return task.kind == "rank" ? reshape(dot_rows(relu(z), numbers), {m, 1}) : z;
}

Var Dupn::next_logits(Var rep, const Catalogue& catalogue) const {
  Tape& tape = *rep.tape;
  List all(tape, sizes_.items - 1);
  for (int32_t id = 1; id < sizes_.items; ++id) all.add(id);
  const Var popularity = rows(tape, *popularity_, tape.index(all));
  const Var e = items(tape, all, catalogue);
  return add_row(matmul_transposed((*next_)(rep), config_.frozen ? tape.constant(e.value()) : e),
                 reshape(popularity, {all.size()}));
}

Var Dupn::candidates_of(Tape& tape, const ExampleGroup& group, Ids of, const Catalogue& catalogue) const {
  const bool seen = std::ranges::any_of(group.tasks, [&](const Task& task) {
    const auto head = heads_.find(task.name);
    return head != heads_.end() && head->second.candidate;
  });
  return seen ? items(tape, of, catalogue) : Var{};
}

Objective Dupn::objective(Tape& tape, const HistoryBatch& batch, const Catalogue& catalogue,
                          uint64_t tasks) const {
  const Var e = dropout(items(tape, batch.items, catalogue), static_cast<real>(config_.item_dropout));
  const auto learned = [&](Var x) { return config_.frozen && x.tape ? tape.constant(x.value()) : x; };
  const Var rep = learned(represent(e, states(e, batch), batch, catalogue));
  Objective objective;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const ExampleBatch& examples = batch.groups[g];
    const Var candidates =
        examples.view.empty() ? Var{} : learned(candidates_of(tape, groups_[g], examples.items, catalogue));
    for (size_t k = 0; k < groups_[g].tasks.size(); ++k) {
      const Task& task = groups_[g].tasks[k];
      const std::span<const real> labels = examples.labels[k];
      const auto m = std::ssize(labels);
      if (m == 0 || (tasks >> objective.tasks.size() & 1) == 0) {
        objective.tasks.push_back(no_loss(tape, task));
        continue;
      }
      if (task.kind == "next") {
        List targets(tape, m);
        for (const real label : labels) targets.add(static_cast<int32_t>(label) - 1);
        objective.tasks.push_back(
            {task.name, mean(cross_entropy(next_logits(gather(rep, examples.view), catalogue), targets)), m});
        continue;
      }
      objective.tasks.push_back(
          task_loss(task, logits(task, rep, candidates, examples, tape), labels, examples.importance[k]));
    }
  }
  if (config_.item_penalty > 0 && !config_.frozen)
    objective.regulariser = affine(sum(square(e)), static_cast<real>(config_.item_penalty));
  return objective;
}

}  // namespace steelyard
