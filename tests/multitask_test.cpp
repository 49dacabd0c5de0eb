// Networks of several tasks (nn/multitask.h) and the model of a table around them (nn/table_model.h): their numbers against
// plain loops, their gradients, which parameters are whose, and that a row's answers are the same bits everywhere.
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "core/backend.h"
#include "tests/some_tables.h"
#include "tests/support.h"

using namespace steelyard;
using namespace steelyard::test;

namespace {

using Vector = std::vector<double>;

struct Case {
  explicit Case(const TableModelConfig& config, bool separate = false)
      : config(config), model(make(config, separate)) {
    columns = model.encoding().read(path(), config.features, model.tasks(), {});
    rows.emplace(columns, model.encoding(), model.tasks());
    all.resize(static_cast<size_t>(rows->size));
    std::iota(all.begin(), all.end(), 0);
    stir(model);
  }
  std::string path() const { return (folder / "t.tsv").string(); }
  TableModel make(const TableModelConfig& config, bool separate) const {
    write_file(folder / "t.tsv", some_table());
    return TableModel(config, Encoding::fit(path(), config.features, all_tasks(config.tasks)), 1, separate);
  }
  double loss() const {
    Tape tape(cpu());
    double sum = 0;
    const Objective objective = model.objective(tape, *rows, all);
    for (const TaskLoss& task : objective.tasks) sum += static_cast<double>(task.loss.value().data[0]);
    if (objective.regulariser.tape) sum += static_cast<double>(objective.regulariser.value().data[0]);
    return sum;
  }

  TempDir folder;
  TableModelConfig config;
  TableModel model;
  RowColumns columns;
  std::optional<TableRows> rows;
  std::vector<int64_t> all;
};

// ---- a network in plain loops

struct Plain {
  const Case& c;
  std::string root = {};  // of a task with a network of its own

  const Parameter* find(const std::string& path) const { return c.model.parameters().find(root + path); }
  Vector row(const std::string& path, int64_t number) const {
    const Parameter& p = *find(path);
    Vector out;
    for (int64_t j = 0; j < p.shape.cols(); ++j)
      out.push_back(static_cast<double>(p.value().data[number * p.shape.cols() + j]));
    return out;
  }
  static void add(Vector& to, const Vector& x, double scale = 1) {
    to.resize(std::max(to.size(), x.size()));
    for (size_t j = 0; j < x.size(); ++j) to[j] += scale * x[j];
  }
  Vector times(const Vector& x, const std::string& W) const {
    Vector y;
    for (size_t i = 0; i < x.size(); ++i) add(y, row(W, static_cast<int64_t>(i)), x[i]);
    return y;
  }
  Vector layer(const Vector& x, const std::string& at, bool relu = true) const {
    Vector y = times(x, at + "/W");
    add(y, row(at + "/b", 0));
    for (double& v : y) v = relu ? std::max(v, 0.0) : v;
    return y;
  }
  std::vector<Vector> experts(const Vector& x, const std::string& at, int count) const {
    const auto D = static_cast<size_t>(c.config.network.expert_width);
    const Vector first = layer(x, at + "/0");
    std::vector<Vector> out;
    for (size_t e = 0; e < static_cast<size_t>(count); ++e) {
      out.emplace_back(first.begin() + static_cast<int64_t>(e * D),
                       first.begin() + static_cast<int64_t>((e + 1) * D));
      for (int l = 1; l < c.config.network.expert_layers; ++l)
        out[e] = layer(out[e], text(at, "/", l, "/", e));
    }
    return out;
  }
  Vector mix(const std::vector<Vector>& experts, const Vector& x, const std::string& gate) const {
    Vector g = times(x, gate), out;
    REQUIRE(g.size() == experts.size());
    double sum = 0;
    for (double& v : g) sum += v = std::exp(v);
    for (size_t e = 0; e < g.size(); ++e) add(out, experts[e], g[e] / sum);
    return out;
  }

  // z of one row for each of these tasks.
  std::vector<Vector> logits(int64_t of_row, const std::vector<Task>& tasks) const {
    const NetworkConfig& net = c.config.network;
    const auto F = static_cast<size_t>(c.model.encoding().fields()),
               N = static_cast<size_t>(c.model.encoding().numbers());
    const auto at = static_cast<size_t>(of_row);
    const Ids ids = c.rows->ids.subspan(at * F, F);
    const std::span<const float> numbers = c.rows->numbers.subspan(at * N, N);
    const bool deep = c.config.model != "linear";
    Vector x;
    for (size_t f = 0; f < F && deep; ++f) {
      const Vector e = row("embedding", ids[f]);
      x.insert(x.end(), e.begin(), e.end());
    }
    x.insert(x.end(), numbers.begin(), numbers.end());
    std::vector<Vector> h(tasks.size(), x);
    if (c.config.model == "bottom")
      for (Vector& of_task : h)
        for (int l = 0; l < net.bottom_layers; ++l) of_task = layer(of_task, text("bottom/", l));
    if (c.config.model == "mmoe" || c.config.model == "ple") {
      const bool ple = c.config.model == "ple";
      const int levels = ple ? net.levels : 1;
      Vector shared = x;
      for (int l = 0; l < levels; ++l) {
        const std::string here = text("experts/", l, "/");
        const std::vector<Vector> common = experts(shared, here + "shared", net.experts);
        std::vector<Vector> every = common;
        for (size_t k = 0; k < tasks.size(); ++k) {
          const std::string own = text("heads/", tasks[k].name, "/experts/", l),
                            low = here + "own/" + tasks[k].name;
          std::vector<Vector> seen = common;
          if (ple)
            for (const Vector& y : experts(h[k], l + 1 == levels ? own : low, net.own_experts))
              seen.push_back(y), every.push_back(y);
          h[k] = mix(seen, h[k], (l + 2 >= levels ? own : low) + "/gate");
        }
        if (l + 1 < levels) shared = mix(every, shared, here + "shared/gate");
      }
    }
    for (size_t k = 0; k < tasks.size(); ++k) {
      const std::string head = "heads/" + tasks[k].name;
      for (int l = 0; l < net.tower_layers && deep; ++l) h[k] = layer(h[k], text(head, "/tower/", l));
      h[k] = deep ? layer(h[k], head + "/last", false) : row(head + "/b", 0);
      if (deep && !net.wide) continue;
      for (const int32_t id : ids) add(h[k], row(head + "/wide/ids", id));
      if (N > 0) add(h[k], times(Vector(numbers.begin(), numbers.end()), head + "/wide/numbers"));
    }
    return h;
  }
};

// Whose a parameter is: of all, or of one task.
bool belongs(const Parameter& p, const std::string& task) {
  return !p.path.starts_with("heads/") || p.path.starts_with("heads/" + task + "/");
}

bool reached(const Gradients& gradients, const Parameter& p) {
  return p.table ? !gradients.rows(p).empty() : cpu().sum_squares(gradients.dense(p)) > 0;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape == b.shape &&
         std::memcmp(a.data, b.data, static_cast<size_t>(a.shape.size()) * sizeof(real)) == 0;
}

}  // namespace

TEST_CASE("multitask: id by id or row by row, the first layers make the same of a batch") {
  for (TableModelConfig config : table_variants()) {
    CAPTURE(config.model);
    config.network.penalty = 0.1;
    const double by_id = Case(config).loss();
    config.network.embedding_dropout = 1e-12;  // which no draw is below
    CHECK(Case(config).loss() == doctest::Approx(by_id).epsilon(1e-5));
  }
}

TEST_CASE("multitask: every kind of network against plain loops") {
  const double tolerance = sizeof(real) == sizeof(double) ? 1e-9 : 2e-4;
  for (const bool separate : {false, true})
    for (const TableModelConfig& config : table_variants()) {
      const Case c(config, separate);
      CAPTURE(config.model);
      CAPTURE(separate);
      const std::vector<Task>& tasks = c.model.tasks();
      const std::vector<TaskAnswers> answers = c.model.answer(*c.rows, Workers(1));
      Vector losses(tasks.size()), asked(tasks.size());
      for (const int64_t row : c.all) {
        std::vector<Vector> z;
        if (!separate) z = Plain{c}.logits(row, tasks);
        for (const Task& task : tasks)
          if (separate) z.push_back(Plain{c, "heads/" + task.name + "/"}.logits(row, {task})[0]);
        const auto i = static_cast<size_t>(row);
        for (size_t k = 0; k < tasks.size(); ++k) {
          const Task& task = tasks[k];
          const auto label = static_cast<double>(c.rows->labels[k][i]);
          const double factor = task.importance.empty() ? 1 : static_cast<double>(c.rows->importance[k][i]);
          const Scale& scale = c.model.encoding().label(task.name);
          const auto answer = [&](size_t j) {
            return answers[k].answers[i * static_cast<size_t>(answers[k].width) + j];
          };
          REQUIRE(std::ssize(z[k]) == answers[k].width);
          double sum = 0, loss = 0;
          for (const double v : z[k]) sum += std::exp(v);
          if (task.kind == "binary") {
            CHECK(answer(0) == doctest::Approx(1 / (1 + std::exp(-z[k][0]))).epsilon(tolerance));
            loss = std::log1p(std::exp(z[k][0])) - label * z[k][0];
          } else if (task.kind == "number") {
            CHECK(answer(0) == doctest::Approx(scale.mean + scale.deviation * z[k][0]).epsilon(tolerance));
            loss = (z[k][0] - scale(label)) * (z[k][0] - scale(label));
          } else {
            for (size_t j = 0; j < 3; ++j)
              CHECK(answer(j) == doctest::Approx(std::exp(z[k][j]) / sum).epsilon(tolerance));
            if (!std::isnan(label)) loss = std::log(sum) - z[k][static_cast<size_t>(label)];
          }
          if (std::isnan(label)) continue;
          losses[k] += factor * loss, ++asked[k];
        }
      }
      Tape tape(cpu());
      const Objective objective = c.model.objective(tape, *c.rows, c.all);
      for (size_t k = 0; k < tasks.size(); ++k) {
        CHECK(objective.tasks[k].name == tasks[k].name);
        CHECK(static_cast<double>(objective.tasks[k].rows) == asked[k]);
        CHECK(asked[k] < static_cast<double>(c.all.size()));  // some are not
        CHECK(static_cast<double>(objective.tasks[k].loss.value().data[0]) ==
              doctest::Approx(losses[k] / asked[k]).epsilon(tolerance));
      }
    }
}

TEST_CASE("multitask: the gradient is the slope of the loss in random directions" *
          doctest::skip(sizeof(real) < sizeof(double))) {
  for (const bool separate : {false, true})
    for (TableModelConfig config : table_variants()) {
      config.network.penalty = 0.1;
      const Case c(config, separate);
      CAPTURE(config.model);
      Tape tape(cpu());
      Gradients gradients(c.model.parameters());
      const Objective objective = c.model.objective(tape, *c.rows, c.all);
      Var sum = objective.tasks[0].loss + objective.tasks[1].loss + objective.tasks[2].loss;
      CHECK((objective.regulariser.tape != nullptr) ==
            (c.model.encoding().fields() > 0 && config.model != "linear"));
      if (objective.regulariser.tape) sum = sum + objective.regulariser;
      tape.backward(sum, gradients);
      for (const Parameter& p : c.model.parameters().all()) {
        CAPTURE(p.path);
        Vector gradient(static_cast<size_t>(p.shape.size()));
        if (p.table) {
          for (const RowGrad& rows : gradients.rows(p))
            for (size_t i = 0; i < rows.rows.size(); ++i)
              for (int64_t j = 0; j < p.shape.cols(); ++j)
                gradient[static_cast<size_t>(rows.rows[i] * p.shape.cols() + j)] +=
                    static_cast<double>(rows.values.data[static_cast<int64_t>(i) * p.shape.cols() + j]);
        } else {
          for (size_t i = 0; i < gradient.size(); ++i)
            gradient[i] = static_cast<double>(gradients.dense(p).data[i]);
        }
        const auto direction = [&](size_t i) {
          return static_cast<double>(random_normal(key_of(3, p.path), i));
        };
        constexpr double kStep = 1e-6;
        const auto move = [&](double by) {
          for (size_t i = 0; i < gradient.size(); ++i)
            p.value().data[i] += static_cast<real>(by * direction(i));
          return c.loss();
        };
        double slope = 0, size = 0;
        for (size_t i = 0; i < gradient.size(); ++i)
          slope += gradient[i] * direction(i), size += std::abs(gradient[i]);
        // One expert needs no gate.
        CHECK((size > 0) == !(p.path.ends_with("gate") && config.network.experts == 1));
        const double up = move(kStep), down = move(-2 * kStep);
        move(kStep);
        CHECK((up - down) / (2 * kStep) == doctest::Approx(slope).epsilon(1e-5));
      }
    }
}

TEST_CASE("multitask: a mask leaves out tasks, and under heads/TASK/ is what one task alone reads") {
  for (const bool separate : {false, true})
    for (const TableModelConfig& config : table_variants()) {
      const Case c(config, separate);
      CAPTURE(config.model);
      Tape whole(cpu()), tape(cpu());
      const Objective all = c.model.objective(whole, *c.rows, c.all);
      for (size_t k = 0; k < all.tasks.size(); ++k) {
        tape.reset();
        const Objective one = c.model.objective(tape, *c.rows, c.all, uint64_t{1} << k);
        CHECK(tape.size() < whole.size());
        REQUIRE(one.tasks.size() == all.tasks.size());
        for (size_t j = 0; j < one.tasks.size(); ++j) {
          CHECK(one.tasks[j].name == all.tasks[j].name);
          if (j == k) {
            CHECK(same_bits(one.tasks[j].loss.value(), all.tasks[j].loss.value()));
            CHECK(one.tasks[j].rows == all.tasks[j].rows);
          } else {
            CHECK(one.tasks[j].loss.value().data[0] == 0);
            CHECK(one.tasks[j].rows == 0);
          }
        }
        Gradients masked(c.model.parameters()), of_whole(c.model.parameters());
        tape.backward(one.tasks[k].loss, masked);
        whole.backward(all.tasks[k].loss, of_whole);
        for (const Parameter& p : c.model.parameters().all()) {
          CAPTURE(p.path);
          const bool silent = p.path.ends_with("gate") && config.network.experts == 1;
          CHECK(reached(masked, p) == (belongs(p, all.tasks[k].name) && !silent));
          CHECK(reached(of_whole, p) == reached(masked, p));
          CHECK((!separate || p.path.starts_with("heads/")));
        }
      }
    }
}

TEST_CASE("multitask: a step without rows, or without labels, has losses of 0") {
  for (const TableModelConfig& config : table_variants()) {
    const Case c(config);
    std::vector<int64_t> not_asked;  // to buy
    for (const int64_t row : c.all)
      if (std::isnan(c.rows->labels[0][static_cast<size_t>(row)])) not_asked.push_back(row);
    REQUIRE(!not_asked.empty());
    Tape tape(cpu());
    for (const TaskLoss& task : c.model.objective(tape, *c.rows, {}).tasks) {
      CHECK(task.rows == 0);
      CHECK(task.loss.value().data[0] == 0);
    }
    const Objective objective = c.model.objective(tape, *c.rows, not_asked);
    CHECK(objective.tasks[0].rows == 0);
    CHECK(objective.tasks[0].loss.value().data[0] == 0);
    CHECK(objective.tasks[1].rows > 0);
  }
}

TEST_CASE("multitask: a row has the same bits in every batch, on any number of threads") {
  for (const TableModelConfig& config : table_variants()) {
    const Case c(config);
    std::vector<int64_t> many;
    for (int64_t i = 0; i < 700; ++i) many.push_back(i * 7 % c.rows->size);
    const std::vector<TaskAnswers> once = c.model.answer(*c.rows, Workers(1)),
                                   often = c.model.answer(*c.rows, many, Workers(4));
    for (const int64_t row : c.all) {
      const std::vector<TaskAnswers> alone = c.model.answer(*c.rows, {&row, 1}, Workers(1));
      for (size_t k = 0; k < alone.size(); ++k)
        for (int64_t j = 0; j < alone[k].width; ++j)
          CHECK(alone[k].answers[static_cast<size_t>(j)] ==
                once[k].answers[static_cast<size_t>(row * alone[k].width + j)]);
    }
    for (size_t k = 0; k < once.size(); ++k)
      for (size_t i = 0; i < many.size(); ++i)
        for (int64_t j = 0; j < once[k].width; ++j)
          REQUIRE(often[k].answers[i * static_cast<size_t>(once[k].width) + static_cast<size_t>(j)] ==
                  once[k].answers[static_cast<size_t>(many[i] * once[k].width + j)]);
  }
}

TEST_CASE("multitask: a model file gives back the same bits, and nothing but a whole one is read") {
  for (const bool separate : {false, true})
    for (const TableModelConfig& config : table_variants()) {
      const Case c(config, separate);
      const auto path = c.folder / "m";
      c.model.save(path, {{"training", "{}"}});
      const TableModel read = TableModel::open(path);
      CHECK(read.separate() == separate);
      CHECK(read.metadata().at("training") == "{}");
      const RowColumns columns = read.encoding().read(c.path(), config.features, read.tasks(), {});
      const std::vector<TaskAnswers> a = c.model.answer(*c.rows, Workers(1)),
                                     b = read.answer({columns, read.encoding(), read.tasks()}, Workers(3));
      for (size_t k = 0; k < a.size(); ++k) CHECK(a[k].answers == b[k].answers);
    }
  const Case c(small_config("ple"));
  const auto path = c.folder / "m";
  c.model.save(path, {});
  const TensorFile file(path);
  const auto refused = [&](auto change, const std::string& expected) {
    std::vector<NamedArray> arrays = file.arrays();
    Metadata metadata = file.metadata();
    change(arrays, metadata);
    const auto bad = c.folder / "bad";
    write_tensor_file(bad, arrays, metadata);
    check_fails(
        Fault::input, [&] { TableModel::open(bad); }, bad.string() + ": ", expected);
  };
  for (const NamedArray& array : file.arrays())
    refused([&](std::vector<NamedArray>& a,
                Metadata&) { std::erase_if(a, [&](auto& x) { return x.name == array.name; }); },
            array.name);
  refused([](std::vector<NamedArray>& a, Metadata&) { a.push_back(a[0]), a.back().name = "parameters/more"; },
          "\"more\" is not part of this model");
  refused([](std::vector<NamedArray>& a, Metadata&) { a.push_back(a[0]), a.back().name = "labels/more"; },
          "features");
  refused([](auto&, Metadata& m) { m.erase("separate"); }, "separate");
  refused([](auto&, Metadata& m) { m["separate"] = "perhaps"; }, "separate: \"perhaps\"; expected yes or no");
  refused([](auto&, Metadata& m) { m["separate"] = "yes"; }, "heads/buy/");
  refused([](auto&, Metadata& m) { m["kind"] = "users"; }, "kind is \"users\"");
}

TEST_CASE("multitask: a model that goes on from another has what that learned") {
  const Case c(small_config("mmoe"));
  TableModelConfig config = c.config;
  config.tasks["seen"] = {.kind = "binary", .label = "bought"};
  const TableModel newer(config, Encoding::fit(c.path(), config.features, all_tasks(config.tasks)), 5, false,
                         &c.model);
  for (const Parameter& p : c.model.parameters().all())
    CHECK(same_bits(p.value(), newer.parameters().find(p.path)->value()));
  CHECK(newer.parameters().find("heads/seen/last/W"));
}

TEST_CASE("multitask: an explanation is what leaving a feature out does to the logit") {
  for (const TableModelConfig& config : table_variants()) {
    const Case c(config);
    const auto names = c.model.encoding().names();
    const std::vector<TaskExplanation> explained = c.model.explain(*c.rows, 4);
    for (size_t f = 0; f < names.size(); ++f) {
      RowColumns without = c.columns;
      const auto F = static_cast<size_t>(c.model.encoding().fields()),
                 N = static_cast<size_t>(c.model.encoding().numbers());
      c.model.encoding().leave_out(f, std::span(without.ids["features"]).subspan(4 * F, F),
                                   std::span(without.numbers["numbers"]).subspan(4 * N, N));
      const int64_t row = 4;
      const std::vector<TaskAnswers> with = c.model.answer(*c.rows, {&row, 1}, Workers(1)),
                                     less = c.model.answer({without, c.model.encoding(), c.model.tasks()},
                                                           {&row, 1}, Workers(1));
      const auto logit = [](double p) { return std::log(p / (1 - p)); };
      CHECK(explained[0].answers == with[0].answers);
      CHECK(explained[0].changes.at(f) ==
            doctest::Approx(logit(with[0].answers[0]) - logit(less[0].answers[0])).epsilon(1e-3));
      const size_t best =
          static_cast<size_t>(std::ranges::max_element(with[1].answers) - with[1].answers.begin());
      CHECK(explained[1].changes.at(f) ==
            doctest::Approx(std::log(with[1].answers[best] / less[1].answers[best])).epsilon(1e-3));
      CHECK(explained[2].changes.at(f) == with[2].answers[0] - less[2].answers[0]);
    }
    CHECK(explained[0].changes.size() == names.size());
  }
}

TEST_CASE("multitask: metrics of answers") {
  const Case c(small_config("bottom"));
  const double none = NAN;
  const std::vector<TaskAnswers> answers = {
      {1, {0.9, 0.1, 0.8, 0.2, 0.5}, {1, 0, 1, 0, none}},
      {3, {0.6, 0.2, 0.2, 0.1, 0.8, 0.1, 0.5, 0.4, 0.1, 0.3, 0.3, 0.4}, {0, 1, 1, none}},
      {1, {1, 2, 9}, {2, 4, none}}};
  std::map<std::string, double> metrics;
  for (const auto& [name, value] : c.model.metrics(answers)) metrics[name] = value;
  CHECK(metrics.at("buy.auc") == 1);
  CHECK(metrics.at("buy.logloss") == doctest::Approx(-(std::log(0.9) + std::log(0.8)) / 2));
  CHECK(metrics.at("grade.accuracy") == doctest::Approx(2.0 / 3));
  CHECK(metrics.at("grade.logloss") == doctest::Approx(-(std::log(0.6) + std::log(0.8) + std::log(0.4)) / 3));
  CHECK(metrics.at("grade.macro_f1") == doctest::Approx(2.0 / 3));  // of classes that are there or were said
  CHECK(metrics.at("grade.auc") == 1);                              // of the two that are there
  CHECK(metrics.at("paid.rmse") == doctest::Approx(std::sqrt(2.5)));
  CHECK(metrics.at("paid.spearman") == 1);
  CHECK(metrics.at("auc") == 1);
  CHECK(metrics.at("logloss") ==
        doctest::Approx((metrics.at("buy.logloss") + metrics.at("grade.logloss")) / 2));
  size_t keys = 0;
  for (const auto& [name, task] : c.config.tasks)
    for (const std::string& key : TableModel::metric_names(task.kind))
      keys += metrics.contains(name + "." + key);
  CHECK(keys == 4 + 4 + 2);
  for (const auto& [name, value] : c.model.metrics({{1, {}, {}}, {3, {}, {}}, {1, {0.5}, {none}}}))
    CHECK(std::isnan(value));
}

TEST_CASE("multitask: options that no model can have") {
  const auto refused = [](auto change, const char* part) {
    TableModelConfig config = small_config("mmoe");
    change(config);
    check_fails(
        Fault::usage, [&] { config.validate(); }, part);
  };
  refused([](TableModelConfig& c) { c.model = "moe"; }, "model: unknown model \"moe\"");
  refused([](TableModelConfig& c) { c.network.width = 0; }, "network.width: 0; expected 1 … 4096");
  refused([](TableModelConfig& c) { c.network.experts = 0; }, "network.experts: 0; expected 1 … 64");
  refused([](TableModelConfig& c) { c.network.tower_layers = -1; },
          "network.tower_layers: -1; expected 0 … 64");
  refused([](TableModelConfig& c) { c.network.dropout = 1; }, "network.dropout: 1");
  refused([](TableModelConfig& c) { c.network.embedding_dropout = -1; }, "network.embedding_dropout: -1");
  refused([](TableModelConfig& c) { c.network.penalty = -1; }, "network.penalty: -1");
  refused([](TableModelConfig& c) { c.tasks.clear(); }, "tasks: 0; expected 1 … 64");
  refused([](TableModelConfig& c) { c.tasks["buy"].kind = "pair"; }, "tasks.buy.kind: \"pair\"");
  refused([](TableModelConfig& c) { c.tasks["buy"].behaviour = "buy"; }, "tasks.buy.behaviour: \"buy\"");
  refused([](TableModelConfig& c) { c.tasks["grade"].classes = {}; }, "tasks.grade.classes: 0");
  refused([](TableModelConfig& c) { c.features.numeric = {"paid"}; },
          "no column that is the label of tasks.paid");
}
