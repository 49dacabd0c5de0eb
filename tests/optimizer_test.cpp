// Every rule of a step against the same formula written out in double, on dense parameters and on tables;
// clipping, the schedule, and every wrong option.
#include "optim/optimizer.h"

#include <cmath>
#include <cstring>
#include <map>

#include "core/backend.h"
#include "core/random.h"
#include "optim/schedule.h"
#include "tests/op_table.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

constexpr int64_t kRows = 50, kCols = 19;

// One dense matrix, one table of vectors and one of numbers.
struct Model {
  Parameters parameters{cpu(), 1};
  const Parameter& dense = parameters.root().add("dense", {7, 5}, normal(1));
  const Parameter& vectors = parameters.root().table("vectors", {kRows, kCols}, normal(1));
  const Parameter& numbers = parameters.root().table("numbers", {kRows, 1}, normal(1));
};

// Gradients of one step: different rows at each, some twice, in two look-ups.
void draw(const Model& model, uint64_t step, Gradients& into) {
  const auto fill = [&](Tensor x, uint64_t key) {
    for (int64_t i = 0; i < x.size(); ++i) x.data[i] = random_normal(key, static_cast<uint64_t>(i));
  };
  into.clear();
  fill(into.dense(), key_of(step, "dense"));
  for (const Parameter* table : {&model.vectors, &model.numbers})
    for (uint64_t lookup = 0; lookup < 2; ++lookup) {
      std::vector<int32_t> rows;
      for (int32_t r = 0; r < kRows; ++r)
        if (random_bits(key_of(step, lookup), static_cast<uint64_t>(r)) % 4 == 0) rows.push_back(r);
      fill(into.add_rows(*table, rows), key_of(step, lookup, std::string_view(table->path)));
    }
}

std::vector<double> as_doubles(const Parameter& p) {
  const std::vector<real> values = numbers(p.value());
  return {values.begin(), values.end()};
}

// The rules once more, one number at a time.
struct Reference {
  std::string rule;
  double rate, decay;
  OptimizerConfig config;
  int64_t columns;                        // that share one state, for row_adagrad
  std::vector<double> w, m = {}, v = {};  // m: also the sum of adagrad

  void step(int64_t t, const std::vector<double>& g, const std::vector<bool>& row_touched) {
    m.resize(w.size());
    v.resize(w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      const size_t row = i / static_cast<size_t>(columns);
      if (!row_touched.empty() && !row_touched[row]) continue;
      w[i] -= rate * decay * w[i];
      if (rule == "sgd") {
        w[i] -= rate * g[i];
      } else if (rule == "adagrad") {
        m[i] += g[i] * g[i];
        w[i] -= rate * g[i] / (std::sqrt(m[i]) + config.epsilon);
      } else if (rule == "row_adagrad") {
        if (i % static_cast<size_t>(columns) == 0) {
          double mean = 0;
          for (size_t c = 0; c < static_cast<size_t>(columns); ++c) mean += g[i + c] * g[i + c];
          m[row] += mean / static_cast<double>(columns);
        }
        w[i] -= rate * g[i] / (std::sqrt(m[row]) + config.epsilon);
      } else {
        m[i] = config.beta1 * m[i] + (1 - config.beta1) * g[i];
        v[i] = config.beta2 * v[i] + (1 - config.beta2) * g[i] * g[i];
        const double steps = static_cast<double>(t);
        const double mean = m[i] / (1 - std::pow(config.beta1, steps));
        const double square = v[i] / (1 - std::pow(config.beta2, steps));
        w[i] -= rate * mean / (std::sqrt(square) + config.epsilon);
      }
    }
  }
};

double furthest(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(a[i] - b[i]) / std::max(1.0, std::abs(b[i])));
  return most;
}

std::vector<real> all_numbers(const Model& model) {
  std::vector<real> all;
  for (const Parameter& p : model.parameters.all())
    for (real x : numbers(p.value())) all.push_back(x);
  return all;
}

}  // namespace

TEST_CASE("optimizer: every rule equals its formula in double, over eight steps") {
  constexpr double kTolerance = sizeof(real) == sizeof(float) ? 2e-5 : 1e-12;
  for (const std::string tables : {"sgd", "adagrad", "adam", "row_adagrad"})
    for (const double decay : {0.0, 0.3}) {
      const std::string dense = tables == "row_adagrad" ? "sgd" : tables;
      CAPTURE(tables);
      CAPTURE(decay);
      const OptimizerConfig config{.dense = dense,
                                   .tables = tables,
                                   .rate = 0.05,
                                   .table_rate = 0.02,
                                   .weight_decay = decay,
                                   .epsilon = 1e-6};
      Model model;
      Optimizer optimizer(model.parameters, config);
      std::map<const Parameter*, Reference> references;
      for (const Parameter& p : model.parameters.all())
        references.insert({&p, Reference{.rule = p.table ? tables : dense,
                                         .rate = p.table ? 0.02 : 0.05,
                                         .decay = decay,
                                         .config = config,
                                         .columns = p.shape.cols(),
                                         .w = as_doubles(p)}});
      Gradients part(model.parameters), merged(model.parameters);
      const Workers workers(2);
      for (int64_t t = 1; t <= 8; ++t) {
        draw(model, static_cast<uint64_t>(t), part);
        merged.merge({&part, 1}, workers);
        const double factor = t > 4 ? 0.5 : 1;
        for (auto& [p, reference] : references) {
          const std::vector<real> g = gradient(merged, *p);
          std::vector<bool> touched;
          if (p->table) {
            touched.resize(kRows);
            for (const RowGrad& grad : merged.rows(*p))
              for (int32_t row : grad.rows) touched[static_cast<size_t>(row)] = true;
          }
          Reference scaled = reference;
          scaled.rate *= factor;
          scaled.step(t, {g.begin(), g.end()}, touched);
          scaled.rate = reference.rate;
          reference = scaled;
        }
        optimizer.step(merged, factor, workers);
      }
      for (const auto& [p, reference] : references) {
        const std::string& path = p->path;
        CAPTURE(path);
        CHECK(furthest(as_doubles(*p), reference.w) < kTolerance);
      }
    }
}

TEST_CASE("optimizer: rows that no batch used keep their bits, whatever the rule and the decay") {
  for (const std::string tables : {"sgd", "adagrad", "adam", "row_adagrad"}) {
    CAPTURE(tables);
    Model model;
    Optimizer optimizer(model.parameters, {.tables = tables, .rate = 0.1, .weight_decay = 0.5});
    const std::vector<double> before = as_doubles(model.vectors);
    Gradients gradients(model.parameters);
    for (int t = 0; t < 3; ++t) {
      gradients.clear();
      const std::vector<int32_t> rows = {3, 40};
      const Tensor values = gradients.add_rows(model.vectors, rows);
      for (int64_t i = 0; i < values.size(); ++i) values.data[i] = 1;
      optimizer.step(gradients, 1, Workers(1));
    }
    const std::vector<double> after = as_doubles(model.vectors);
    for (size_t i = 0; i < after.size(); ++i) {
      const size_t row = i / kCols;
      CHECK((after[i] == before[i]) == (row != 3 && row != 40));
    }
  }
}

TEST_CASE("optimizer: any number of threads takes the same step, to the bit") {
  std::vector<real> expected;
  for (const int threads : {1, 2, 4, 8}) {
    Parameters parameters(cpu(), 1);
    const Parameter& dense = parameters.root().add("dense", {200, 301}, normal(1));
    const Parameter& table = parameters.root().table("table", {5000, 33}, normal(1));
    Optimizer optimizer(parameters, {.tables = "adam", .rate = 0.01, .weight_decay = 0.1});
    std::vector<Gradients> shards;
    Gradients merged(parameters);
    const Workers workers(threads);
    for (uint64_t step = 1; step <= 3; ++step) {
      shards.clear();
      for (uint64_t shard = 0; shard < 3; ++shard) {
        Gradients& g = shards.emplace_back(parameters);
        std::vector<int32_t> rows;
        for (int32_t r = 0; r < 5000; ++r)
          if (random_bits(key_of(step, shard), static_cast<uint64_t>(r)) % 3 == 0) rows.push_back(r);
        for (const Tensor x : {g.dense(dense), g.add_rows(table, rows)})
          for (int64_t i = 0; i < x.size(); ++i)
            x.data[i] = random_normal(key_of(step, shard, 9), static_cast<uint64_t>(i));
      }
      merged.merge(shards, workers);
      optimizer.step(merged, 1, workers);
    }
    std::vector<real> all = numbers(dense.value());
    for (real x : numbers(table.value())) all.push_back(x);
    if (threads == 1) expected = all;
    CHECK(std::memcmp(all.data(), expected.data(), all.size() * sizeof(real)) == 0);
  }
}

TEST_CASE("optimizer: the global norm counts a row once, with the sum of its gradients") {
  Model model;
  Gradients shards[] = {Gradients(model.parameters), Gradients(model.parameters)};
  const std::vector<int32_t> rows = {4, 9};
  double sum = 0;
  for (Gradients& shard : shards) {
    for (real& x : std::span(shard.dense(model.dense).data, 35)) x = real(0.5);
    const Tensor values = shard.add_rows(model.numbers, rows);
    values.data[0] = 3, values.data[1] = -1;
  }
  sum += 35 * 1.0 + 6.0 * 6 + 2.0 * 2;
  Gradients merged(model.parameters);
  merged.merge(shards, Workers(1));
  std::map<int32_t, real> merged_rows;
  for (const RowGrad& grad : merged.rows(model.numbers))
    for (size_t i = 0; i < grad.rows.size(); ++i)
      CHECK(merged_rows.emplace(grad.rows[i], grad.values.data[i]).second);
  CHECK(merged_rows == std::map<int32_t, real>{{4, 6}, {9, -2}});
  CHECK(merged.norm() == doctest::Approx(std::sqrt(sum)));
  merged.scale(static_cast<real>(1 / merged.norm()));  // as the trainer clips
  CHECK(merged.norm() == doctest::Approx(1).epsilon(1e-6));
  CHECK(gradient(merged, model.numbers)[4] == doctest::Approx(6 / std::sqrt(sum)).epsilon(1e-6));
}

TEST_CASE("optimizer: its state goes through a file and continues to the same bits") {
  for (const std::string tables : {"adam", "row_adagrad"}) {
    CAPTURE(tables);
    const TempDir folder;
    const OptimizerConfig config{.tables = tables, .rate = 0.03};
    Model whole, first, second;
    Gradients gradients(whole.parameters), merged(whole.parameters);
    const Workers workers(1);
    const auto steps = [&](Model& model, Optimizer& optimizer, uint64_t from, uint64_t to) {
      for (uint64_t t = from; t < to; ++t) {
        draw(model, t, gradients);
        merged.merge({&gradients, 1}, workers);
        optimizer.step(merged, 1, workers);
      }
    };
    Optimizer uninterrupted(whole.parameters, config);
    steps(whole, uninterrupted, 0, 6);

    Optimizer before(first.parameters, config);
    steps(first, before, 0, 3);
    std::vector<NamedArray> arrays = first.parameters.arrays();
    for (NamedArray& array : before.arrays()) arrays.push_back(std::move(array));
    write_tensor_file(folder / "state", std::move(arrays), {});
    const TensorFile file(folder / "state");
    Optimizer after(second.parameters, config);
    second.parameters.assign(file);
    after.assign(file);
    steps(second, after, 3, 6);
    const std::vector<real> a = all_numbers(whole), b = all_numbers(second);
    CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0);

    Optimizer other(second.parameters, {.dense = "adagrad", .tables = "sgd"});
    CHECK_NOTHROW(other.assign(file));  // fewer states: those it has are there
    write_tensor_file(folder / "state", first.parameters.arrays(), {});
    check_fails(
        Fault::input, [&] { after.assign(TensorFile(folder / "state")); }, "optimizer/steps");
    arrays = first.parameters.arrays();
    arrays.push_back(before.arrays()[0]);
    write_tensor_file(folder / "state", std::move(arrays), {});
    check_fails(
        Fault::input, [&] { after.assign(TensorFile(folder / "state")); }, "optimizer/1/dense");
  }
}

TEST_CASE("optimizer: rows by which a table has grown begin without a past") {
  const TempDir folder;
  const auto build = [](Parameters& parameters, int64_t rows) {
    parameters.root().add("dense", {2}, constant(1));
    parameters.root().table("table", {rows, 2}, constant(1));
  };
  const OptimizerConfig config{.tables = "adam"};
  Parameters older(cpu(), 1), newer(cpu(), 1), fewer(cpu(), 1);
  build(older, 2), build(newer, 3), build(fewer, 1);
  const Optimizer before(older, config);
  std::vector<NamedArray> arrays = before.arrays();
  const std::vector<real> state = {1, 2, 3, 4};
  for (NamedArray& array : arrays)
    if (array.name.ends_with("/table")) array.data = state.data();
  write_tensor_file(folder / "state", std::move(arrays), {});
  const TensorFile file(folder / "state");
  Optimizer after(newer, config);
  check_fails(
      Fault::input, [&] { after.assign(file); }, "optimizer/1/table", "expected [3,2]");
  after.assign(file, true);
  for (const NamedArray& array : after.arrays())
    if (array.name.ends_with("/table")) {
      const auto* numbers = static_cast<const real*>(array.data);
      CHECK(std::vector<real>(numbers, numbers + 6) == std::vector<real>{1, 2, 3, 4, 0, 0});
    }
  Optimizer smaller(fewer, config);
  check_fails(
      Fault::input, [&] { smaller.assign(file, true); }, "optimizer/1/table", "expected [1,2]");
}

TEST_CASE("schedule: the factor of every step") {
  const auto factors = [](const ScheduleConfig& schedule, int64_t steps) {
    std::vector<double> list;
    for (int64_t step = 0; step < steps; ++step) list.push_back(schedule.factor(step, steps));
    return list;
  };
  CHECK(factors({}, 3) == std::vector<double>{1, 1, 1});
  CHECK(factors({.warmup = 4}, 6) == std::vector<double>{0.25, 0.5, 0.75, 1, 1, 1});
  CHECK(factors({.decay = "linear"}, 4) == std::vector<double>{1, 0.75, 0.5, 0.25});
  CHECK(factors({.warmup = 2, .decay = "linear", .floor = 0.5}, 4) == std::vector<double>{0.5, 1, 1, 0.75});
  const std::vector<double> cosine = factors({.decay = "cosine", .floor = 0.1}, 4);
  for (size_t i = 0; i < 4; ++i)
    CHECK(cosine[i] == doctest::Approx(0.1 + 0.45 * (1 + std::cos(M_PI * static_cast<double>(i) / 4))));
  CHECK(factors({.warmup = 10, .decay = "cosine"}, 3) == std::vector<double>{0.1, 0.2, 0.3});  // never ends
}

TEST_CASE("optimizer and schedule: wrong options are refused by name") {
  Model model;
  const auto refuses = [&](const OptimizerConfig& config, auto... parts) {
    check_fails(
        Fault::usage, [&] { config.validate(); }, std::string(parts)...);
    check_fails(
        Fault::usage, [&] { Optimizer(model.parameters, config); }, std::string(parts)...);
  };
  refuses({.dense = "row_adagrad"}, "optimizer.dense", "row_adagrad", "sgd, adagrad, adam");
  refuses({.tables = "momentum"}, "optimizer.tables", "momentum", "row_adagrad");
  refuses({.rate = 0}, "optimizer.rate: 0", "more than 0");
  refuses({.rate = NAN}, "optimizer.rate: nan");
  refuses({.table_rate = -1}, "optimizer.table_rate: -1");
  refuses({.weight_decay = -0.1}, "optimizer.weight_decay: -0.1");
  refuses({.beta1 = 1}, "optimizer.beta1: 1");
  refuses({.beta2 = -0.5}, "optimizer.beta2: -0.5");
  refuses({.epsilon = 0}, "optimizer.epsilon: 0");
  refuses({.clip = -1}, "optimizer.clip: -1");

  const auto refuses_schedule = [](const ScheduleConfig& schedule, auto... parts) {
    check_fails(
        Fault::usage, [&] { schedule.validate(); }, std::string(parts)...);
  };
  refuses_schedule({.warmup = -1}, "schedule.warmup: -1");
  refuses_schedule({.decay = "step"}, "schedule.decay", "step", "cosine");
  refuses_schedule({.floor = 2}, "schedule.floor: 2");
  refuses_schedule({.floor = NAN}, "schedule.floor: nan");
  refuses_schedule({.plateau = -1}, "schedule.plateau: -1");
  refuses_schedule({.drop = 0}, "schedule.drop: 0");
  refuses_schedule({.drop = NAN}, "schedule.drop: nan");
}
