// What the tape costs beside the arithmetic, and what the sparse gradients cost: recording and replaying ops
// of one element (the bar: 200 ns for both), grouping look-ups by row, merging the gradients of shards. All
// on one thread.
#include <benchmark/benchmark.h>

#include "autograd/ops.h"
#include "core/backend.h"
#include "core/random.h"

using namespace steelyard;

namespace {

std::vector<int32_t> random_ids(uint64_t key, int64_t count, int32_t below) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)  // skewed like words: many of few, few of many
    ids[i] = static_cast<int32_t>(static_cast<double>(below) * std::pow(random_uniform(key, i), 3));
  return ids;
}

// Time per op: a chain of 1000, recorded and, unless scoring, replayed.
template <class F>
void chain(benchmark::State& state, Mode mode, F&& f) {
  constexpr int kOps = 1000;
  Parameters parameters(cpu(), 1);
  const Parameter& p = parameters.root().add("p", {1}, constant(real(0.5)));
  Gradients gradients(parameters);
  Tape tape(cpu(), mode);
  for (auto _ : state) {
    tape.reset();
    const Var first = tape.leaf(p);
    Var x = first;
    for (int i = 0; i < kOps; ++i) x = f(x, first);
    if (mode == Mode::train) tape.backward(x, gradients);
    benchmark::DoNotOptimize(x.value().data[0]);
  }
  state.counters["per_op"] =
      benchmark::Counter(kOps, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void record_and_replay_affine(benchmark::State& state) {
  chain(state, Mode::train, [](Var x, Var) { return affine(x, 1, 0); });
}
void record_and_replay_add(benchmark::State& state) {
  chain(state, Mode::train, [](Var x, Var first) { return x + first; });
}
void record_and_replay_tanh(benchmark::State& state) {
  chain(state, Mode::train, [](Var x, Var) { return tanh(x); });
}
void score_add(benchmark::State& state) {
  chain(state, Mode::score, [](Var x, Var first) { return x + first; });
}
BENCHMARK(record_and_replay_affine);
BENCHMARK(record_and_replay_add);
BENCHMARK(record_and_replay_tanh);
BENCHMARK(score_add);

void index_rows(benchmark::State& state) {
  const std::vector<int32_t> ids = random_ids(1, state.range(0), 1 << 20);
  Arena arena(cpu());
  for (auto _ : state) {
    arena.reset();
    benchmark::DoNotOptimize(steelyard::index_rows(ids, arena).rows.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(index_rows)->Arg(1000)->Arg(100'000);

// Four shards, each with one look-up of 20,000 positions in a table of a million rows.
void merge(benchmark::State& state) {
  const int64_t width = state.range(0);
  Parameters parameters(cpu(), 1);
  const Parameter& table = parameters.root().table("t", {1 << 20, width}, constant(0), {.first_touch = true});
  std::vector<Gradients> parts;
  Arena arena(cpu());
  int64_t rows = 0;
  for (uint64_t shard = 0; shard < 4; ++shard) {
    const RowIndex index = steelyard::index_rows(random_ids(shard, 20'000, 1 << 20), arena);
    rows += static_cast<int64_t>(index.rows.size());
    parts.emplace_back(parameters).add_rows(table, index.rows);
  }
  Gradients merged(parameters);
  const Workers workers(1);
  for (auto _ : state) merged.merge(parts, workers);
  state.SetItemsProcessed(state.iterations() * rows);
}
BENCHMARK(merge)->Arg(1)->Arg(64);

}  // namespace
