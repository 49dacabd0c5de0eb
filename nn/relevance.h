// Relevance of a product to a query: everything that scoring needs in one object and one file. Texts become
// terms (tokenizer, vocabulary), terms become bags (a BagModel), two bags become a score, a score becomes a
// probability σ(a·s + b). `const` and thread-safe: each thread brings a Workspace and its Bags, and a score
// then allocates nothing.
//
//   Relevance relevance = Relevance::open("model.safetensors");
//   Workspace workspace;  Bag query, product;
//   relevance.encode(Side::query, "shower faucet", query, workspace);
//   relevance.encode(Side::product, "Delta 1-Handle Shower Only Faucet", product, workspace);
//   double s = score(query, product);      // nn/bag.h; match() explains it
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "autograd/objective.h"
#include "core/backend.h"
#include "core/parallel.h"
#include "data/bag_store.h"
#include "data/tokenizer.h"
#include "data/vocabulary.h"
#include "nn/bm25.h"
#include "nn/deepbow.h"
#include "nn/labelled.h"

namespace steelyard {

// What is kept of the weights that a model gives: of a query the heaviest, of a product those with the greatest expected
// contribution, its weight times the mean weight (by idf) that training pairs' queries give the term, apart for products that
// hold it and for those that do not.
struct BagsConfig {
  int query_terms = 0, product_terms = 0;
  double least_weight = 0.01;

  template <class F>
  void fields(F&& f) {
    f("query_terms", query_terms, "heaviest words that a query keeps; 0: all");
    f("product_terms", product_terms, "words of most use that a product keeps; 0: all");
    f("least_weight", least_weight, "of a word that the text does not hold");
  }
  void validate() const;
};

struct RelevanceConfig {
  std::string model = "deepbow";
  ColumnsConfig columns;
  TokenizerConfig tokenizer;
  VocabularyConfig vocabulary;
  EncoderConfig encoder;
  DeepBowConfig deepbow;
  Bm25Config bm25;
  BagsConfig bags;

  template <class F>
  void fields(F&& f) {
    f("model", model, "deepbow, dense or bm25");
    f("columns", columns, "columns of the data files");
    f("tokenizer", tokenizer, "text into words");
    f("vocabulary", vocabulary, "words into terms");
    f("encoder", encoder, "texts into vectors, for deepbow and dense");
    f("deepbow", deepbow, "learned weights of terms");
    f("bm25", bm25, "weights of terms by formula");
    f("bags", bags, "what is kept of the weights");
  }
  void validate() const;
};

// How many words with a weight the bags of one side hold, on average over its texts. Priors are no words.
struct Sparsity {
  double terms = 0, expansion = 0;  // that the text holds, that the model brought in
  int64_t words = 0, dead = 0;      // that can be brought in, and those of them that no text brings in
};

struct ScoredRows {
  std::vector<double> scores;
  Sparsity query, product;
};

// What a thread needs for encoding.
struct Workspace {
  Workspace() : tape(cpu(), Mode::score) {}
  Tape tape;
  TextColumns text;
  std::vector<Entry> entries;
};

class Relevance {
 public:
  // Untrained, or with what an older model has learned (Parameters). The dictionary is the one that
  // config.tokenizer.dictionary names, if it names one.
  Relevance(RelevanceConfig config, Vocabulary vocabulary, uint64_t seed,
            std::optional<Dictionary> dictionary = {}, const Relevance* older = nullptr);
  static Relevance open(const std::filesystem::path& path);  // a model file or a run folder
  static Relevance open(const TensorFile& file);
  Relevance(Relevance&&) noexcept;
  ~Relevance();

  void encode(Side side, std::string_view text, Bag& out, Workspace& workspace) const;
  std::string_view surface(const Bag& bag, int64_t entry) const;
  // The entries that have a weight, as a store takes them; their surfaces are views of the bag. Their ids are below ids().
  void words(const Bag& bag, std::vector<BagWord>& out) const;
  int64_t ids() const;
  // The word of the text behind each entry of its expansion; −1: not one word's doing.
  std::vector<int32_t> sources(Side side, const Bag& bag, Workspace& workspace) const;
  double probability(double score) const;  // σ(a·s + b), a > 0

  const RelevanceConfig& config() const;
  const Vocabulary& vocabulary() const;
  const Dictionary* dictionary() const;  // nullptr: none
  const Metadata& metadata() const;      // of the file it was opened from
  Parameters& parameters();
  const Parameters& parameters() const;

  void save(const std::filesystem::path& path, const Metadata& more) const;

  // ---- training

  // Reads a table and encodes its pairs into a cache at `path`, which is used again if nothing has changed.
  // `say` hears of rows that were skipped; `stop` is that of a TableRequest.
  RowCache encode_rows(const std::string& table, const std::string& bad_rows,
                       const std::filesystem::path& path,
                       const std::function<void(const std::string&)>& say = {},
                       const std::atomic<bool>* stop = nullptr) const;
  // Before the first step of a model that is new: what the texts teach without labels (BagModel, BagsConfig).
  void pretrain(const PairRows& pairs, const Workers& workers);
  // Mean binary cross-entropy of σ(a·s + b) against the graded label, and what the model adds to it. `progress` is
  // the share of the steps that are done. That of too many words is a regulariser or, of two goals, the second task.
  Objective objective(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows, double progress = 1,
                      bool two_goals = false) const;
  // The scores of all pairs, to the bit those of `score(encode(query), encode(product))`, and what their bags hold.
  ScoredRows score_rows(const PairRows& pairs, const Workers& workers) const;
  // Named numbers of the bags: the terms of either side, and what it brings in if it does.
  static std::vector<std::pair<std::string, double>> figures(const ScoredRows& rows);
  // What is wrong with a model that tells nothing apart any more, and the key that is likely to blame; empty: nothing.
  std::string collapse(const ScoredRows& rows) const;
  static constexpr const char* kMetrics[] = {"spearman", "auc", "pr_auc", "ndcg10", "logloss", "rmse", "ece"};
  // The metrics of scores in the order of the rows; NaN where the data do not define one.
  std::vector<std::pair<std::string, double>> metrics(std::span<const double> scores,
                                                      std::span<const float> grades, Ids groups) const;

 private:
  struct Parts;
  explicit Relevance(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;  // a model points to its vocabulary: it stays where it is
};

// A Vocabulary from the queries and products of a table, or an older one grown by them, and the mean words of a product.
struct Corpus {
  Vocabulary vocabulary;
  double mean_product_length = 0;
};
Corpus read_corpus(const RelevanceConfig& config, const std::string& table, const std::string& bad_rows,
                   const Dictionary* dictionary = nullptr, const std::atomic<bool>* stop = nullptr,
                   const Vocabulary* older = nullptr);

}  // namespace steelyard
