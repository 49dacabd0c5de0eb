// The ground that training stands on: the tape and its memory, the gradients and how they are merged,
// parameters, the index of a look-up, random numbers, threads. Then every error that core and autograd can
// report.
#include "autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <set>

#include "core/parallel.h"
#include "core/random.h"
#include "tests/allocation_counter.h"
#include "tests/op_table.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

using Numbers = std::vector<real>;

constexpr real kNaN = std::numeric_limits<real>::quiet_NaN(),
               kInfinity = std::numeric_limits<real>::infinity();

bool same_bits(const Numbers& a, const Numbers& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0);
}

std::vector<int32_t> random_ids(uint64_t key, int64_t count, int32_t below) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(random_bits(key, i) % static_cast<uint64_t>(below));
  return ids;
}

std::vector<int32_t> list(Ids ids) { return {ids.begin(), ids.end()}; }

}  // namespace

// ---- the tape

TEST_CASE("tape: a Var of before reset is stale, and says so") {
  Parameters parameters(cpu(), 1);
  const Parameter& p = parameters.root().add("p", {2}, constant(1));
  Tape tape(cpu());
  const Var old = tanh(tape.leaf(p));
  tape.reset();
  const auto check_stale = [&](auto&& use) {
    check_fails(Fault::bug, use, "tape: a stale Var: it was made before reset()");
  };
  check_stale([&] { old.value(); });
  check_stale([&] { old.shape(); });
  check_stale([&] { old.needs_grad(); });
  check_stale([&] { tanh(old); });
  const Var fresh = tape.leaf(p);
  check_stale([&] { fresh + old; });
  check_stale([&] {
    Gradients g(parameters);
    tape.backward(old, g);
  });
}

TEST_CASE("tape: Vars of two tapes do not meet") {
  Parameters parameters(cpu(), 1);
  const Parameter& p = parameters.root().add("p", {2}, constant(1));
  Tape one(cpu()), other(cpu());
  const Var a = one.leaf(p), b = other.leaf(p);
  check_fails(
      Fault::bug, [&] { a + b; }, "add: a Var of another tape");
  Gradients gradients(parameters);
  check_fails(
      Fault::bug, [&] { one.backward(sum(b), gradients); }, "backward: a Var of another tape");
}

TEST_CASE("tape: a steady step grows no arena") {
  for (const Mode mode : {Mode::train, Mode::score}) {
    std::vector<std::unique_ptr<OpSetup>> setups;
    std::vector<std::unique_ptr<Gradients>> gradients;
    for (const OpCase& row : op_table()) {
      setups.push_back(std::make_unique<OpSetup>(row, cpu()));
      gradients.push_back(std::make_unique<Gradients>(setups.back()->parameters));
    }
    Tape tape(cpu(), mode);
    for (size_t i = 0; i < setups.size(); ++i) {
      CAPTURE(setups[i]->row.name);
      const auto step = [&] {
        tape.reset();
        gradients[i]->clear();
        const Var y = setups[i]->run(tape);
        if (mode == Mode::train) tape.backward(sum(y), *gradients[i]);
      };
      step();
      step();
      const size_t capacity = tape.capacity();
      step();
      CHECK(tape.capacity() == capacity);
    }
  }
}

TEST_CASE("tape: a steady step asks for no heap memory") {
  Parameters parameters(cpu(), 1);
  const Parameters::Scope at = parameters.root();
  const Parameter &W = at.add("W", {24, 10}, normal(1)), &b = at.add("b", {10}, normal(1)),
                  &gain = at.add("gain", {10}, constant(1)), &table = at.table("table", {50, 8}, normal(1));
  const std::vector<int32_t> ids = random_ids(1, 30, 50), labels = random_ids(2, 10, 10),
                             lengths = random_ids(3, 10, 10),
                             offsets = {0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30};
  const Numbers weights(10, 1);
  Gradients gradients(parameters), merged(parameters);
  Tape tape(cpu());
  const Workers workers(1);
  const auto step = [&] {
    tape.reset();
    gradients.clear();
    const RowIndex index = tape.index(ids);
    const Segments segments = Segments::between(tape.upload(offsets));
    const Var looked_up = reshape(rows(tape, table, index), {10, 24}),
              bags = bag(tape, table, index, segments);
    const Var hidden = layer_norm(linear(looked_up, tape.leaf(W), tape.leaf(b), unary_id<Tanh>),
                                  tape.leaf(gain), tape.leaf(b));
    const Var y = concat({slice_columns(dropout(hidden, real(0.1)), 0, 4), bags}) *
                  tape.constant({10, 12}, Numbers(120, 1));
    const Var loss = mean(cross_entropy(softmax(slice_columns(y, 0, 10), lengths), labels)) + mean(square(y));
    tape.backward(loss, gradients);
  };
  // The vector of numbers above is the test's own, one allocation per step.
  for (int i = 0; i < 3; ++i) step();
  const int64_t before = allocations();
  step();
  CHECK(allocations() - before == 1);
}

TEST_CASE("tape: arguments that need no gradient get none, and scoring records only values") {
  Parameters parameters(cpu(), 1);
  const Parameter& p = parameters.root().add("p", {3}, constant(2));
  Tape tape(cpu());
  const Var x = tape.leaf(p), c = tape.constant({3}, Numbers{1, 2, 3});
  CHECK(x.needs_grad());
  CHECK(!c.needs_grad());
  CHECK(!tanh(c).needs_grad());
  CHECK(c.grad().empty());
  Gradients gradients(parameters);
  tape.backward(sum(x * c), gradients);
  CHECK(gradient(gradients, p) == Numbers{1, 2, 3});
  tape.backward(sum(tanh(c)), gradients);  // depends on no parameter: adds nothing
  CHECK(gradient(gradients, p) == Numbers{1, 2, 3});
  tape.backward(sum(x * c), gradients, real(0.5));  // adds, scaled
  CHECK(gradient(gradients, p) == Numbers{real(1.5), 3, real(4.5)});

  Tape scoring(cpu(), Mode::score);
  const Var y = sum(scoring.leaf(p));
  CHECK(!y.needs_grad());
  CHECK(scoring.index(random_ids(1, 9, 5)).rows.empty());
  check_fails(
      Fault::bug, [&] { scoring.backward(y, gradients); }, "backward: the tape is in Mode::score");
}

TEST_CASE("tape: a record that the loss does not reach is not run") {
  Parameters parameters(cpu(), 1);
  const Parameter& p = parameters.root().add("p", {1}, constant(2));
  Tape tape(cpu());
  const Var x = tape.leaf(p);
  int runs = 0;
  const Var other = tape.record("other", x.value(), {x}, [&runs](Tensor) { ++runs; });
  const Var loss = tape.record("loss", x.value(), {x},
                               [x, &runs](Tensor dy) { runs += 10, x.backend().axpy(1, dy, x.grad()); });
  Gradients gradients(parameters);
  tape.backward(loss, gradients);
  CHECK(runs == 10);
  tape.backward(loss, gradients);  // and again
  CHECK(runs == 20);
  CHECK(gradient(gradients, p) == Numbers{2});
  CHECK(other.needs_grad());
}

TEST_CASE("tape: a deep chain needs no stack") {
  Parameters parameters(cpu(), 1);
  const Parameter& p = parameters.root().add("p", {1}, constant(1));
  Tape tape(cpu());
  Var x = tape.leaf(p);
  for (int i = 0; i < 200'000; ++i) x = affine(x, 1, 0);
  Gradients gradients(parameters);
  tape.backward(x, gradients);
  CHECK(gradient(gradients, p) == Numbers{1});
}

TEST_CASE("tape: dropout keeps a share of the elements, the same ones for the same key") {
  Parameters parameters(cpu(), 1);
  const Parameter& p = parameters.root().add("p", {100, 100}, constant(1));
  Tape tape(cpu());
  const auto masked = [&](uint64_t key) {
    tape.reset();
    tape.set_random_key(key);
    return numbers(dropout(tape.leaf(p), real(0.25)).value());
  };
  const Numbers first = masked(1);
  CHECK(same_bits(first, masked(1)));
  CHECK(!same_bits(first, masked(2)));
  const auto kept = std::count_if(first.begin(), first.end(), [](real x) { return x > 0; });
  CHECK(std::abs(static_cast<double>(kept) - 7500) < 5 * std::sqrt(10000 * 0.25 * 0.75));
  for (real x : first) CHECK((x == 0 || x == doctest::Approx(1 / 0.75)));
  tape.reset();
  const Var x = tape.leaf(p), a = dropout(x, real(0.25)), b = dropout(x, real(0.25));
  CHECK(!same_bits(numbers(a.value()), numbers(b.value())));  // two calls, two masks
  CHECK(dropout(x, 0).index == x.index);
}

// Training asks the tape once per step which op produced the first NaN or Inf.
TEST_CASE("tape: first_not_finite names the op, for every row of the op table") {
  for (const OpCase& row : op_table()) {
    CAPTURE(row.name);
    const OpSetup setup(row, cpu());
    Tape tape(cpu());
    const Var y = setup.run(tape);
    if (y.size() == 0) continue;
    CHECK(tape.first_not_finite() == nullptr);
    for (const real bad : {kNaN, kInfinity, -kInfinity}) {
      for (const int64_t place : {int64_t{0}, y.size() - 1}) {
        real& number = y.value().data[place];
        const real kept = std::exchange(number, bad);
        const char* op = tape.first_not_finite();
        REQUIRE(op != nullptr);
        const std::string words = " " + row.name.substr(0, row.name.find(',')) + " ";
        const bool is_view = words == " reshape ";  // its numbers are those of its input
        if (row.name != "rows, one table read twice")
          CHECK_MESSAGE(
              (is_view ? op == std::string("identity") : words.find(text(" ", op, " ")) != words.npos),
              std::string(op));
        number = kept;
      }
    }
    CHECK(tape.first_not_finite() == nullptr);

    // A NaN that comes in with a parameter is caught too, at the leaf or where the table is read.
    for (const Parameter& p : setup.parameters.all()) {
      if (p.shape.size() == 0) continue;
      for (real& x : p.buffer.host()) x = kNaN;
      tape.reset();
      setup.run(tape);
      const std::string op = tape.first_not_finite() ? tape.first_not_finite() : "";
      CHECK(op == (p.table ? row.name.substr(0, row.name.find(',')) : "leaf"));
      for (real& x : p.buffer.host()) x = 1;
    }
  }
}

TEST_CASE("gradients: the norm shows a NaN, wherever it is") {
  Parameters parameters(cpu(), 1);
  const Parameter &p = parameters.root().add("p", {5}, constant(1)),
                  &t = parameters.root().table("t", {5, 3}, constant(1));
  Gradients gradients(parameters);
  const std::vector<int32_t> rows = {1, 4};
  const Tensor values = gradients.add_rows(t, rows);
  CHECK(gradients.norm() == 0);
  for (const Tensor& part : {gradients.dense(p), values})
    for (const real bad : {kNaN, kInfinity}) {
      part.data[part.size() - 1] = bad;
      CHECK(!std::isfinite(gradients.norm()));
      part.data[part.size() - 1] = 0;
    }
}

// ---- gradients

namespace {

// Some shards' gradients of one dense parameter and two tables, with look-ups that repeat, are empty or are
// missing.
struct Shards {
  static constexpr int32_t kRows = 300;
  Parameters parameters{cpu(), 3};
  const Parameter &dense = parameters.root().add("dense", {70, 900}, constant(0)),
                  &wide = parameters.root().table("wide", {kRows, 5}, constant(0)),
                  &narrow = parameters.root().table("narrow", {kRows, 1}, constant(0)),
                  &unread = parameters.root().table("unread", {kRows, 2}, constant(0));
  std::vector<Gradients> parts;

  Shards() {
    Arena arena(cpu());
    for (uint64_t shard = 0; shard < 4; ++shard) {
      Gradients& part = parts.emplace_back(parameters);
      fill(part.dense(), key_of(shard, "dense"));
      for (const Parameter* table : {&wide, &narrow})
        for (uint64_t look_up = 0; look_up < shard + 1; ++look_up) {
          const uint64_t key = key_of(shard, "rows", look_up, table->index);
          const int64_t count = look_up == 1 ? 0 : static_cast<int64_t>(random_bits(key, 0) % 200);
          fill(part.add_rows(*table, index_rows(random_ids(key, count, kRows), arena).rows), key);
        }
    }
  }
  static void fill(Tensor x, uint64_t key) {
    for (int64_t i = 0; i < x.size(); ++i) x.data[i] = random_normal(key, static_cast<uint64_t>(i));
  }
};

}  // namespace

TEST_CASE("gradients: merge equals a dense sum, with the same bits for any number of threads") {
  const Shards shards;
  Numbers first;
  for (const int threads : {1, 2, 4, 8}) {
    CAPTURE(threads);
    Gradients merged(shards.parameters);
    for (int repetition = 0; repetition < 2; ++repetition)  // a merge forgets the one before
      merged.merge(shards.parts, Workers(threads));
    Numbers all;
    double squares = 0;
    for (const Parameter& p : shards.parameters.all()) {
      CAPTURE(p.path);
      std::vector<double> expected(static_cast<size_t>(p.shape.size()));
      std::set<int32_t> touched;
      for (const Gradients& part : shards.parts) {
        const Numbers numbers = gradient(part, p);
        for (size_t i = 0; i < numbers.size(); ++i) expected[i] += static_cast<double>(numbers[i]);
        if (p.table)
          for (const RowGrad& grad : part.rows(p)) touched.insert(grad.rows.begin(), grad.rows.end());
      }
      const Numbers sum = gradient(merged, p);
      for (size_t i = 0; i < sum.size(); ++i)
        CHECK(std::abs(static_cast<double>(sum[i]) - expected[i]) <=
              32 * std::numeric_limits<real>::epsilon());
      for (double x : expected) squares += x * x;
      if (p.table) {  // every touched row once, ascending
        std::vector<int32_t> rows;
        for (const RowGrad& grad : merged.rows(p))
          rows.insert(rows.end(), grad.rows.begin(), grad.rows.end());
        CHECK(rows == std::vector<int32_t>(touched.begin(), touched.end()));
      }
      all.insert(all.end(), sum.begin(), sum.end());
    }
    CHECK(merged.norm() == doctest::Approx(std::sqrt(squares)).epsilon(1e-5));
    if (first.empty()) first = all;
    CHECK(same_bits(all, first));

    const double norm = merged.norm();
    merged.scale(real(0.5));
    for (real& x : all) x *= real(0.5);
    Numbers halved;
    for (const Parameter& p : shards.parameters.all()) {
      const Numbers part = gradient(merged, p);
      halved.insert(halved.end(), part.begin(), part.end());
    }
    CHECK(same_bits(halved, all));
    CHECK(merged.norm() == doctest::Approx(norm / 2).epsilon(1e-9));
    merged.clear();
    CHECK(merged.norm() == 0);
    CHECK(merged.rows(shards.wide).empty());
  }
}

TEST_CASE("gradients: merging nothing gives zeros") {
  const Shards shards;
  Gradients merged(shards.parameters);
  merged.merge(shards.parts, Workers(1));
  merged.merge({}, Workers(1));
  CHECK(merged.norm() == 0);
}

// ---- parameters

TEST_CASE("parameters: initial values depend on seed and path, not on the order of creation") {
  const auto build = [](uint64_t seed, bool reversed) {
    auto parameters = std::make_unique<Parameters>(cpu(), seed);
    const auto add = [&](const std::string& name) {
      (parameters->root() / "layer").add(name, {3, 4}, glorot(3, 4));
    };
    add(reversed ? "b" : "a");
    add(reversed ? "a" : "b");
    std::map<std::string, Numbers> values;
    for (const Parameter& p : parameters->all()) values[p.path] = numbers(p.value());
    return values;
  };
  const auto one = build(1, false);
  CHECK(one.count("layer/a") == 1);
  CHECK(one == build(1, true));
  CHECK(one != build(2, false));
  CHECK(one.at("layer/a") != one.at("layer/b"));
  for (real x : one.at("layer/a")) CHECK(std::abs(x) <= std::sqrt(6.0 / 7));
}

TEST_CASE("parameters: a table drawn at first touch has the bits of one drawn at once, from 8 threads") {
  constexpr int32_t kRows = 5000;
  const auto build = [](bool first_touch) {
    auto parameters = std::make_unique<Parameters>(cpu(), 9);
    parameters->root().table("t", {kRows, 7}, normal(1), {.first_touch = first_touch});
    return parameters;
  };
  const auto eager = build(false), lazy = build(true), late = build(true);
  const Numbers expected = numbers(eager->all()[0].value());
  const Parameter& table = lazy->all()[0];
  std::atomic<int> wrong{0};
  Workers(8).each(64, [&](int64_t piece) {
    const std::vector<int32_t> rows = random_ids(static_cast<uint64_t>(piece), 400, kRows);
    table.touch(rows);
    for (int32_t row : rows) {
      const auto at = static_cast<size_t>(row) * 7;
      wrong += std::memcmp(table.value().data + at, expected.data() + at, 7 * sizeof(real)) != 0;
    }
  });
  CHECK(wrong == 0);
  table.touch_all();
  CHECK(same_bits(numbers(table.value()), expected));
  // A look-up touches what it reads, in both modes.
  for (const Mode mode : {Mode::score, Mode::train}) {
    Tape tape(cpu(), mode);
    const std::vector<int32_t> ids = random_ids(1, 100, kRows);
    const Var y = rows(tape, late->all()[0], tape.index(ids));
    CHECK(same_bits(numbers(y.value()), numbers(rows(tape, eager->all()[0], tape.index(ids)).value())));
  }
  CHECK(late->arrays()[0].size() == kRows * 7);  // draws the rest
  CHECK(same_bits(numbers(late->all()[0].value()), expected));
}

TEST_CASE("parameters: written and read, strictly") {
  const TempDir dir;
  const auto path = dir / "model";
  const auto build = [](Parameters& parameters) {
    parameters.root().add("W", {2, 3}, normal(1));
    (parameters.root() / "deep" / "er").table("t", {4, 2}, normal(1), {.first_touch = true});
  };
  Parameters original(cpu(), 1), other(cpu(), 2);
  build(original);
  build(other);
  CHECK(original.size() == 14);
  CHECK(original.dense_size() == 6);
  write_tensor_file(path, original.arrays(), {});
  const TensorFile file(path);
  Parameters loaded(cpu(), file);
  build(loaded);
  loaded.finish();
  other.assign(file);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(same_bits(numbers(loaded.all()[i].value()), numbers(original.all()[i].value())));
    CHECK(same_bits(numbers(other.all()[i].value()), numbers(original.all()[i].value())));
  }
  check_fails(
      Fault::input,
      [&] {
        Parameters part(cpu(), file);
        part.root().add("W", {2, 3}, normal(1));
        part.finish();
      },
      "model: parameter \"deep/er/t\" is not part of this model");
  check_fails(
      Fault::input,
      [&] {
        Parameters(cpu(), file).root().add("W", {3, 2}, normal(1));
      },
      "model: array \"parameters/W\" has shape [2,3]; expected [3,2]");
  check_fails(
      Fault::input, [&] { Parameters(cpu(), file).root().add("V", {3}, normal(1)); }, "parameters/V");

  // A file of the other build: the numbers convert.
  using Other = std::conditional_t<sizeof(real) == 4, double, float>;
  const std::vector<Other> half(6, Other(0.5));
  NamedArray array = NamedArray::of<Other>("x", half);
  array.shape = {2, 3};
  write_tensor_file(path, {array}, {});
  Numbers into(6);
  read_array(TensorFile(path), "x", {2, 3}, into);
  CHECK(into == Numbers(6, real(0.5)));
}

// ---- the index of a look-up

TEST_CASE("parameters: what is fixed gets no gradient, and the others the same as ever") {
  const std::vector<real> weights = {2, 3, 5};
  const auto gradient_of_weights = [&](bool fixed) {
    Parameters parameters(cpu(), 1);
    Parameter& table = parameters.root().table("t", {4, 2}, normal(1), {.fixed = fixed});
    Parameter& scale = parameters.root().add("w", {3}, constant(2));
    Tape tape(cpu());
    const std::vector<int32_t> ids = {3, 1, 3}, offsets = {0, 2, 3};
    const RowIndex index = tape.index(ids);
    const Segments segments = Segments::between(offsets);
    const Var y =
        bag(table, index, segments, tape.leaf(scale)) + segment_sum(rows(tape, table, index), segments);
    Gradients gradients(parameters);
    tape.backward(sum(square(y)), gradients);
    CHECK(gradients.rows(table).empty() == fixed);
    return numbers(gradients.dense(scale));
  };
  CHECK(same_bits(gradient_of_weights(true), gradient_of_weights(false)));
}

TEST_CASE("tape: a result that several ops read gets all their gradients, whoever comes first") {
  Parameters parameters(cpu(), 1);
  Parameter &x = parameters.root().add("x", {3, 3}, normal(1)),
            &W = parameters.root().add("W", {3, 3}, normal(1));
  // The last op is the first of the way back: matmul and tanh assign what they find unwritten, the sum zeroes it.
  const auto gradient_of_x = [&](const std::vector<int>& order) {
    Tape tape(cpu());
    const Var h = exp(tape.leaf(x));
    Var loss;
    for (int op : order) {
      const Var y = op == 0 ? matmul(h, tape.leaf(W)) : op == 1 ? h + h : op == 2 ? tanh(h) : matmul(h, h);
      loss = loss.tape ? loss + sum(y) : sum(y);
    }
    Gradients first(parameters), second(parameters);
    tape.backward(loss, first);
    tape.backward(loss, second);
    CHECK(same_bits(numbers(first.dense(x)), numbers(second.dense(x))));
    return numbers(first.dense(x));
  };
  std::vector<real> parts(9);
  for (int op = 0; op < 4; ++op)
    for (size_t i = 0; real g : gradient_of_x({op})) parts[i++] += g;
  std::vector<int> order = {0, 1, 2, 3};
  do {
    for (size_t i = 0; real g : gradient_of_x(order)) CHECK(g == doctest::Approx(parts[i++]).epsilon(1e-5));
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("parameters: a new model takes what an older one has, and draws the rest") {
  Parameters older(cpu(), 1), fresh(cpu(), 2), next(cpu(), 2, older);
  older.root().add("W", {2, 3}, normal(1));
  older.root().table("t", {2, 2}, normal(1), {.first_touch = true});
  older.root().table("g", {2, 2}, normal(1));
  const auto build = [](Parameters& parameters) {
    parameters.root().add("W", {2, 3}, normal(1));
    parameters.root().table("t", {3, 2}, normal(1), {.first_touch = true});
    parameters.root().table("g", {3, 2}, normal(1), {.grown = constant(7)});
    parameters.root().add("b", {3}, normal(1));
  };
  build(fresh), build(next);
  next.finish();
  const auto of = [](const Parameters& parameters, size_t i) {
    parameters.all()[i].touch_all();
    return numbers(parameters.all()[i].value());
  };
  const auto joined = [](std::vector<real> a, const std::vector<real>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const std::vector<real> drawn = of(fresh, 1);
  CHECK(same_bits(of(next, 0), of(older, 0)));
  CHECK(same_bits(of(next, 1), joined(of(older, 1), {drawn.end() - 2, drawn.end()})));
  CHECK(same_bits(of(next, 2), joined(of(older, 2), {7, 7})));
  CHECK(same_bits(of(next, 3), of(fresh, 3)));
  const auto refused = [&](const char* name, Shape shape, bool table, const char* why) {
    check_fails(
        Fault::usage,
        [&] {
          Parameters other(cpu(), 1, older);
          if (table)
            other.root().table(name, shape, normal(1));
          else
            other.root().add(name, shape, normal(1));
        },
        name, why);
  };
  refused("W", {3, 3}, false, "has shape [2,3] in the older model; expected [3,3]");
  refused("t", {1, 2}, true, "expected [1,2]");
  refused("t", {2, 3}, true, "expected [2,3]");
}

TEST_CASE("index_rows: the order of a stable sort") {
  Arena arena(cpu());
  for (const int64_t count : {0, 1, 2, 100, 5000})
    for (const int32_t below : {1, 7, 2048, 2049, 1 << 22, (1 << 22) + 1, INT32_MAX}) {
      CAPTURE(count);
      CAPTURE(below);
      arena.reset();
      const std::vector<int32_t> ids = random_ids(static_cast<uint64_t>(below), count, below);
      const RowIndex index = index_rows(ids, arena);
      std::vector<int32_t> order(ids.size());
      std::iota(order.begin(), order.end(), 0);
      const auto id_of = [&](int32_t position) { return ids[static_cast<size_t>(position)]; };
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return id_of(a) < id_of(b); });
      CHECK(list(index.order) == order);
      const std::set<int32_t> distinct(ids.begin(), ids.end());
      CHECK(list(index.rows) == std::vector<int32_t>(distinct.begin(), distinct.end()));
      REQUIRE(index.starts.size() == distinct.size() + 1);
      CHECK(index.starts.front() == 0);
      CHECK(index.starts.back() == count);
      bool right = true;
      for (size_t i = 0; i < index.rows.size(); ++i) {
        right = right && index.starts[i] < index.starts[i + 1];
        for (int32_t k = index.starts[i]; k < index.starts[i + 1]; ++k)
          right = right && id_of(index.order[static_cast<size_t>(k)]) == index.rows[i];
      }
      CHECK(right);
    }
}

// ---- memory

TEST_CASE("arena: marks, rewinding, merging") {
  Arena arena(cpu());
  CHECK(arena.capacity() == 0);
  const Tensor a = arena.tensor({3});
  CHECK(reinterpret_cast<uintptr_t>(a.data) % 64 == 0);
  const Arena::Mark mark = arena.mark();
  const Tensor b = arena.tensor({5});
  CHECK(reinterpret_cast<uintptr_t>(b.data) % 64 == 0);
  CHECK(b.data >= a.data + 3);
  arena.rewind(mark);
  CHECK(arena.tensor({5}).data == b.data);

  const Tensor big = arena.tensor({1 << 20});  // another chunk
  const size_t capacity = arena.capacity();
  CHECK(capacity >= sizeof(real) << 20);
  arena.rewind(mark);
  CHECK(arena.capacity() == capacity);  // chunks stay
  CHECK(arena.tensor({1 << 20}).data == big.data);
  arena.reset();
  CHECK(arena.capacity() == capacity);
  const real* whole = arena.tensor({static_cast<int64_t>(capacity / sizeof(real))}).data;  // one block now
  CHECK(arena.capacity() == capacity);
  arena.reset();
  CHECK(arena.tensor({1}).data == whole);
  CHECK(arena.tensor({0}).data != nullptr);  // no numbers is not no tensor
}

TEST_CASE("buffer: owns, moves, releases") {
  Buffer a(cpu(), {4});
  std::iota(a.host().begin(), a.host().end(), real(1));
  const real* data = a.tensor().data;
  Buffer b(std::move(a));
  CHECK(b.tensor().data == data);
  Buffer c;
  c = std::move(b);
  CHECK(c.host()[3] == 4);
  CHECK(Buffer().host().empty());
}

// ---- shapes

TEST_CASE("shape: rows, columns, text") {
  CHECK(text(Shape{2, 3, 4}, Shape{}, Shape{0}) == "[2,3,4][][0]");
  CHECK(Shape{2, 3, 4}.rows() == 6);
  CHECK(Shape{2, 3, 4}.cols() == 4);
  CHECK(Shape{}.size() == 1);
  CHECK(Shape{}.rows() == 1);
  CHECK(Shape{5}.rows() == 1);
  CHECK(Shape{0, 4}.size() == 0);
  CHECK(Shape{2, 3}.with_cols(7) == Shape{2, 7});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2} != Shape{2, 0});
}

// ---- random numbers

TEST_CASE("random: a function of key and index") {
  CHECK(random_bits(1, 2) == random_bits(1, 2));
  CHECK(key_of(1, "a") == key_of(1, std::string_view("a")));
  std::set<uint64_t> different;
  for (uint64_t key = 0; key < 100; ++key)
    for (uint64_t index = 0; index < 100; ++index) different.insert(random_bits(key, index));
  CHECK(different.size() == 10000);
  const std::set<uint64_t> keys = {
      key_of(1),           key_of(2),         key_of(1, "a"),    key_of(1, "b"), key_of(1, "a", "b"),
      key_of(1, "b", "a"), key_of(1, "ab"),   key_of(1, 0),      key_of(1, 1),   key_of(1, 0, 1),
      key_of(1, 1, 0),     key_of(1, "a", 1), key_of(1, 1, "a"), key_of(0)};
  CHECK(keys.size() == 14);
}

TEST_CASE("random: uniform and normal numbers look like it") {
  constexpr int kCount = 1 << 18, kBins = 256;
  for (const uint64_t key : {uint64_t{0}, uint64_t{1}, key_of(7, "test")}) {
    CAPTURE(key);
    double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0, neighbours = 0, keys = 0;
    std::vector<int> bins(kBins);
    bool inside = true;
    for (uint64_t i = 0; i < kCount; ++i) {
      const double u = random_uniform(key, i), n = random_normal(key, i);
      inside = inside && u >= 0 && u < 1;
      sum += u, squares += u * u, normal_sum += n, normal_squares += n * n;
      neighbours += (u - 0.5) * (random_uniform(key, i + 1) - 0.5);
      keys += (u - 0.5) * (random_uniform(key + 1, i) - 0.5);
      ++bins[static_cast<size_t>(u * kBins)];
    }
    CHECK(inside);
    const double n = kCount, root = std::sqrt(n);
    CHECK(std::abs(sum / n - 0.5) < 5 / std::sqrt(12) / root);
    CHECK(std::abs(squares / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45) / root);
    CHECK(std::abs(normal_sum / n) < 5 / root);
    CHECK(std::abs(normal_squares / n - 1) < 5 * std::sqrt(2) / root);
    CHECK(std::abs(neighbours / n) <
          5.0 / 12 / root);  // neither neighbours nor neighbouring keys are correlated
    CHECK(std::abs(keys / n) < 5.0 / 12 / root);
    double chi_square = 0;
    for (int count : bins) chi_square += (count - n / kBins) * (count - n / kBins) / (n / kBins);
    CHECK(std::abs(chi_square - (kBins - 1)) < 5 * std::sqrt(2.0 * (kBins - 1)));
  }
}

// ---- threads

TEST_CASE("workers: each index once, pieces that depend on the problem only, exceptions that arrive") {
  CHECK(Workers(0).threads() >= 1);
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    const Workers workers(threads);
    CHECK(workers.threads() == threads);
    for (const int64_t count : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      workers.each(count, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
      CHECK(std::all_of(visits.begin(), visits.end(), [](const auto& v) { return v == 1; }));
      std::atomic<int64_t> rows{0}, pieces{0};
      workers.rows(count, 7, [&](int64_t begin, int64_t end) {
        rows += end - begin;
        pieces += begin % 7 == 0 && end == std::min(count, begin + 7);
      });
      CHECK(rows == count);
      CHECK(pieces == (count + 6) / 7);
    }
    check_fails(
        Fault::broken,
        [&] {
          workers.each(100, [](int64_t i) {
            if (i == 57) fail(Fault::broken, "piece ", i);
          });
        },
        "piece 57");
  }
}

// ---- every error of core and autograd

TEST_CASE("errors: text, fault and place") {
  check_fails(
      Fault::bug, [] { check(false, "left ", 1, " right ", 2.5); }, "left 1 right 2.5 (", "tape_test.cpp:");
  check_fails(
      Fault::bug, [] { invariant(false, "impossible"); }, "a bug in Steelyard, please report: impossible (",
      "tape_test.cpp:");
  check_fails(
      Fault::usage, [] { fail(Fault::usage, "x: got ", 3); }, "x: got 3");
  check(true, "not evaluated to an error");
}

TEST_CASE("errors: shapes, tensors, memory") {
  const auto bug = [](auto&& f, const char* message) { check_fails(Fault::bug, f, message); };
  bug([] { Shape{1, 2, 3, 4, 5}; }, "shape: at most 4 sizes, got 5");
  bug([] { Shape{1, -2}; }, "shape: negative size -2");
  bug([] { Shape{}.with_cols(3); }, "shape: a scalar has no columns");
  Numbers data(6);
  const Tensor x{data.data(), {2, 3}, &cpu()};
  bug([&] { x.reshape({4}); }, "reshape: [2,3] has another number of elements than [4]");
  bug([&] { x.slice(1, 2); }, "slice: rows 1 … 3 of [2,3]");
  bug([&] { x.slice(-1, 1); }, "slice: rows -1 … 0 of [2,3]");
  Arena arena(cpu());
  bug([&] { index_rows(std::vector<int32_t>{3, -1}, arena); }, "index_rows: negative id -1 at position 1");
  check_fails(
      Fault::resources, [] { cpu().allocate(size_t{1} << 60); },
      "out of memory: 1152921504606846976 bytes wanted");
}

TEST_CASE("errors: parameters, gradients, tape") {
  const auto bug = [](auto&& f, const char* message) { check_fails(Fault::bug, f, message); };
  Parameters parameters(cpu(), 1);
  const Parameter &p = parameters.root().add("p", {3}, constant(1)),
                  &t = parameters.root().table("t", {4, 2}, constant(1));
  bug([&] { parameters.root().add("p", {3}, constant(1)); }, "parameters: \"p\" was added twice");
  Gradients gradients(parameters);
  bug([&] { gradients.dense(t); }, "gradients: \"t\" is a table: read it by rows");
  Tape tape(cpu());
  bug([&] { tape.leaf(t); }, "tape: \"t\" is a table: read it by rows");
  bug([&] { tape.constant({2, 2}, Numbers(3)); }, "constant: 3 numbers for the shape [2,2]");
  bug([&] { tape.constant(Tensor{}); }, "constant: a tensor of another device");
  bug([&] { tape.backward(tape.leaf(p), gradients); },
      "backward: the loss has shape [3]; expected one element");
}

TEST_CASE("errors: every op checks its arguments before it computes") {
  const auto bug = [](auto&& f, const char* message) { check_fails(Fault::bug, f, message); };
  Parameters parameters(cpu(), 1);
  const Parameter &p = parameters.root().add("p", {3}, constant(1)),
                  &t = parameters.root().table("t", {4, 2}, constant(1));
  Tape tape(cpu());
  const auto ones = [&](Shape shape) {
    return tape.constant(shape, Numbers(static_cast<size_t>(shape.size()), 1));
  };
  const Var x = ones({2, 3}), row = ones({3}), pair = ones({2});
  const auto segments = [&](std::vector<int32_t> begins, std::vector<int32_t> ends) {
    return Segments{tape.upload(begins), tape.upload(ends)};
  };
  const auto index = [&](std::vector<int32_t> ids) { return tape.index(ids); };
  const auto ids = [&](std::vector<int32_t> ids) { return tape.upload(ids); };

  bug([&] { x + row; }, "add: the shapes differ: [2,3] and [3]");
  bug([&] { dropout(x, 1); }, "dropout: rate 1; expected 0 ≤ rate < 1");
  bug([&] { dropout(x, real(-0.5)); }, "dropout: rate -0.5");
  bug([&] { matmul(x, x); }, "matmul: the inner sizes differ: [2,3] · [2,3]");
  bug(
      [&] {
        matmul_transposed(x, ones({2, 2}));
      },
      "matmul_transposed: the inner sizes differ: [2,3] · [2,2]ᵀ");
  bug([&] { linear(x, x, row); }, "linear: the inner sizes differ: [2,3] · [2,3]");
  bug([&] { linear(x, ones({3, 2}), row); }, "linear: a bias of shape [3] for 2 columns");
  bug(
      [&] {
        linear(x, ones({3, 2}), pair, unary_id<Gelu>);
      },
      "linear: an activation whose slope does not follow from its output");
  bug([&] { add_row(x, pair); }, "add_row: a row of shape [2] for [2,3]");
  bug([&] { scale_rows(x, row); }, "scale_rows: [3] weights for the rows of [2,3]");
  bug([&] { dot_rows(x, row); }, "dot_rows: the shapes differ: [2,3] and [3]");
  bug([&] { concat(std::span<const Var>()); }, "concat: nothing to join");
  bug([&] { concat({x, row}); }, "concat: 1 rows beside 2");
  bug([&] { slice_columns(x, 1, 3); }, "slice_columns: columns 1 … 4 of [2,3]");
  bug([&] { reshape(x, {5}); }, "reshape: [2,3] has another number of elements than [5]");
  bug([&] { rows(tape, t, index({0, 4})); }, "rows: row 4 of a table of 4");
  bug([&] { rows(tape, p, index({0})); }, "rows: \"p\" is no table");
  bug([&] { gather(x, index({2}).ids); }, "gather: row 2 of a table of 2");
  bug([&] { bag(tape, t, index({0, 1}), segments({0}, {3})); }, "bag: segment 0 … 3 of 2 positions");
  bug([&] { bag(tape, t, index({0, 1}), segments({0, 1}, {2})); }, "bag: as many begins as ends");
  bug([&] { bag(t, index({0, 1}), segments({0}, {2}), row); }, "bag: [3] weights for 2 positions");
  bug([&] { bag(tape, t, index({0, 1}), segments({0, 1}, {2, 2})); }, "bag: position 1 is in two segments");
  bug([&] { segment_sum(x, segments({1}, {0})); }, "segment_sum: segment 1 … 0 of 2 positions");
  bug([&] { softmax(x, segments({-1}, {3})); }, "softmax: segment -1 … 3 of 6 positions");
  bug([&] { softmax(x, ids({3})); }, "softmax: 1 lengths for 2 rows");
  const Tensor huge{x.value().data, {1 << 16, 1 << 16}, &cpu()};
  bug([&] { softmax(tape.constant(huge)); }, "softmax: 4294967296 in one batch; expected at most 2147483647");
  bug([&] { softmax(x, ids({3, 4})); }, "softmax: length 4 in a row of 3");
  bug([&] { attention(x, segments({0}, {2}), 0); }, "attention: 0 heads for q | k | v of 3 columns");
  bug([&] { attention(x, segments({0}, {2}), 2); }, "attention: 2 heads for q | k | v of 3 columns");
  bug(
      [&] {
        attention(ones({2, 4}), segments({0}, {2}), 1);
      },
      "attention: 1 heads for q | k | v of 4 columns");
  bug([&] { attention(x, segments({0}, {3}), 1); }, "attention: text 0 … 3 of 2 rows");
  bug([&] { attention(x, segments({0, 1}, {2, 2}), 1); }, "attention: text 1 … 2 overlaps another");
  bug([&] { attention(x, segments({0, 1}, {2}), 1); }, "attention: as many begins as ends");
  bug([&] { layer_norm(x, row, pair); }, "layer_norm: gain [3] and bias [2] for [2,3]");
  bug([&] { cross_entropy(x, ids({1})); }, "cross_entropy: 1 labels for 2 rows");
  bug([&] { cross_entropy(x, ids({1, 3})); }, "cross_entropy: label 3; expected less than 3");
  bug([&] { weighted_mean(row, pair.value()); }, "weighted_mean: [2] weights for [3]");
  Tape scoring(cpu(), Mode::score);
  bug([&] { rows(scoring, t, scoring.index(std::vector<int32_t>{-1})); }, "rows: row -1 of a table of 4");
}
