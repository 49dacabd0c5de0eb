#include "nn/relevance.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "core/backend.h"
#include "core/fields.h"
#include "core/file.h"
#include "data/metrics.h"
#include "data/table.h"

namespace steelyard {

namespace {

constexpr const char* kFormat = "steelyard-model-1";
constexpr const char* kKind = "relevance";
constexpr const char* kRowsFormat = "steelyard-pairs-2";  // of the columns that encode_rows makes

size_t at(int64_t i) { return static_cast<size_t>(i); }

// One text of n terms.
Segments single(Tape& tape, int64_t n) {
  const std::span<int32_t> offsets = tape.array<int32_t>(2);
  offsets[0] = 0;
  offsets[1] = static_cast<int32_t>(n);
  return Segments::between(offsets);
}

}  // namespace

void RelevanceConfig::validate() const {
  if (model != "deepbow" && model != "bm25")
    fail(Fault::usage, "model: unknown model \"", model, "\"; expected deepbow or bm25");
  columns.validate();
  vocabulary.validate();
  deepbow.validate();
  bm25.validate();
  Tokenizer{tokenizer};  // knows which stems there are
}

struct Relevance::Parts {
  Parts(RelevanceConfig c, Vocabulary v, Parameters p)
      : config(std::move(c)),
        tokenizer(config.tokenizer),
        vocabulary(std::move(v)),
        parameters(std::move(p)) {
    const Parameters::Scope root = parameters.root();
    if (config.model == "bm25")
      model = std::make_unique<Bm25>(config.bm25, vocabulary);
    else
      model = std::make_unique<DeepBow>(root / "deepbow", config.deepbow, vocabulary);
    log_scale = &(root / "calibration").add("log_scale", {1, 1}, constant(std::log(real(4))));
    shift = &(root / "calibration").add("shift", {1}, constant(-1));
    parameters.finish();
  }

  RelevanceConfig config;
  Tokenizer tokenizer;
  Vocabulary vocabulary;
  Parameters parameters;
  Metadata metadata;
  std::unique_ptr<BagModel> model;
  Parameter *log_scale, *shift;  // P(relevant) = σ(e^log_scale · s + shift)
};

Relevance::Relevance(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Relevance::Relevance(RelevanceConfig config, Vocabulary vocabulary, uint64_t seed) {
  config.validate();
  parts_ = std::make_unique<Parts>(std::move(config), std::move(vocabulary), Parameters(cpu(), seed));
}
Relevance::Relevance(Relevance&&) noexcept = default;
Relevance::~Relevance() = default;

Relevance Relevance::open(const std::filesystem::path& path) {
  const TensorFile file(std::filesystem::is_directory(path) ? path / "model.safetensors" : path);
  const auto expect = [&](const char* key, const char* expected) {
    if (file.metadata(key) != expected)
      fail(Fault::input, file.path().string(), ": ", key, " is \"", file.metadata(key), "\"; expected \"",
           expected, "\"");
  };
  expect("format", kFormat);
  expect("kind", kKind);
  RelevanceConfig config;
  try {
    from_json(config, file.metadata("config"));
    config.validate();
    auto parts =
        std::make_unique<Parts>(config, Vocabulary::load(file, config.vocabulary), Parameters(cpu(), file));
    parts->metadata = file.metadata();
    return Relevance(std::move(parts));
  } catch (const Error& error) {
    // A configuration that no run could have had, an array that is not what it must be: it is this file's fault.
    const std::string path_text = file.path().string();
    if (std::string_view(error.what()).starts_with(path_text)) throw;
    fail(error.fault == Fault::usage ? Fault::input : error.fault, path_text, ": ", error.what());
  }
}

void Relevance::save(const std::filesystem::path& path, const Metadata& more) const {
  std::vector<NamedArray> arrays = parts_->parameters.arrays();
  for (NamedArray& array : parts_->vocabulary.arrays()) arrays.push_back(std::move(array));
  Metadata metadata = more;
  metadata["format"] = kFormat;
  metadata["kind"] = kKind;
  metadata["config"] = to_json(parts_->config);
  write_tensor_file(path, std::move(arrays), metadata);
}

const RelevanceConfig& Relevance::config() const { return parts_->config; }
const Vocabulary& Relevance::vocabulary() const { return parts_->vocabulary; }
const Metadata& Relevance::metadata() const { return parts_->metadata; }
Parameters& Relevance::parameters() { return parts_->parameters; }
const Parameters& Relevance::parameters() const { return parts_->parameters; }

void Relevance::encode(Side side, std::string_view text, Bag& out, Workspace& workspace) const {
  const BagModel& model = *parts_->model;
  parts_->tokenizer.tokenize(text, out.tokens);
  parts_->vocabulary.terms(out.tokens, out.terms);
  workspace.ids.clear();
  workspace.places.clear();
  for (const Term& term : out.terms.all()) workspace.ids.push_back(term.id);
  model.places(side, out, workspace.places);
  Tape& tape = workspace.tape;
  tape.reset();
  const TermBatch batch{workspace.ids, workspace.places, single(tape, out.terms.size())};
  const Tensor weights =
      (side == Side::query ? model.query_weights(tape, batch) : model.product_weights(tape, batch)).value();
  out.weights.assign(weights.data, weights.data + weights.size());
}

double Relevance::probability(double score) const {
  const double scale = std::exp(static_cast<double>(parts_->log_scale->value().data[0]));
  return 1 / (1 + std::exp(-(scale * score + static_cast<double>(parts_->shift->value().data[0]))));
}

RowCache Relevance::encode_rows(const std::string& table, const std::string& bad_rows,
                                const std::filesystem::path& path,
                                const std::function<void(const std::string&)>& say,
                                const std::atomic<bool>* stop) const {
  const std::string key = text(kRowsFormat, " ", key_part(MappedFile(table).text()), " ",
                               parts_->vocabulary.fingerprint(), " ", bad_rows, " ", to_json(parts_->config));
  return RowCache::open_or_build(path, key, [&] {
    const ColumnsConfig& columns = parts_->config.columns;
    PairReader reader(table, columns, bad_rows, stop);
    RowColumns out;
    std::vector<int32_t> ids, query_places, product_places, matches, match_places;
    Bag query, product;
    const BagModel& model = *parts_->model;
    const int places = model.places_per_term(Side::product);
    for (LabelledPair pair; reader.next(pair);) {
      const auto read = [&](Side side, std::string_view text, Bag& bag, std::vector<int32_t>& into) {
        parts_->tokenizer.tokenize(text, bag.tokens);
        parts_->vocabulary.terms(bag.tokens, bag.terms);
        into.clear();
        model.places(side, bag, into);
      };
      read(Side::query, pair.query, query, query_places);
      read(Side::product, pair.product, product, product_places);
      ids.clear(), matches.clear(), match_places.clear();
      for (int64_t i = 0; i < query.terms.size(); ++i) {
        ids.push_back(query.terms[i].id);
        const int64_t j = product.terms.find(query.terms[i].id);
        if (j < 0) continue;
        matches.push_back(static_cast<int32_t>(i));
        match_places.insert(match_places.end(), product_places.begin() + j * places,
                            product_places.begin() + (j + 1) * places);
      }
      out.texts["query_terms"].push_back(ids);
      out.texts["query_places"].push_back(query_places);
      out.texts["matches"].push_back(matches);
      out.texts["match_places"].push_back(match_places);
      out.texts["group"].push_back({&pair.group, 1});
      out.numbers["label"].push_back(static_cast<float>(columns.share(pair.grade)));
      out.numbers["grade"].push_back(static_cast<float>(pair.grade));
    }
    if (const std::string skipped = reader.skipped(); say && !skipped.empty()) say(skipped);
    return out;
  });
}

namespace {

struct MatchWeights {
  Var query, product;  // [m,1]
  Segments pairs;
};

MatchWeights weigh(const BagModel& model, Tape& tape, const PairBatch& batch) {
  const Var query = model.query_weights(tape, batch.query);
  return {gather(query, batch.positions), model.product_weights(tape, batch.product), batch.product.texts};
}

}  // namespace

Var Relevance::scores(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows) const {
  const double dropout = parts_->config.model == "deepbow" ? parts_->config.deepbow.query_dropout : 0;
  const MatchWeights weights = weigh(*parts_->model, tape, gather_pairs(tape, pairs, rows, dropout));
  return segment_sum(weights.query * weights.product, weights.pairs);
}

Objective Relevance::objective(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows) const {
  const auto n = static_cast<int64_t>(rows.size());
  const std::span<real> labels = tape.array<real>(n);
  for (size_t b = 0; b < rows.size(); ++b) labels[b] = pairs.labels[at(rows[b])];
  const Var logits =
      linear(scores(tape, pairs, rows), exp(tape.leaf(*parts_->log_scale)), tape.leaf(*parts_->shift));
  return {{{"relevance", mean(bce(logits, tape.constant({n, 1}, labels))), n}}};
}

std::vector<double> Relevance::score_rows(const PairRows& pairs, const Workers& workers) const {
  std::vector<double> scores(at(pairs.size()));
  constexpr int64_t kGrain = 512;
  workers.rows(pairs.size(), kGrain, [&](int64_t begin, int64_t end) {
    Tape tape(cpu(), Mode::score);
    std::vector<int64_t> rows;
    for (int64_t row = begin; row < end; ++row) rows.push_back(row);
    const MatchWeights weights = weigh(*parts_->model, tape, gather_pairs(tape, pairs, rows, 0));
    const real *query = weights.query.value().data, *product = weights.product.value().data;
    for (size_t b = 0; b < rows.size(); ++b)
      for (int32_t m = weights.pairs.begins[b]; m < weights.pairs.ends[b]; ++m)
        scores[at(rows[b])] +=
            static_cast<double>(query[m]) * static_cast<double>(product[m]);  // as in nn/bag.cpp
  });
  return scores;
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
                   const std::atomic<bool>* stop) {
  const Tokenizer tokenizer(config.tokenizer);
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
  return {builder.finish(), static_cast<double>(words) / static_cast<double>(products)};
}

}  // namespace steelyard
