#include "nn/dupn.h"

#include <algorithm>
#include <cmath>

#include "core/backend.h"
#include "nn/segment_mean.h"

namespace steelyard {

namespace {

constexpr int64_t kAttend = 128, kAttendMore = 64;  // the paper's layers

// Row 0 of a table of embeddings, that of what is not known, begins at 0.
Init embedding(int64_t width, double deviation) {
  const Init draw = normal(static_cast<real>(deviation));
  return [=](uint64_t key, int64_t index) { return index < width ? real(0) : draw(key, index); };
}

}  // namespace

void DupnConfig::validate() const {
  for (const auto& [key, width] : {std::pair{"dupn.item_width", item_width},
                                   {"dupn.attribute_width", attribute_width},
                                   {"dupn.property_width", property_width},
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

Dupn::Dupn(Parameters::Scope at, const DupnConfig& config, const DupnSizes& sizes, const Tasks& tasks)
    : config_(config), sizes_(sizes), tasks_(tasks) {
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
    attend_more_.emplace(at / "attention/1", kAttend, kAttendMore);
    attend_last_ =
        &(at / "attention")
             .add("2", {kAttendMore, 1}, glorot(kAttendMore, 1));  // no bias: softmax would not see it
  }
  rep_ = (config.pooling != "none" ? state_ : 0) + (config.newest_state ? state_ : 0) +
         (config.newest_item ? depth_ : 0);
  for (const auto& [name, task] : tasks) {
    Head& head = heads_.emplace_back();
    const Parameters::Scope where = at / "heads" / name;
    if (task.kind == "next") {
      next_.emplace(where, rep_, depth_);
      popularity_ = &where.table("popularity", {sizes.items, 1}, constant(0));
      continue;
    }
    const int64_t out = config.head_layers > 0 ? config.head_width : 1;
    const int64_t in = rep_ + (config.candidate ? depth_ : 0) + sizes.features;
    if (rep_ > 0) head.rep = &where.add("rep", {rep_, out}, glorot(in, out));
    if (config.candidate) head.candidate = &where.add("candidate", {depth_, out}, glorot(in, out));
    head.features = &where.add("features", {sizes.features, out}, glorot(in, out));
    head.b = &where.add("b", {out}, constant(0));
    if (config.head_layers > 0) head.wide = &where.add("wide", {sizes.features, 1}, constant(0));
    for (int layer = 1; layer <= config.head_layers; ++layer)
      head.rest.emplace_back(where / std::to_string(layer), config.head_width,
                             layer == config.head_layers ? 1 : config.head_width);
  }
}

Var Dupn::items(Tape& tape, Ids ids, const Catalogue& catalogue) const {
  const auto n = std::ssize(ids);
  for (const int32_t id : ids)
    check(id >= 0 && id < catalogue.items.size(), "items: no item ", id, " of ", catalogue.items.size());
  const auto known = [](int32_t id, const Parameter* table) {
    return id < table->shape.rows() ? id : 0;  // a newer catalogue's
  };
  List own(tape, n);
  for (const int32_t id : ids) own.add(known(id, item_));
  std::vector<Var> parts = {rows(tape, *item_, tape.index(own))};
  for (size_t k = 0; k < attributes_.size(); ++k) {
    const Ragged<int32_t> of_item = catalogue.attributes[k].ragged();
    int64_t count = 0;
    for (const int32_t id : ids) count += std::ssize(of_item[id]);
    List values(tape, count), ends(tape, n + 1);
    ends.add(0);
    for (const int32_t id : ids) {
      for (const int32_t value : of_item[id]) values.add(known(value, attributes_[k]));
      ends.add(values.size());
    }
    parts.push_back(bag(tape, *attributes_[k], tape.index(values), Segments::between(ends)));
  }
  return parts.size() == 1 ? parts[0] : concat(parts);
}

Var Dupn::property(Tape& tape, const HistoryBatch& batch) const {
  std::vector<Var> parts;
  for (size_t p = 0; p < kProperties; ++p)
    if (properties_[p]) parts.push_back(rows(tape, *properties_[p], tape.index(batch.properties[p])));
  if (parts.empty()) return {};
  return parts.size() == 1 ? parts[0] : concat(parts);
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

Var Dupn::represent(Var e, Var h, const HistoryBatch& batch, Var candidates, Var* weights) const {
  Tape& tape = *e.tape;
  std::vector<Var> parts;
  const Var seen = config_.pooling == "none" ? Var{} : gather(h, batch.seen);
  if (config_.pooling == "attention") {
    const Var p = config_.attention ? property(tape, batch) : Var{};
    Var z = gather((*attend_)(p.tape ? concat({h, p}) : h), batch.seen);
    if (attend_recency_) z = z + rows(tape, *attend_recency_, tape.index(batch.recency));
    if (attend_target_) z = z + gather(matmul(candidates, tape.leaf(*attend_target_)), batch.viewers);
    const Var more = drop((*attend_more_)(drop(relu(z)), unary_id<Relu>));
    const Var a = softmax(matmul(more, tape.leaf(*attend_last_)), batch.views);
    if (weights) *weights = a;
    parts.push_back(segment_sum(scale_rows(seen, reshape(a, {a.size()})), batch.views));
  } else if (config_.pooling == "mean") {
    parts.push_back(segment_mean(seen, batch.views));
  }
  if (config_.newest_state) parts.push_back(segment_sum(h, batch.newest));
  if (config_.newest_item) parts.push_back(segment_sum(e, batch.newest));
  if (parts.empty()) return {};
  return drop(parts.size() == 1 ? parts[0] : concat(parts));
}

Var Dupn::pair_logits(Tape& tape, size_t task, Var rep, Var candidates, const HistoryBatch& batch) const {
  const Head& head = heads_[task];
  const Var numbers = tape.constant({std::ssize(batch.view), sizes_.features}, batch.features);
  Var z = matmul(numbers, tape.leaf(*head.features));
  if (head.candidate) z = z + matmul(candidates, tape.leaf(*head.candidate));
  if (head.rep)
    z = z + gather(matmul(rep, tape.leaf(*head.rep)), batch.view);  // once per view, not per candidate
  z = add_row(z, tape.leaf(*head.b));
  if (head.rest.empty()) return z;
  z = drop(relu(z));
  for (size_t layer = 0; layer + 1 < head.rest.size(); ++layer) z = drop(head.rest[layer](z, unary_id<Relu>));
  return head.rest.back()(z) + matmul(numbers, tape.leaf(*head.wide));
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

Var Dupn::candidates_of(Tape& tape, const HistoryBatch& batch, const Catalogue& catalogue) const {
  if (sizes_.features == 0 || (!config_.candidate && !config_.target)) return {};
  List ids(tape, std::ssize(batch.candidates));
  for (const int32_t id : batch.candidates) ids.add(std::max(0, id));
  return items(tape, ids, catalogue);
}

Objective Dupn::objective(Tape& tape, const HistoryBatch& batch, const Catalogue& catalogue) const {
  const Var e = dropout(items(tape, batch.items, catalogue), static_cast<real>(config_.item_dropout));
  const auto learned = [&](Var x) { return config_.frozen && x.tape ? tape.constant(x.value()) : x; };
  const Var candidates = learned(candidates_of(tape, batch, catalogue));
  const Var rep = learned(represent(e, states(e, batch), batch, candidates));
  Objective objective;
  size_t k = 0;
  for (const auto& [name, task] : tasks_) {
    const std::span<const real> labels = batch.labels[k];
    const auto asked = std::ranges::count_if(labels, [](real label) { return !std::isnan(label); });
    Var loss;
    if (task.kind == "next") {
      List views(tape, asked), targets(tape, asked);
      for (size_t i = 0; i < labels.size(); ++i)
        if (!std::isnan(labels[i]))
          views.add(batch.view[i]), targets.add(static_cast<int32_t>(labels[i]) - 1);
      loss = mean(cross_entropy(next_logits(gather(rep, views), catalogue), targets));
    } else {
      const std::span<real> targets = tape.array<real>(std::ssize(labels)),
                            shares = tape.array<real>(std::ssize(labels));
      for (size_t i = 0; i < labels.size(); ++i)
        shares[i] = !std::isnan(labels[i]), targets[i] = std::isnan(labels[i]) ? 0 : labels[i];
      const Shape column{std::ssize(labels), 1};
      const Var losses = bce(pair_logits(tape, k, rep, candidates, batch), tape.constant(column, targets));
      loss = weighted_mean(losses, {shares.data(), column, &cpu()});
    }
    objective.tasks.push_back({name, affine(loss, static_cast<real>(task.weight)), asked});
    ++k;
  }
  if (config_.item_penalty > 0 && !config_.frozen)
    objective.regulariser = affine(sum(square(e)), static_cast<real>(config_.item_penalty));
  return objective;
}

}  // namespace steelyard
