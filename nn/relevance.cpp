#include "nn/relevance.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "core/backend.h"
#include "core/fields.h"
#include "core/file.h"
#include "core/text.h"
#include "data/metrics.h"
#include "data/table.h"
#include "nn/dense.h"
#include "nn/model_file.h"

namespace steelyard {

namespace {

constexpr const char* kKind = "relevance";
constexpr const char* kRowsFormat = "steelyard-pairs-4";  // of the columns that encode_rows makes

size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

void BagsConfig::validate() const {
  require(query_terms >= 0, "bags.query_terms", query_terms, "0 or more");
  require(product_terms >= 0, "bags.product_terms", product_terms, "0 or more");
  require(least_weight >= 0 && std::isfinite(least_weight), "bags.least_weight", least_weight, "0 or more");
}

void RelevanceConfig::validate() const {
  if (model != "deepbow" && model != "dense" && model != "bm25")
    fail(Fault::usage, "model: unknown model \"", model, "\"; expected deepbow, dense or bm25");
  columns.validate();
  vocabulary.validate();
  encoder.validate();
  deepbow.validate();
  bm25.validate();
  bags.validate();
  if (model == "deepbow" && encoder.kind == "latent") {
    const char* expected = "false: encoder.kind = latent reads only for bags that expand";
    require(!deepbow.query_encoder || deepbow.query_bag == "expansion", "deepbow.query_encoder", "true",
            expected);
    require(!deepbow.product_encoder || deepbow.product_bag == "expansion", "deepbow.product_encoder", "true",
            expected);
  }
  Tokenizer{tokenizer};  // knows which stems there are
}

struct Relevance::Parts {
  Parts(RelevanceConfig c, std::optional<Dictionary> d, Vocabulary v, Parameters p)
      : config(std::move(c)),
        dictionary(std::move(d)),
        tokenizer(config.tokenizer, dictionary ? &*dictionary : nullptr),
        vocabulary(std::move(v)),
        parameters(std::move(p)) {
    const Parameters::Scope root = parameters.root();
    if (config.model == "bm25")
      model = std::make_unique<Bm25>(config.bm25, vocabulary);
    else if (config.model == "dense")
      model = std::make_unique<Dense>(root / "dense", config.encoder, vocabulary);
    else
      model = std::make_unique<DeepBow>(root / "deepbow", config.deepbow, config.encoder, vocabulary);
    constexpr real kScale = 4;
    log_scale = &(root / "calibration").add("log_scale", {1, 1}, constant(std::log(kScale)));
    shift = &(root / "calibration")
                 .add("shift", {1}, constant(static_cast<real>(-1 - kScale * model->first_score())));
    if (config.bags.product_terms > 0)
      expected = &(root / "bags").table("expected", {vocabulary.size(), 2}, constant(1), {.fixed = true});
    parameters.finish();
  }

  void find_terms(std::string_view text, Bag& bag) const;
  void read(Side side, const Bag& bag, TextColumns& out) const;  // behind the texts that are there
  // A text's terms and what is kept of its expansion; what is not kept of its terms has weight 0.
  void keep(Side side, Ids terms, std::span<const real> own, std::span<const real> expansion,
            std::vector<Entry>& out) const;
  void learn_expected(const PairRows& pairs);
  // Weighs all texts of one side and hands over bag after bag: use(text, bag), from any thread.
  template <class Use>
  Sparsity weigh(Side side, const TextRows& texts, const Workers& workers, Use&& use) const;

  RelevanceConfig config;
  std::optional<Dictionary> dictionary;
  Tokenizer tokenizer;
  Vocabulary vocabulary;
  Parameters parameters;
  Metadata metadata;
  std::unique_ptr<BagModel> model;
  Parameter *log_scale, *shift;   // P(relevant) = σ(e^log_scale · s + shift)
  Parameter* expected = nullptr;  // [V,2] a query's weight of a term that the product holds, or does not
};

Relevance::Relevance(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Relevance::Relevance(RelevanceConfig config, Vocabulary vocabulary, uint64_t seed,
                     std::optional<Dictionary> dictionary, const Relevance* older) {
  config.validate();
  check(dictionary.has_value() != config.tokenizer.dictionary.empty(),
        "Relevance: a dictionary is needed if tokenizer.dictionary names one, and only then");
  parts_ =
      std::make_unique<Parts>(std::move(config), std::move(dictionary), std::move(vocabulary),
                              older ? Parameters(cpu(), seed, older->parameters()) : Parameters(cpu(), seed));
}
Relevance::Relevance(Relevance&&) noexcept = default;
Relevance::~Relevance() = default;

Relevance Relevance::open(const std::filesystem::path& path) { return open(TensorFile(model_file(path))); }

Relevance Relevance::open(const TensorFile& file) {
  return load_model<RelevanceConfig>(file, kKind, [&](const RelevanceConfig& config) {
    std::optional<Dictionary> dictionary;
    if (!config.tokenizer.dictionary.empty()) dictionary = Dictionary::load(file.arrays());
    auto parts = std::make_unique<Parts>(config, std::move(dictionary),
                                         Vocabulary::load(file, config.vocabulary), Parameters(cpu(), file));
    parts->metadata = file.metadata();
    return Relevance(std::move(parts));
  });
}

void Relevance::save(const std::filesystem::path& path, const Metadata& more) const {
  std::vector<NamedArray> arrays = parts_->parameters.arrays();
  for (NamedArray& array : parts_->vocabulary.arrays()) arrays.push_back(std::move(array));
  if (parts_->dictionary)
    for (NamedArray& array : parts_->dictionary->arrays()) arrays.push_back(std::move(array));
  save_model(path, kKind, std::move(arrays), parts_->config, more);
}

const RelevanceConfig& Relevance::config() const { return parts_->config; }
const Vocabulary& Relevance::vocabulary() const { return parts_->vocabulary; }
const Dictionary* Relevance::dictionary() const {
  return parts_->dictionary ? &*parts_->dictionary : nullptr;
}
const Metadata& Relevance::metadata() const { return parts_->metadata; }
Parameters& Relevance::parameters() { return parts_->parameters; }
const Parameters& Relevance::parameters() const { return parts_->parameters; }

void Relevance::Parts::find_terms(std::string_view text, Bag& bag) const {
  tokenizer.tokenize(text, bag.tokens);
  vocabulary.terms(bag.tokens, bag.terms);
}

void Relevance::Parts::read(Side side, const Bag& bag, TextColumns& out) const {
  out.lengths.add(static_cast<int32_t>(bag.tokens.size()));
  for (const Term& term : bag.terms.all()) out.terms.add(term.id);
  model->read(side, bag, out);
  out.end_text();
}

void Relevance::Parts::keep(Side side, Ids terms, std::span<const real> own, std::span<const real> expansion,
                            std::vector<Entry>& out) const {
  const int limit = side == Side::query ? config.bags.query_terms : config.bags.product_terms;
  const auto least = static_cast<real>(config.bags.least_weight);
  out.clear();
  for (size_t j = 0; j < terms.size(); ++j) out.push_back({terms[j], own[j]});
  auto words = std::ssize(out);
  for (size_t column = 0; column < expansion.size(); ++column) {
    const Entry entry = {model->expansion_id(side, static_cast<int64_t>(column)), expansion[column]};
    if (entry.id < vocabulary.size()) {
      const bool heavy = std::abs(entry.weight) >= least && entry.weight != 0;
      if (!heavy || std::find(terms.begin(), terms.end(), entry.id) != terms.end()) continue;
      ++words;
    }
    out.push_back(entry);
  }
  if (limit == 0 || words <= limit) return;
  std::vector<real> uses;
  for (size_t i = 0; i < at(words); ++i) {
    const bool held = i < terms.size();
    const real share = side == Side::product ? expected->value().data[2 * out[i].id + !held] : 1;
    uses.push_back(std::abs(out[i].weight * share));
  }
  std::vector<real> sorted = uses;
  std::nth_element(sorted.begin(), sorted.begin() + limit - 1, sorted.end(), std::greater<>());
  const real last = sorted[at(limit - 1)];
  int64_t equal = limit - std::ranges::count_if(uses, [&](real use) { return use > last; });
  for (size_t i = 0; i < uses.size(); ++i)
    if (uses[i] < last || (uses[i] == last && equal-- <= 0)) out[i].weight = 0;
}

void Relevance::Parts::learn_expected(const PairRows& pairs) {
  struct Sums {
    double pairs = 0, asked = 0;
  };
  std::vector<Sums> held(at(vocabulary.size()));  // where the product holds the term
  std::vector<double> asked(at(vocabulary.size()));
  Sums all;
  for (int64_t i = 0; i < pairs.size(); ++i) {
    const auto query = pairs.queries.terms[pairs.query[at(i)]];
    double sum = 0;
    for (int32_t id : query) sum += vocabulary.idf(id);
    for (int32_t id : query) asked[at(id)] += vocabulary.idf(id) / sum;
    for (int32_t id : pairs.products.terms[pairs.product[at(i)]]) ++held[at(id)].pairs, ++all.pairs;
    for (int32_t j : pairs.query_matches[i]) {
      const int32_t id = query[at(j)];
      held[at(id)].asked += vocabulary.idf(id) / sum, all.asked += vocabulary.idf(id) / sum;
    }
  }
  constexpr double kPrior = 10;  // pairs in which a term is as any other
  const auto n = static_cast<double>(pairs.size());
  for (size_t id = 0; id < held.size(); ++id) {
    const Sums& of = held[id];
    if (expected->value().data[2 * id + 1] != 1) continue;  // an older model's
    expected->value().data[2 * id] =
        static_cast<real>((of.asked + kPrior * all.asked / std::max(1.0, all.pairs)) / (of.pairs + kPrior));
    expected->value().data[2 * id + 1] = static_cast<real>((asked[id] - of.asked) / (n - of.pairs + kPrior));
  }
}

namespace {

std::span<const real> numbers(Var x) {
  if (!x.tape) return {};
  return {x.value().data, at(x.size())};
}

}  // namespace

void Relevance::encode(Side side, std::string_view text, Bag& out, Workspace& workspace) const {
  workspace.text.clear();
  parts_->find_terms(text, out);
  parts_->read(side, out, workspace.text);
  workspace.tape.reset();
  const int64_t only = 0;
  const Weights weights = parts_->model->weigh(
      workspace.tape, side, gather_texts(workspace.tape, TextRows(workspace.text), {&only, 1}));
  const auto terms = static_cast<size_t>(out.terms.size());
  parts_->keep(side, workspace.text.terms.values, numbers(weights.own), numbers(weights.expansion),
               workspace.entries);
  out.weights.clear(), out.expansion.clear();
  for (size_t i = 0; i < terms; ++i) out.weights.push_back(workspace.entries[i].weight);
  for (size_t i = terms; i < workspace.entries.size(); ++i)
    if (workspace.entries[i].weight != 0) out.expansion.push_back(workspace.entries[i]);
}

void Relevance::words(const Bag& bag, std::vector<BagWord>& out) const {
  out.clear();
  for (int64_t i = 0; i < bag.size(); ++i)
    if (const Entry entry = bag[i]; entry.weight != 0)
      out.push_back({entry.id, static_cast<float>(entry.weight), surface(bag, i)});
}

int64_t Relevance::ids() const { return parts_->vocabulary.size() + parts_->model->names(); }

std::string_view Relevance::surface(const Bag& bag, int64_t entry) const {
  if (entry < bag.terms.size()) return bag.terms.surface(entry);
  const int32_t id = bag[entry].id;
  return id < parts_->vocabulary.size() ? parts_->vocabulary.surface(id) : parts_->model->name(id);
}

std::vector<int32_t> Relevance::sources(Side side, const Bag& bag, Workspace& workspace) const {
  std::vector<int32_t> words;  // come first: they are ascending by id
  for (const Entry& entry : bag.expansion)
    if (entry.id < parts_->vocabulary.size()) words.push_back(entry.id);
  if (words.empty()) return std::vector<int32_t>(bag.expansion.size(), -1);
  workspace.text.clear();
  parts_->read(side, bag, workspace.text);
  workspace.tape.reset();
  const int64_t only = 0;
  std::vector<int32_t> sources = parts_->model->sources(
      workspace.tape, side, gather_texts(workspace.tape, TextRows(workspace.text), {&only, 1}), words);
  sources.resize(bag.expansion.size(), -1);
  return sources;
}

double Relevance::probability(double score) const {
  const double scale = std::exp(static_cast<double>(parts_->log_scale->value().data[0]));
  return 1 / (1 + std::exp(-(scale * score + static_cast<double>(parts_->shift->value().data[0]))));
}

RowCache Relevance::encode_rows(const std::string& table, const std::string& bad_rows,
                                const std::filesystem::path& path,
                                const std::function<void(const std::string&)>& say,
                                const std::atomic<bool>* stop) const {
  const std::string key =
      text(kRowsFormat, " ", key_part(MappedFile(table).text()), " ", parts_->vocabulary.fingerprint(), " ",
           parts_->dictionary ? parts_->dictionary->fingerprint() : 0, " ", bad_rows, " ",
           to_json(parts_->config));
  return RowCache::open_or_build(path, key, [&] {
    const ColumnsConfig& columns = parts_->config.columns;
    PairReader reader(table, columns, bad_rows, stop);
    RowColumns out;
    TextColumns queries, products;
    std::unordered_map<std::string, int32_t> query_numbers, product_numbers;
    Bag query, product;
    for (LabelledPair pair; reader.next(pair);) {
      // A text is written once, however many pairs it is in.
      const auto read = [&](Side side, std::string_view text, Bag& bag, auto& numbers, TextColumns& texts) {
        const auto [at, fresh] = numbers.emplace(text, static_cast<int32_t>(numbers.size()));
        parts_->find_terms(text, bag);
        if (fresh) parts_->read(side, bag, texts);
        return at->second;
      };
      out.ids["query"].push_back(read(Side::query, pair.query, query, query_numbers, queries));
      out.ids["product"].push_back(read(Side::product, pair.product, product, product_numbers, products));
      out.ids["group"].push_back(pair.group);
      RowColumns::Lists &of_query = out.lists["query_matches"], &of_product = out.lists["product_matches"];
      for (int64_t i = 0; i < query.terms.size(); ++i) {
        const int64_t j = product.terms.find(query.terms[i].id);
        if (j >= 0) of_query.add(static_cast<int32_t>(i)), of_product.add(static_cast<int32_t>(j));
      }
      of_query.end(), of_product.end();
      out.numbers["label"].push_back(static_cast<float>(columns.share(pair.grade)));
      out.numbers["grade"].push_back(static_cast<float>(pair.grade));
    }
    for (size_t i = 0; i < kTextLists.size(); ++i) {
      out.lists[std::string("query/") + kTextLists[i]] = std::move(*queries.all()[i]);
      out.lists[std::string("product/") + kTextLists[i]] = std::move(*products.all()[i]);
    }
    if (const std::string skipped = reader.skipped(); say && !skipped.empty()) say(skipped);
    return out;
  });
}

void Relevance::pretrain(const PairRows& pairs, const Workers& workers) {
  parts_->model->pretrain(pairs, workers);
  if (parts_->expected) parts_->learn_expected(pairs);
}

Objective Relevance::objective(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows,
                               double progress, bool two_goals) const {
  const PairBatch batch = gather_pairs(tape, pairs, rows, parts_->model->pair_options());
  const Scores scored = parts_->model->scores(tape, batch, progress);
  const Var logits = linear(scored.scores, exp(tape.leaf(*parts_->log_scale)), tape.leaf(*parts_->shift));
  const auto n = std::ssize(rows);
  const std::span<real> labels = tape.array<real>(batch.size());  // of the negatives: 0
  std::fill(labels.begin(), labels.end(), real(0));
  for (size_t b = 0; b < rows.size(); ++b) labels[b] = pairs.labels[at(rows[b])];
  const Var losses = bce(logits, tape.constant({batch.size(), 1}, labels));
  Objective objective;
  const auto regularise = [&](Var more) {
    if (more.tape) objective.regulariser = objective.regulariser.tape ? objective.regulariser + more : more;
  };
  const auto add_sparsity = [&] {
    if (two_goals)
      objective.tasks.push_back({"sparsity", scored.sparsity, scored.sparsity.tape ? n : 0});
    else
      regularise(scored.sparsity);
  };
  regularise(scored.penalty);
  if (batch.size() == n) {
    objective.tasks = {{"relevance", mean(losses), n}};
    add_sparsity();
    return objective;
  }
  const auto part = [&](int64_t begin, int64_t end) {
    const std::span<int32_t> ids = tape.array<int32_t>(end - begin);
    std::iota(ids.begin(), ids.end(), static_cast<int32_t>(begin));
    return mean(gather(losses, ids));
  };
  objective.tasks = {{"relevance", part(0, n), n}};
  add_sparsity();
  regularise(affine(part(n, batch.size()), static_cast<real>(parts_->config.deepbow.negatives)));
  return objective;
}

template <class Use>
Sparsity Relevance::Parts::weigh(Side side, const TextRows& texts, const Workers& workers, Use&& use) const {
  constexpr int64_t kTexts = 32;
  // Below it a weight adds nothing to a score.
  constexpr auto kNothing = real(1e-6);
  std::atomic<int64_t> terms = 0, expansion = 0, words = 0;
  std::vector<std::atomic<bool>> alive(at(vocabulary.size()));  // words that some text brings in
  workers.rows(texts.size(), kTexts, [&](int64_t begin, int64_t end) {
    Tape tape(cpu(), Mode::score);
    std::vector<int64_t> wanted(at(end - begin));
    std::iota(wanted.begin(), wanted.end(), begin);
    const TextBatch batch = gather_texts(tape, texts, wanted);
    const Weights weights = model->weigh(tape, side, batch);
    const std::span<const real> own = numbers(weights.own), expanded = numbers(weights.expansion);
    const size_t columns = expanded.size() / wanted.size();
    int64_t held = 0, brought = 0, known = 0;
    std::vector<Entry> bag;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto first = static_cast<size_t>(batch.texts.begins[i]);
      const size_t count = static_cast<size_t>(batch.texts.ends[i]) - first;
      keep(side, batch.terms.subspan(first, count), own.subspan(first, count),
           expanded.subspan(i * columns, columns), bag);
      for (size_t j = 0; j < bag.size(); ++j) {
        if (std::abs(bag[j].weight) < kNothing || bag[j].id >= vocabulary.size()) continue;
        ++(j < count ? held : brought);
        if (j >= count) alive[at(bag[j].id)].store(true, std::memory_order_relaxed);
      }
      use(wanted[i], bag);
    }
    for (size_t column = 0; column < columns; ++column)
      known += model->expansion_id(side, static_cast<int64_t>(column)) < vocabulary.size();
    terms += held, expansion += brought, words = known;
  });
  const auto n = static_cast<double>(std::max<int64_t>(1, texts.size()));
  return {.terms = static_cast<double>(terms) / n,
          .expansion = static_cast<double>(expansion) / n,
          .words = words,
          .dead = words - std::count(alive.begin(), alive.end(), true)};
}

ScoredRows Relevance::score_rows(const PairRows& pairs, const Workers& workers) const {
  ScoredRows out;
  std::vector<std::vector<Entry>> queries(at(pairs.queries.size()));
  out.query = parts_->weigh(Side::query, pairs.queries, workers,
                            [&](int64_t query, const std::vector<Entry>& bag) { queries[at(query)] = bag; });
  // The rows of each product: its bag, which may be long, is there only while they are scored.
  std::vector<size_t> starts(at(pairs.products.size()) + 1), rows(at(pairs.size()));
  for (const int32_t product : pairs.product) ++starts[at(product) + 1];
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  std::vector<size_t> next(starts.begin(), starts.end() - 1);
  for (size_t row = 0; row < rows.size(); ++row) rows[next[at(pairs.product[row])]++] = row;
  out.scores.resize(rows.size());
  out.product =
      parts_->weigh(Side::product, pairs.products, workers, [&](int64_t product, std::vector<Entry>& bag) {
        const auto by_id = [](const Entry& a, const Entry& b) { return a.id < b.id; };
        std::sort(bag.begin(), bag.end(), by_id);
        for (size_t k = starts[at(product)]; k < starts[at(product) + 1]; ++k)
          for (const Entry& entry : queries[at(pairs.query[rows[k]])]) {  // in the order of score()
            const auto found = std::lower_bound(bag.begin(), bag.end(), entry, by_id);
            if (found != bag.end() && found->id == entry.id)
              out.scores[rows[k]] += static_cast<double>(entry.weight) * static_cast<double>(found->weight);
          }
      });
  return out;
}

std::vector<std::pair<std::string, double>> Relevance::figures(const ScoredRows& rows) {
  std::vector<std::pair<std::string, double>> list;
  for (const auto& [side, bags] :
       {std::pair<std::string, const Sparsity&>{"query", rows.query}, {"product", rows.product}}) {
    list.emplace_back(side + "_terms", bags.terms);
    if (bags.words == 0) continue;
    list.emplace_back(side + "_expansion", bags.expansion);
    list.emplace_back(side + "_dead", bags.dead);
  }
  return list;
}

std::string Relevance::collapse(const ScoredRows& rows) const {
  const RelevanceConfig& c = parts_->config;
  const auto of_side = [&](const char* texts, const Sparsity& bags, const char* key, double penalty,
                           int limit) {
    // A limit may leave no room for what is brought in, and texts may know of no kinship.
    const bool expands = bags.words > 0 && limit == 0 && (penalty > 0 || c.encoder.kind != "latent");
    if (expands ? bags.expansion > 0 : bags.terms > 0 || c.model == "dense") return std::string();
    return text("the dev ", texts, expands ? " bring in no word; " : " keep no word; ",
                penalty > 0 ? text(key, " = ", penalty) : "optimizer.rate", " is likely too large");
  };
  const auto query =
      of_side("queries", rows.query, "deepbow.query_penalty", c.deepbow.query_penalty, c.bags.query_terms);
  if (!query.empty()) return query;
  const auto product = of_side("products", rows.product, "deepbow.product_penalty", c.deepbow.product_penalty,
                               c.bags.product_terms);
  if (!product.empty()) return product;
  const std::vector<double>& s = rows.scores;
  if (s.size() < 2 || std::ranges::adjacent_find(s, std::not_equal_to<>()) != s.end()) return "";
  return text("all ", s.size(), " dev scores are ", number(s[0]),
              "; optimizer.rate is likely too large, or the rows share no word");
}

std::vector<std::pair<std::string, double>> Relevance::metrics(std::span<const double> scores,
                                                               std::span<const float> grades,
                                                               Ids groups) const {
  const ColumnsConfig& c = parts_->config.columns;
  std::vector<double> grade, probability, predicted, positive, label;
  for (size_t i = 0; i < scores.size(); ++i) {
    grade.push_back(grades[i]);
    label.push_back(c.share(grade[i]));
    positive.push_back(grade[i] >= c.positive - 1e-6);  // grades are floats
    probability.push_back(this->probability(scores[i]));
    predicted.push_back(c.low + probability[i] * (c.high - c.low));
  }
  const std::vector<int64_t> group(groups.begin(), groups.end());
  const auto gain = [&](double g) { return graded_gain(1 + g - c.low); };
  const Metric values[] = {spearman(scores, grade),
                           auc(scores, positive),
                           pr_auc(scores, positive),
                           ndcg(scores, grade, group, 10, gain),
                           log_loss(probability, label),
                           rmse(predicted, grade),
                           calibration_error(probability, label)};
  static_assert(std::size(values) == std::size(kMetrics));
  std::vector<std::pair<std::string, double>> list;
  for (size_t i = 0; i < std::size(values); ++i) list.emplace_back(kMetrics[i], values[i].value_or(NAN));
  return list;
}

Corpus read_corpus(const RelevanceConfig& config, const std::string& table, const std::string& bad_rows,
                   const Dictionary* dictionary, const std::atomic<bool>* stop, const Vocabulary* older) {
  const Tokenizer tokenizer(config.tokenizer, dictionary);
  VocabularyBuilder builder(config.vocabulary);
  TableReader reader(table, {{config.columns.query, config.columns.product}, {}, bad_rows, stop});
  std::unordered_set<uint64_t> seen;  // a text counts once, however many pairs it is in
  Tokens tokens;
  int64_t products = 0, words = 0;
  for (Row row; reader.next(row);)
    for (size_t column : {size_t{0}, size_t{1}}) {
      if (!seen.insert(key_of(column, row[column])).second) continue;
      tokenizer.tokenize(row[column], tokens);
      builder.add(tokens);
      if (column == 1) ++products, words += tokens.size();
    }
  if (products == 0) fail(Fault::input, table, ": no rows");
  return {older ? builder.grow(*older) : builder.finish(),
          static_cast<double>(words) / static_cast<double>(products)};
}

}  // namespace steelyard
