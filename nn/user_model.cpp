#include "nn/user_model.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/backend.h"
#include "core/fields.h"
#include "data/metrics.h"
#include "nn/model_file.h"

namespace steelyard {

namespace {

constexpr const char* kKind = "users";
constexpr int64_t kRank = 10;  // hr10, ndcg10_all

double probability(real logit) { return 1 / (1 + std::exp(-static_cast<double>(logit))); }

DupnSizes sizes_of(const UserConfig& config, const Catalogue& catalogue) {
  DupnSizes sizes;
  sizes.items = catalogue.items.size();
  for (const Categories& values : catalogue.values) sizes.values.push_back(values.size());
  sizes.properties = ExampleMaker::properties(config.events);
  if (ask_for(config.tasks, "pair")) sizes.features = std::ssize(PairNumbers::names(config.events));
  return sizes;
}

}  // namespace

void UserConfig::validate() const {
  if (model != "dupn") fail(Fault::usage, "model: unknown model \"", model, "\"; expected dupn");
  const ExampleMaker maker(events, examples, tasks);
  dupn.validate();
  require(!dupn.target || ask_for(tasks, "pair"), "dupn.target", "true",
          "a task of pairs, whose candidate it looks at");
  require(!ask_for(tasks, "next") || dupn.pooling != "none" || dupn.newest_state || dupn.newest_item,
          "dupn.pooling", dupn.pooling, "a representation: a task asks for the next item");
}

struct UserModel::Parts {
  Parts(UserConfig c, Catalogue items, Parameters p)
      : config(std::move(c)),
        catalogue(std::move(items)),
        parameters(std::move(p)),
        maker(config.events, config.examples, config.tasks) {
    const DupnSizes sizes = sizes_of(config, catalogue);
    model.emplace(parameters.root() / "dupn", config.dupn, sizes, config.tasks);
    if (sizes.features > 0)
      scale =
          &(parameters.root() / "features").table("scale", {sizes.features, 2}, constant(0), {.fixed = true});
    parameters.finish();
  }

  struct Request;
  void extend(Shopper& shopper, std::span<const Event> events, int64_t newest, Tape& tape) const;

  HistoryBatch gather(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted) const {
    HistoryBatch batch = gather_histories(tape, rows, wanted, model->by_example());
    if (!scale) return batch;
    const real* const s = scale->value().data;
    const auto F = static_cast<size_t>(scale->shape.rows());
    constexpr real kFar = 5;  // deviations
    for (size_t i = 0; i < batch.features.size(); ++i)
      batch.features[i] = std::clamp((batch.features[i] - s[2 * (i % F)]) * s[2 * (i % F) + 1], -kFar, kFar);
    return batch;
  }

  UserConfig config;
  Catalogue catalogue;
  Parameters parameters;
  ExampleMaker maker;
  Metadata metadata;
  std::optional<Dupn> model;
  Parameter* scale = nullptr;  // [F,2] mean and 1 / deviation of an example's numbers
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
    Catalogue catalogue = Catalogue::load(file, config.events.attributes.size());
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
struct UserModel::Parts::Request {
  Request(const Parts& parts, const Shopper& shopper, int64_t moment, Ids asked, Tape& on)
      : columns(parts.maker.request(shopper.events, moment, asked, parts.catalogue.counts)),
        batch(parts.gather(on, HistoryRows(columns), {&kOnly, 1})) {
    e = on.constant({shopper.read, parts.model->depth()}, shopper.items);
    h = on.constant({shopper.read, parts.model->state_width()}, shopper.states);
    candidates = parts.model->candidates_of(on, batch, parts.catalogue);
  }
  RowColumns columns;
  HistoryBatch batch;
  Var e, h, candidates;
};

// Reads the newest of these events behind what the shopper has read.
void UserModel::Parts::extend(Shopper& shopper, std::span<const Event> events, int64_t newest,
                              Tape& tape) const {
  tape.reset();
  const RowColumns columns = maker.request(events, events.back().time, {}, {}, newest);
  const HistoryBatch batch = gather(tape, HistoryRows(columns), {&kOnly, 1});
  const Shape state = {1, 2 * model->state_width()};
  const Var first = shopper.last.empty() ? Var{} : tape.constant(state, shopper.last);
  shopper.last.resize(static_cast<size_t>(state.size()));
  const Var e = model->items(tape, batch.items, catalogue);
  append_numbers(shopper.items, e);
  append_numbers(shopper.states, model->states(e, batch, first, {shopper.last.data(), state, &cpu()}));
  shopper.read += std::ssize(batch.items);
}

Shopper UserModel::read(std::span<const Event> history, Tape& tape) const {
  Shopper shopper{{history.begin(), history.end()}, 0, {}, {}, {}};
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

std::vector<real> UserModel::represent(const Shopper& shopper, int64_t moment, Tape& tape) const {
  check(!parts_->config.dupn.target, "represent: attention looks at a candidate");
  check(parts_->model->rep_width() > 0, "represent: the model reads no history");
  tape.reset();
  const int32_t nobody = -1;
  const Parts::Request request(*parts_, shopper, moment, {&nobody, 1}, tape);
  std::vector<real> out;
  append_numbers(out, parts_->model->represent(request.e, request.h, request.batch, {}));
  return out;
}

void UserModel::score(const Shopper& shopper, int64_t moment, Ids items, Tape& tape,
                      std::vector<std::vector<double>>& out) const {
  tape.reset();
  const Parts::Request request(*parts_, shopper, moment, items, tape);
  const Var rep = parts_->model->represent(request.e, request.h, request.batch, request.candidates);
  out.clear();
  size_t k = 0;
  for (const auto& [name, task] : parts_->config.tasks) {
    const size_t number = k++;
    if (task.kind != "pair") continue;
    const Tensor z = parts_->model->pair_logits(tape, number, rep, request.candidates, request.batch).value();
    std::vector<double>& of_task = out.emplace_back();
    for (int64_t i = 0; i < z.size(); ++i) of_task.push_back(probability(z.data[i]));
  }
}

std::vector<int32_t> UserModel::recommend(const Shopper& shopper, int64_t moment, int64_t k, bool known,
                                          Tape& tape) const {
  if (!ask_for(parts_->config.tasks, "next"))
    fail(Fault::usage, "recommend: the model has no task of kind \"next\"; expected one");
  tape.reset();
  const int32_t nobody = -1;
  const Parts::Request request(*parts_, shopper, moment, {&nobody, 1}, tape);
  const Var rep = parts_->model->represent(request.e, request.h, request.batch, request.candidates);
  const Tensor z = parts_->model->next_logits(rep, parts_->catalogue).value();
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

std::vector<real> UserModel::explain(const Shopper& shopper, int64_t moment, int32_t item, Tape& tape) const {
  tape.reset();
  const Parts::Request request(*parts_, shopper, moment, {&item, 1}, tape);
  Var weights;
  parts_->model->represent(request.e, request.h, request.batch, request.candidates, &weights);
  std::vector<real> out;
  if (weights.tape) append_numbers(out, weights);
  return out;
}

void UserModel::pretrain(const HistoryRows& rows) {
  if (!parts_->scale) return;
  const std::span<real> scale = parts_->scale->buffer.host();
  const size_t F = scale.size() / 2;
  std::vector<double> sums(F), squares(F);
  for (size_t i = 0; i < rows.features.size(); ++i) {
    const double x = rows.features[i];
    sums[i % F] += x, squares[i % F] += x * x;
  }
  const double n = static_cast<double>(rows.features.size()) / static_cast<double>(F);
  for (size_t f = 0; f < F; ++f) {
    if (scale[2 * f + 1] != 0) continue;  // an older model's
    const double mean = sums[f] / n, variance = squares[f] / n - mean * mean;
    scale[2 * f] = static_cast<real>(mean);
    scale[2 * f + 1] = static_cast<real>(1 / std::sqrt(std::max(variance, 1e-6)));
  }
}

Objective UserModel::objective(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted) const {
  return parts_->model->objective(tape, parts_->gather(tape, rows, wanted), parts_->catalogue);
}

std::vector<Answers> UserModel::answer(const HistoryRows& rows, const Workers& workers) const {
  constexpr int64_t kGrain = 16;
  const Tasks& tasks = parts_->config.tasks;
  std::vector<std::vector<Answers>> pieces(static_cast<size_t>((rows.size() + kGrain - 1) / kGrain));
  workers.rows(rows.size(), kGrain, [&](int64_t begin, int64_t end) {
    Tape tape(cpu(), Mode::score);
    std::vector<int64_t> wanted;
    for (int64_t row = begin; row < end; ++row) wanted.push_back(row);
    const HistoryBatch batch = parts_->gather(tape, rows, wanted);
    const Dupn& model = *parts_->model;
    const Var e = model.items(tape, batch.items, parts_->catalogue);
    const Var candidates = model.candidates_of(tape, batch, parts_->catalogue);
    const Var rep = model.represent(e, model.states(e, batch), batch, candidates);
    std::vector<Answers>& out = pieces[static_cast<size_t>(begin / kGrain)];
    size_t k = 0;
    for (const auto& [name, task] : tasks) {
      Answers& of_task = out.emplace_back();
      const std::span<const real> labels = batch.labels[k];
      const bool next = task.kind == "next";
      List views(tape, std::ssize(labels));  // that are asked for the next item
      for (size_t i = 0; next && i < labels.size(); ++i)
        if (!std::isnan(labels[i])) views.add(batch.view[i]);
      const Tensor z = next ? model.next_logits(gather(rep, views), parts_->catalogue).value()
                            : model.pair_logits(tape, k, rep, candidates, batch).value();
      int64_t number = 0;
      for (size_t i = 0; i < labels.size(); ++i) {
        if (std::isnan(labels[i])) continue;
        of_task.labels.push_back(labels[i]);
        if (!next) {
          of_task.answers.push_back(probability(z.data[i]));
          continue;
        }
        const auto view = static_cast<size_t>(batch.view[i]);
        const std::span<const real> of_view(z.data + number++ * z.cols(), static_cast<size_t>(z.cols()));
        std::vector<bool> known(of_view.size() + 1);  // by the item's id, from 1 on
        const auto leave_out = [&](int32_t item) {
          if (static_cast<size_t>(item) < known.size()) known[static_cast<size_t>(item)] = true;
        };
        for (int32_t s = batch.views.begins[view]; s < batch.views.ends[view]; ++s)
          leave_out(batch.items[static_cast<size_t>(batch.seen[static_cast<size_t>(s)])]);
        for (const int32_t item : rows.older[begin + batch.row[i]]) leave_out(item);
        // In the order of `recommend`; who is never recommended comes behind all.
        const auto target = static_cast<size_t>(labels[i]);
        const bool found = target < known.size() && !known[target] && !std::isnan(of_view[target - 1]);
        int64_t rank = 0;
        for (size_t item = 1; item < known.size(); ++item) {
          const real z = of_view[item - 1], of_target = found ? of_view[target - 1] : 0;
          rank += !known[item] && (!found || z > of_target || (z == of_target && item < target));
        }
        of_task.answers.push_back(static_cast<double>(rank));
      }
      ++k;
    }
  });
  std::vector<Answers> all(tasks.size());
  for (const std::vector<Answers>& piece : pieces)
    for (size_t k = 0; k < piece.size(); ++k) {
      all[k].answers.insert(all[k].answers.end(), piece[k].answers.begin(), piece[k].answers.end());
      all[k].labels.insert(all[k].labels.end(), piece[k].labels.begin(), piece[k].labels.end());
    }
  return all;
}

std::vector<std::pair<std::string, double>> UserModel::metrics(const std::vector<Answers>& answers) const {
  std::vector<std::pair<std::string, double>> list;
  struct Mean {
    double sum = 0, count = 0;
  };
  std::map<std::string, Mean> means;
  size_t k = 0;
  for (const auto& named : parts_->config.tasks) {  // clang 14: no lambda captures a structured binding
    const std::string& name = named.first;
    const TaskConfig& task = named.second;
    const Answers& of_task = answers[k++];
    const auto add = [&](std::span<const char* const> keys, std::initializer_list<Metric> values) {
      auto key = keys.begin();
      for (const Metric& value : values) {
        list.emplace_back(name + "." + *key, value.value_or(NAN));
        Mean& mean = means[*key++];
        if (value) mean.sum += *value, ++mean.count;
      }
    };
    if (task.kind == "pair") {
      const auto& [probabilities, labels] = of_task;
      add(kPairMetrics, {auc(probabilities, labels), pr_auc(probabilities, labels),
                         log_loss(probabilities, labels), calibration_error(probabilities, labels)});
      continue;
    }
    double hits = 0, gains = 0;
    for (const double rank : of_task.answers)
      if (rank < kRank) ++hits, gains += 1 / std::log2(rank + 2);
    const double n = static_cast<double>(of_task.answers.size());
    add(kNextMetrics, {n > 0 ? Metric(hits / n) : Metric(), n > 0 ? Metric(gains / n) : Metric()});
  }
  for (const auto& [key, mean] : means) list.emplace_back(key, mean.sum / mean.count);
  return list;
}

}  // namespace steelyard
