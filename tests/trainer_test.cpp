// The loop, on a model of its own that a test can see through: logistic regression with a table of biases.
// Whatever happens to a run (a signal, a kill, a full disk), resuming it ends in the bytes of a run that
// nobody disturbed; whatever is not a number is never saved.
#include "optim/trainer.h"

#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <map>

#include <fcntl.h>
#include <unistd.h>

#include "autograd/ops.h"
#include "core/backend.h"
#include "core/file.h"
#include "data/batches.h"
#include "tests/allocation_counter.h"
#include "tests/op_table.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

constexpr int64_t kRows = 61, kFeatures = 3, kGroups = 7;

// label = (x · w + bias of the group > 0), which the model can learn.
struct Toy {
  Parameters parameters{cpu(), 1};
  const Parameter& weights = parameters.root().add("weights", {kFeatures, 1}, normal(real(0.1)));
  const Parameter& shift = parameters.root().add("shift", {1}, constant(0));
  const Parameter& bias = parameters.root().table("bias", {kGroups, 1}, constant(0));
  std::vector<real> x, y;
  std::vector<int32_t> group;

  Toy() {
    for (int64_t i = 0; i < kRows; ++i) {
      real z = real(0.4) * static_cast<real>(i % kGroups - 3);
      for (int64_t f = 0; f < kFeatures; ++f) {
        x.push_back(random_normal(7, static_cast<uint64_t>(i * kFeatures + f)));
        z += x.back() * static_cast<real>(f + 1);
      }
      y.push_back(z > 0 ? 1 : 0);
      group.push_back(static_cast<int32_t>(i % kGroups));
    }
  }

  // Mean cross-entropy of some rows.
  Var loss(Tape& tape, std::span<const int64_t> rows, real rate) const {
    const auto n = static_cast<int64_t>(rows.size());
    std::span<real> features = tape.array<real>(n * kFeatures), labels = tape.array<real>(n);
    std::span<int32_t> groups = tape.array<int32_t>(n);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<size_t>(rows[i]);
      std::copy_n(&x[row * kFeatures], kFeatures, &features[i * kFeatures]);
      labels[i] = y[row];
      groups[i] = group[row];
    }
    const Var inputs = dropout(tape.constant({n, kFeatures}, features), rate);
    const Var logits = linear(inputs, tape.leaf(weights), tape.leaf(shift)) +
                       steelyard::rows(tape, bias, tape.index(groups));
    return mean(bce(logits, tape.constant({n, 1}, labels)));
  }
};

// One run of the toy, with everything that a test may want to change.
struct Run {
  TrainerConfig trainer = {
      .epochs = 3, .batch = 16, .shards = 3, .evaluate_every = 5, .log_every = 2, .checkpoint_seconds = 0};
  OptimizerConfig optimizer = {.rate = 0.1};
  std::vector<Goal> goals = {{"click"}};
  ScheduleConfig schedule = {.warmup = 2, .decay = "linear", .floor = 0.1, .plateau = 1};
  int threads = 1;
  real rate = real(0.2);  // of dropout
  bool evaluates = true;
  std::string identity = "toy";
  std::function<void(Objective&, Tape&, int64_t step, int shard)> spoil = {};
  std::function<Findings(int64_t evaluation)> score = {};  // instead of the real metrics
  std::function<void(const StepRecord&)> on_step = {};
  std::function<void(int64_t, const Findings&, bool)> on_evaluate = {};
  int64_t stop_after = -1;  // as a signal does
  bool resume = false;

  Outcome operator()(const TempDir& folder) const {
    Toy toy;
    const Workers workers(threads);
    const BatchPlan plan{kRows, trainer.batch, trainer.shards, 5};
    std::vector<std::vector<int64_t>> rows(static_cast<size_t>(trainer.shards));
    int64_t evaluation = 0;
    Training training;
    training.steps_per_epoch = plan.steps_per_epoch();
    training.identity = identity;
    training.goals = goals;
    training.objective = [&](Tape& tape, int64_t step, int shard, uint64_t) {
      std::vector<int64_t>& mine = rows[static_cast<size_t>(shard)];
      plan.rows_of(step, shard, mine);
      Objective objective{{{"click", toy.loss(tape, mine, rate), static_cast<int64_t>(mine.size())}}};
      if (spoil) spoil(objective, tape, step, shard);
      return objective;
    };
    if (evaluates)
      training.evaluate = [&]() -> Findings {
        if (score) return score(evaluation++);
        std::vector<int64_t> all(kRows);
        for (int64_t i = 0; i < kRows; ++i) all[static_cast<size_t>(i)] = i;
        Tape tape(cpu(), Mode::score);
        const auto loss = static_cast<double>(toy.loss(tape, all, 0).value().data[0]);
        return {{{"logloss", loss}, {"quality", -loss}}};
      };
    training.save = [&](const std::filesystem::path& path) {
      write_tensor_file(path, toy.parameters.arrays(), {{"format", "toy"}});
    };
    std::atomic<bool> stop = false;
    Trainer loop(toy.parameters, training, trainer, optimizer, schedule, {}, workers, folder.path());
    loop.stop = &stop;
    loop.on_step = [&](const StepRecord& record) {
      if (record.step == stop_after) stop = true;
      if (on_step) on_step(record);
    };
    loop.on_evaluate = on_evaluate;
    if (resume) loop.resume();
    return loop.run();
  }
};

using Files = std::map<std::string, std::string>;

Files files(const TempDir& folder) {
  Files all;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    all[entry.path().filename().string()] = read_file(entry.path());
  return all;
}

// A run that nobody disturbs.
Files undisturbed(const Run& run) {
  const TempDir folder;
  run(folder);
  return files(folder);
}

void check_same(const Files& a, const Files& b) {
  CHECK(a.size() == b.size());
  for (const auto& file : a) {
    CAPTURE(file.first);
    REQUIRE(b.contains(file.first));
    CHECK((file.second == b.at(file.first)));
  }
}

std::vector<double> losses_of(const Run& run) {
  std::vector<double> losses;
  Run watched = run;
  watched.on_step = [&](const StepRecord& record) { losses.push_back(record.loss); };
  undisturbed(watched);
  return losses;
}

struct Killed {};

}  // namespace

TEST_CASE("trainer: it learns what can be learned") {
  Run run;
  run.trainer.epochs = 200;
  run.optimizer.rate = 0.5;
  run.schedule = {};
  run.rate = 0;
  const TempDir folder;
  const Outcome outcome = run(folder);
  CHECK(outcome.steps == 800);
  CHECK(outcome.best.at(0).second < 0.02);
  CHECK(files(folder).size() == 3);
}

TEST_CASE("trainer: again, and on any number of threads, the same bytes") {
  const Run run;
  const Files once = undisturbed(run);
  check_same(once, undisturbed(run));
  for (const int threads : {2, 4, 8}) {
    Run threaded = run;
    threaded.threads = threads;
    check_same(once, undisturbed(threaded));
  }
  Run other = run;
  other.trainer.seed = 2;
  CHECK(undisturbed(other) != once);
}

TEST_CASE("trainer: interrupted after any step and resumed, it ends in the same bytes") {
  for (const bool evaluates : {true, false}) {
    Run run;
    run.evaluates = evaluates;
    const Files expected = undisturbed(run);
    for (int64_t k = 1; k <= 12; ++k) {
      CAPTURE(k);
      const TempDir folder;
      Run first = run;
      first.stop_after = k;
      check_fails(
          Fault::interrupted, [&] { first(folder); }, "interrupted at step " + std::to_string(k) + " of 12",
          "--resume");
      Run rest = run;
      rest.resume = true;
      rest.threads = 2;
      CHECK(rest(folder).steps == 12);
      check_same(expected, files(folder));
    }
  }
}

TEST_CASE("trainer: killed at any moment, resumed from the last checkpoint, it ends in the same bytes") {
  const Run run;
  const Files expected = undisturbed(run);
  for (int64_t k = 1; k <= 12; ++k) {
    CAPTURE(k);
    const TempDir folder;
    Run first = run;
    first.trainer.checkpoint_steps = 4;
    first.on_step = [&](const StepRecord& record) {
      if (record.step == k) throw Killed();
    };
    CHECK_THROWS_AS(first(folder), Killed);
    write_file(folder / "metrics.jsonl", read_file(folder / "metrics.jsonl") + "{\"step\":99,\"lo");
    Run rest = run;
    rest.resume = true;
    rest(folder);
    check_same(expected, files(folder));
  }
}

TEST_CASE("trainer: a finished run resumes to no change") {
  const Run run;
  const TempDir folder;
  const Outcome outcome = run(folder);
  const Files before = files(folder);
  Run again = run;
  again.resume = true;
  const Outcome repeated = again(folder);
  check_same(before, files(folder));
  const std::optional<Outcome> finished = Trainer::finished_run(folder.path());
  REQUIRE(finished);
  for (const Outcome& other : {repeated, *finished}) {
    CHECK(other.steps == outcome.steps);
    CHECK(other.best_step == outcome.best_step);
    CHECK(other.best == outcome.best);
  }
  CHECK_FALSE(Trainer::finished_run(TempDir().path()));
}

// ---- what the world may do to a run

namespace {

// Lets the n-th system call of a save fail, for one scope; n < 0 only counts.
class FailingDisk {
 public:
  explicit FailingDisk(int at) : saved_(file_calls()) {
    calls_ = 0;
    at_ = at;
    file_calls() = {
        .open = [](const char* path, int flags,
                   mode_t mode) { return fails() ? -1 : ::open(path, flags, mode); },
        .write = [](int file, const void* bytes, size_t count) -> ssize_t {
          return fails() ? -1 : ::write(file, bytes, count);
        },
        .fsync = [](int file) { return fails() ? -1 : ::fsync(file); },
        .close =
            [](int file) {
              const bool failing = fails();
              ::close(file);
              if (failing) errno = ENOSPC;
              return failing ? -1 : 0;
            },
        .rename = [](const char* from, const char* to) { return fails() ? -1 : ::rename(from, to); },
    };
  }
  ~FailingDisk() { file_calls() = saved_; }
  static int calls() { return calls_; }

 private:
  static bool fails() {
    if (calls_++ != at_) return false;
    errno = ENOSPC;
    return true;
  }
  static inline int calls_ = 0, at_ = -1;
  FileCalls saved_;
};

}  // namespace

TEST_CASE("trainer: whichever call of a save fails, the checkpoint before it stands") {
  const Run run;
  const Files expected = undisturbed(run);
  const TempDir begun;
  Run first = run;
  first.stop_after = 4;
  check_fails(Fault::interrupted, [&] { first(begun); });
  const Files before = files(begun);

  Run rest = run;
  rest.resume = true;
  rest.trainer.checkpoint_steps = 4;
  const auto copy = [&](const TempDir& folder) {
    for (const auto& [name, content] : before) write_file(folder / name, content);
  };
  int calls = 0;
  {
    const TempDir folder;
    copy(folder);
    const FailingDisk counting(-1);
    rest(folder);
    calls = counting.calls();
  }
  CHECK(calls > 50);
  for (int call = 0; call < calls; ++call) {
    CAPTURE(call);
    const TempDir folder;
    copy(folder);
    {
      const FailingDisk disk(call);
      check_fails(
          Fault::resources, [&] { rest(folder); }, folder.path().string(), "No space left");
    }
    const Files left = files(folder);
    for (const auto& [name, content] : left) {
      CHECK_FALSE(name.ends_with(".partial"));
      if (name.ends_with(".safetensors")) CHECK_NOTHROW(TensorFile(folder / name));
    }
    const bool first_save = call < 12;  // nothing was replaced before its rename
    if (first_save) CHECK((left.at("state.safetensors") == before.at("state.safetensors")));
    rest(folder);
    check_same(expected, files(folder));
  }
}

TEST_CASE("trainer: a checkpoint of another run, or a damaged one, is refused") {
  const Run run;
  const TempDir folder;
  Run first = run;
  first.stop_after = 4;
  check_fails(Fault::interrupted, [&] { first(folder); });
  const Files before = files(folder);
  Run rest = run;
  rest.resume = true;

  Run other = rest;
  other.identity = "other data";
  check_fails(
      Fault::usage, [&] { other(folder); }, folder.path().string(), "another configuration or other data");
  check_same(before, files(folder));

  const std::string state = before.at("state.safetensors");
  for (size_t at = 0; at < state.size(); at += 37) {
    std::string spoilt = state;
    spoilt[at] = static_cast<char>(spoilt[at] ^ 4);
    write_file(folder / "state.safetensors", spoilt);
    check_fails(
        Fault::input, [&] { rest(folder); }, "state.safetensors");
    check_fails(
        Fault::input, [&] { Trainer::finished_run(folder.path()); }, "state.safetensors");
  }
  write_file(folder / "state.safetensors", state.substr(0, state.size() / 2));
  check_fails(
      Fault::input, [&] { rest(folder); }, "state.safetensors");

  // Whole, but not a state of this version, or not of this many numbers.
  const int64_t numbers[] = {4, 0, 0};
  const auto write_state = [&](const std::string& format) {
    write_tensor_file(folder / "state.safetensors",
                      {NamedArray::of("trainer/position", std::span<const int64_t>(numbers))},
                      {{"format", format}, {"identity", "toy"}, {"best", ""}});
  };
  write_state("steelyard-state-0");
  check_fails(
      Fault::input, [&] { rest(folder); }, "not a training state of this version");
  write_state("steelyard-state-3");
  check_fails(
      Fault::input, [&] { rest(folder); }, "trainer/position", "9 numbers");

  write_file(folder / "state.safetensors", state);
  write_file(folder / "metrics.jsonl", "{}\n");
  check_fails(
      Fault::input, [&] { rest(folder); }, "metrics.jsonl: 3 bytes; expected at least");
  std::filesystem::remove(folder / "metrics.jsonl");
  check_fails(
      Fault::input, [&] { rest(folder); }, "metrics.jsonl: No such file",
      "expected the file of the checkpoint");
  std::filesystem::create_directory(folder / "metrics.jsonl");
  check_fails(
      Fault::resources, [&] { run(folder); }, "metrics.jsonl: cannot be written");
}

// ---- numbers that are none

TEST_CASE("trainer: NaN or Inf is reported in its step, with the op, and nothing is saved") {
  constexpr real kTiny = std::numeric_limits<real>::denorm_min();
  struct Case {
    const char* op;
    const char* says;
    std::function<Var(Var)> f;
  };
  const Case cases[] = {
      {"log", "comes from \"log\"", [](Var x) { return log(affine(x, 0, -1)); }},
      {"exp", "comes from \"exp\"", [](Var x) { return exp(affine(x, 1, 2000)); }},
      {"div", "comes from \"div\"", [](Var x) { return x / affine(x, 0); }},
      // log x is finite for the least x there is, 1/x is not
      {"gradient", "a gradient is not finite, all values are",
       [](Var x) { return log(affine(x, 0, kTiny)); }},
  };
  const Run run;
  const Files expected = undisturbed(run);
  for (const Case& c : cases)
    for (const int threads : {1, 4})
      for (const auto& bad_place : {std::pair{0, 0}, {6, 1}, {11, 2}}) {
        const int bad_step = bad_place.first, bad_shard = bad_place.second;
        CAPTURE(c.op);
        CAPTURE(bad_step);
        const TempDir folder;
        Run bad = run;
        bad.threads = threads;
        bad.trainer.checkpoint_steps = 3;
        bad.spoil = [&, s = bad_step, h = bad_shard](Objective& objective, Tape&, int64_t step, int shard) {
          Var& loss = objective.tasks[0].loss;
          if (step == s && shard == h) loss = loss + c.f(loss);
        };
        check_fails(
            Fault::diverged, [&] { bad(folder); },
            "diverged at step " + std::to_string(bad_step) + ", shard " + std::to_string(bad_shard), c.says,
            bad_step == 0 ? "there is no checkpoint yet" : (folder / "state.safetensors").string());
        CHECK(std::filesystem::exists(folder / "state.safetensors") == (bad_step > 0));
        Run rest = run;
        rest.resume = true;
        rest(folder);
        check_same(expected, files(folder));
      }
}

TEST_CASE("trainer: weights that an update made infinite are never saved") {
  struct Case {
    int64_t batch;
    bool evaluates;
  };
  // Found by an evaluation, at the end, or because the second step's loss is none.
  for (const Case c : {Case{64, true}, Case{64, false}, Case{16, false}}) {
    const TempDir folder;
    Run run;
    run.trainer.epochs = 1;
    run.trainer.batch = c.batch;  // of 61 rows
    run.evaluates = c.evaluates;
    run.optimizer = {.dense = "sgd", .tables = "sgd", .rate = std::numeric_limits<real>::max()};
    run.schedule = {};
    run.spoil = [](Objective& objective, Tape&, int64_t, int) {
      objective.tasks[0].loss = affine(objective.tasks[0].loss, 1000);
    };
    check_fails(
        Fault::diverged, [&] { run(folder); }, "after 1 steps parameter \"weights\" is not finite",
        "no checkpoint yet");
    CHECK_FALSE(std::filesystem::exists(folder / "model.safetensors"));
    CHECK_FALSE(std::filesystem::exists(folder / "state.safetensors"));
  }
}

// ---- choosing

namespace {

struct Choice {
  Outcome outcome;
  std::vector<int64_t> evaluated;  // the steps
  std::vector<bool> best;
  std::vector<double> rates;  // at every step
};

// A run of 12 steps with an evaluation after every second, whose metric is as given.
Choice choose(std::vector<double> values, Run run, const std::string& metric = "logloss") {
  Choice chosen;
  run.trainer.evaluate_every = 2;
  run.trainer.criterion = metric;
  run.score = [values, metric](int64_t i) -> Findings {
    return {{{metric, values.at(static_cast<size_t>(i))}}};
  };
  run.on_step = [&](const StepRecord& record) { chosen.rates.push_back(record.rate); };
  run.on_evaluate = [&](int64_t step, const Findings&, bool best) {
    chosen.evaluated.push_back(step);
    chosen.best.push_back(best);
  };
  const TempDir folder;
  chosen.outcome = run(folder);

  // The model file is that of the best step: a run that ends there has the same weights.
  if (chosen.outcome.best_step > 0) {
    Run shorter = run;
    shorter.stop_after = chosen.outcome.best_step;
    shorter.on_step = {};
    shorter.on_evaluate = {};
    const TempDir other;
    check_fails(Fault::interrupted, [&] { shorter(other); });
    CHECK((read_file(folder / "model.safetensors") == read_file(other / "model.safetensors")));
  }
  return chosen;
}

}  // namespace

TEST_CASE("trainer: the best model is kept, whichever way its metric points") {
  Run run;
  run.schedule = {};
  const std::vector<double> values = {0.5, 0.3, 0.4, 0.2, 0.25, 0.3};
  const Choice least = choose(values, run);
  CHECK(least.evaluated == std::vector<int64_t>{2, 4, 6, 8, 10, 12});
  CHECK(least.best == std::vector<bool>{true, true, false, true, false, false});
  CHECK(least.outcome.best_step == 8);
  CHECK(least.outcome.best == Metrics{{"logloss", 0.2}});
  for (const char* metric : {"rmse", "ece", "click_loss"})
    CHECK(choose(values, run, metric).outcome.best_step == 8);
  for (const char* metric : {"auc", "spearman", "ndcg10"})
    CHECK(choose(values, run, metric).outcome.best_step == 2);
  // An equal value is no better; an undefined one is worse than any other.
  CHECK(choose({0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, run).outcome.best_step == 2);
  CHECK(choose({NAN, 0.5, NAN, 0.4, NAN, NAN}, run).outcome.best_step == 8);
}

TEST_CASE("trainer: patience ends a run, a plateau drops the rate") {
  Run run;
  run.schedule = {};
  run.trainer.patience = 2;
  const Choice early = choose({0.5, 0.3, 0.4, 0.35, 0.1, 0.1}, run);
  CHECK(early.outcome.steps == 8);
  CHECK(early.outcome.best_step == 4);

  run.trainer.patience = 0;
  run.schedule = {.plateau = 2, .drop = 0.1};
  const Choice dropped = choose({0.5, 0.6, 0.6, 0.6, 0.6, 0.4}, run);
  const std::vector<double> expected = {1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01};
  for (size_t i = 0; i < 12; ++i) CHECK(dropped.rates.at(i) == doctest::Approx(expected[i]));
}

TEST_CASE("trainer: when it evaluates, and which model it keeps if it never does") {
  Run run;
  std::vector<int64_t> evaluated;
  run.on_evaluate = [&](int64_t step, const Findings&, bool) { evaluated.push_back(step); };
  run.trainer.evaluate_every = 0;
  undisturbed(run);
  CHECK(evaluated == std::vector<int64_t>{4, 8, 12});
  evaluated.clear();
  run.trainer.evaluate_every = 5;
  undisturbed(run);
  CHECK(evaluated == std::vector<int64_t>{5, 10, 12});

  run.evaluates = false;
  const TempDir folder;
  const Outcome outcome = run(folder);
  CHECK(outcome.best_step == 12);
  CHECK(outcome.best.empty());
  const TensorFile model(folder / "model.safetensors"), state(folder / "state.safetensors");
  for (const NamedArray& array : model.arrays())
    CHECK(std::memcmp(array.data, state.at(array.name).data,
                      static_cast<size_t>(array.size() * width(array.type))) == 0);

  run.trainer.epochs = 0;
  const TempDir untrained;
  CHECK(run(untrained).steps == 0);
  CHECK(std::filesystem::exists(untrained / "model.safetensors"));
}

TEST_CASE("trainer: a collapsed model is never saved, and ends a run in which it stays") {
  // A run with an evaluation after every second of 12 steps; which of them find a collapse, and a better value.
  const auto run_of = [](const std::string& collapsed) {
    Run run;
    run.trainer.evaluate_every = 2;
    run.trainer.collapse = 3;
    run.score = [collapsed](int64_t i) -> Findings {
      const bool bad = collapsed.at(static_cast<size_t>(i)) == 'x';
      return {{{"logloss", 1 / static_cast<double>(i + 1)}}, {}, bad ? "no word is left; some.key" : ""};
    };
    return run;
  };
  const auto collapses = [](const Run& run, const TempDir& folder, auto... parts) {
    check_fails(
        Fault::diverged, [&] { run(folder); }, "collapsed", "no word is left; some.key",
        std::string(parts)...);
  };
  const TempDir apart, late, early, never, off;
  CHECK(run_of(".xx.xx")(apart).best_step == 8);
  collapses(run_of("..xxx."), late, "at step 10", "(3 evaluations in a row)", "the model of step 4 stands");
  CHECK(read_file(late / "model.safetensors") == undisturbed([&] {
                                                   Run run = run_of("..xxxx");
                                                   run.trainer.patience = 1;  // ends before the alarm
                                                   return run;
                                                 }())
                                                     .at("model.safetensors"));
  Run impatient = run_of("xxxxxx");
  impatient.trainer.patience = 2;
  collapses(impatient, early, "at step 4", "(2 evaluations in a row)", "no model was saved");
  Run short_run = run_of("xxxxxx");
  short_run.trainer.evaluate_every = 6;
  collapses(short_run, never, "at step 12", "(2 evaluations in a row)", "no model was saved");
  for (const TempDir* folder : {&early, &never})
    CHECK_FALSE(std::filesystem::exists(*folder / "model.safetensors"));
  Run silent = run_of("xxxxxx");
  silent.trainer.collapse = 0;
  CHECK(silent(off).best_step == 12);

  // The evaluations before a stop count.
  const TempDir stopped;
  Run first = run_of(".xx...");
  first.stop_after = 6;
  check_fails(Fault::interrupted, [&] { first(stopped); });
  Run rest = run_of("x.....");
  rest.resume = true;
  collapses(rest, stopped, "at step 8", "(3 evaluations in a row)", "the model of step 2 stands");
}

TEST_CASE("trainer: metrics.jsonl is lines of JSON, steps and evaluations") {
  Run run;
  run.score = [](int64_t i) -> Findings {
    return {{{"logloss", i == 0 ? NAN : 0.25}}, i == 2 ? Metrics{{"words", 7.5}} : Metrics{}};
  };
  const std::string lines = undisturbed(run).at("metrics.jsonl");
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 6 + 3);
  CHECK(lines.starts_with("{\"step\":2,\"loss\":0."));
  CHECK(lines.find("{\"step\":5,\"dev\":{\"logloss\":null},\"best\":true}\n") != std::string::npos);
  CHECK(
      lines.ends_with("{\"step\":12,\"dev\":{\"logloss\":0.25},\"model\":{\"words\":7.5},\"best\":false}\n"));
}

// ---- a step

TEST_CASE("trainer: a batch has one loss, however it is cut into shards and tasks") {
  Run run;
  run.rate = 0;  // dropout differs between shards
  run.trainer.shards = 1;
  const std::vector<double> whole = losses_of(run);
  for (const int shards : {2, 5, 16, 64}) {
    run.trainer.shards = shards;
    const std::vector<double> cut = losses_of(run);
    for (size_t i = 0; i < whole.size(); ++i) CHECK(cut[i] == doctest::Approx(whole[i]).epsilon(1e-3));
  }
  // A second task whose rows are all in one shard, and a constant for a regulariser.
  run.trainer.shards = 4;
  run.goals.push_back({"buy"});
  run.spoil = [](Objective& objective, Tape& tape, int64_t, int shard) {
    objective.tasks.push_back({"buy", {}, 0});
    if (shard == 2) objective.tasks[1] = {"buy", tape.constant(Shape{}, std::vector<real>{5}), 3};
    objective.regulariser = tape.constant(Shape{}, std::vector<real>{real(0.5)});
  };
  const std::vector<double> more = losses_of(run);
  CHECK(more[0] == doctest::Approx(whole[0] + 5 + 0.5).epsilon(1e-5));
}

TEST_CASE("trainer: the gradient is clipped by its global norm") {
  Run run;
  run.optimizer = {.dense = "sgd", .tables = "sgd", .rate = 1, .clip = 0.01};
  run.schedule = {};
  run.trainer.epochs = 1;
  run.trainer.batch = 64;
  run.evaluates = false;
  double norm = 0;
  run.on_step = [&](const StepRecord& record) { norm = record.norm; };
  const TempDir folder;
  run(folder);
  CHECK(norm > 0.1);  // as it was before
  const Toy fresh;
  const TensorFile file(folder / "model.safetensors");
  double moved = 0;
  for (const Parameter& p : fresh.parameters.all()) {
    const auto after = file.at("parameters/" + p.path).values<real>();
    const std::vector<real> before = numbers(p.value());
    for (size_t i = 0; i < after.size(); ++i)
      moved += std::pow(static_cast<double>(after[i]) - static_cast<double>(before[i]), 2);
  }
  CHECK(std::sqrt(moved) == doctest::Approx(0.01).epsilon(1e-4));
}

// The tapes and the gradients live in arenas that stop growing; what a step allocates beside them are its
// lists of shards, tasks and look-ups, whose number depends neither on the batch nor on the step.
TEST_CASE("trainer: in a steady state a step allocates a few short lists, whatever the batch") {
  std::vector<int64_t> per_step;
  for (const int64_t batch : {8, 60}) {
    Run run;
    run.trainer.epochs = 30;
    run.trainer.batch = batch;
    run.trainer.log_every = 1'000'000;
    run.evaluates = false;
    int64_t last = 0, most = 0;
    run.on_step = [&](const StepRecord& record) {
      if (record.step > 20) most = std::max(most, allocations() - last);
      last = allocations();
    };
    undisturbed(run);
    per_step.push_back(most);
  }
  CHECK(per_step[0] == per_step[1]);
  CHECK(per_step[0] < 40);
}

TEST_CASE("trainer: wrong options are refused by name") {
  const auto refuses = [](auto change, auto... parts) {
    Run run;
    change(run);
    const TempDir folder;
    const auto start = [&] {
      run.trainer.validate();
      run(folder);
    };
    check_fails(Fault::usage, start, std::string(parts)...);
  };
  refuses([](Run& r) { r.trainer.epochs = -1; }, "trainer.epochs: -1");
  refuses([](Run& r) { r.trainer.batch = 0; }, "trainer.batch: 0");
  refuses([](Run& r) { r.trainer.shards = 65; }, "trainer.shards: 65", "1 … 64");
  refuses([](Run& r) { r.trainer.evaluate_every = -1; }, "trainer.evaluate_every: -1");
  refuses([](Run& r) { r.trainer.patience = -1; }, "trainer.patience: -1");
  refuses([](Run& r) { r.trainer.collapse = -1; }, "trainer.collapse: -1");
  refuses([](Run& r) { r.trainer.log_every = 0; }, "trainer.log_every: 0");
  refuses([](Run& r) { r.trainer.checkpoint_steps = -1; }, "trainer.checkpoint_steps: -1");
  refuses([](Run& r) { r.trainer.checkpoint_seconds = NAN; }, "trainer.checkpoint_seconds: nan");
  refuses([](Run& r) { r.schedule.decay = "none"; }, "schedule.decay");
  refuses([](Run& r) { r.trainer.criterion = "auk"; }, "trainer.criterion", "auk", "logloss, quality");
}
