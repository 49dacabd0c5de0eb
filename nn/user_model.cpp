#include "nn/user_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/backend.h"
#include "core/fields.h"
#include "data/metrics.h"
#include "nn/model_file.h"

namespace steelyard {

namespace {

constexpr const char* kKind = "users";
constexpr int64_t kRank = 10;  // hr10, ndcg10, ndcg10_all

double probability(real logit) { return 1 / (1 + std::exp(-static_cast<double>(logit))); }

DupnSizes sizes_of(const UserConfig& config, const Catalogue& catalogue) {
  DupnSizes sizes;
  sizes.items = catalogue.items.size();
  for (const Categories& values : catalogue.values) sizes.values.push_back(values.size());
  sizes.properties = ExampleMaker::properties(config.events);
  for (size_t k = 0; k < config.events.profile.size(); ++k)
    sizes.profile.push_back(catalogue.profile.at(k).size());
  for (const auto& [name, table] : config.tables)
    if (!table.query.empty()) sizes.words = catalogue.words.size();
  return sizes;
}

}  // namespace

void UserConfig::validate() const {
  if (model != "dupn") fail(Fault::usage, "model: unknown model \"", model, "\"; expected dupn");
  const ExampleMaker maker(events, examples, tasks, tables);
  dupn.validate();
  require(tokenizer.dictionary.empty(), "tokenizer.dictionary", tokenizer.dictionary,
          "none: queries of users are cut without one");
  const Tokenizer check(tokenizer);
  const bool items =
      std::ranges::any_of(maker.groups(), [](const ExampleGroup& group) { return group.items; });
  require(!dupn.target || items, "dupn.target", "true", "a task about items, which it looks at");
  for (const ExampleGroup& group : maker.groups())
    for (const Task& task : group.tasks) {
      const bool of_rep = task.kind == "next" || task.kind == "rank";
      const bool sees = !of_rep && (group.numbers > 0 || (group.items && dupn.candidate));
      require(reads_users() || sees, "dupn.pooling", dupn.pooling,
              ("something that tasks." + task.name + " can see").c_str());
    }
  for (const auto& [name, table] : tables)
    require(table.query.empty() || dupn.pooling == "attention", ("tables." + name + ".query").c_str(),
            table.query, "dupn.pooling = \"attention\" beside it, which is what sees queries");
}

bool UserConfig::reads_users() const {
  return dupn.pooling != "none" || dupn.newest_state || dupn.newest_item || !events.profile.empty();
}

struct UserModel::Parts {
  Parts(UserConfig c, Catalogue items, Parameters p)
      : config(std::move(c)),
        catalogue(std::move(items)),
        parameters(std::move(p)),
        maker(config.events, config.examples, config.tasks, config.tables) {
    model.emplace(parameters.root() / "dupn", config.dupn, sizes_of(config, catalogue), maker.groups());
    for (const ExampleGroup& group : maker.groups())
      scales.push_back(group.numbers == 0
                           ? nullptr
                           : &(parameters.root() / "features" / group.name)
                                  .table("scale", {group.numbers, 2}, constant(0), {.fixed = true}));
    parameters.finish();
  }

  struct View;
  void answer_next(const HistoryRows& rows, std::span<const int64_t> wanted, const HistoryBatch& batch,
                   const ExampleBatch& examples, Var rep, Answers& out) const;
  void extend(Shopper& shopper, std::span<const Event> events, int64_t newest, Tape& tape) const;

  // Numbers of examples of a group, [m,F], in deviations from the mean.
  void scale(size_t group, std::span<real> numbers) const {
    if (!scales[group]) return;
    const real* const s = scales[group]->value().data;
    const auto F = static_cast<size_t>(scales[group]->shape.rows());
    constexpr real kFar = 5;
    for (size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = std::clamp((numbers[i] - s[2 * (i % F)]) * s[2 * (i % F) + 1], -kFar, kFar);
  }
  HistoryBatch gather(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted) const {
    HistoryBatch batch = gather_histories(tape, rows, wanted, model->by_example());
    for (size_t g = 0; g < scales.size(); ++g) scale(g, batch.groups[g].numbers);
    return batch;
  }

  UserConfig config;
  Catalogue catalogue;
  Parameters parameters;
  ExampleMaker maker;
  Metadata metadata;
  std::optional<Dupn> model;
  std::vector<Parameter*> scales;  // of each group [F,2] mean and 1 / deviation of an example's numbers
};

UserModel::UserModel(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
UserModel::UserModel(UserConfig config, Catalogue catalogue, uint64_t seed, const UserModel* older) {
  config.validate();
  parts_ =
      std::make_unique<Parts>(std::move(config), std::move(catalogue),
                              older ? Parameters(cpu(), seed, older->parameters()) : Parameters(cpu(), seed));
}
UserModel::UserModel(UserModel&&) noexcept = default;
UserModel::~UserModel() = default;

UserModel UserModel::open(const std::filesystem::path& path) { return open(TensorFile(model_file(path))); }

UserModel UserModel::open(const TensorFile& file) {
  return load_model<UserConfig>(file, kKind, [&](UserConfig config) {
    Catalogue catalogue =
        Catalogue::load(file, config.events.attributes.size(), config.events.profile.size());
    auto parts = std::make_unique<Parts>(std::move(config), std::move(catalogue), Parameters(cpu(), file));
    parts->metadata = file.metadata();
    return UserModel(std::move(parts));
  });
}

void UserModel::save(const std::filesystem::path& path, const Metadata& more) const {
  std::vector<NamedArray> arrays = parts_->parameters.arrays();
  for (NamedArray& array : parts_->catalogue.arrays()) arrays.push_back(std::move(array));
  save_model(path, kKind, std::move(arrays), parts_->config, more);
}

const UserConfig& UserModel::config() const { return parts_->config; }
const Catalogue& UserModel::catalogue() const { return parts_->catalogue; }
Catalogue& UserModel::catalogue() { return parts_->catalogue; }
const ExampleMaker& UserModel::maker() const { return parts_->maker; }
const Metadata& UserModel::metadata() const { return parts_->metadata; }
Parameters& UserModel::parameters() { return parts_->parameters; }
const Parameters& UserModel::parameters() const { return parts_->parameters; }

namespace {

const int64_t kOnly = 0;  // a batch of one row

void append_numbers(std::vector<real>& to, Var x) {
  to.insert(to.end(), x.value().data, x.value().data + x.size());
}

}  // namespace

// What a request needs of the network: a view of the shopper.
struct UserModel::Parts::View {
  View(const Parts& parts, const Shopper& shopper, const Request& request, Tape& tape)
      : columns(parts.maker.request(shopper.events, shopper.profile, request, parts.maker.longest())),
        batch(parts.gather(tape, HistoryRows(columns, parts.maker), {&kOnly, 1})) {
    const Var e = tape.constant({shopper.read, parts.model->depth()}, shopper.items);
    const Var h = tape.constant({shopper.read, parts.model->state_width()}, shopper.states);
    rep = parts.model->represent(e, h, batch, parts.catalogue, &weights);
  }
  RowColumns columns;
  HistoryBatch batch;
  Var rep, weights;
};

namespace {

// A request about nothing but the user.
Request alone(const Request& request) {
  static const int32_t nobody = -1;
  return {.moment = request.moment, .items = {&nobody, 1}, .query = request.query};
}

}  // namespace

// Reads the newest of these events behind what the shopper has read.
void UserModel::Parts::extend(Shopper& shopper, std::span<const Event> events, int64_t newest,
                              Tape& tape) const {
  tape.reset();
  const RowColumns columns = maker.request(events, {}, {.moment = events.back().time}, newest);
  const HistoryBatch batch = gather(tape, HistoryRows(columns, maker), {&kOnly, 1});
  const Shape state = {1, 2 * model->state_width()};
  const Var first = shopper.last.empty() ? Var{} : tape.constant(state, shopper.last);
  shopper.last.resize(static_cast<size_t>(state.size()));
  const Var e = model->items(tape, batch.items, catalogue);
  append_numbers(shopper.items, e);
  append_numbers(shopper.states, model->states(e, batch, first, {shopper.last.data(), state, &cpu()}));
  shopper.read += std::ssize(batch.items);
}

Shopper UserModel::read(std::span<const Event> history, Tape& tape) const {
  Shopper shopper{{history.begin(), history.end()}, {}, 0, {}, {}, {}};
  if (!history.empty()) parts_->extend(shopper, history, parts_->config.examples.longest, tape);
  return shopper;
}

void UserModel::append(Shopper& shopper, const Event& event, Tape& tape) const {
  if (!shopper.events.empty() && event.time < shopper.events.back().time)
    fail(Fault::input, "append: an event of ", event.time, " s behind one of ", shopper.events.back().time,
         " s; expected them in the order of time");
  shopper.events.push_back(event);
  const size_t with_gap = std::min<size_t>(2, shopper.events.size());
  parts_->extend(shopper, std::span(shopper.events).last(with_gap), 1, tape);
  if (shopper.read <= parts_->config.examples.longest) return;
  shopper.items.erase(shopper.items.begin(), shopper.items.begin() + parts_->model->depth());
  shopper.states.erase(shopper.states.begin(), shopper.states.begin() + parts_->model->state_width());
  --shopper.read;
}

std::vector<int32_t> UserModel::words(std::string_view query) const {
  Tokens tokens;
  Tokenizer(parts_->config.tokenizer).tokenize(query, tokens);
  std::vector<int32_t> words;
  for (int64_t i = 0; i < tokens.size(); ++i) words.push_back(parts_->catalogue.words.find(tokens[i]));
  return words;
}

std::vector<real> UserModel::represent(const Shopper& shopper, const Request& request, Tape& tape) const {
  check(!parts_->config.dupn.target, "represent: attention looks at a candidate");
  check(parts_->model->rep_width() > 0, "represent: the model reads nothing of a user");
  tape.reset();
  std::vector<real> out;
  append_numbers(out, Parts::View(*parts_, shopper, alone(request), tape).rep);
  return out;
}

namespace {

// What a task says of its examples, in their order: a probability, or those of all classes.
void append_probabilities(std::vector<double>& to, const Task& task, Var z) {
  const Var p = task.kind == "classes" ? softmax(z) : z;
  for (int64_t i = 0; i < p.size(); ++i) {
    const real value = p.value().data[i];
    to.push_back(task.kind == "classes" ? static_cast<double>(value) : probability(value));
  }
}

}  // namespace

void UserModel::score(const Shopper& shopper, const Request& request, Tape& tape,
                      std::vector<std::vector<double>>& out) const {
  const ExampleGroup* group = parts_->maker.group(request.table.empty() ? "pair" : request.table);
  if (!group)
    fail(Fault::usage, "score: no task of ", request.table.empty() ? "kind \"pair\"" : request.table,
         "; expected one");
  const Dupn& model = *parts_->model;
  const auto g = static_cast<size_t>(group - parts_->maker.groups().data());
  const std::vector<float> numbers = parts_->maker.numbers(shopper.events, request, parts_->catalogue.counts);
  std::vector<real> of_user;  // rep, once for all candidates
  if (!model.by_example()) {
    tape.reset();
    if (const Var rep = Parts::View(*parts_, shopper, alone(request), tape).rep; rep.tape)
      append_numbers(of_user, rep);
  }
  out.resize(group->tasks.size());
  for (std::vector<double>& of_task : out) of_task.clear();
  // In pieces that stay in the cache.
  constexpr size_t kPiece = 256;
  for (size_t first = 0; first < request.items.size(); first += kPiece) {
    const size_t n = std::min(kPiece, request.items.size() - first);
    tape.reset();
    Request piece = request;
    piece.items = request.items.subspan(first, n);
    const std::span<int32_t> view = tape.array<int32_t>(static_cast<int64_t>(n));
    Var rep;
    if (model.by_example()) {
      rep = Parts::View(*parts_, shopper, piece, tape).rep;
      std::iota(view.begin(), view.end(), 0);
    } else {
      std::ranges::fill(view, 0);
      if (!of_user.empty()) rep = tape.constant({1, std::ssize(of_user)}, of_user);
    }
    const std::span<const float> of_piece = std::span(numbers).subspan(
        first * static_cast<size_t>(group->numbers), n * static_cast<size_t>(group->numbers));
    const std::span<real> scaled = tape.array<real>(std::ssize(of_piece));
    std::ranges::copy(of_piece, scaled.begin());
    parts_->scale(g, scaled);
    const ExampleBatch examples{view, piece.items, scaled, {}, {}};
    const Var candidates = model.candidates_of(tape, *group, piece.items, parts_->catalogue);
    for (size_t k = 0; k < group->tasks.size(); ++k)
      append_probabilities(out[k], group->tasks[k],
                           model.logits(group->tasks[k], rep, candidates, examples, tape));
  }
}

std::vector<int32_t> UserModel::recommend(const Shopper& shopper, const Request& request, int64_t k,
                                          bool known, Tape& tape) const {
  if (!ask_for(parts_->config.tasks, "next"))
    fail(Fault::usage, "recommend: the model has no task of kind \"next\"; expected one");
  tape.reset();
  const Parts::View view(*parts_, shopper, alone(request), tape);
  const Tensor z = parts_->model->next_logits(view.rep, parts_->catalogue).value();
  std::vector<bool> left_out(static_cast<size_t>(z.size()) + 1);
  for (const Event& event : shopper.events)
    if (!known && event.item > 0 && event.item <= z.size()) left_out[static_cast<size_t>(event.item)] = true;
  std::vector<int32_t> order;
  for (int32_t item = 1; item <= z.size(); ++item)
    if (!left_out[static_cast<size_t>(item)]) order.push_back(item);
  const auto first = std::min(std::ssize(order), static_cast<std::ptrdiff_t>(k));
  std::partial_sort(order.begin(), order.begin() + first, order.end(), [&](int32_t a, int32_t b) {
    return std::pair(-z.data[a - 1], a) < std::pair(-z.data[b - 1], b);
  });
  order.resize(static_cast<size_t>(first));
  return order;
}

std::vector<real> UserModel::explain(const Shopper& shopper, const Request& request, Tape& tape) const {
  tape.reset();
  Request one = alone(request);
  if (!request.items.empty()) one.items = request.items.first(1);
  const Parts::View view(*parts_, shopper, one, tape);
  std::vector<real> out;
  if (view.weights.tape) append_numbers(out, view.weights);
  return out;
}

void UserModel::pretrain(const HistoryRows& rows) {
  for (size_t g = 0; g < parts_->scales.size(); ++g) {
    if (!parts_->scales[g]) continue;
    const std::span<real> scale = parts_->scales[g]->buffer.host();
    const std::span<const float> numbers = rows.groups[g].numbers;
    const size_t F = scale.size() / 2;
    std::vector<double> sums(F), squares(F);
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double x = numbers[i];
      sums[i % F] += x, squares[i % F] += x * x;
    }
    const double n = static_cast<double>(numbers.size()) / static_cast<double>(F);
    for (size_t f = 0; f < F; ++f) {
      if (scale[2 * f + 1] != 0) continue;  // an older model's
      const double mean = sums[f] / n, variance = squares[f] / n - mean * mean;
      scale[2 * f] = static_cast<real>(mean);
      scale[2 * f + 1] = static_cast<real>(1 / std::sqrt(std::max(variance, 1e-6)));
    }
  }
}

Objective UserModel::objective(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted,
                               uint64_t tasks) const {
  return parts_->model->objective(tape, parts_->gather(tape, rows, wanted), parts_->catalogue, tasks);
}

namespace {

// In the order of `recommend`, the place of the item that came; one that is never recommended comes behind all.
double rank_of(std::span<const real> z, size_t item, const std::vector<bool>& known) {
  const bool found = item < known.size() && !known[item] && !std::isnan(z[item - 1]);
  const real of_item = found ? z[item - 1] : 0;
  int64_t rank = 0;
  for (size_t other = 1; other < known.size(); ++other) {
    const real of_other = z[other - 1];
    rank += !known[other] && (!found || of_other > of_item || (of_other == of_item && other < item));
  }
  return static_cast<double>(rank);
}

}  // namespace

// Of the rows from `begin` on, which are the batch.
void UserModel::Parts::answer_next(const HistoryRows& rows, std::span<const int64_t> wanted,
                                   const HistoryBatch& batch, const ExampleBatch& examples, Var rep,
                                   Answers& out) const {
  const Tensor z = model->next_logits(::steelyard::gather(rep, examples.view), catalogue).value();
  for (size_t i = 0; i < examples.view.size(); ++i) {
    const auto view = static_cast<size_t>(examples.view[i]);
    const int64_t row = wanted[static_cast<size_t>(batch.row[view])];
    std::vector<bool> known(static_cast<size_t>(z.cols()) + 1);  // by the item's id, from 1 on
    const auto leave_out = [&](int32_t item) {
      if (static_cast<size_t>(item) < known.size()) known[static_cast<size_t>(item)] = true;
    };
    for (int32_t s = batch.views.begins[view]; s < batch.views.ends[view]; ++s)
      leave_out(batch.items[static_cast<size_t>(batch.seen[static_cast<size_t>(s)])]);
    for (const int32_t item : rows.older[row]) leave_out(item);
    const real label = examples.labels[0][i];
    out.labels.push_back(static_cast<double>(label)), out.rows.push_back(row);
    out.answers.push_back(
        rank_of({z.data + static_cast<int64_t>(i) * z.cols(), static_cast<size_t>(z.cols())},
                static_cast<size_t>(label), known));
  }
}

std::vector<Answers> UserModel::answer(const HistoryRows& rows, const Workers& workers,
                                       std::span<const int64_t> of) const {
  constexpr int64_t kGrain = 16;
  const std::vector<ExampleGroup>& groups = parts_->maker.groups();
  const Dupn& model = *parts_->model;
  const int64_t count = of.empty() ? rows.size() : std::ssize(of);
  std::vector<std::vector<Answers>> pieces(static_cast<size_t>((count + kGrain - 1) / kGrain));
  workers.rows(count, kGrain, [&](int64_t begin, int64_t end) {
    std::vector<Answers>& out = pieces[static_cast<size_t>(begin / kGrain)];
    out.resize(parts_->config.tasks.size());
    Tape tape(cpu(), Mode::score);
    std::vector<int64_t> wanted;
    for (int64_t i = begin; i < end; ++i) wanted.push_back(of.empty() ? i : of[static_cast<size_t>(i)]);
    const HistoryBatch batch = parts_->gather(tape, rows, wanted);
    const Var e = model.items(tape, batch.items, parts_->catalogue);
    const Var rep = model.represent(e, model.states(e, batch), batch, parts_->catalogue);
    for (size_t g = 0; g < groups.size(); ++g) {
      const ExampleBatch& examples = batch.groups[g];
      if (examples.view.empty()) continue;
      const Var candidates = model.candidates_of(tape, groups[g], examples.items, parts_->catalogue);
      for (size_t k = 0; k < groups[g].tasks.size(); ++k) {
        const Task& task = groups[g].tasks[k];
        Answers& of_task = out[task.place];
        if (task.kind == "next") {
          parts_->answer_next(rows, wanted, batch, examples, rep, of_task);
          continue;
        }
        std::vector<double> all;
        append_probabilities(all, task, model.logits(task, rep, candidates, examples, tape));
        const size_t C = all.size() / examples.view.size();
        for (size_t i = 0; i < examples.view.size(); ++i) {
          const real label = examples.labels[k][i];
          if (std::isnan(label)) continue;
          const std::span<const double> of_example = std::span(all).subspan(i * C, C);
          const size_t right = C > 1 ? static_cast<size_t>(label) : 0;
          const auto likeliest =
              static_cast<size_t>(std::ranges::max_element(of_example) - of_example.begin());
          of_task.answers.push_back(of_example[right]);
          of_task.labels.push_back(C > 1 ? likeliest == right : static_cast<double>(label));
          const int64_t row = batch.row[static_cast<size_t>(examples.view[i])];
          of_task.rows.push_back(wanted[static_cast<size_t>(row)]);
        }
      }
    }
  });
  std::vector<Answers> all(parts_->config.tasks.size());
  for (const std::vector<Answers>& piece : pieces)
    for (size_t k = 0; k < piece.size(); ++k) {
      all[k].answers.insert(all[k].answers.end(), piece[k].answers.begin(), piece[k].answers.end());
      all[k].labels.insert(all[k].labels.end(), piece[k].labels.begin(), piece[k].labels.end());
      all[k].rows.insert(all[k].rows.end(), piece[k].rows.begin(), piece[k].rows.end());
    }
  return all;
}

namespace {

NamedMetrics metrics_of(const std::string& kind, const Answers& a) {
  const double n = static_cast<double>(a.answers.size());
  const auto mean = [&](const auto& of) {
    double sum = 0;
    for (size_t i = 0; i < a.answers.size(); ++i) sum += of(i);
    return n > 0 ? Metric(sum / n) : Metric();
  };
  if (kind == "next") {
    const auto hit = [&](size_t i) { return a.answers[i] < kRank; };
    return {{"hr10", mean([&](size_t i) { return hit(i) ? 1.0 : 0.0; })},
            {"ndcg10_all", mean([&](size_t i) { return hit(i) ? 1 / std::log2(a.answers[i] + 2) : 0.0; })}};
  }
  if (kind == "classes")
    return {{"accuracy", mean([&](size_t i) { return a.labels[i]; })},
            {"logloss", mean([&](size_t i) { return -std::log(std::max(a.answers[i], 1e-15)); })}};
  if (kind == "rank")
    return {{"auc", auc(a.answers, a.labels)},
            {"ndcg10", ndcg(a.answers, a.labels, a.rows, kRank, [](double relevance) { return relevance; })}};
  return {{"auc", auc(a.answers, a.labels)},
          {"pr_auc", pr_auc(a.answers, a.labels)},
          {"logloss", log_loss(a.answers, a.labels)},
          {"ece", calibration_error(a.answers, a.labels)}};
}

}  // namespace

std::vector<std::string> UserModel::metric_names(const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& [name, value] : metrics_of(kind, {})) names.emplace_back(name);
  return names;
}

std::vector<std::pair<std::string, double>> UserModel::metrics(const std::vector<Answers>& answers) const {
  std::vector<std::pair<std::string, NamedMetrics>> of_tasks;
  for (const auto& [name, task] : parts_->config.tasks)
    of_tasks.emplace_back(name, metrics_of(task.kind, answers[of_tasks.size()]));
  return with_means(of_tasks);
}

}  // namespace steelyard
