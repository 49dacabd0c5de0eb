// The main job on simulated data: a shop is made up, a DeepBoW and a BM25 are trained on it, scored,
// explained, and compared with what is known about the shop.
#include <chrono>
#include <cstdio>

#include "core/file.h"
#include "data/market.h"
#include "tools/config.h"
#include "tools/explain.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace steelyard {

namespace {

// Says that the folder is a demonstration's: the next one may replace what this one made, and nothing else.
constexpr const char* kMark = ".steelyard-demo";

struct Trained {
  std::string name;
  Relevance model;
  Metrics test;
};

Trained train_and_test(const std::string& name, RunConfig config, const std::filesystem::path& out,
                       bool quiet) {
  train_run(config, out / name, {.quiet = quiet});
  Relevance model = Relevance::open(out / name);
  Metrics test = evaluate_table(model, (out / "market" / "relevance_test.tsv").string(), 0).metrics;
  return {name, std::move(model), std::move(test)};
}

// Of the misspellings that queries contain, how many score their correct word above every other correct word?
struct Found {
  int found = 0, all = 0;
};
Found misspellings_found(const Relevance& model, const Market& market) {
  Found result;
  Workspace workspace;
  Bag query, product;
  for (const WordPair& pair : market.misspellings) {
    model.encode(Side::query, pair.word, query, workspace);
    std::string best;
    double best_score = 0;
    for (const WordPair& other : market.misspellings) {
      model.encode(Side::product, other.other, product, workspace);
      const double s = score(query, product);
      if (s > best_score) best = other.other, best_score = s;
    }
    ++result.all;
    result.found += best == pair.other;
  }
  return result;
}

std::string rounded(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3f", value);
  return buffer;
}

void run_demo(const std::filesystem::path& out, bool quiet) {
  if (std::filesystem::exists(out) && !std::filesystem::is_empty(out)) {
    if (!std::filesystem::exists(out / kMark))
      fail(Fault::usage, "--out ", out.string(),
           ": the folder is in use; expected a new or empty one, or one of an earlier demo");
    for (const char* made : {"market", "deepbow", "bm25", "report.html"})
      std::filesystem::remove_all(out / made);
  }
  std::filesystem::create_directories(out);
  write_atomically(out / kMark, "made by steelyard demo, which may replace what it made\n");
  const Market market = write_market(out / "market", {});
  RunConfig config;
  parse_config(kMarketDeepBow, "market_deepbow.toml", config);
  config.run.data_dir = (out / "market").string();
  RunConfig words = config;
  words.model = "bm25";
  words.vocabulary.word_ngrams = 1;
  words.vocabulary.subword_max = words.vocabulary.across = 0;

  Trained trained[] = {train_and_test("bm25", words, out, quiet),
                       train_and_test("deepbow", config, out, quiet)};
  const Relevance& model = trained[1].model;
  const Found found = misspellings_found(model, market),
              by_words = misspellings_found(trained[0].model, market);

  Report report;
  report.title = "A simulated shop";
  report.summary =
      text("A shop of ", market.products.size(), " products was made up, with ", market.queries.size(),
           " queries and graded judgements. What follows was learned from them. Simulated results say "
           "nothing about a real shop.");
  report.metrics_title = "DeepBoW on the test rows";
  report.metrics = trained[1].test;
  report.metrics_jsonl = MappedFile(out / "deepbow" / "metrics.jsonl").text();
  report.config_toml = dump_config(config);
  Table comparison{
      "On queries that nobody trained on", {"model"}, {}, "bm25 counts words; deepbow learned its weights."};
  for (const auto& [name, value] : trained[1].test) comparison.header.push_back(name);
  for (const Trained& t : trained) {
    comparison.rows.push_back({t.name});
    for (const auto& [name, value] : t.test) comparison.rows.back().push_back(rounded(value));
  }
  report.tables.push_back(std::move(comparison));
  report.tables.push_back(
      {"Misspellings recognised",
       {"model", "recognised", "known"},
       {{"bm25", std::to_string(by_words.found), std::to_string(by_words.all)},
        {"deepbow", std::to_string(found.found), std::to_string(found.all)}},
       "A misspelling is recognised if its correct word scores above every other correct word."});
  const std::string query_text = market.queries[static_cast<size_t>(market.test[0].query)].text;
  const Judgement* shown = &market.test[0];
  for (const Judgement& j : market.test)
    if (j.query == shown->query && j.truth > shown->truth) shown = &j;
  const std::string& title = market.products[static_cast<size_t>(shown->product)].title;
  Workspace workspace;
  Bag query, product;
  model.encode(Side::query, query_text, query, workspace);
  model.encode(Side::product, title, product, workspace);
  report.best.push_back(explain(model, query_text, title, query, product));
  write_atomically(out / "report.html", report_page(report));

  Output console;
  console << "\nsimulated shop, test queries   spearman   auc     ndcg10\n";
  for (const Trained& t : trained) {
    char line[80];
    const auto metric = [&](const char* wanted) {
      for (const auto& [name, value] : t.test)
        if (name == wanted) return value;
      return 0.0;
    };
    std::snprintf(line, sizeof line, "%-30s %.3f      %.3f   %.3f\n", t.name.c_str(), metric("spearman"),
                  metric("auc"), metric("ndcg10"));
    console << line;
  }
  console << text("misspellings recognised        ", found.found, " of ", found.all,
                  " (bm25: ", by_words.found, ")\n\n");
  console << "query    " << query_text << "\nproduct  " << title << "\n";
  console << explanation_text(report.best[0]) << "\nreport   " << (out / "report.html").string() << "\n";
  console.flush();
}

}  // namespace

void add_demo(CLI::App& app) {
  struct Options {
    std::string out = "demo";
    bool quiet = false;
  };
  CLI::App* verb =
      add_verb(app, "demo", "train, score and explain on a simulated shop", "steelyard demo --out demo");
  const auto o = std::make_shared<Options>();
  verb->add_option("--out", o->out, "folder of the results");
  verb->add_flag("--quiet", o->quiet, "no progress");
  verb->callback([o] { run_demo(o->out, o->quiet); });
}

void add_market(CLI::App& app) {
  struct Options {
    std::string out;
    std::vector<std::string> settings;
    bool quiet = false;
  };
  CLI::App* verb =
      add_verb(app, "market", "write the simulated shop as files, so that everything can be tried on files",
               "steelyard market --out shop");
  const auto o = std::make_shared<Options>();
  verb->add_option("--out", o->out, "new or empty folder")->required();
  verb->add_option("--set", o->settings, "KEY=VALUE: change one option of the market (repeatable)")
      ->allow_extra_args(false);
  verb->add_flag("--quiet", o->quiet, "no message");
  verb->callback([o] {
    MarketConfig config;
    for (const std::string& setting : o->settings) apply_setting(setting, config);
    if (std::filesystem::exists(o->out) && !std::filesystem::is_empty(o->out))
      fail(Fault::usage, "--out ", o->out, ": the folder is in use; expected a new or empty one");
    const Market market = write_market(o->out, config);
    Progress(o->quiet).message(
        text(o->out, ": ", market.products.size(), " products, ", market.queries.size(), " queries"));
  });
}

}  // namespace steelyard
