// Training of a Relevance: labelled pairs of query and product.
#include <algorithm>
#include <cmath>

#include "core/file.h"
#include "tools/explain.h"
#include "tools/job.h"

namespace steelyard {

namespace {

class RelevanceJob final : public Job {
 public:
  explicit RelevanceJob(const RunConfig& config) : config_(config) {}
  std::unique_ptr<Job> fresh() const override { return std::make_unique<RelevanceJob>(RunConfig()); }

  Fields fields() override { return config_; }
  TrainingConfig& training() override { return config_; }
  PlaceConfig& place() override { return config_.run; }
  void validate() const override { config_.validate(); }

  void prepare(const Workshop& shop) override {
    model_.emplace(untrained(shop));
    const auto encoded = [&](const std::string& file, const char* name) {
      return model_->encode_rows(data_path(file), config_.data.bad_rows, shop.cache / name, shop.say,
                                 shop.stop);
    };
    train_.emplace(encoded(config_.data.train, "train.rows"));
    if (!config_.data.dev.empty()) dev_.emplace(encoded(config_.data.dev, "dev.rows"));
  }
  Parameters& parameters() override { return model_->parameters(); }
  void pretrain(const Workers& workers) override { model_->pretrain(train_->pairs, workers); }
  int64_t rows() const override { return train_->pairs.size(); }
  int64_t dev_rows() const override { return dev_ ? dev_->pairs.size() : 0; }
  std::string identity() const override {
    RelevanceConfig copy = config_;
    return text(to_json(copy), " ", train_->cache.key(), " ",
                dev_ ? dev_->cache.key() : std::string("no dev rows"));
  }
  // By priority, few words are a goal behind relevance; else a penalty that is weighed.
  std::vector<Goal> goals() const override {
    if (!two_goals()) return {{"relevance"}};
    return {{.name = "relevance", .priority = 1}, {.name = "sparsity", .priority = 2}};
  }
  Objective objective(Tape& tape, std::span<const int64_t> rows, double progress, uint64_t) const override {
    return model_->objective(tape, train_->pairs, rows, two_goals() ? 1 : progress, two_goals());
  }
  Objective dev_objective(Tape& tape, std::span<const int64_t> rows, uint64_t) const override {
    return model_->objective(tape, dev_->pairs, rows, 1, two_goals());
  }
  Findings evaluate(const Workers& workers, std::span<const int64_t> wanted) const override {
    const PairRows& pairs = dev_->pairs;
    const ScoredRows rows = model_->score_rows(pairs, workers);
    std::vector<double> scores;
    std::vector<float> grades;
    std::vector<int32_t> groups;
    for (const int64_t row : wanted) {
      const auto at = static_cast<size_t>(row);
      scores.push_back(rows.scores[at]), grades.push_back(pairs.grades[at]);
      groups.push_back(pairs.groups[at]);
    }
    return {model_->metrics(scores, grades, groups), Relevance::figures(rows), model_->collapse(rows)};
  }
  void save(const std::filesystem::path& path, const Metadata& more) const override {
    model_->save(path, more);
  }

  void report(const std::filesystem::path& path, Report& report, const std::atomic<bool>* stop) override;
  std::string vocabulary() const override {
    const Vocabulary& vocabulary = model_->vocabulary();
    return text("terms       ", vocabulary.entries(), " of their own, ",
                vocabulary.size() - vocabulary.entries(), " buckets\n");
  }
  std::string in_words(std::span<const int64_t> rows) override;

 private:
  struct Rows {
    explicit Rows(RowCache of) : cache(std::move(of)), pairs(cache) {}
    RowCache cache;
    PairRows pairs;
  };

  bool two_goals() const { return config_.method == "nmt"; }
  Relevance untrained(const Workshop& shop);   // with the words of its training rows
  Relevance from_older(const Workshop& shop);  // with what an older one has learned

  RunConfig config_;
  std::optional<Relevance> model_;
  std::optional<Relevance> best_;  // the report shows its words
  std::optional<Rows> train_, dev_;
};

Relevance RelevanceJob::from_older(const Workshop& shop) {
  const auto& [path, update] = std::pair(shop.options.older, shop.options.update);
  const Relevance older = Relevance::open(path);
  RelevanceConfig& ours = config_;
  RelevanceConfig theirs = older.config();
  if (ours.bm25.mean_length == 0) ours.bm25.mean_length = theirs.bm25.mean_length;
  // What gives the words and the parameters of a name their meaning.
  std::vector<std::string> same = {"tokenizer.", "vocabulary.", "deepbow.query_bag", "deepbow.product_bag"};
  if (theirs.model == "dense" || theirs.deepbow.query_encoder || theirs.deepbow.product_encoder)
    same.push_back("encoder.kind");
  for (const std::string& key : differences(theirs, ours))
    if (update || std::ranges::any_of(same, [&](const std::string& begin) { return key.starts_with(begin); }))
      refuse_difference(key, path);
  if (update) check_optimizer(older.metadata(), config_.optimizer, path);
  std::optional<Dictionary> dictionary;
  if (older.dictionary()) dictionary = *older.dictionary();
  Vocabulary vocabulary = update ? read_corpus(theirs, data_path(config_.data.train), config_.data.bad_rows,
                                               older.dictionary(), shop.stop, &older.vocabulary())
                                       .vocabulary
                                 : older.vocabulary();
  Relevance model(config_, std::move(vocabulary), static_cast<uint64_t>(config_.trainer.seed),
                  std::move(dictionary), &older);
  shop.say(text("goes on from ", path.string(), ": ",
                model.vocabulary().entries() - older.vocabulary().entries(), " new terms",
                new_parameters(model.parameters(), older.parameters())));
  return model;
}

Relevance RelevanceJob::untrained(const Workshop& shop) {
  if (!shop.options.older.empty()) return from_older(shop);
  std::optional<Dictionary> dictionary;
  if (!config_.tokenizer.dictionary.empty())
    dictionary = Dictionary::read(data_path(config_.tokenizer.dictionary));
  Corpus corpus = read_corpus(config_, data_path(config_.data.train), config_.data.bad_rows,
                              dictionary ? &*dictionary : nullptr, shop.stop);
  if (config_.bm25.mean_length == 0) config_.bm25.mean_length = corpus.mean_product_length;
  return Relevance(config_, std::move(corpus.vocabulary), static_cast<uint64_t>(config_.trainer.seed),
                   std::move(dictionary));
}

// The best and the worst dev pairs, explained.
void RelevanceJob::report(const std::filesystem::path& path, Report& report, const std::atomic<bool>* stop) {
  if (config_.data.dev.empty()) return;
  const Relevance& model = best_.emplace(Relevance::open(path));
  constexpr size_t kEach = 4;
  PairReader reader(data_path(config_.data.dev), config_.columns, config_.data.bad_rows, stop);
  struct Candidate {
    double error;
    Explanation explanation;
  };
  std::vector<Candidate> best, worst;
  Workspace workspace;
  Bag query, product;
  // Keeps the first kEach by `before`, in one pass.
  const auto keep = [](std::vector<Candidate>& list, const Candidate& candidate, auto before) {
    list.insert(std::upper_bound(list.begin(), list.end(), candidate, before), candidate);
    if (list.size() > kEach) list.pop_back();
  };
  for (LabelledPair pair; reader.next(pair);) {
    model.encode(Side::query, pair.query, query, workspace);
    model.encode(Side::product, pair.product, product, workspace);
    const double label = config_.columns.share(pair.grade);
    const double error = std::abs(model.probability(score(query, product)) - label);
    const auto smaller = [](const Candidate& a, const Candidate& b) { return a.error < b.error; };
    const auto larger = [](const Candidate& a, const Candidate& b) { return a.error > b.error; };
    const bool good = label >= 0.99 && (best.size() < kEach || error < best.back().error);
    const bool bad = worst.size() < kEach || error > worst.back().error;
    if (!good && !bad) continue;
    Candidate candidate{error, explain(model, pair.query, pair.product, query, product)};
    candidate.explanation.grade = pair.grade;
    if (good) keep(best, candidate, smaller);
    if (bad) keep(worst, candidate, larger);
  }
  for (Candidate& candidate : best) report.best.push_back(std::move(candidate.explanation));
  for (Candidate& candidate : worst) report.worst.push_back(std::move(candidate.explanation));
}

std::string RelevanceJob::in_words(std::span<const int64_t> wanted) {
  PairReader reader(data_path(config_.data.train), config_.columns, config_.data.bad_rows);
  Workspace workspace;
  Bag query;
  std::string out;
  size_t shown = 0;
  int64_t at = 0;
  for (LabelledPair pair; shown < wanted.size() && reader.next(pair); ++at) {
    if (std::find(wanted.begin(), wanted.end(), at) == wanted.end()) continue;
    ++shown;
    out += text("  ", number(pair.grade), "  ", pair.query, "  |  ", pair.product, "\n     ");
    model_->encode(Side::query, pair.query, query, workspace);
    for (int64_t i = 0; i < query.terms.size(); ++i) out += text(" ", query.terms.surface(i));
    out += "\n";
  }
  return out;
}

}  // namespace

std::unique_ptr<Job> relevance_job(const RunConfig& config) { return std::make_unique<RelevanceJob>(config); }

}  // namespace steelyard
