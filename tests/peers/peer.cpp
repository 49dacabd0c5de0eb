// Our side of the comparisons with PyTorch; the other side is twins.py and speed.py.
//
//   peer layers FOLDER            every row of the op table and a few stacks: inputs, outputs, gradients
//   peer optimizers FOLDER        every rule: gradients of some steps, parameters before and after
//   peer models FOLDER            DeepBoW in every variant, and the dense one: a folder each, with the model, its
//                                 rows, the first gradient and the parameters after some steps
//   peer users FOLDER             the user model in every variant, likewise, without steps
//   peer tables FOLDER            the networks of several tasks in every variant, likewise
//   peer bounds FOLDER STEPS      constrained problems and what each rule of the multipliers makes of them
//   peer nmt FOLDER               prints pairs of seconds: a step of method equal, and one of nmt with a bound to hold
//   peer serve FOLDER [DATA]      answers lines "NAME THREADS COUNT" on stdin with the seconds of one iteration
//
// Results are files of core/tensor_file.h in FOLDER, with numbers of this build's type. DATA is the folder
// that holds home_depot_search/; without it the rows are the market's.
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <tuple>

#include "core/backend.h"
#include "core/check.h"
#include "core/fields.h"
#include "data/batches.h"
#include "data/market.h"
#include "nn/relevance.h"
#include "nn/table_model.h"
#include "nn/user_model.h"
#include "optim/trainer.h"
#include "tests/op_table.h"
#ifdef __AVX2__
#include "tests/peers/bags.h"
#endif
#include "tests/some_problems.h"
#include "tests/some_tables.h"
#include "tests/some_users.h"

using namespace steelyard;
using test::OpCase;
using test::Operands;

namespace {

namespace fs = std::filesystem;

Buffer random_buffer(Shape shape) {
  Buffer buffer(cpu(), shape);
  for (size_t i = 0; i < buffer.host().size(); ++i) buffer.host()[i] = random_normal(1, i);
  return buffer;
}

// ---- stacks of ops

// Layers of W, b, gain, bias: y ← layer_norm(relu(y · W + b)); the last one is W, b alone.
Var mlp(Var y, std::span<const Var> p) {
  for (; p.size() > 2; p = p.subspan(4)) y = layer_norm(linear(y, p[0], p[1], unary_id<Relu>), p[2], p[3]);
  return linear(y, p[0], p[1]);
}

std::vector<OpCase> stacks() {
  const auto rest = [](const Operands& x) { return std::span<const Var>(x.inputs).subspan(1); };
  return {{.name = "mlp",
           .inputs = {{17, 12}, {12, 20}, {20}, {20}, {20}, {20, 9}, {9}, {9}, {9}, {9, 4}, {4}},
           .f = [=](const Operands& x) { return mlp(x[0], rest(x)); }}};
}

// ---- parity

// Arrays that are computed one after the other and written together.
class Results {
 public:
  void add(const std::string& name, const Shape& shape, std::vector<real> values) {
    kept_.push_back(std::move(values));
    arrays_.push_back(named_array(name, shape, kept_.back()));
  }
  void add(const std::string& name, Tensor x) { add(name, x.shape, test::numbers(x)); }
  void add(const std::string& name, std::vector<int32_t> ids) {
    kept_ids_.push_back(std::move(ids));
    arrays_.push_back(NamedArray::of(name, std::span<const int32_t>(kept_ids_.back())));
  }
  void write(const fs::path& path) { write_tensor_file(path, std::move(arrays_), {}); }

 private:
  std::deque<std::vector<real>> kept_;
  std::deque<std::vector<int32_t>> kept_ids_;
  std::vector<NamedArray> arrays_;
};

void layers(const fs::path& folder) {
  std::vector<OpCase> cases = test::op_table();
  for (const OpCase& row : stacks()) cases.push_back(row);
  Results results;
  for (const OpCase& row : cases) {
    if (row.random) continue;
    test::OpSetup setup(row, cpu());
    Tape tape(cpu());
    Gradients gradients(setup.parameters);
    const Var y = setup.run(tape);
    const Buffer r = random_buffer(y.shape());
    tape.backward(sum(y * tape.constant(r.tensor())), gradients);
    const std::string at = row.name + "/";
    results.add(at + "y", y.value());
    results.add(at + "r", r.tensor());
    for (const Parameter& q : setup.parameters.all()) {
      results.add(at + q.path, q.value());
      results.add(at + "d_" + q.path, q.shape, test::gradient(gradients, q));
    }
    results.add(at + "flat", std::vector<int32_t>(row.flat.begin(), row.flat.end()));
    results.add(at + "ids", row.ids);
    results.add(at + "begins", row.begins);
    results.add(at + "ends", row.ends);
  }
  results.write(folder / "layers.safetensors");
}

// Two shards, whose rows overlap, through Gradients::merge.
void optimizers(const fs::path& folder) {
  constexpr int64_t kSteps = 5, kShards = 2, kRows = 4, kCols = 5;
  const Workers workers(2);
  Results results;
  for (const std::string rule : {"sgd", "adagrad", "adam", "row_adagrad"}) {
    OptimizerConfig config;
    config.dense = rule == "row_adagrad" ? "sgd" : rule;
    config.tables = rule;
    config.rate = 0.1;
    config.weight_decay = 0.01;
    Parameters parameters(cpu(), 1);
    const Parameter &dense = parameters.root().add("dense", {7, kCols}, normal(1)),
                    &table = parameters.root().table("table", {9, kCols}, normal(1));
    Optimizer optimizer(parameters, config);
    std::vector<Gradients> parts;
    for (int64_t shard = 0; shard < kShards; ++shard) parts.emplace_back(parameters);
    Gradients merged(parameters);
    results.add(rule + "/dense", dense.value());
    results.add(rule + "/table", table.value());
    for (int64_t step = 0; step < kSteps; ++step) {
      for (int64_t shard = 0; shard < kShards; ++shard) {
        Gradients& g = parts[static_cast<size_t>(shard)];
        g.clear();
        std::vector<int32_t> rows;
        for (int64_t i = 0; i < kRows; ++i) rows.push_back(static_cast<int32_t>(step % 2 + shard + 2 * i));
        const Tensor of_dense = g.dense(dense), of_rows = g.add_rows(table, rows);
        const auto draw = [&](Tensor x, uint64_t key) {
          for (int64_t i = 0; i < x.size(); ++i) x.data[i] = random_normal(key, static_cast<uint64_t>(i));
        };
        draw(of_dense, key_of(1, "dense", step, shard));
        draw(of_rows, key_of(1, "rows", step, shard));
        const std::string at = text(rule, "/", step, "/", shard, "/");
        results.add(at + "dense", of_dense);
        results.add(at + "rows", rows);
        results.add(at + "values", of_rows);
      }
      merged.merge(parts, workers);
      optimizer.step(merged, 1, workers);
    }
    results.add(rule + "/dense_after", dense.value());
    results.add(rule + "/table_after", table.value());
  }
  results.write(folder / "optimizers.safetensors");
}

// ---- training steps

// One step as optim/trainer.cpp makes it: the shards recorded and replayed, merged, applied.
class Step {
 public:
  // The shard's part of the loss.
  using Loss = std::function<Var(Tape& tape, int64_t step, int shard)>;

  Step(Parameters& parameters, int shards, Loss loss) : loss_(std::move(loss)), merged_(parameters) {
    for (int shard = 0; shard < shards; ++shard) {
      tapes_.push_back(std::make_unique<Tape>(cpu()));
      gradients_.emplace_back(parameters);
    }
  }
  Step(Parameters& parameters, int shards, Loss loss, const OptimizerConfig& config)
      : Step(parameters, shards, std::move(loss)) {
    optimizer_ = std::make_unique<Optimizer>(parameters, config);
  }

  // The loss of the batch.
  double operator()(const Workers& workers) {
    std::vector<double> losses(tapes_.size());
    workers.each(static_cast<int64_t>(tapes_.size()), [&](int64_t shard) {
      const auto at = static_cast<size_t>(shard);
      Tape& tape = *tapes_[at];
      tape.reset();
      tape.set_random_key(key_of(1, "tape", step_, shard));
      gradients_[at].clear();
      const Var loss = loss_(tape, step_, static_cast<int>(shard));
      losses[at] = loss.value().data[0];
      tape.backward(loss, gradients_[at]);
    });
    merged_.merge(gradients_, workers);
    double loss = 0;
    for (double part : losses) loss += part;
    check(std::isfinite(loss) && std::isfinite(merged_.norm()), "peer: diverged");
    if (optimizer_) optimizer_->step(merged_, 1, workers);
    ++step_;
    return loss;
  }
  const Gradients& merged() const { return merged_; }

 private:
  Loss loss_;
  std::vector<std::unique_ptr<Tape>> tapes_;
  std::vector<Gradients> gradients_;
  Gradients merged_;
  std::unique_ptr<Optimizer> optimizer_;
  int64_t step_ = 0;
};

// A model and the pairs it learns from.
struct PairTraining {
  static constexpr int64_t kBatch = 256;
  static constexpr int kShards = 4;
  static constexpr double kRamp = 10;  // steps for which `progress` grows

  PairTraining(const RelevanceConfig& config, const std::string& table, const fs::path& folder)
      : model(config, read_corpus(config, table, "stop").vocabulary, 1),
        cache(model.encode_rows(table, "stop", folder / "train.rows")) {}

  // rows_of(step, shard, out) says which rows a shard has.
  template <class F>
  Step step(const OptimizerConfig& optimizer, F rows_of) {
    return Step(
        model.parameters(), kShards,
        [this, rows_of, rows = std::vector<std::vector<int64_t>>(kShards)](Tape& tape, int64_t step,
                                                                           int shard) mutable {
          std::vector<int64_t>& mine = rows[static_cast<size_t>(shard)];
          rows_of(step, shard, mine);
          const double progress = std::min(1.0, static_cast<double>(step + 1) / kRamp);
          const Objective objective = model.objective(tape, pairs, mine, progress);
          const auto share = static_cast<real>(mine.size()) / static_cast<real>(kBatch);
          const Var loss = affine(objective.tasks[0].loss, share);
          if (!objective.regulariser.tape) return loss;
          return loss + affine(objective.regulariser, real(1) / kShards);
        },
        optimizer);
  }

  Relevance model;
  RowCache cache;
  PairRows pairs{cache};
};

std::string market_table(const fs::path& folder) {
  write_market(folder / "market", {});
  return folder / "market" / "relevance_train.tsv";
}

RelevanceConfig market_config() {
  RelevanceConfig config;
  config.columns = {"query", "title", "relevance", "", 1, 3, 2.5};
  config.deepbow.query_dropout = 0;
  config.encoder.dropout = 0;
  return config;
}

// Every branch of the models, by the options that lead there. Words and characters are few, so that some texts
// have more than are read and some words have no vector of their own.
const std::vector<std::pair<std::string, std::string>> kModels = {
    {"lexical", R"({"deepbow": {"priors": false}})"},
    {"lexical, bags exchanged",
     R"({"deepbow": {"query_bag": "expansion", "product_bag": "weighting", "query_places": false}})"},
    {"encoder", R"({"deepbow": {"query_encoder": true, "product_encoder": true, "product_penalty": 0.02}})"},
    {"encoder, bags exchanged",
     R"({"deepbow": {"query_encoder": true, "query_bag": "expansion", "query_penalty": 0.02, "gate": false,
                     "product_encoder": true, "product_bag": "weighting", "product_places": false,
                     "penalty": "l1", "negatives": 0.5},
         "encoder": {"character_layers": 0, "word_layers": 2}})"},
    {"expansion × expansion",
     R"({"deepbow": {"query_encoder": true, "query_bag": "expansion", "query_penalty": 0.01,
                     "product_encoder": true, "product_penalty": 0.02, "negatives": 0.5}})"},
    {"weighting × weighting",
     R"({"deepbow": {"query_encoder": true, "product_encoder": true, "product_bag": "weighting",
                     "priors": false},
         "encoder": {"word_layers": 0, "character_layers": 2}})"},
    {"latent",
     R"({"deepbow": {"product_encoder": true, "product_penalty": 0.02}, "encoder": {"kind": "latent"}})"},
    {"dense", R"({"model": "dense"})"},
};

// Batch k is the rows 256k … 256k+255. Every parameter is moved at random, so that no gradient is special.
void models(const fs::path& folder) {
  const std::string table = market_table(folder);
  const Workers workers(2);
  OptimizerConfig optimizer;
  optimizer.rate = 0.006;
  optimizer.epsilon = 1e-2;  // rounding, at the kink of V_c above all, must not become a whole step
  for (const auto& [name, changes] : kModels) {
    RelevanceConfig config = market_config();
    config.vocabulary.max_terms = 4000, config.vocabulary.buckets = 1 << 10;
    config.encoder.width = 16, config.encoder.words = 150;
    config.encoder.max_words = 6, config.encoder.max_characters = 32;
    from_json(config, changes);
    fs::create_directories(folder / name);
    PairTraining training(config, table, folder / name);
    for (Parameter& p : training.model.parameters().all()) {
      const std::span<real> w = p.buffer.host();
      for (size_t i = 0; i < w.size(); ++i) w[i] += random_normal(key_of(1, p.path), i) / 4;
    }
    training.model.save(folder / name / "model.safetensors", {});
    Step step = training.step(optimizer, [](int64_t step, int shard, std::vector<int64_t>& out) {
      constexpr int64_t kPart = PairTraining::kBatch / PairTraining::kShards;
      out.resize(kPart);
      for (int64_t i = 0; i < kPart; ++i)
        out[static_cast<size_t>(i)] = step * PairTraining::kBatch + shard * kPart + i;
    });
    Results results;
    constexpr int kSteps = 5;
    for (int k = 0; k < kSteps; ++k) {
      results.add(text("loss/", k), {}, {static_cast<real>(step(workers))});
      if (k > 0) continue;
      for (const Parameter& p : training.model.parameters().all())
        results.add("gradient/" + p.path, p.shape, test::gradient(step.merged(), p));
    }
    for (const Parameter& p : training.model.parameters().all()) results.add("after/" + p.path, p.value());
    results.write(folder / name / "results.safetensors");
  }
}

// The user model in every variant: the model, its rows, the loss of each task over all of them and the gradient of their sum.
void users(const fs::path& folder) {
  int number = 0;
  for (const UserConfig& config : test::variants()) {
    const fs::path at = folder / text("users ", number++);
    fs::create_directories(at);
    const Histories histories = test::some_histories(test::small_catalogue());
    UserModel model(config, test::small_catalogue(), 1);
    const RowCache cache = RowCache::open_or_build(at / "train.rows", "", [&] {
      return model.maker().make(histories, Part::train, {}, false, test::some_questions(config, histories));
    });
    const HistoryRows rows(cache, model.maker());
    model.pretrain(rows);
    test::stir(model);
    model.save(at / "model.safetensors", {});
    std::vector<int64_t> all;
    for (int64_t row = 0; row < rows.size(); ++row) all.push_back(row);
    Tape tape(cpu());
    Gradients gradients(model.parameters());
    Results results;
    Var sum;
    for (const TaskLoss& task : model.objective(tape, rows, all).tasks) {
      results.add("loss/" + task.name, task.loss.value());
      sum = sum.tape ? sum + task.loss : task.loss;
    }
    tape.backward(sum, gradients);
    for (const Parameter& p : model.parameters().all())
      if (!p.fixed) results.add("gradient/" + p.path, p.shape, test::gradient(gradients, p));
    results.write(at / "results.safetensors");
  }
}

// The networks of several tasks: the loss of each over all rows, the regulariser and the gradient of their sum.
void tables(const fs::path& folder) {
  int number = 0;
  for (const bool separate : {false, true})
    for (TableModelConfig config : test::table_variants()) {
      const fs::path at = folder / text("tables ", number++);
      fs::create_directories(at);
      const std::string file = (at / "rows.tsv").string();
      if (!(std::ofstream(file) << test::some_table())) fail(Fault::resources, file, ": cannot be written");
      config.network.penalty = 0.1;
      const std::vector<Task> tasks = all_tasks(config.tasks);
      TableModel model(config, Encoding::fit(file, config.features, tasks), 1, separate);
      test::stir(model);
      model.save(at / "model.safetensors", {});
      const RowCache cache = RowCache::open_or_build(
          at / "train.rows", "", [&] { return model.encoding().read(file, config.features, tasks, {}); });
      const TableRows rows(cache, model.encoding(), tasks);
      std::vector<int64_t> all;
      for (int64_t row = 0; row < rows.size; ++row) all.push_back(row);
      Tape tape(cpu());
      Gradients gradients(model.parameters());
      Results results;
      Objective objective = model.objective(tape, rows, all);
      if (objective.regulariser.tape) objective.tasks.push_back({"regulariser", objective.regulariser});
      Var sum;
      for (const TaskLoss& task : objective.tasks) {
        results.add("loss/" + task.name, task.loss.value());
        sum = sum.tape ? sum + task.loss : task.loss;
      }
      tape.backward(sum, gradients);
      for (const Parameter& p : model.parameters().all())
        results.add("gradient/" + p.path, p.shape, test::gradient(gradients, p));
      results.write(at / "results.safetensors");
    }
}

void bounds(const fs::path& folder, int steps) {
  Results results;
  const auto add = [&](const std::string& name, const std::vector<double>& values) {
    results.add(name, {std::ssize(values)}, {values.begin(), values.end()});
  };
  for (const test::Problem& p : test::problems()) {
    add(text(p.name, "/known/x"), p.solution), add(text(p.name, "/known/multipliers"), p.multipliers);
    for (const char* rule : {"ascent", "augmented", "pi"}) {
      const test::Solved found =
          solve(p, {.rule = rule, .rescale = "none", .rate = 0.1, .growth = 1}, steps, 0.05);
      add(text(p.name, "/", rule, "/x"), found.x);
      add(text(p.name, "/", rule, "/multipliers"), found.multipliers);
    }
  }
  results.write(folder / "bounds.safetensors");
}

// ---- speed

// Every benchmark: its name, and what makes it. One iteration is a call with the threads it may use.
using Iteration = std::function<void(const Workers&)>;

// 1000 additions of one element, recorded and replayed.
Iteration tape() {
  const auto parameters = std::make_shared<Parameters>(cpu(), 1);
  const Parameter& p = parameters->root().add("p", {1}, constant(real(0.5)));
  const auto step = std::make_shared<Step>(*parameters, 1, [&p](Tape& tape, int64_t, int) {
    const Var first = tape.leaf(p);
    Var x = first;
    for (int i = 0; i < 1000; ++i) x = x + first;
    return x;
  });
  return [parameters, step](const Workers& workers) { (*step)(workers); };
}

// Width H, 10 classes; a batch is cut into four shards.
Iteration mlp_step(int64_t batch, int64_t width) {
  constexpr int kShards = 4;
  const auto parameters = std::make_shared<Parameters>(cpu(), 1);
  std::vector<const Parameter*> p;
  for (int layer = 0; layer < 3; ++layer) {
    const Parameters::Scope at = parameters->root() / std::to_string(layer);
    const int64_t out = layer == 2 ? 10 : width;
    p.push_back(&at.add("W", {width, out}, glorot(width, out)));
    p.push_back(&at.add("b", {out}, constant(0)));
    if (layer == 2) break;
    p.push_back(&at.add("gain", {out}, constant(1)));
    p.push_back(&at.add("bias", {out}, constant(0)));
  }
  const auto x = std::make_shared<Buffer>(random_buffer({batch, width}));
  const int64_t part = batch / kShards;
  const auto step = std::make_shared<Step>(*parameters, kShards, [=](Tape& tape, int64_t, int shard) {
    std::vector<Var> leaves;
    for (const Parameter* q : p) leaves.push_back(tape.leaf(*q));
    const Var y = mlp(tape.constant(x->tensor().slice(shard * part, part)), leaves);
    const std::span<int32_t> labels = tape.array<int32_t>(part);
    std::fill(labels.begin(), labels.end(), 3);
    return affine(mean(cross_entropy(y, labels)), real(1) / kShards);
  });
  return [parameters, step](const Workers& workers) { (*step)(workers); };
}

// A layer of Property Gated LSTM and its gradient, inputs of 124 columns and properties of 48, which only the gates see, or
// without properties the plain one of inputs of 172; two shards.
Iteration lstm_layer(int32_t batch, int32_t length, bool property, Mode mode = Mode::train) {
  constexpr int64_t kIn = 124, kProperty = 48, kH = 128;
  const int shards = batch == 1 ? 1 : 2;
  const auto parameters = std::make_shared<Parameters>(cpu(), 1);
  const Parameters::Scope at = parameters->root();
  const int64_t all = kIn + kProperty, in = property ? kIn : all;
  const Parameter &W = at.add("W", {all, 3 * kH}, glorot(all, kH)), &b = at.add("b", {3 * kH}, constant(0)),
                  &Wc = at.add("Wc", {in, kH}, glorot(in, kH)), &bc = at.add("bc", {kH}, constant(0)),
                  &U = at.add("U", {kH, 4 * kH}, glorot(kH, kH)), &zero = at.add("zero", {all}, constant(0));
  const int64_t rows = int64_t{batch} * length / shards;
  const auto x = std::make_shared<Buffer>(random_buffer({rows * shards, all}));
  const auto offsets = std::make_shared<std::vector<int32_t>>();
  for (int32_t i = 0; i <= batch / shards; ++i) offsets->push_back(i * length);
  const auto layer = [=, &W, &b, &Wc, &bc, &U, &zero](Tape& tape, int64_t, int shard) {
    // Has a gradient, as looked-up rows have.
    const Var input = add_row(tape.constant(x->tensor().slice(shard * rows, rows)), tape.leaf(zero));
    const Var item = property ? slice_columns(input, 0, kIn) : input;
    const Var h = lstm(linear(input, tape.leaf(W), tape.leaf(b)), linear(item, tape.leaf(Wc), tape.leaf(bc)),
                       tape.leaf(U), Segments::between(*offsets));
    return mode == Mode::score ? h : affine(mean(h), real(1) / static_cast<real>(shards));
  };
  if (mode == Mode::score) {
    const auto tape = std::make_shared<Tape>(cpu(), mode);
    return [parameters, tape, layer](const Workers&) { tape->reset(), layer(*tape, 0, 0); };
  }
  const auto step = std::make_shared<Step>(*parameters, shards, layer);
  return [parameters, step](const Workers& workers) { (*step)(workers); };
}

// 1024 bags of 20 words out of a million, frequent ones more often; row-wise Adagrad.
Iteration embedding() {
  constexpr int kShards = 4, kBatches = 16;
  constexpr int64_t kVocabulary = 1 << 20, kWidth = 64, kBags = 1024 / kShards, kWords = 20;
  const auto parameters = std::make_shared<Parameters>(cpu(), 1);
  const Parameter& table = parameters->root().table("table", {kVocabulary, kWidth}, normal(real(0.1)));
  const auto ids = std::make_shared<std::vector<std::vector<int32_t>>>();
  for (uint64_t list = 0; list < kBatches * kShards; ++list) {
    std::vector<int32_t>& words = ids->emplace_back();
    for (uint64_t i = 0; i < kBags * kWords; ++i)
      words.push_back(static_cast<int32_t>(kVocabulary * std::pow(double(random_uniform(list, i)), 3)));
  }
  const auto offsets = std::make_shared<std::vector<int32_t>>();
  for (int32_t i = 0; i <= kBags; ++i) offsets->push_back(i * kWords);
  OptimizerConfig config;
  config.tables = "row_adagrad";
  const auto step = std::make_shared<Step>(
      *parameters, kShards,
      [=, &table](Tape& tape, int64_t step, int shard) {
        const auto list = static_cast<size_t>(step % kBatches * kShards + shard);
        const Var y = bag(tape, table, tape.index((*ids)[list]), Segments::between(*offsets));
        return affine(mean(square(y)), real(1) / kShards);
      },
      config);
  return [parameters, step](const Workers& workers) { (*step)(workers); };
}

// Self-attention of 256 texts and its gradient, D 64, four heads; cut into four shards.
Iteration attention_grad(int32_t shortest, int32_t longest) {
  constexpr int64_t kShards = 4, kTexts = 256 / kShards, kDepth = 64, kHeads = 4;
  struct Shard {
    std::vector<int32_t> offsets;
    Buffer qkv, dy, y, lse, dqkv;
  };
  const auto shards = std::make_shared<std::vector<Shard>>();
  for (int64_t shard = 0; shard < kShards; ++shard) {
    std::vector<int32_t> offsets = {0};
    for (int32_t t = 0; t < kTexts; ++t)
      offsets.push_back(offsets.back() + shortest + 37 * t % (longest - shortest + 1));
    const int64_t n = offsets.back();
    shards->push_back({std::move(offsets), random_buffer({n, 3 * kDepth}), random_buffer({n, kDepth}),
                       Buffer(cpu(), {n, kDepth}), Buffer(cpu(), {kHeads, n}),
                       Buffer(cpu(), {n, 3 * kDepth})});
  }
  return [shards](const Workers& workers) {
    workers.each(kShards, [&](int64_t shard) {
      const Shard& s = (*shards)[static_cast<size_t>(shard)];
      const Segments texts = Segments::between(s.offsets);
      cpu().attention(s.qkv.tensor(), texts, kHeads, s.y.tensor(), s.lse.tensor());
      cpu().zero(s.dqkv.tensor());
      cpu().attention_grad(s.qkv.tensor(), texts, kHeads, s.lse.tensor(), s.dy.tensor(), s.dqkv.tensor());
    });
  };
}

// A product of M×K and K×N; cut into `pieces` of the rows, which threads share.
Iteration gemm(int64_t m, int64_t n, int64_t k, int64_t pieces) {
  const auto a = std::make_shared<Buffer>(random_buffer({m, k})),
             b = std::make_shared<Buffer>(random_buffer({k, n})),
             c = std::make_shared<Buffer>(random_buffer({m, n}));
  return [=](const Workers& workers) {
    workers.rows(m, m / pieces, [&](int64_t begin, int64_t end) {
      cpu().gemm(a->tensor().slice(begin, end - begin), b->tensor(), 0,
                 c->tensor().slice(begin, end - begin));
    });
  };
}

// DeepBoW as tools/configs/ has it, without dropout. The model and its rows are left in FOLDER/NAME for the rival.
Iteration deepbow_step(const fs::path& folder, const std::string& data, const std::string& name,
                       const std::string& changes) {
  RelevanceConfig config = market_config();
  std::string table;
  if (data.empty()) {
    table = market_table(folder);
    config.vocabulary.buckets = 1 << 15;
  } else {
    table = fs::path(data) / "home_depot_search" / "train.tsv.gz";
    config.columns.query = "search_term";
    config.columns.product = "product_title";
  }
  from_json(config, changes);
  fs::create_directories(folder / name);
  const auto training = std::make_shared<PairTraining>(config, table, folder / name);
  training->model.pretrain(training->pairs, Workers(1));
  training->model.save(folder / name / "model.safetensors", {});
  OptimizerConfig optimizer;
  optimizer.dense = optimizer.tables = "adam";
  optimizer.rate = 0.006;
  optimizer.table_rate = 0.0015;
  const BatchPlan plan{training->pairs.size(), PairTraining::kBatch, PairTraining::kShards, 1};
  const auto step = std::make_shared<Step>(training->step(
      optimizer,
      [plan](int64_t step, int shard, std::vector<int64_t>& out) { plan.rows_of(step, shard, out); }));
  return [training, step](const Workers& workers) { (*step)(workers); };
}

// DUPN in the paper's sizes: 100 events, of items with three attributes, all properties, attention, a head over ten candidates.
struct UsersTraining {
  static constexpr int64_t kBatch = 64, kRows = 1024, kEvents = 100, kShown = 10;
  static constexpr int kShards = 4, kItems = 20'000;

  explicit UsersTraining(const fs::path& folder) : model(config(), catalogue(), 1) {
    fs::create_directories(folder);
    Questions shown;
    for (int64_t user = 0; user < kRows; ++user) {
      const uint64_t key = key_of(1, "user", user);
      const auto draw = [&](int64_t i) { return random_uniform(key, static_cast<uint64_t>(i)); };
      const auto item = [&](int64_t i) {
        return static_cast<int32_t>(1 + (kItems - 1) * std::pow(static_cast<double>(draw(i)), 3));
      };
      int64_t time = 0;
      for (int64_t i = 0; i < kEvents; ++i) {
        time += static_cast<int64_t>(std::exp(14 * static_cast<double>(draw(3 * i))));
        histories.events.push_back({item(3 * i + 1), static_cast<int32_t>(4 * draw(3 * i + 2)), time});
      }
      histories.user.push_back(histories.users.add(text("u", user)) - 1);
      histories.starts.push_back(std::ssize(histories.events));
      for (int64_t i = 0; i < kShown; ++i)
        shown.add({.user = histories.user.back(),
                   .item = item(1000 + i),
                   .history = user,
                   .moment = time + 1,
                   .labels = {draw(2000 + i) < real(0.3) ? 1.0f : 0.0f},
                   .importance = {1}});
    }
    cache.emplace(RowCache::open_or_build(folder / "train.rows", "", [&] {
      return model.maker().make(histories, Part::train, {}, false, {&shown, 1});
    }));
    rows.emplace(*cache, model.maker());
    model.save(folder / "model.safetensors", {});
  }

  static UserConfig config() {
    UserConfig config;
    config.events.behaviour = "what", config.events.behaviours = {"click", "bookmark", "cart", "buy"};
    config.events.time = "when";
    config.events.attributes = {"category", "brand", "shop"};
    config.examples.folds = 2, config.examples.dev_fold = -1;
    config.tables["shown"].file = "shown.tsv", config.tables["shown"].item = "item";
    config.tasks["click"] = {.kind = "binary", .table = "shown"};
    config.dupn.attribute_width = 24, config.dupn.dropout = 0, config.dupn.item_penalty = 0;
    return config;
  }
  static Catalogue catalogue() {
    Catalogue catalogue(3);
    for (int item = 0; item < kItems; ++item) {
      const std::string texts[] = {text("c", item % 500), text("b", item % 2003), text("s", item % 5003)};
      const std::string_view views[] = {texts[0], texts[1], texts[2]};
      catalogue.add(text("i", item), views);
    }
    return catalogue;
  }

  UserModel model;
  Histories histories;
  std::optional<RowCache> cache;
  std::optional<HistoryRows> rows;
};

Iteration users_step(const fs::path& folder) {
  const auto training = std::make_shared<UsersTraining>(folder / "users");
  OptimizerConfig optimizer;
  optimizer.dense = optimizer.tables = "adam";
  optimizer.rate = 0.006;
  optimizer.table_rate = 0.0015;
  constexpr int kShards = UsersTraining::kShards;
  const BatchPlan plan{UsersTraining::kRows, UsersTraining::kBatch, kShards, 1};
  const auto step = std::make_shared<Step>(
      training->model.parameters(), kShards,
      [training, plan, rows = std::vector<std::vector<int64_t>>(kShards)](Tape& tape, int64_t step,
                                                                          int shard) mutable {
        std::vector<int64_t>& mine = rows[static_cast<size_t>(shard)];
        plan.rows_of(step, shard, mine);
        return affine(training->model.objective(tape, *training->rows, mine).tasks[0].loss,
                      real(1) / kShards);
      },
      optimizer);
  return [step](const Workers& workers) { (*step)(workers); };
}

// A request: the history is read, and every second item scored.
Iteration users_request(const fs::path& folder) {
  const auto training = std::make_shared<UsersTraining>(folder / "users");
  const auto tape = std::make_shared<Tape>(cpu(), Mode::score);
  const auto items = std::make_shared<std::vector<int32_t>>();
  for (int32_t item = 1; item <= UsersTraining::kItems; item += 2) items->push_back(item);
  return [=, scores = std::vector<std::vector<double>>()](const Workers&) mutable {
    const std::span<const Event> history = training->histories[0];
    training->model.score(training->model.read(history, *tape),
                          {.moment = history.back().time + 1, .items = *items, .table = "shown"}, *tape,
                          scores);
  };
}

// Rows like the census's for the networks of several tasks: 33 columns of categories and 6 of numbers in buckets, some
// thousand ids, two binary tasks; the network of tools/configs/census.toml without dropout.
struct TableTraining {
  static constexpr int64_t kBatch = 1024, kRows = 16 * kBatch;
  static constexpr int kShards = 2;

  TableTraining(const fs::path& folder, const std::string& kind)
      : file(some_rows(folder)),
        config(some_config(kind)),
        model(config, Encoding::fit(file, config.features, all_tasks(config.tasks)), 1),
        cache(RowCache::open_or_build(
            folder / "train.rows", "",
            [&] { return model.encoding().read(file, config.features, model.tasks(), {}); })),
        rows(cache, model.encoding(), model.tasks()) {
    model.save(folder / "model.safetensors", {});
  }

  static TableModelConfig some_config(const std::string& kind) {
    TableModelConfig config;
    config.model = kind;
    for (int i = 0; i < 33; ++i) config.features.categorical.push_back(text("c", i));
    for (int i = 0; i < 6; ++i) config.features.numeric.push_back(text("n", i));
    config.features.buckets = 64;
    config.tasks["income"] = {.kind = "binary", .priority = 1, .label = "income"};
    config.tasks["married"] = {.kind = "binary", .priority = 2, .label = "married"};
    config.network.dropout = 0;
    return config;
  }
  // Half of the numbers are zero, as most of the census's are.
  static std::string some_rows(const fs::path& folder) {
    fs::create_directories(folder);
    const std::string path = (folder / "rows.tsv").string();
    std::ofstream out(path);
    for (int i = 0; i < 33; ++i) out << "c" << i << "\t";
    for (int i = 0; i < 6; ++i) out << "n" << i << "\t";
    out << "income\tmarried\n";
    for (int64_t row = 0; row < kRows; ++row) {
      const uint64_t key = key_of(1, "census", row);
      const auto draw = [&](uint64_t i) { return static_cast<double>(random_uniform(key, i)); };
      for (uint64_t i = 0; i < 33; ++i)
        out << "v" << static_cast<int>(std::pow(draw(i), 2) * static_cast<double>(2 + i * i % 51)) << "\t";
      for (uint64_t i = 33; i < 39; ++i)
        out << (draw(100 + i) < 0.5 ? 0 : static_cast<int>(1000 * draw(i))) << "\t";
      out << (draw(200) + 0.5 * draw(3) > 1.2) << "\t" << (draw(201) + draw(4) < 0.8) << "\n";
    }
    if (!out.flush()) fail(Fault::resources, path, ": cannot be written");
    return path;
  }

  std::string file;
  TableModelConfig config;
  TableModel model;
  RowCache cache;
  TableRows rows;
};

OptimizerConfig table_optimizer() {
  OptimizerConfig optimizer;
  optimizer.dense = optimizer.tables = "adam";
  optimizer.rate = 0.006;
  optimizer.table_rate = 0.0015;
  return optimizer;
}

Iteration table_step(const fs::path& folder, const std::string& kind) {
  const auto training = std::make_shared<TableTraining>(folder / kind, kind);
  constexpr int kShards = TableTraining::kShards;
  const BatchPlan plan{TableTraining::kRows, TableTraining::kBatch, kShards, 1};
  const auto step = std::make_shared<Step>(
      training->model.parameters(), kShards,
      [training, plan, rows = std::vector<std::vector<int64_t>>(kShards)](Tape& tape, int64_t step,
                                                                          int shard) mutable {
        std::vector<int64_t>& mine = rows[static_cast<size_t>(shard)];
        plan.rows_of(step, shard, mine);
        const Objective objective = training->model.objective(tape, training->rows, mine);
        return affine(objective.tasks[0].loss + objective.tasks[1].loss + objective.regulariser,
                      real(1) / kShards);
      },
      table_optimizer());
  return [step](const Workers& workers) { (*step)(workers); };
}

// Trains for a phase of method equal, and by nmt for two, in turn. Seconds of a step in the last phase of either, with
// what is between two steps: all that nmt looks at on held-out rows, but no evaluation and no checkpoint.
void nmt(const fs::path& folder) {
  using Clock = std::chrono::steady_clock;
  constexpr int kPairs = 25, kSteps = 40;  // of every 10 one looks
  constexpr int kShards = TableTraining::kShards;
  TableTraining of(folder / "mmoe", "mmoe");
  const BatchPlan plan{TableTraining::kRows * 3 / 4, TableTraining::kBatch, kShards, 1};
  const Workers workers(1);
  std::vector<int64_t> held_out;
  for (int64_t row = plan.rows; row < TableTraining::kRows; ++row) held_out.push_back(row);
  const auto seconds = [&](const std::string& method) {
    TableModel model(of.config, Encoding::fit(of.file, of.config.features, of.model.tasks()), 1);
    std::vector<std::vector<int64_t>> rows(kShards);
    Training training;
    training.steps_per_epoch = kSteps + 1;
    training.goals = {{"income", 1, 1}, {"married", 2, 1}};
    training.objective = [&](Tape& tape, int64_t step, int shard, uint64_t tasks) {
      std::vector<int64_t>& mine = rows[static_cast<size_t>(shard)];
      plan.rows_of(step, shard, mine);
      return model.objective(tape, of.rows, mine, tasks);
    };
    training.evaluate = []() -> Findings { return {{{"nothing", 0}}}; };
    training.bounding = {
        std::ssize(held_out), [&](Tape& tape, int64_t begin, int64_t end, uint64_t tasks) {
          return model.objective(
              tape, of.rows,
              std::span(held_out).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
              tasks);
        }};
    training.choosing = training.bounding;
    training.save = [&](const fs::path& path) { model.save(path, {}); };
    TrainerConfig config;
    config.epochs = 1, config.batch = TableTraining::kBatch, config.shards = kShards;
    config.criterion = "loss", config.checkpoint_seconds = 0;
    PrioritiesConfig priorities;
    priorities.method = method, priorities.nmt.warmup = 0;
    priorities.nmt.rate = 1e-9;  // the multiplier stays where it begins, at 1: the bound is at work in every step
    fs::create_directories(folder / method);
    Trainer trainer(model.parameters(), training, config, table_optimizer(), {}, priorities, workers,
                    folder / method);
    Clock::time_point begin, end;
    trainer.on_step = [&](const StepRecord& record) {
      if (record.step == record.steps - kSteps) begin = Clock::now();
      if (record.step == record.steps) end = Clock::now();
    };
    trainer.run();
    return std::chrono::duration<double>(end - begin).count() / kSteps;
  };
  for (int pair = 0; pair < kPairs; ++pair) {
    const double plain = seconds("equal");
    std::cout << plain << " " << seconds("nmt") << std::endl;
  }
}

// 2·10⁹ FLOP of independent multiply-adds in registers: the peak of one core.
void multiply_add() {
  using Vector [[gnu::vector_size(32)]] = float;
  constexpr int kChains = 12, kRounds = 2'000'000'000 / (kChains * 8 * 2);
  std::array<Vector, kChains> sums{};
  Vector a{}, b{};
  for (int i = 0; i < 8; ++i) a[i] = 0.5f, b[i] = 1;
  const auto add = [&](Vector& sum) {
#ifdef __FMA__
    asm volatile("vfmadd213ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
#else
    sum = sum * a + b;
#endif
  };
  std::apply(
      [&](auto... sum) {  // copies: each in its register
        for (int round = 0; round < kRounds; ++round) (add(sum), ...);
        const Vector total = (sum + ...);
        asm volatile("" ::"x"(total));
      },
      sums);
}

// 256 MiB from one place to another.
Iteration copy() {
  const auto from = std::make_shared<std::vector<std::byte>>(256 << 20),
             to = std::make_shared<std::vector<std::byte>>(256 << 20);
  return [=](const Workers&) { std::memcpy(to->data(), from->data(), from->size()); };
}

void serve(const fs::path& folder, const std::string& data) {
  std::map<std::string, std::function<Iteration()>> makers = {
      {"tape", tape},
      {"mlp", [] { return mlp_step(256, 256); }},
      {"mlp_small", [] { return mlp_step(128, 64); }},
      {"lstm_32", [] { return lstm_layer(32, 50, true); }},
      {"lstm_64", [] { return lstm_layer(64, 100, true); }},
      {"lstm_256", [] { return lstm_layer(256, 100, true); }},
      {"lstm_plain_64", [] { return lstm_layer(64, 100, false); }},
      {"lstm_1", [] { return lstm_layer(1, 100, true, Mode::score); }},
      {"users", [&] { return users_step(folder); }},
      {"users_request", [&] { return users_request(folder); }},
      {"mmoe", [&] { return table_step(folder, "mmoe"); }},
      {"ple", [&] { return table_step(folder, "ple"); }},
      {"embedding", embedding},
      {"attention", [] { return attention_grad(65, 65); }},
      {"attention_ragged", [] { return attention_grad(3, 127); }},
      {"attention_short", [] { return attention_grad(12, 12); }},
      {"gemm_large", [] { return gemm(1024, 1024, 1024, 1); }},
      {"gemm_small", [] { return gemm(128, 512, 128, 1); }},
      {"gemm_cut", [] { return gemm(1024, 1024, 1024, 8); }},
      {"lexical", [&] { return deepbow_step(folder, data, "lexical", R"({"deepbow": {"priors": false}})"); }},
      {"latent",
       [&] {
         return deepbow_step(
             folder, data, "latent",
             R"({"deepbow": {"product_encoder": true}, "encoder": {"kind": "latent", "words": 50000}})");
       }},
      {"encoder",
       [&] {
         return deepbow_step(folder, data, "encoder",
                             R"({"deepbow": {"query_encoder": true, "product_encoder": true}})");
       }},
      {"multiply_add", [] { return [](const Workers&) { multiply_add(); }; }},
      {"copy", copy},
  };
#ifdef __AVX2__
  for (const auto& [name, make] : peers::bag_benches(folder))
    makers[name] = [make = make] { return [run = make()](const Workers&) { run(); }; };
#endif
  std::map<std::string, Iteration> made;
  std::map<int, std::unique_ptr<Workers>> workers;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string name;
    int threads = 0;
    int64_t count = 0;
    if (!(words >> name >> threads >> count) || !makers.contains(name) || threads < 1 || count < 1)
      fail(Fault::usage, "serve: \"", line, "\"; expected NAME THREADS COUNT");
    if (!made.contains(name)) made[name] = makers.at(name)();
    if (!workers[threads]) workers[threads] = std::make_unique<Workers>(threads);
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < count; ++i) made[name](*workers[threads]);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    std::cout << elapsed.count() / static_cast<double>(count) << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string verb = argc > 1 ? argv[1] : "", data = argc > 3 ? argv[3] : "";
    const fs::path folder = argc > 2 ? argv[2] : "";
    if (folder.empty())
      fail(Fault::usage, "usage: peer layers|optimizers|models|users|tables|bounds|nmt|serve FOLDER [DATA]");
    fs::create_directories(folder);
    if (verb == "layers")
      layers(folder);
    else if (verb == "optimizers")
      optimizers(folder);
    else if (verb == "models")
      models(folder);
    else if (verb == "users")
      users(folder);
    else if (verb == "tables")
      tables(folder);
    else if (verb == "bounds")
      bounds(folder, std::stoi(data));
    else if (verb == "nmt")
      nmt(folder);
    else if (verb == "serve")
      serve(folder, data);
    else
      fail(Fault::usage, "peer: no verb \"", verb, "\"");
  } catch (const Error& error) {
    std::cerr << "peer: " << error.what() << '\n';
    return static_cast<int>(error.fault);
  }
}
