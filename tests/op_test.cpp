// What every row of the op table must fulfil (reliability: honest gradients, the same bits however often and
// in whatever company a row is computed). Gradients are compared with differences in the double build only:
// in float a difference says little.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "core/random.h"
#include "tests/op_table.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

using Numbers = std::vector<real>;

bool same_bits(const Numbers& a, const Numbers& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0);
}

// The gradients of all inputs and tables of a row, one after the other.
Numbers gradients_of(const OpSetup& setup, const Gradients& gradients) {
  Numbers all;
  for (const Parameter& p : setup.parameters.all()) {
    const Numbers part = gradient(gradients, p);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

Numbers backward(const OpSetup& setup, Tape& tape, Var loss) {
  Gradients gradients(setup.parameters);
  tape.backward(loss, gradients);
  return gradients_of(setup, gradients);
}

// The words before the comma of a row's name.
std::set<std::string> covered_by(const OpCase& row) {
  std::istringstream words(row.name.substr(0, row.name.find(',')));
  std::set<std::string> covered;
  for (std::string word; words >> word;) covered.insert(word);
  return covered;
}

template <class... Ops>
std::vector<std::string> names_of(TypeList<Ops...>) {
  return {Ops::name...};
}

// How often each function is declared in autograd/ops.h.
std::map<std::string, int> declared_functions() {
  std::string header = read_file(std::filesystem::path(STEELYARD_SOURCE_DIR) / "autograd/ops.h");
  header = std::regex_replace(header, std::regex("//[^\n]*"), "");
  const std::regex declaration("\\bVar\\s+(operator\\S|\\w+)\\s*\\(");
  std::map<std::string, int> functions;
  for (std::sregex_iterator it(header.begin(), header.end(), declaration), end; it != end; ++it)
    ++functions[(*it)[1]];
  return functions;
}

}  // namespace

TEST_CASE("op table: every function of ops.h and every formula has a row") {
  std::map<std::string, int> rows;
  for (const OpCase& row : op_table())
    for (const std::string& word : covered_by(row)) ++rows[word];
  const std::map<std::string, int> functions = declared_functions();
  CHECK(functions.size() > 30);  // the header was found and understood
  for (const auto& function : functions)
    CHECK_MESSAGE(rows[function.first] >= function.second, function.first, ": fewer rows than overloads");
  for (const std::string& name : names_of(UnaryOps{})) CHECK_MESSAGE(rows[name] > 0, name, " has no row");
  for (const std::string& name : names_of(BinaryOps{})) CHECK_MESSAGE(rows[name] > 0, name, " has no row");
}

#ifdef REAL_DOUBLE

// L = Σ r ⊙ f(x);  |numeric − analytic| ≤ 1e-8 + 1e-6 · max(|numeric|, |analytic|)
TEST_CASE("op table: gradients equal central differences") {
  for (const OpCase& row : op_table()) {
    CAPTURE(row.name);
    OpSetup setup(row, cpu());
    const auto loss_of = [&](Tape& tape) {
      tape.set_random_key(7);
      return projection(setup.run(tape));
    };
    Tape tape(cpu());
    const Var loss = loss_of(tape);
    const bool result_is_empty = setup.run(tape).size() == 0;
    Gradients gradients(setup.parameters);
    tape.backward(loss, gradients);

    Tape probe(cpu());
    const auto value = [&] {
      probe.reset();
      return loss_of(probe).value().data[0];
    };
    for (size_t input = 0; input < setup.parameters.all().size(); ++input) {
      const Parameter& p = setup.parameters.all()[input];
      const Numbers analytic = gradient(gradients, p);
      double largest = 0, worst = 0;
      for (size_t i = 0; i < analytic.size(); ++i) {
        real& x = p.buffer.host()[i];
        const real kept = x, step = 1e-5 * std::max(1.0, std::abs(kept));
        x = kept + step;
        const double above = value();
        x = kept - step;
        const double below = value();
        x = kept;
        const double numeric = (above - below) / (2 * step),
                     size = std::max(std::abs(numeric), std::abs(analytic[i]));
        const double ratio = std::abs(numeric - analytic[i]) / (1e-8 + 1e-6 * size);
        largest = std::max(largest, std::abs(analytic[i]));
        if (!(ratio <= 1))
          FAIL_CHECK(row.name, ": input ", input, ", element ", i, ": numeric ", numeric, ", analytic ",
                     analytic[i]);
        worst = std::max(worst, ratio);
      }
      if (analytic.empty() || result_is_empty) continue;
      if (std::count(row.flat.begin(), row.flat.end(), input))
        CHECK_MESSAGE(largest < 1e-8, row.name, ": input ", input, " is said to be flat; largest ", largest);
      else
        CHECK_MESSAGE(largest > 0, row.name, ": input ", input, " has a gradient of zeros");
    }
  }
}

#endif

TEST_CASE("op table: using a result twice doubles every gradient, bit for bit") {
  for (const OpCase& row : op_table()) {
    CAPTURE(row.name);
    const OpSetup setup(row, cpu());
    const auto gradients = [&](bool twice) {
      Tape tape(cpu());
      const Var y = setup.run(tape);
      return backward(setup, tape, projection(twice ? y + y : y));
    };
    Numbers doubled = gradients(false);
    for (real& x : doubled) x *= 2;
    CHECK(same_bits(gradients(true), doubled));
  }
}

TEST_CASE("op table: two calls add their gradients") {
  for (const OpCase& row : op_table()) {
    if (row.random) continue;
    CAPTURE(row.name);
    const OpSetup setup(row, cpu());
    const auto gradients = [&](int calls) {
      Tape tape(cpu());
      Var loss = projection(setup.run(tape));
      if (calls == 2) loss = loss + projection(setup.run(tape));
      return backward(setup, tape, loss);
    };
    const Numbers once = gradients(1), twice = gradients(2);
    real largest = 0;
    for (real x : once) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < once.size(); ++i)  // sums in another order
      CHECK(std::abs(twice[i] - 2 * once[i]) <= 16 * std::numeric_limits<real>::epsilon() * largest);
  }
}

TEST_CASE("op table: two losses of one recording equal two recordings, and backward may run again") {
  for (const OpCase& row : op_table()) {
    CAPTURE(row.name);
    const OpSetup setup(row, cpu());
    struct Recording {
      explicit Recording(const OpSetup& setup)
          : tape(cpu()), y(setup.run(tape)), a(projection(y, 1)), b(projection(y, 2)) {}
      Tape tape;
      Var y, a, b;
    };
    Recording together(setup), alone_a(setup), alone_b(setup);
    const Numbers a = backward(setup, together.tape, together.a),
                  b = backward(setup, together.tape, together.b);
    CHECK(same_bits(a, backward(setup, alone_a.tape, alone_a.a)));
    CHECK(same_bits(b, backward(setup, alone_b.tape, alone_b.b)));
    CHECK(same_bits(a, backward(setup, together.tape, together.a)));
  }
}

TEST_CASE("op table: scoring gives the bits of training") {
  for (const OpCase& row : op_table()) {
    if (row.random) continue;
    CAPTURE(row.name);
    const OpSetup setup(row, cpu());
    Tape training(cpu(), Mode::train), scoring(cpu(), Mode::score);
    const Var a = setup.run(training), b = setup.run(scoring);
    CHECK(a.shape() == b.shape());
    CHECK(same_bits(numbers(a.value()), numbers(b.value())));
    CHECK(!b.needs_grad());
    CHECK(a.needs_grad());
  }
}

TEST_CASE("op table: a row has the same bits alone and in its batch") {
  for (const OpCase& row : op_table()) {
    if (!row.by_row) continue;
    CAPTURE(row.name);
    const OpSetup setup(row, cpu());
    Tape tape(cpu(), Mode::score), single(cpu(), Mode::score);
    const Numbers all = numbers(setup.run(tape).value());
    Numbers one_by_one;
    for (int64_t r = 0; r < setup.rows(); ++r) {
      single.reset();
      const Numbers one = numbers(setup.run_row(single, r).value());
      one_by_one.insert(one_by_one.end(), one.begin(), one.end());
    }
    CHECK(same_bits(all, one_by_one));
  }
}

// The same over many shapes: batches of every size up to 40 rows, whose first and last rows are also computed
// alone and in batches of 8 and 13.
TEST_CASE("a row's bits do not depend on its batch: products, softmax, layer norm, bags") {
  constexpr int64_t kMost = 40;
  for (const int64_t inner : {1, 7, 16, 64, 129, 300})
    for (const int64_t cols : {1, 3, 16, 31, 96, 130}) {
      CAPTURE(inner);
      CAPTURE(cols);
      Parameters parameters(cpu(), 5);
      const Parameter &x = parameters.root().add("x", {kMost, inner}, normal(1)),
                      &W = parameters.root().add("W", {inner, cols}, normal(1)),
                      &T = parameters.root().add("T", {cols, inner}, normal(1)),
                      &b = parameters.root().add("b", {cols}, normal(1)),
                      &gain = parameters.root().add("gain", {inner}, normal(1)),
                      &bias = parameters.root().add("bias", {inner}, normal(1));
      const auto rows_of = [&](int64_t begin, int64_t count) {
        Tape tape(cpu(), Mode::score);
        const Var part = tape.constant(x.value().slice(begin, count));
        const Var results[] = {matmul(part, tape.leaf(W)),
                               matmul_transposed(part, tape.leaf(T)),
                               linear(part, tape.leaf(W), tape.leaf(b), unary_id<Tanh>),
                               softmax(part),
                               layer_norm(part, tape.leaf(gain), tape.leaf(bias)),
                               dot_rows(part, gelu(part))};
        std::vector<std::vector<Numbers>> rows(static_cast<size_t>(count));
        for (const Var& y : results) {
          const Numbers all = numbers(y.value());
          const auto width = all.size() / static_cast<size_t>(count);
          for (size_t r = 0; r < rows.size(); ++r)
            rows[r].emplace_back(all.begin() + static_cast<int64_t>(r * width),
                                 all.begin() + static_cast<int64_t>((r + 1) * width));
        }
        return rows;
      };
      const auto whole = rows_of(0, kMost);
      int differing = 0;
      const auto compare = [&](int64_t begin, int64_t count) {
        const auto part = rows_of(begin, count);
        for (size_t r = 0; r < part.size(); ++r)
          for (size_t result = 0; result < part[r].size(); ++result)
            differing += !same_bits(part[r][result], whole[static_cast<size_t>(begin) + r][result]);
      };
      for (int64_t count = 1; count <= kMost; ++count) compare(0, count);
      for (int64_t begin = 0; begin < kMost; ++begin) compare(begin, 1);
      for (int64_t begin = 0; begin + 13 <= kMost; ++begin) compare(begin, 8), compare(begin, 13);
      CHECK(differing == 0);
    }
}

TEST_CASE("a text's bits do not depend on its batch: attention and its gradient") {
  constexpr int64_t kTexts = 40, kRows = kTexts * (kTexts + 1) / 2;  // of 1 … 40 rows
  std::vector<int32_t> offsets = {0};
  for (int32_t n = 1; n <= kTexts; ++n) offsets.push_back(offsets.back() + n);
  for (const int64_t depth : {12, 32, 64}) {
    constexpr int64_t kHeads = 4;
    Parameters parameters(cpu(), 5);
    const Tensor qkv = parameters.root().add("qkv", {kRows, 3 * depth}, normal(1)).value(),
                 dy = parameters.root().add("dy", {kRows, depth}, normal(1)).value();
    // The results and gradients of rows begin … begin + count.
    const auto run = [&](int64_t begin, int64_t count, const Segments& texts) {
      const Buffer y(cpu(), {count, depth}), lse(cpu(), {kHeads, count}), dqkv(cpu(), {count, 3 * depth});
      const Tensor part = qkv.slice(begin, count);
      cpu().attention(part, texts, kHeads, y.tensor(), lse.tensor());
      cpu().zero(dqkv.tensor());
      cpu().attention_grad(part, texts, kHeads, lse.tensor(), dy.slice(begin, count), dqkv.tensor());
      return std::pair(numbers(y.tensor()), numbers(dqkv.tensor()));
    };
    const auto together = run(0, kRows, Segments::between(offsets));
    Numbers y, dqkv;
    for (size_t t = 0; t < kTexts; ++t) {
      const std::vector<int32_t> text = {0, offsets[t + 1] - offsets[t]};
      const auto alone = run(offsets[t], text[1], Segments::between(text));
      y.insert(y.end(), alone.first.begin(), alone.first.end());
      dqkv.insert(dqkv.end(), alone.second.begin(), alone.second.end());
    }
    CHECK(same_bits(together.first, y));
    CHECK(same_bits(together.second, dqkv));
  }
}
