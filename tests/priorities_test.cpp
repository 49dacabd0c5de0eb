// Several goals in one run (optim/priorities.h, optim/trainer.h), on a model whose optimum, bounds and multipliers are
// known: a point x that the first goal pulls to a and the second to b.
#include "optim/priorities.h"

#include <cmath>
#include <map>

#include "autograd/ops.h"
#include "core/backend.h"
#include "core/file.h"
#include "optim/trainer.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

constexpr double kFloor = 0.5;  // of the first loss

struct Pulls {
  Parameters parameters{cpu(), 1};
  const Parameter& x = parameters.root().add("x", {1, 2}, constant(0));
  const Parameter& first = (parameters.root() / "heads" / "first").add("b", {1}, constant(0));
  const Parameter& second = (parameters.root() / "heads" / "second").add("b", {1}, constant(0));
  const Parameter& table = parameters.root().table("table", {4, 2}, constant(0));

  static Var pull(Tape& tape, Var x, std::initializer_list<real> to) {
    return affine(sum(square(x - tape.constant({1, 2}, std::span(to.begin(), to.size())))), real(0.5));
  }
  // f₁ = ½|x − a|² + ½(b₁ − 1)² + floor, f₂ = ½|x − b|² + ½(b₂ + 1)² + ½|table[1] − …|², a = (0, 1), b = (3, 5)
  Objective operator()(Tape& tape, int64_t rows = 1) const {
    const Var at = tape.leaf(x);
    const auto own = [&](const Parameter& p, real to) {
      return affine(sum(square(affine(tape.leaf(p), 1, -to))), real(0.5));
    };
    const std::span<int32_t> ids = tape.array<int32_t>(2);
    ids[0] = 1, ids[1] = 3;
    const Var row = steelyard::rows(tape, table, tape.index(ids));
    const Var both = affine(sum(square(affine(row, 1, -1))), real(0.25));
    return {{{"first", affine(pull(tape, at, {0, 1}) + own(first, 1) + both, 1, real(kFloor)), rows},
             {"second", pull(tape, at, {3, 5}) + own(second, -1) + both, rows}}};
  }
  double at(int i) const { return static_cast<double>(x.value().data[i]); }
};

struct Run {
  PrioritiesConfig priorities;
  std::vector<Goal> goals = {{"first", 1}, {"second", 2}};
  TrainerConfig trainer = {
      .epochs = 60, .batch = 8, .shards = 2, .criterion = "loss", .log_every = 7, .checkpoint_seconds = 0};
  OptimizerConfig optimizer = {.dense = "sgd", .tables = "sgd", .rate = 0.1};
  int64_t stop_after = -1;
  int threads = 1;
  bool resume = false;
  std::vector<double> of_rows = std::vector<double>(64);  // what held-out rows add to the first loss
  std::function<void(const Pulls&, const StepRecord&)> watch = {};
  std::function<void(Objective&, int64_t step)> spoil = {};

  Outcome operator()(const TempDir& folder, Pulls& model) const {
    const Workers workers(threads);
    Training training;
    training.steps_per_epoch = 10, training.goals = goals, training.identity = "pulls";
    training.objective = [&](Tape& tape, int64_t step, int, uint64_t tasks) {
      Objective objective = model(tape);
      for (size_t k = 0; k < objective.tasks.size(); ++k)
        if ((tasks >> k & 1) == 0) objective.tasks[k] = {objective.tasks[k].name, {}, 0};
      if (spoil) spoil(objective, step);
      return objective;
    };
    training.evaluate = []() -> Findings { return {{{"nothing", 0}}}; };
    training.choosing = training.bounding = {
        std::ssize(of_rows), [&](Tape& tape, int64_t begin, int64_t end, uint64_t) {
          Objective objective = model(tape, end - begin);
          double sum = 0;
          for (int64_t i = begin; i < end; ++i) sum += of_rows[static_cast<size_t>(i)];
          objective.tasks[0].loss =
              affine(objective.tasks[0].loss, 1, static_cast<real>(sum / static_cast<double>(end - begin)));
          return objective;
        }};
    training.save = [&](const std::filesystem::path& path) {
      write_tensor_file(path, model.parameters.arrays(), {{"format", "pulls"}});
    };
    std::atomic<bool> stop = false;
    Trainer loop(model.parameters, training, trainer, optimizer, {}, priorities, workers, folder.path());
    loop.stop = &stop;
    loop.on_step = [&](const StepRecord& record) {
      if (record.step == stop_after) stop = true;
      if (watch) watch(model, record);
    };
    if (resume) loop.resume();
    return loop.run();
  }
};

std::map<std::string, std::string> files(const TempDir& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    all[entry.path().filename().string()] = read_file(entry.path());
  return all;
}

Run by_priority() {
  Run run;
  run.priorities.method = "nmt";
  run.priorities.nmt.slack = 0.16, run.priorities.nmt.every = 1, run.priorities.nmt.warmup = 5;
  run.priorities.nmt.min_rows = 12;  // two looks or six steps
  run.trainer.epochs = 200;
  return run;
}

}  // namespace

TEST_CASE("priorities: the first goal is held where its bound is, the second goes as far as that") {
  for (const char* rule : {"ascent", "damped", "augmented", "pi"})
    for (const char* estimator : {"heldout", "minibatch"}) {
      CAPTURE(rule);
      CAPTURE(estimator);
      Run run = by_priority();
      run.priorities.nmt.rule = rule, run.priorities.nmt.estimator = estimator;
      run.priorities.nmt.min_rows = 2, run.priorities.nmt.later_rate = 1;
      Pulls model;
      const TempDir folder;
      const Outcome outcome = run(folder, model);
      REQUIRE(outcome.goals.size() == 2);
      CHECK(outcome.held());
      const GoalResult& first = outcome.goals[0];
      CHECK(first.name == "first");
      CHECK(*first.bound == doctest::Approx(kFloor).epsilon(1e-4));
      CHECK(*first.limit == doctest::Approx(kFloor * 1.16).epsilon(1e-4));
      CHECK_FALSE(outcome.goals[1].bound);
      // Multipliers pull to ½r² = 0.04, half the slack, on the way from a to b, which are 5 apart; what was chosen
      // holds the whole slack, ½r² ≤ 0.08.
      const double r = std::hypot(model.at(0), model.at(1) - 1), aim = std::sqrt(0.08);
      CHECK(r >= aim * 0.98);
      CHECK(r <= 0.4 * 1.001);
      CHECK(model.at(0) / r == doctest::Approx(3.0 / 5).epsilon(1e-3));
      CHECK(static_cast<double>(model.second.value().data[0]) < -0.4);
      // Where it ends the price is what is left of the way over r, in parts of the sizes of both losses: of the second
      // that behind the five steps in which only its own b₂ went from 0 to −1.
      const double size = 12.5 + std::pow(0.9, 10) / 2, price = (5 - aim) / aim * (kFloor * 1.08) / size;
      const std::string log = read_file(folder / "metrics.jsonl");
      const std::string key = "\"multipliers\":{\"first\":";
      const size_t at = log.rfind(key);
      REQUIRE(at != std::string::npos);
      CHECK(std::stod(log.substr(at + key.size())) == doctest::Approx(price).epsilon(0.02));
    }
}

TEST_CASE("priorities: a run that was stopped anywhere and resumed ends in the same bytes, for any threads") {
  Run run = by_priority();
  run.trainer.epochs = 6;
  const TempDir whole;
  Pulls undisturbed;
  run(whole, undisturbed);
  const auto expected = files(whole);
  CHECK(expected.at("metrics.jsonl").find("\"phase\":2") != std::string::npos);
  for (const int threads : {1, 4})
    for (const int64_t stop : {1, 17, 59, 60, 61, 64, 65, 66, 100, 119, 120}) {
      CAPTURE(stop);
      CAPTURE(threads);
      const TempDir folder;
      Run stopped = run;
      stopped.stop_after = stop, stopped.threads = threads;
      Pulls model;
      check_fails(Fault::interrupted, [&] { stopped(folder, model); });
      Run resumed = run;
      resumed.resume = true, resumed.threads = threads;
      Pulls again;
      resumed(folder, again);
      const auto got = files(folder);
      CHECK(got.size() == expected.size());
      for (const auto& file : expected) {
        CAPTURE(file.first);
        CHECK((got.at(file.first) == file.second));
      }
    }
}

TEST_CASE(
    "priorities: killed behind a phase's first model, before its checkpoint, a run still goes on from the "
    "best") {
  Run run = by_priority();
  run.trainer.epochs = 6;
  const TempDir whole, folder;
  Pulls undisturbed;
  run(whole, undisturbed);
  Run killed = run;
  struct Killed {};
  killed.watch = [](const Pulls&, const StepRecord& record) {
    if (record.step == 75) throw Killed();  // the last checkpoint is that of step 60
  };
  Pulls model, again;
  CHECK_THROWS_AS(killed(folder, model), Killed);
  run.resume = true;
  run(folder, again);
  CHECK((files(folder) == files(whole)));
}

TEST_CASE("priorities: a goal that comes in first trains what is its own alone") {
  Run run = by_priority();
  run.trainer.epochs = 4;
  double x_before = 0, b_before = 0;
  run.watch = [&](const Pulls& model, const StepRecord& record) {
    const auto b = static_cast<double>(model.second.value().data[0]);
    CAPTURE(record.step);
    if (record.step <= 40) CHECK(b == 0);  // the second goal does not count yet
    if (record.step == 41) x_before = model.at(0), b_before = 0;
    if (record.step > 40 && record.step <= 45) CHECK(model.at(0) == x_before);
    if (record.step > 40 && record.step <= 45) CHECK(b < b_before);
    if (record.step == 46) CHECK(model.at(0) != x_before);
    CHECK(record.rate == (record.step <= 45 ? 1 : 0.5));
    b_before = b;
  };
  Pulls model;
  run(TempDir(), model);
}

TEST_CASE("priorities: bounds that are given are held, unless they are less than what was reached") {
  Run run = by_priority();
  run.priorities.bound = {{"first", 0.66}};
  run.priorities.nmt.slack = 1e-3;
  Pulls model;
  Outcome outcome = run(TempDir(), model);
  CHECK(*outcome.goals[0].bound == 0.66);
  CHECK(std::hypot(model.at(0), model.at(1) - 1) <= std::sqrt(2 * (0.66 * 1.001 - kFloor)) * 1.0001);
  CHECK(std::hypot(model.at(0), model.at(1) - 1) >= std::sqrt(0.32) * 0.9);
  run.priorities.bound = {{"first", 0.4}};
  check_fails(
      Fault::usage,
      [&] {
        Pulls fresh;
        run(TempDir(), fresh);
      },
      std::string("bound.first: 0.4; expected at least 0.5"));
}

TEST_CASE("priorities: bounds that may fall, and multipliers that are kept from one step to the next") {
  for (const bool changed : {false, true}) {
    PrioritiesConfig config;
    config.method = "nmt";
    config.nmt.first = 0, config.nmt.slack = 1e-3;
    config.nmt.bounds = changed ? "monotone" : "fixed", config.nmt.keep_multipliers = changed;
    Priorities p(config, {{"a", 1}, {"b", 2}, {"c", 3}}, 1, 100, 0);
    const auto values = [](double a, double b, double c) {
      return std::vector<Measured>{{a, 0, 100}, {b, 0, 100}, {c, 0, 100}};
    };
    CHECK(p.tasks() == 1);
    p.end(values(0.5, 9, 9));
    p.begin(1);
    CHECK(p.tasks() == 3);
    CHECK(p.bounded() == 1);
    CHECK(p.excess(values(0.5, 9, 9)) < 0);
    CHECK(p.excess(values(0.501, 9, 9)) > 0);
    p.observe(100, values(0.6, 9, 9));
    const double multiplier = p.path(0)->multiplier;
    CHECK(multiplier > 0.19);
    p.end(values(0.4, 0.7, 9));
    p.begin(2);
    CHECK(p.bounded() == 3);
    CHECK(*p.results()[0].bound == (changed ? 0.4 : 0.5));
    CHECK(*p.results()[1].bound == 0.7);
    CHECK(p.path(0)->multiplier == (changed ? multiplier : 0));
    CHECK(p.path(1)->multiplier == 0);
    CHECK_FALSE(p.path(2));
    // Looks at too few rows are gathered.
    p.observe(100, std::vector<Measured>{{9, 0, 31}, {9, 0, 32}, {}});
    CHECK(p.path(0)->multiplier == (changed ? multiplier : 0));
    CHECK(p.path(1)->multiplier == 1);
    p.observe(100, std::vector<Measured>{{9, 0, 1}, {}, {}});
    CHECK(p.path(0)->multiplier == (changed ? multiplier + 1 : 1));
    CHECK(p.path(1)->multiplier == 1);
  }
}

TEST_CASE("priorities: under single each task trains what is its own, each with its best model") {
  Run run;
  run.priorities.method = "single";
  run.watch = [](const Pulls& model, const StepRecord& record) {
    CHECK(model.at(0) == 0);  // nobody's own
    if (record.step <= 600) CHECK(model.second.value().data[0] == 0);
  };
  Pulls model;
  const Outcome outcome = run(TempDir(), model);
  CHECK(outcome.goals.empty());
  CHECK(outcome.steps == 1200);
  CHECK(static_cast<double>(model.first.value().data[0]) == doctest::Approx(1).epsilon(1e-3));
  CHECK(static_cast<double>(model.second.value().data[0]) == doctest::Approx(-1).epsilon(1e-3));
}

TEST_CASE("priorities: every method's first step is the one of its formula") {
  // At 0 the gradients on x are (0, −1) and (−3, −5), on the two rows of the table (−½, −½) for each task.
  const double g[2][2] = {{0, -1}, {-3, -5}}, of_table = 4 * 0.25;
  const double products[2][2] = {{1 + of_table, 5 + of_table}, {5 + of_table, 34 + of_table}};
  for (const std::string& name : method_names())
    for (const int shards : {1, 3}) {
      CAPTURE(name);
      CAPTURE(shards);
      Run run;
      run.priorities.method = name;
      run.goals[1].weight = 2;
      run.trainer.epochs = 1, run.trainer.shards = shards, run.trainer.evaluate_every = 1;
      run.optimizer.rate = 0.01;
      bool seen = false;
      run.watch = [&](const Pulls& model, const StepRecord& record) {
        if (record.step > 1) return;
        seen = true;
        const auto method = make_method(name, {}, run.goals, run.optimizer.rate, 10, 1);
        Products p(2);
        for (size_t i = 0; i < 2; ++i)
          for (size_t j = 0; j <= i; ++j) p.set(i, j, products[i][j]);
        std::vector<double> w(2);
        // f₁ = ½ + ½ + ½ + ½·2·½, f₂ = 17 + ½ + 1
        method->weigh(0, std::vector<double>{kFloor + 0.5 + 0.5 + 1, 17 + 0.5 + 1}, &p, w);
        for (int i = 0; i < 2; ++i)
          CHECK(model.at(i) == doctest::Approx(-0.01 * (w[0] * g[0][i] + w[1] * g[1][i])).epsilon(1e-4));
        const double own = method->for_shared_only() ? 1 : w[0];
        CHECK(static_cast<double>(model.first.value().data[0]) == doctest::Approx(0.01 * own).epsilon(1e-4));
        CHECK(static_cast<double>(model.table.value().data[2]) ==
              doctest::Approx(0.01 * 0.5 * (w[0] + w[1])).epsilon(1e-4));
        CHECK(model.table.value().data[0] == 0);
      };
      Pulls model;
      run(TempDir(), model);
      CHECK(seen);
    }
}

TEST_CASE("priorities: a task without rows in a step takes no part in it") {
  for (const char* method : {"equal", "pcgrad", "famo", "nmt"}) {
    CAPTURE(method);
    Run run = by_priority();
    run.priorities.method = method;
    run.trainer.epochs = 4;
    run.spoil = [](Objective& objective, int64_t step) {
      if (step % 3 == 0) objective.tasks[0] = {"first", {}, 0};
      if (step % 5 == 0) objective.tasks[1] = {"second", {}, 0};
    };
    Pulls model;
    const Outcome outcome = run(TempDir(), model);
    CHECK(outcome.steps == (std::string(method) == "nmt" ? 80 : 40));
    CHECK(std::isfinite(model.at(0)));
    CHECK(model.at(1) > 0.5);
  }
}

TEST_CASE("priorities: a mean over held-out rows comes with its error") {
  Run run = by_priority();
  run.trainer.epochs = 1;
  Pulls exact, model;
  const GoalResult without = run(TempDir(), exact).goals[0];
  CHECK(without.value.error <= 1e-6);  // all rows are alike
  for (size_t i = 0; i < run.of_rows.size(); ++i)
    run.of_rows[i] = static_cast<double>(i % 8 / 2);  // 0 0 1 1 2 2 3 3
  const GoalResult with = run(TempDir(), model).goals[0];
  CHECK(with.value.rows == 64);
  CHECK(*with.bound == doctest::Approx(*without.bound + 1.5).epsilon(1e-4));
  // Cut into 32 parts of two rows, whose means are 0, 1, 2, 3 eight times.
  CHECK(with.value.error == doctest::Approx(std::sqrt(8 * (2.25 + 0.25) * 2 / (32.0 * 31))).epsilon(1e-3));
}

TEST_CASE("priorities: what cannot be meant is refused") {
  const auto refused = [](auto change, const char* expected) {
    PrioritiesConfig config;
    config.method = "nmt";
    std::vector<Goal> goals = {{"a", 1}, {"b", 2}, {"c", 3}};
    change(config, goals);
    check_fails(
        Fault::usage, [&] { Priorities(config, goals, 1, 1, 0); }, std::string(expected));
  };
  refused([](auto&, auto& g) { g[1].priority = 1; },
          "tasks.b.priority: 1; expected the priorities 1 … 3, each once, for method nmt");
  refused([](auto&, auto& g) { g[2].priority = 4; }, "tasks.c.priority: 4; expected the priorities 1 … 3");
  refused([](auto&, auto& g) { g[0].priority = 0; }, "tasks.a.priority: 0; expected the priorities 1 … 3");
  refused([](auto& c, auto& g) { c.method = "equal", g[1].priority = 1; }, "priority: 1; expected another");
  refused([](auto& c, auto&) { c.bound["d"] = 1; }, "bound.d: 1; expected the name of a task");
  refused([](auto& c, auto&) { c.bound["c"] = 1; }, "bound.c: 1; expected none: the last goal");
  refused([](auto& c, auto&) { c.bound["a"] = NAN; }, "bound.a: nan; expected a number");
  refused([](auto& c, auto&) { c.method = "best"; }, "method: \"best\"; expected one of barrier, cagrad");
  refused([](auto& c, auto&) { c.nmt.slack = 1; }, "nmt.slack: 1; expected 0 ≤ slack < 1");
  refused([](auto& c, auto&) { c.nmt.slack_absolute = -1; }, "nmt.slack_absolute: -1");
  refused([](auto& c, auto&) { c.nmt.held_out = 0; }, "nmt.held_out: 0");
  refused([](auto& c, auto&) { c.nmt.estimator = "batch"; }, "nmt.estimator: batch");
  refused([](auto& c, auto&) { c.nmt.bounds = "loose"; }, "nmt.bounds: loose");
  refused([](auto& c, auto&) { c.nmt.every = 0; }, "nmt.every: 0");
  refused([](auto& c, auto&) { c.nmt.min_rows = -1; }, "nmt.min_rows: -1");
  refused([](auto& c, auto&) { c.nmt.warmup = -1; }, "nmt.warmup: -1");
}
