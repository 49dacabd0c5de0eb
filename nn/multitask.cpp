#include "nn/multitask.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/backend.h"
#include "nn/task_loss.h"

namespace steelyard {

namespace {

// Rows that no training row has begin at 0: what is not known, and what is missing.
Init embeddings(Ids first, int64_t width, Init draw) {
  std::vector<bool> zero(static_cast<size_t>(first.back()));
  for (const int32_t id : first.first(first.size() - 1))
    zero[static_cast<size_t>(id)] = zero[static_cast<size_t>(id) + 1] = true;
  return [=](uint64_t key, int64_t index) {
    return zero[static_cast<size_t>(index / width)] ? real(0) : draw(key, index);
  };
}

}  // namespace

void NetworkConfig::validate() const {
  for (const auto& [key, width] : {std::pair{"network.width", width},
                                   {"network.bottom_width", bottom_width},
                                   {"network.expert_width", expert_width},
                                   {"network.tower_width", tower_width}})
    require(width >= 1 && width <= 4096, key, width, "1 … 4096");
  for (const auto& [key, count, least] : {std::tuple{"network.bottom_layers", bottom_layers, 1},
                                          {"network.experts", experts, 1},
                                          {"network.own_experts", own_experts, 1},
                                          {"network.expert_layers", expert_layers, 1},
                                          {"network.levels", levels, 1},
                                          {"network.tower_layers", tower_layers, 0}})
    require(count >= least && count <= 64, key, count, least ? "1 … 64" : "0 … 64");
  for (const auto& [key, rate] :
       {std::pair{"network.dropout", dropout}, {"network.embedding_dropout", embedding_dropout}})
    require(rate >= 0 && rate < 1, key, rate, "0 ≤ rate < 1");
  require(penalty >= 0 && std::isfinite(penalty), "network.penalty", penalty, "0 or more");
}

Multitask::Layers::Layers(Parameters::Scope at, int64_t in, int64_t width, int count) {
  for (int layer = 0; layer < count; ++layer)
    layers.emplace_back(at / std::to_string(layer), layer == 0 ? in : width, width);
}

Var Multitask::Input::relu(const Linear& layer) const {
  if (!fields) return layer(x, unary_id<Relu>);
  return field_linear(x, *fields, x.tape->leaf(layer.W), x.tape->leaf(layer.b), unary_id<Relu>);
}

Var Multitask::Input::times(Var W) const { return fields ? field_linear(x, *fields, W, {}) : matmul(x, W); }

Var Multitask::Layers::operator()(Input x, real rate) const {
  for (const Linear& layer : layers) x = {dropout(x.relu(layer), rate)};
  return x.x;
}

Multitask::Experts::Experts(Parameters::Scope at, int64_t in, const NetworkConfig& config, int count)
    : count(count),
      first(at / "0", in, int64_t{count} * config.expert_width),
      rest(static_cast<size_t>(count)) {
  for (int e = 0; e < count && config.expert_layers > 1; ++e)
    for (int layer = 1; layer < config.expert_layers; ++layer)
      rest[static_cast<size_t>(e)].emplace_back(at / std::to_string(layer) / std::to_string(e),
                                                config.expert_width, config.expert_width);
}

Var Multitask::Experts::operator()(const Input& x, real rate) const {
  const Var all = dropout(x.relu(first), rate);
  if (rest[0].empty()) return all;
  const int64_t width = all.cols() / count;
  std::vector<Var> out;
  for (int64_t e = 0; e < count; ++e) {
    Var y = slice_columns(all, e * width, width);
    for (const Linear& layer : rest[static_cast<size_t>(e)]) y = dropout(layer(y, unary_id<Relu>), rate);
    out.push_back(y);
  }
  return concat(out);
}

Multitask::Multitask(Parameters::Scope at, const std::string& model, const NetworkConfig& config,
                     const Encoding& encoding, const std::vector<Task>& tasks, bool separate)
    : config_(config), tasks_(tasks) {
  if (!separate) {
    networks_.push_back(build(at, model, tasks, encoding));
    return;
  }
  for (const Task& task : tasks)
    networks_.push_back(build(at / "heads" / task.name, model, {task}, encoding));
}

Multitask::Network Multitask::build(Parameters::Scope at, const std::string& model, std::vector<Task> tasks,
                                    const Encoding& encoding) const {
  constexpr real kDeviation = real(0.05);
  Network net;
  const bool deep = model != "linear";
  const int64_t F = encoding.fields(), N = encoding.numbers(), in = F * config_.width + N;
  int64_t width = in;  // of what towers read
  const auto head = [&](const Task& task) { return at / "heads" / task.name; };
  if (deep && F > 0)
    net.embedding = &at.table("embedding", {encoding.ids(), config_.width},
                              embeddings(encoding.first(), config_.width, normal(kDeviation)));
  if (model == "bottom") {
    net.bottom.emplace(at / "bottom", in, config_.bottom_width, config_.bottom_layers);
    width = config_.bottom_width;
  } else if (deep) {
    const bool ple = model == "ple";
    const int levels = ple ? config_.levels : 1, own = ple ? config_.own_experts : 0;
    for (int l = 0; l < levels; ++l) {
      const bool last = l + 1 == levels;
      const Parameters::Scope here = at / "experts" / std::to_string(l);
      Level& level = net.levels.emplace_back();
      level.shared.emplace(here / "shared", width, config_, config_.experts);
      for (const Task& task : tasks) {
        // What the shared gate sees all tasks read, and so they do what comes before it.
        const auto place = [&](bool private_to_task) {
          return private_to_task ? head(task) / "experts" / std::to_string(l) : here / "own" / task.name;
        };
        if (own > 0) level.own.emplace_back(place(last), width, config_, own);
        const int64_t mixed = config_.experts + own;
        level.gates.push_back(&place(l + 2 >= levels).add("gate", {width, mixed}, glorot(width, mixed)));
      }
      if (!last) {
        const int64_t mixed = config_.experts + own * std::ssize(tasks);
        level.shared_gate = &(here / "shared").add("gate", {width, mixed}, glorot(width, mixed));
      }
      width = config_.expert_width;
    }
  }
  for (const Task& task : tasks) {
    const Parameters::Scope here = head(task);
    const int64_t out = std::max<int64_t>(1, std::ssize(task.classes));
    Head& of_task = net.heads.emplace_back();
    if (deep) {
      of_task.tower.emplace(here / "tower", width, config_.tower_width, config_.tower_layers);
      of_task.last.emplace(here / "last", config_.tower_layers > 0 ? config_.tower_width : width, out);
    } else {
      of_task.b = &here.add("b", {out}, constant(0));
    }
    if (!deep || config_.wide) {
      if (F > 0) of_task.wide = &(here / "wide").table("ids", {encoding.ids(), out}, constant(0));
      if (N > 0) of_task.wide_numbers = &(here / "wide").add("numbers", {N, out}, constant(0));
    }
  }
  net.tasks = std::move(tasks);
  return net;
}

// What the towers of the wanted tasks read.
std::vector<Var> Multitask::hidden(const Network& net, const Input& x,
                                   const std::vector<bool>& wanted) const {
  const auto rate = static_cast<real>(config_.dropout);
  const size_t tasks = net.tasks.size();
  if (net.bottom) return std::vector<Var>(tasks, (*net.bottom)(x, rate));
  std::vector<Input> of_task(tasks, x);
  Input shared = x;
  Tape& tape = *x.x.tape;
  for (const Level& level : net.levels) {
    const Var common = (*level.shared)(shared, rate);
    std::vector<size_t> reading;
    for (size_t k = 0; k < tasks; ++k)
      if (level.shared_gate || wanted[k]) reading.push_back(k);
    std::vector<Var> gates(tasks), own(tasks);
    const int64_t E = config_.experts, mine = config_.own_experts;
    if (&level == &net.levels.front()) {  // all read the same: one product
      std::vector<Var> W;
      for (const size_t k : reading) W.push_back(tape.leaf(*level.gates[k]));
      const Var all = x.times(concat(W));
      int64_t at = 0;
      for (size_t i = 0; i < reading.size(); at += W[i++].cols())
        gates[reading[i]] = slice_columns(all, at, W[i].cols());
    } else {
      for (const size_t k : reading) gates[k] = of_task[k].times(tape.leaf(*level.gates[k]));
    }
    std::vector<Input> next(tasks);
    for (const size_t k : reading) {
      const Var g = softmax(gates[k]);
      if (!level.own.empty()) own[k] = level.own[k](of_task[k], rate);
      next[k].x = level.own.empty()
                      ? mix(common, g)
                      : mix(common, slice_columns(g, 0, E)) + mix(own[k], slice_columns(g, E, mine));
    }
    if (level.shared_gate) {
      const Var g = softmax(shared.times(tape.leaf(*level.shared_gate)));
      shared = {mix(common, slice_columns(g, 0, E))};
      for (size_t k = 0; k < tasks; ++k)
        shared.x = shared.x + mix(own[k], slice_columns(g, E + static_cast<int64_t>(k) * mine, mine));
    }
    of_task = next;
  }
  std::vector<Var> h;
  for (const Input& input : of_task) h.push_back(input.x);
  return h;
}

std::vector<Var> Multitask::logits(Tape& tape, const FeatureBatch& batch, uint64_t tasks,
                                   Var* penalty) const {
  const auto rate = static_cast<real>(config_.dropout);
  const int64_t n = batch.size;
  const auto F = n > 0 ? std::ssize(batch.ids) / n : 0, N = n > 0 ? std::ssize(batch.numbers) / n : 0;
  // Many rows have the same few ids: what the first layers make of them is computed once. Not while scoring, where
  // rows may be few, nor where dropout takes from each row something else, nor on a GPU, whose large products are cheap.
  const bool by_field = tape.mode() == Mode::train && config_.embedding_dropout == 0 && F > 0 && N == 0 &&
                        tape.backend().on_host();
  const FieldRows fields = by_field ? tape.fields(batch.ids, F) : FieldRows{};
  const RowIndex index = by_field ? fields.index : tape.index(batch.ids);
  const Segments features = Segments::even(tape.array<int32_t>(n + 1), F);
  const Var numbers = N > 0 ? tape.constant({n, N}, batch.numbers) : Var{};
  const auto penalise = [&](Var squares) {
    const Var more = affine(squares, static_cast<real>(config_.penalty / static_cast<double>(n)));
    *penalty = penalty->tape ? *penalty + more : more;
  };
  const auto look_up = [&](const Parameter& embedding) -> Input {
    if (!by_field) {
      const Var e = rows(tape, embedding, index);
      if (penalty) penalise(sum(square(e)));
      return {dropout(reshape(e, {n, F * config_.width}), static_cast<real>(config_.embedding_dropout))};
    }
    const Var e = rows(tape, embedding, tape.index(index.rows));
    if (penalty) {
      const std::span<real> counts = tape.array<real>(e.rows());
      for (size_t i = 0; i < counts.size(); ++i)
        counts[i] = static_cast<real>(index.starts[i + 1] - index.starts[i]);
      penalise(sum(dot_rows(e, e) * tape.constant({e.rows()}, counts)));
    }
    return {e, &fields};
  };
  std::vector<Var> out(tasks_.size());
  for (const Network& net : networks_) {
    std::vector<bool> wanted;
    for (const Task& task : net.tasks) wanted.push_back((tasks >> task.place) & 1);
    if (std::ranges::find(wanted, true) == wanted.end()) continue;
    std::vector<Var> h;
    if (net.heads[0].last) {
      Input x;
      if (net.embedding) x = look_up(*net.embedding);
      if (numbers.tape) x.x = x.x.tape ? concat({x.x, numbers}) : numbers;
      h = hidden(net, x, wanted);
    }
    for (size_t k = 0; k < net.tasks.size(); ++k) {
      if (!wanted[k]) continue;
      const Head& head = net.heads[k];
      Var z;
      const auto add = [&](Var more) { z = z.tape ? z + more : more; };
      if (head.last) add((*head.last)((*head.tower)({h[k]}, rate)));
      if (head.wide) add(bag(tape, *head.wide, index, features));
      if (head.wide_numbers) add(matmul(numbers, tape.leaf(*head.wide_numbers)));
      out[net.tasks[k].place] = head.b ? add_row(z, tape.leaf(*head.b)) : z;
    }
  }
  return out;
}

Objective Multitask::objective(Tape& tape, const FeatureBatch& batch, uint64_t tasks) const {
  Objective objective;
  Var penalty;
  const int64_t n = batch.size;
  std::vector<Var> z(tasks_.size());
  if (n > 0) z = logits(tape, batch, tasks, config_.penalty > 0 ? &penalty : nullptr);
  for (size_t k = 0; k < tasks_.size(); ++k) {
    const Task& task = tasks_[k];
    if (!z[k].tape) {
      objective.tasks.push_back(no_loss(tape, task));
      continue;
    }
    const std::span<const real> labels = batch.labels[k];
    check(std::ssize(labels) == n, "objective: ", labels.size(), " labels of ", task.name, " for ", n,
          " rows");
    objective.tasks.push_back(task_loss(task, z[k], labels, batch.importance[k]));
  }
  objective.regulariser = penalty;
  return objective;
}

}  // namespace steelyard
