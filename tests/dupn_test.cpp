// The user model (nn/dupn.h, nn/user_model.h): its numbers against plain loops, its gradient, and that
// serving, appending and growing give the bits of training.
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "core/backend.h"
#include "core/random.h"
#include "nn/user_model.h"
#include "tests/some_users.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

using Vector = std::vector<double>;

struct Case {
  explicit Case(const UserConfig& config)
      : config(config),
        histories(some_histories(small_catalogue())),
        model(config, small_catalogue(), 1),
        columns(model.maker().make(histories, Part::train, {}, false, some_questions(config, histories))),
        rows(columns, model.maker()) {
    model.pretrain(rows);
    stir(model);
    for (int64_t row = 0; row < rows.size(); ++row) all.push_back(row);
  }
  double loss() const {
    Tape tape(cpu());
    double sum = 0;
    for (const TaskLoss& task : model.objective(tape, rows, all).tasks)
      sum += static_cast<double>(task.loss.value().data[0]);
    return sum;
  }

  UserConfig config;
  Histories histories;
  UserModel model;
  RowColumns columns;
  HistoryRows rows;
  std::vector<int64_t> all;
};

// ---- the model in plain loops

struct Plain {
  explicit Plain(const Case& c) : c(c) {}

  double at(const std::string& path, int64_t row, int64_t col) const {
    const Parameter& p = *c.model.parameters().find("dupn/" + path);
    return static_cast<double>(p.value().data[row * p.shape.cols() + col]);
  }
  int64_t cols(const std::string& path) const {
    return c.model.parameters().find("dupn/" + path)->shape.cols();
  }
  bool has(const std::string& path) const { return c.model.parameters().find("dupn/" + path) != nullptr; }
  Vector row(const std::string& path, int64_t number) const {
    Vector out;
    for (int64_t j = 0; j < cols(path); ++j) out.push_back(at(path, number, j));
    return out;
  }
  static void join(Vector& to, const Vector& x) { to.insert(to.end(), x.begin(), x.end()); }
  static void add(Vector& to, const Vector& x, double scale = 1) {
    to.resize(std::max(to.size(), x.size()));
    for (size_t j = 0; j < x.size(); ++j) to[j] += scale * x[j];
  }
  Vector times(const Vector& x, const std::string& W) const {
    Vector y(static_cast<size_t>(cols(W)));
    for (size_t i = 0; i < x.size(); ++i) add(y, row(W, static_cast<int64_t>(i)), x[i]);
    return y;
  }
  Vector affine(const Vector& x, const std::string& layer) const {
    Vector y = times(x, layer + "/W");
    for (size_t j = 0; j < y.size(); ++j) y[j] += at(layer + "/b", 0, static_cast<int64_t>(j));
    return y;
  }
  static Vector relu(Vector x) {
    for (double& v : x) v = std::max(v, 0.0);
    return x;
  }

  Vector item(int32_t id) const {
    Vector e = row("item/id", id);
    for (size_t k = 0; k < 2; ++k) {
      Vector sum(static_cast<size_t>(c.config.dupn.attribute_width));
      for (const int32_t value : c.model.catalogue().attributes[k].ragged()[id])
        add(sum, row(text("item/attribute", k), value));
      join(e, sum);
    }
    return e;
  }

  // z of one example of a row, of each task of its group; of next those of all items.
  std::vector<Vector> logits(int64_t of_row, size_t g, size_t example) const {
    const DupnConfig& d = c.config.dupn;
    const HistoryRows& rows = c.rows;
    const ExampleGroup& group = c.model.maker().groups()[g];
    const ExampleRows& examples = rows.groups[g];
    const auto n = static_cast<size_t>(examples.visible[of_row][example]);
    const int32_t candidate = examples.items[of_row][example];
    Vector u, q;
    for (size_t k = 0; k < c.config.events.profile.size(); ++k) {
      Vector sum(static_cast<size_t>(d.profile_width));
      for (const int32_t value : rows.profile[k][of_row]) add(sum, row(text("profile/", k), value));
      join(u, sum);
    }
    if (has("query/words")) {
      q.resize(static_cast<size_t>(d.query_width));
      const Ids words = rows.query[of_row];
      for (const int32_t word : words)
        add(q, row("query/words", word), 1.0 / static_cast<double>(words.size()));
    }
    std::vector<Vector> e, p, h;
    Vector state(static_cast<size_t>(d.hidden)), cell = state;
    if (has("lstm/start"))
      for (int64_t j = 0; j < d.hidden; ++j)
        state[static_cast<size_t>(j)] = at("lstm/start", 0, j),
        cell[static_cast<size_t>(j)] = at("lstm/start", 0, d.hidden + j);
    for (size_t t = 0; t < n; ++t) {
      e.push_back(item(rows.item[of_row][t]));
      p.emplace_back();
      for (size_t k = 0; k < kProperties; ++k)
        if (const std::string table = text("property/", kPropertyNames[k]); has(table))
          join(p.back(), row(table, rows.properties[k][of_row][t]));
      if (d.sequence == "none") {
        h.push_back(e.back());
        continue;
      }
      Vector x = e.back();
      if (d.gates) join(x, p.back());
      const Vector gates = affine(x, "lstm/gates"), content = affine(e.back(), "lstm/content"),
                   z = times(state, "lstm/U");
      const auto H = static_cast<size_t>(d.hidden);
      const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
      for (size_t j = 0; j < H; ++j) {
        cell[j] = sigmoid(gates[H + j] + z[H + j]) * cell[j] +
                  sigmoid(gates[j] + z[j]) * std::tanh(content[j] + z[3 * H + j]);
        state[j] = sigmoid(gates[2 * H + j] + z[2 * H + j]) * std::tanh(cell[j]);
      }
      h.push_back(state);
    }
    Vector rep;
    if (d.pooling != "none") {
      Vector weights;
      for (size_t t = 0; t < n; ++t) {
        if (d.pooling == "mean") {
          weights.push_back(1);
          continue;
        }
        Vector x = h[t];
        if (d.attention) join(x, p[t]);
        Vector z = affine(x, "attention/0");
        const int64_t minutes = rows.minutes[of_row][t] - examples.moments[of_row][example];
        if (d.attention) add(z, row("attention/recency", ExampleMaker::gap(60 * minutes)));
        if (d.target) add(z, times(item(std::max(0, candidate)), "attention/target"));
        if (!u.empty()) add(z, times(u, "attention/profile"));
        if (!q.empty()) add(z, times(q, "attention/query"));
        weights.push_back(std::exp(times(relu(affine(relu(z), "attention/1")), "attention/2")[0]));
      }
      double sum = 0;
      for (const double w : weights) sum += w;
      for (size_t t = 0; t < n; ++t) add(rep, h[t], weights[t] / sum);
    }
    rep.resize(d.pooling == "none"    ? 0
               : d.sequence == "none" ? item(0).size()
                                      : static_cast<size_t>(d.hidden));
    if (d.newest_state) join(rep, n > 0 ? h.back() : Vector(static_cast<size_t>(d.hidden)));
    if (d.newest_item) join(rep, n > 0 ? e.back() : Vector(item(0).size()));
    join(rep, u);

    std::vector<Vector> out;
    for (const Task& task : group.tasks) {
      const std::string head = "heads/" + task.name;
      if (task.kind == "next") {
        const Vector z = affine(rep, head);
        Vector all;
        for (int32_t id = 1; id < c.model.catalogue().items.size(); ++id) {
          double sum = at(head + "/popularity", id, 0);
          for (size_t j = 0; j < z.size(); ++j) sum += z[j] * item(id)[j];
          all.push_back(sum);
        }
        out.push_back(all);
        continue;
      }
      Vector z = row(head + "/b", 0);
      if (has(head + "/rep")) add(z, times(rep, head + "/rep"));
      if (has(head + "/candidate")) add(z, times(item(std::max(0, candidate)), head + "/candidate"));
      Vector x;
      if (group.numbers > 0) {
        const Parameter& scale = *c.model.parameters().find("features/" + group.name + "/scale");
        const auto F = static_cast<size_t>(scale.shape.rows());
        const size_t first =
            (static_cast<size_t>(examples.visible.starts[static_cast<size_t>(of_row)]) + example) * F;
        for (size_t f = 0; f < F; ++f)
          x.push_back(std::clamp((static_cast<double>(examples.numbers[first + f]) -
                                  static_cast<double>(scale.value().data[2 * f])) *
                                     static_cast<double>(scale.value().data[2 * f + 1]),
                                 -5.0, 5.0));
      }
      if (has(head + "/features")) add(z, times(x, head + "/features"));
      for (int layer = 1; layer <= d.head_layers; ++layer) z = affine(relu(z), text(head, "/", layer));
      if (has(head + "/wide")) add(z, times(x, head + "/wide"));
      if (task.kind == "rank") {
        double sum = 0;
        for (size_t f = 0; f < x.size(); ++f) sum += relu(z)[f] * x[f];
        z = {sum};
      }
      out.push_back(z);
    }
    return out;
  }

  const Case& c;
};

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

}  // namespace

TEST_CASE("dupn: every variant against plain loops") {
  const double tolerance = sizeof(real) == sizeof(double) ? 1e-9 : 2e-4;
  for (const UserConfig& config : variants()) {
    const Case c(config);
    const Plain plain(c);
    std::map<std::string, double> losses, asked;
    const std::vector<Answers> answers = c.model.answer(c.rows, Workers(1));
    std::vector<size_t> at(config.tasks.size());
    const std::vector<ExampleGroup>& groups = c.model.maker().groups();
    std::vector<size_t> number(groups.size());
    for (int64_t row = 0; row < c.rows.size(); ++row)
      for (size_t g = 0; g < groups.size(); ++g)
        for (size_t example = 0; example < c.rows.groups[g].visible[row].size(); ++example, ++number[g]) {
          const std::vector<Vector> logits = plain.logits(row, g, example);
          for (size_t k = 0; k < groups[g].tasks.size(); ++k) {
            const Task& task = groups[g].tasks[k];
            const double label = static_cast<double>(c.rows.groups[g].labels[k][number[g]]);
            const double factor =
                task.importance.empty() ? 1 : static_cast<double>(c.rows.groups[g].importance[k][number[g]]);
            const Vector& z = logits[k];
            if (std::isnan(label)) continue;
            ++asked[task.name];
            const size_t answer = at[task.place]++;
            if (task.kind == "next" || task.kind == "classes") {
              double sum = 0;
              for (const double v : z) sum += std::exp(v);
              const double right = z[static_cast<size_t>(label) - (task.kind == "next")];
              losses[task.name] += std::log(sum) - right;
              if (task.kind == "next") continue;
              CHECK(answers[task.place].answers[answer] ==
                    doctest::Approx(std::exp(right) / sum).epsilon(tolerance));
              CHECK(answers[task.place].labels[answer] == (right == *std::max_element(z.begin(), z.end())));
              continue;
            }
            losses[task.name] += factor * (std::log1p(std::exp(z[0])) - label * z[0]);
            CHECK(answers[task.place].answers[answer] ==
                  doctest::Approx(1 / (1 + std::exp(-z[0]))).epsilon(tolerance));
          }
        }
    Tape tape(cpu()), masked(cpu());
    const std::vector<TaskLoss> tasks = c.model.objective(tape, c.rows, c.all).tasks;
    for (size_t k = 0; k < tasks.size(); ++k) {
      const TaskLoss& task = tasks[k];
      CAPTURE(task.name);
      const std::vector<TaskLoss> alone = c.model.objective(masked, c.rows, c.all, uint64_t{1} << k).tasks;
      CHECK(alone.size() == tasks.size());
      for (size_t j = 0; j < alone.size(); ++j) CHECK(alone[j].rows == (j == k ? task.rows : 0));
      CHECK(alone[k].loss.value().data[0] == task.loss.value().data[0]);
      CHECK(static_cast<double>(task.rows) == asked[task.name]);
      CHECK(static_cast<double>(task.loss.value().data[0]) ==
            doctest::Approx(losses[task.name] / asked[task.name]).epsilon(tolerance));
    }
  }
}

TEST_CASE("dupn: the gradient is the slope of the loss in random directions" *
          doctest::skip(sizeof(real) < sizeof(double))) {
  for (const UserConfig& config : variants()) {
    Case c(config);
    Tape tape(cpu());
    Gradients gradients(c.model.parameters());
    Objective objective = c.model.objective(tape, c.rows, c.all);
    Var sum = objective.tasks[0].loss;
    for (size_t k = 1; k < objective.tasks.size(); ++k) sum = sum + objective.tasks[k].loss;
    tape.backward(sum, gradients);
    for (const Parameter& p : c.model.parameters().all()) {
      if (p.fixed) continue;
      CAPTURE(p.path);
      std::vector<double> gradient(static_cast<size_t>(p.shape.size()));
      if (p.table) {
        for (const RowGrad& rows : gradients.rows(p))
          for (size_t i = 0; i < rows.rows.size(); ++i)
            for (int64_t j = 0; j < p.shape.cols(); ++j)
              gradient[static_cast<size_t>(rows.rows[i] * p.shape.cols() + j)] +=
                  static_cast<double>(rows.values.data[static_cast<int64_t>(i) * p.shape.cols() + j]);
      } else {
        const Tensor dense = gradients.dense(p);
        for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = static_cast<double>(dense.data[i]);
      }
      const auto direction = [&](size_t i) {
        return static_cast<double>(random_normal(key_of(3, p.path), i));
      };
      constexpr double kStep = 1e-6;
      double slope = 0, size = 0;
      const auto move = [&](double by) {
        for (size_t i = 0; i < gradient.size(); ++i)
          p.value().data[i] += static_cast<real>(by * direction(i));
        return c.loss();
      };
      for (size_t i = 0; i < gradient.size(); ++i)
        slope += gradient[i] * direction(i), size += std::abs(gradient[i]);
      CHECK(size > 0);
      const double up = move(kStep), down = move(-2 * kStep);
      move(kStep);
      CHECK((up - down) / (2 * kStep) == doctest::Approx(slope).epsilon(1e-5));
    }
  }
}

TEST_CASE("dupn: a frozen representation gets no gradient, its heads do") {
  UserConfig config = small_config();
  config.dupn.frozen = true, config.dupn.item_penalty = 0.1;
  const Case c(config);
  Tape tape(cpu());
  for (const TaskLoss& task : c.model.objective(tape, c.rows, c.all).tasks) {
    CAPTURE(task.name);
    Gradients gradients(c.model.parameters());
    tape.backward(task.loss, gradients);
    for (const Parameter& p : c.model.parameters().all()) {
      CAPTURE(p.path);
      const bool of_head = p.path.starts_with("dupn/heads/" + task.name + "/");
      if (p.table) {
        CHECK(gradients.rows(p).empty() == !of_head);
        continue;
      }
      CHECK((cpu().sum_squares(gradients.dense(p)) > 0) == of_head);
    }
  }
}

TEST_CASE("dupn: a model file gives back the same bits") {
  const Case c(small_config());
  const TempDir folder;
  c.model.save(folder / "m", {});
  const UserModel read = UserModel::open(folder / "m");
  const std::vector<Answers> a = c.model.answer(c.rows, Workers(1)), b = read.answer(c.rows, Workers(8));
  for (size_t k = 0; k < a.size(); ++k) CHECK(a[k].answers == b[k].answers);
  CHECK(read.catalogue().items.size() == c.model.catalogue().items.size());
}

TEST_CASE("dupn: a request gives the bits of a batch, a behaviour more those of reading all again") {
  for (const UserConfig& config : variants()) {
    Case c(config);
    const ExampleMaker& maker = c.model.maker();
    c.model.catalogue().counts = maker.count(c.histories);
    const std::vector<Questions> questions = some_questions(config, c.histories);
    const RowColumns columns =
        maker.make(c.histories, Part::dev, c.model.catalogue().counts, false, questions);
    const HistoryRows rows(columns, maker);
    const std::vector<Answers> answers = c.model.answer(rows, Workers(1));
    Tape tape(cpu(), Mode::score);
    std::vector<size_t> at(config.tasks.size());
    int64_t cut = 0;
    REQUIRE(cut_at(config.events, config.examples.cuts.back(), cut));
    for (int64_t row = 0; row < rows.size(); ++row) {
      if (rows.groups[0].visible[row].empty()) continue;  // not of pairs
      const int32_t user = rows.user[static_cast<size_t>(row)];
      const std::span<const Event> before = events_before(c.histories[user], cut);
      Shopper shopper = c.model.read(before, tape);
      shopper.profile = c.histories.profile(user);
      Shopper grown = c.model.read(before.first(1), tape);
      for (const Event& event : before.subspan(1)) c.model.append(grown, event, tape);
      if (std::ssize(before) <= config.examples.longest) {
        CHECK(grown.states == shopper.states);
        CHECK(grown.items == shopper.items);
        CHECK(grown.last == shopper.last);
      }
      CHECK(grown.read == shopper.read);
      const Ids items = rows.groups[0].items[row];
      std::vector<std::vector<double>> scores;
      c.model.score(shopper, {.moment = cut, .items = items}, tape, scores);
      for (size_t k = 0; k < scores.size(); ++k) {
        const size_t place = maker.groups()[0].tasks[k].place;
        for (const double score : scores[k]) CHECK(same_bits(score, answers[place].answers[at[place]++]));
      }
      if (config.dupn.pooling == "attention") {
        const std::vector<real> weights = c.model.explain(shopper, {.moment = cut, .items = items}, tape);
        REQUIRE(std::ssize(weights) == shopper.read);
        double sum = 0;
        for (const real w : weights) sum += static_cast<double>(w);
        CHECK(sum == doctest::Approx(1));
      }
    }
  }
}

TEST_CASE("dupn: a request of a table gives the bits of a batch") {
  for (const UserConfig& config : variants()) {
    if (config.tables.empty()) continue;
    const Case c(config);
    const ExampleMaker& maker = c.model.maker();
    const std::vector<Questions> questions = some_questions(config, c.histories);
    std::vector<std::multiset<double>> in_batches(config.tasks.size()), alone(config.tasks.size());
    for (const Part part : {Part::train, Part::dev}) {
      const RowColumns columns = maker.make(c.histories, part, {}, false, questions);
      const std::vector<Answers> answers = c.model.answer(HistoryRows(columns, maker), Workers(1));
      for (size_t k = 0; k < answers.size(); ++k)
        in_batches[k].insert(answers[k].answers.begin(), answers[k].answers.end());
    }
    Tape tape(cpu(), Mode::score);
    size_t table = 0;
    for (const ExampleGroup& group : maker.groups()) {
      if (!config.tables.contains(group.name)) continue;
      const Questions& q = questions[table++];
      const auto F = static_cast<size_t>(group.numbers);
      for (size_t i = 0; i < q.user.size(); ++i) {
        Shopper shopper = c.model.read(events_before(c.histories[q.history[i]], q.moment[i]), tape);
        shopper.profile = c.histories.profile(q.user[i]);
        std::vector<std::vector<double>> scores;
        c.model.score(shopper,
                      {.moment = q.moment[i],
                       .items = {&q.item[i], 1},
                       .table = group.name,
                       .numbers = std::span(q.numbers).subspan(i * F, F),
                       .query = q.query.ragged()[static_cast<int64_t>(i)]},
                      tape, scores);
        for (size_t k = 0; k < group.tasks.size(); ++k) {
          const float label = q.labels[k][i];
          const bool classes = group.tasks[k].kind == "classes";
          REQUIRE(scores[k].size() == (classes ? 3 : 1));
          if (!std::isnan(label))
            alone[group.tasks[k].place].insert(scores[k][classes ? static_cast<size_t>(label) : 0]);
        }
      }
      for (const Task& task : group.tasks) {
        CAPTURE(task.name);
        CHECK(alone[task.place].size() > 40);
        CHECK(alone[task.place] == in_batches[task.place]);
      }
    }
  }
}

TEST_CASE("dupn: many candidates are scored as each alone") {
  for (const UserConfig& config : variants()) {
    const Case c(config);
    Tape tape(cpu(), Mode::score);
    Shopper shopper = c.model.read(c.histories[3], tape);
    shopper.profile = c.histories.profile(3);
    std::vector<int32_t> items;
    for (int32_t i = 0; i < 600; ++i) items.push_back(1 + i * 5 % 12);
    for (const ExampleGroup& group : c.model.maker().groups()) {
      if (group.name == "next") continue;
      std::vector<float> numbers;
      if (group.name != "pair")
        for (int64_t i = 0; i < 600 * group.numbers; ++i) numbers.push_back(static_cast<float>(i % 37));
      const auto F = numbers.size() / items.size();
      Request all{.moment = 200 * kDay, .items = items, .numbers = numbers};
      if (group.name != "pair") all.table = group.name;
      std::vector<std::vector<double>> together, alone;
      c.model.score(shopper, all, tape, together);
      for (const size_t i : {size_t{0}, size_t{1}, size_t{255}, size_t{256}, size_t{511}, size_t{599}}) {
        Request one = all;
        one.items = all.items.subspan(i, 1), one.numbers = all.numbers.subspan(i * F, F);
        c.model.score(shopper, one, tape, alone);
        for (size_t k = 0; k < alone.size(); ++k) {
          REQUIRE(together[k].size() == 600 * alone[k].size());
          for (size_t z = 0; z < alone[k].size(); ++z)
            CHECK(same_bits(alone[k][z], together[k][i * alone[k].size() + z]));
        }
      }
    }
  }
}

TEST_CASE("dupn: growing changes no old score") {
  const UserConfig config = small_config();
  const Case c(config);
  const Catalogue larger = small_catalogue(20);
  const UserModel grown(config, larger, 5, &c.model);
  CHECK(grown.parameters().find("dupn/item/id")->shape.rows() == 21);
  const std::vector<Answers> a = c.model.answer(c.rows, Workers(1)), b = grown.answer(c.rows, Workers(1));
  for (size_t k = 0; k < 2; ++k) CHECK(a[k].answers == b[k].answers);
  // The next item: new ones enlarge the softmax, the logits of the old ones are what they were, and so is
  // their order.
  Tape tape(cpu(), Mode::score);
  const Shopper shopper = c.model.read(c.histories[0], tape);
  const int64_t now = c.histories[0].back().time + 1;
  const std::vector<int32_t> before = c.model.recommend(shopper, {.moment = now}, 100, true, tape);
  std::vector<int32_t> after;
  for (const int32_t item :
       grown.recommend(grown.read(c.histories[0], tape), {.moment = now}, 100, true, tape))
    if (item <= 12) after.push_back(item);
  CHECK(before == after);
  CHECK(c.model.represent(shopper, {.moment = now}, tape) ==
        grown.represent(grown.read(c.histories[0], tape), {.moment = now}, tape));
}

TEST_CASE("dupn: users without events and items that nobody knows") {
  for (const UserConfig& config : variants()) {
    Case c(config);
    Tape tape(cpu(), Mode::score);
    const std::span<const std::string_view> none;
    const std::string_view texts[] = {"b1", "t0 new"};
    const int32_t stranger = c.model.catalogue().add("stranger", none),
                  akin = c.model.catalogue().add("akin", texts);
    std::vector<std::vector<double>> scores;
    const std::vector<int32_t> asked = {1, stranger, akin, 0};
    c.model.score(c.model.read({}, tape), {.moment = 5 * kDay, .items = asked}, tape, scores);
    for (const std::vector<double>& of_task : scores) {
      for (const double score : of_task) CHECK(std::isfinite(score));
      CHECK(same_bits(of_task[1], of_task[3]));
      CHECK((of_task[1] == of_task[2]) == !config.dupn.candidate);
    }
    const std::vector<Event> history = {{stranger, 0, kDay}, {akin, 1, 2 * kDay}};
    c.model.score(c.model.read(history, tape), {.moment = 5 * kDay, .items = asked}, tape, scores);
    for (const double score : scores[0]) CHECK(std::isfinite(score));
  }
  const Case c(small_config());
  Tape tape(cpu(), Mode::score);
  Shopper shopper = c.model.read({}, tape);
  c.model.append(shopper, {1, 0, 2 * kDay}, tape);
  CHECK(shopper.states == c.model.read(std::vector<Event>{{1, 0, 2 * kDay}}, tape).states);
  check_fails(
      Fault::input,
      [&] {
        c.model.append(shopper, {1, 0, kDay}, tape);
      },
      "expected them in the order of time");
}

TEST_CASE("dupn: a million events are their newest") {
  const UserConfig config = small_config();
  const Case c(config);
  std::vector<Event> history;
  for (int32_t i = 0; i < 1'000'000; ++i) history.push_back({1 + i % 12, i % 2, i * int64_t{60}});
  Tape tape(cpu(), Mode::score);
  const Shopper shopper = c.model.read(history, tape);
  CHECK(shopper.read == config.examples.longest);
  CHECK(c.model.recommend(shopper, {.moment = history.back().time + 1}, 3, true, tape).size() == 3);
  CHECK(c.model.recommend(shopper, {.moment = history.back().time + 1}, 3, false, tape).empty());
}

TEST_CASE("dupn: metrics of answers") {
  const Case c(small_config());
  const std::vector<Answers> answers = {
      {{0.9, 0.1, 0.8, 0.2}, {1, 0, 1, 0}, {}}, {{0.5, 0.5}, {1, 0}, {}}, {{0, 9, 10, 3}, {1, 2, 3, 4}, {}}};
  std::map<std::string, double> metrics;
  for (const auto& [name, value] : c.model.metrics(answers)) metrics[name] = value;
  CHECK(metrics.at("buy.auc") == 1);
  CHECK(metrics.at("click.auc") == 0.5);
  CHECK(metrics.at("auc") == 0.75);
  CHECK(metrics.at("next.hr10") == 0.75);
  CHECK(metrics.at("next.ndcg10_all") == doctest::Approx((1 + 1 / std::log2(11) + 1 / std::log2(5)) / 4));
}

TEST_CASE("dupn: options that no model can have") {
  const auto refused = [](auto change, const char* part) {
    UserConfig config = small_config();
    change(config);
    check_fails(
        Fault::usage, [&] { UserModel(config, small_catalogue(), 1); }, part);
  };
  refused([](UserConfig& c) { c.model = "lstm"; }, "model: unknown model \"lstm\"");
  refused([](UserConfig& c) { c.dupn.hidden = 0; }, "dupn.hidden: 0; expected 1 … 4096");
  refused([](UserConfig& c) { c.dupn.sequence = "gru"; }, "dupn.sequence: gru; expected lstm or none");
  refused([](UserConfig& c) { c.dupn.pooling = "max"; },
          "dupn.pooling: max; expected attention, mean or none");
  refused([](UserConfig& c) { c.dupn.head_layers = -1; }, "dupn.head_layers: -1");
  refused([](UserConfig& c) { c.dupn.dropout = 1; }, "dupn.dropout: 1; expected 0 ≤ rate < 1");
  refused([](UserConfig& c) { c.dupn.item_penalty = -1; }, "dupn.item_penalty: -1");
  refused([](UserConfig& c) { c.dupn.target = true, c.dupn.pooling = "mean"; }, "dupn.target: true");
  refused([](UserConfig& c) { c.dupn.pooling = "none", c.dupn.newest_state = c.dupn.newest_item = false; },
          "dupn.pooling: none; expected something that tasks.next can see");
  refused(
      [](UserConfig& c) {
        c.dupn.target = true, c.tasks = {{"next", {.kind = "next"}}};
      },
      "dupn.target: true; expected a task about items");
}
