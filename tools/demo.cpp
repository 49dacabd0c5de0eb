// The main job on simulated data: a shop is made up, in English and in Chinese; a DeepBoW and a BM25 are trained on
// it, scored, explained, and compared with what is known about the shop; so are a model of its shoppers, and goals in
// order of priority.
#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "core/backend.h"
#include "core/file.h"
#include "data/impressions.h"
#include "data/part.h"
#include "tools/certificate.h"
#include "tools/config.h"
#include "tools/explain.h"
#include "tools/job.h"
#include "tools/probe.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace steelyard {

namespace {

// Says that the folder is a demonstration's: the next one may replace what this one made, and nothing else.
constexpr const char* kMark = ".steelyard-demo";

struct Trained {
  std::string name;
  Relevance model;
  Metrics test;
};

Trained train_and_test(const std::string& name, const RunConfig& config, const std::string& test,
                       const std::filesystem::path& out, bool quiet) {
  train_run(*relevance_job(config), out / name, {.quiet = quiet});
  Relevance model = Relevance::open(out / name);
  Metrics metrics = evaluate_table(model, (out / "market" / test).string(), 0).metrics;
  return {name, std::move(model), std::move(metrics)};
}

// Words that shoppers use for another.
struct Asked {
  std::string what;
  std::vector<WordPair> pairs;      // asked, meant
  std::vector<std::string> things;  // all that could be meant
};

// Of the words asked, how many score the one meant above everything else that could be?
int64_t recognised(const Relevance& model, const Asked& asked) {
  Workspace workspace;
  std::vector<Bag> things(asked.things.size());
  for (size_t i = 0; i < things.size(); ++i)
    model.encode(Side::product, asked.things[i], things[i], workspace);
  Bag query;
  const auto found = [&](const WordPair& pair) {
    model.encode(Side::query, pair.word, query, workspace);
    double meant = 0, other = 0;
    for (size_t i = 0; i < things.size(); ++i) {
      double& best = asked.things[i] == pair.other ? meant : other;
      best = std::max(best, score(query, things[i]));
    }
    return meant > other;
  };
  return std::count_if(asked.pairs.begin(), asked.pairs.end(), found);
}

// Synonyms of the names, but those that share a term with theirs and so can be matched by their letters.
Asked synonyms_of(const std::vector<std::string>& names, const Market& market, const Relevance& model,
                  const std::string& what) {
  Asked asked{what, {}, market.categories};
  asked.things.insert(asked.things.end(), market.attributes.begin(), market.attributes.end());
  Workspace workspace;
  Bag query, product;
  for (const auto& [name, synonym] : market.synonyms) {
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    model.encode(Side::query, synonym, query, workspace);
    model.encode(Side::product, name, product, workspace);
    const auto terms = query.terms.all();
    if (std::none_of(terms.begin(), terms.end(),
                     [&](const Term& term) { return product.terms.find(term.id) >= 0; }))
      asked.pairs.push_back({synonym, name});
  }
  return asked;
}

Asked misspellings_of(const Market& market) {
  Asked asked{"misspellings", market.misspellings, {}};
  for (const WordPair& pair : market.misspellings) asked.things.push_back(pair.other);
  return asked;
}

// Of the first query of the test, the product that suits it best.
Explanation explained(const Relevance& model, const Market& market) {
  const Judgement* shown = &market.test[0];
  for (const Judgement& j : market.test)
    if (j.query == shown->query && j.truth > shown->truth) shown = &j;
  const std::string& query_text = market.queries[static_cast<size_t>(shown->query)].text;
  const std::string& title = market.products[static_cast<size_t>(shown->product)].title;
  Workspace workspace;
  Bag query, product;
  model.encode(Side::query, query_text, query, workspace);
  model.encode(Side::product, title, product, workspace);
  return explain(model, query_text, title, query, product);
}

std::string rounded(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3f", value);
  return buffer;
}

// What was learned of one language.
struct Learned {
  Market market;
  RunConfig config;
  Trained bm25, deepbow;
};

Learned learn(Language language, const std::filesystem::path& out, bool quiet) {
  const bool chinese = language == Language::chinese;
  Market market = write_market(out / "market", {}, language);
  RunConfig config;
  parse_config(chinese ? kMarketDeepBowZh : kMarketDeepBow,
               chinese ? "market_deepbow_zh.toml" : "market_deepbow.toml", config);
  config.run.data_dir = (out / "market").string();
  RunConfig words = config;
  words.model = "bm25";
  words.vocabulary.word_ngrams = 1;
  words.vocabulary.subword_max = words.vocabulary.across = words.vocabulary.ideographs = 0;
  const std::string suffix = chinese ? "_zh" : "", test = "relevance" + suffix + "_test.tsv";
  Trained bm25 = train_and_test("bm25" + suffix, words, test, out, quiet);
  Trained deepbow = train_and_test("deepbow" + suffix, config, test, out, quiet);
  return {std::move(market), std::move(config), std::move(bm25), std::move(deepbow)};
}

// A user model of the shop's shoppers, its metrics on dev, and how much of their hidden taste its representation holds.
struct LearnedUsers {
  Metrics metrics;
  Table tastes;
};

LearnedUsers learn_users(const Shoppers& shoppers, const std::filesystem::path& out, bool quiet) {
  const std::unique_ptr<Job> job = users_job();
  parse_config(kMarketDupn, "market_dupn.toml", job->fields());
  job->place().data_dir = (out / "market").string();
  LearnedUsers learned;
  learned.metrics = train_run(*job, out / "dupn", {.quiet = quiet}).best;

  UserModel model = UserModel::open(out / "dupn");
  const Histories histories =
      read_histories((out / "market" / "events.tsv").string(), model.config().events, model.catalogue());
  std::vector<size_t> of_user;  // users are numbered as they come
  std::vector<bool> known(shoppers.late.size());
  for (const ShopperEvent& event : shoppers.events)
    if (const auto shopper = static_cast<size_t>(event.shopper); !known[shopper])
      known[shopper] = true, of_user.push_back(shopper);
  std::vector<std::vector<real>> vectors;
  std::vector<int> brands, levels;
  Tape tape(cpu(), Mode::score);
  for (int64_t h = 0; h < histories.size(); ++h) {
    const std::span<const Event> history = histories[h];
    vectors.push_back(model.represent(model.read(history, tape), {.moment = history.back().time + 1}, tape));
    const Taste& taste = shoppers.late[of_user[static_cast<size_t>(histories.user[static_cast<size_t>(h)])]];
    brands.push_back(taste.brand), levels.push_back(taste.price_level);
  }
  learned.tastes = {
      "What the vectors of shoppers know of their taste",
      {"taste", "found", "shuffled"},
      {},
      "A straight line through half of the shoppers' vectors names the taste of the other half. Shuffled: "
      "the "
      "line is fitted on tastes that were dealt to the wrong shoppers. No model was ever told a taste."};
  for (const auto& [what, labels] : {std::pair{"favourite brand", &brands}, {"price level", &levels}})
    learned.tastes.rows.push_back(
        {what, rounded(probe(vectors, *labels)), rounded(probe(vectors, *labels, 1))});
  return learned;
}

// Goals that compete for a small network, trained by one method.
struct TrainedGoals {
  std::string name;
  double loss;                                   // of the first goal, on the rows of the bounds
  std::array<double, Impressions::kGoals> aucs;  // on the shoppers of the test
  Outcome outcome;
  FeaturesConfig features;
};

TrainedGoals train_goals(const std::string& method, const std::string& name, const std::filesystem::path& out,
                         bool quiet) {
  const std::unique_ptr<Job> job = table_job();
  parse_config(kMarketNmt, "market_nmt.toml", job->fields());
  job->place().data_dir = (out / "market").string();
  job->training().method = method;
  const std::filesystem::path run = out / ("goals_" + method);
  TrainedGoals trained{.name = name, .loss = 0, .aucs = {}, .outcome = {}, .features = {}};
  trained.outcome = train_run(*job, run, {.quiet = quiet});

  const TableModel model = TableModel::open(run);
  trained.features = model.config().features;
  const auto answers = [&](Part part) {
    const RowColumns columns = model.encoding().read((out / "market" / "impressions.tsv").string(),
                                                     trained.features, model.tasks(), part);
    return model.answer(TableRows(columns, model.encoding(), model.tasks()), Workers(0));
  };
  const std::vector<TaskAnswers> on_dev = answers(Part::dev), on_test = answers(Part::test);
  for (size_t goal = 0; goal < Impressions::kGoals; ++goal) {
    const Task& task = *std::ranges::find(model.tasks(), std::string(Impressions::kNames[goal]), &Task::name);
    const TaskAnswers &dev = on_dev[task.place], &test = on_test[task.place];
    trained.aucs[goal] = auc(test.answers, test.labels).value();
    if (goal > 0) continue;
    std::vector<double> chances, labels;
    for (size_t row = 0; row < dev.labels.size(); ++row)
      if (measures_bounds(static_cast<int64_t>(row), job->training().nmt.held_out))
        chances.push_back(dev.answers[row]), labels.push_back(dev.labels[row]);
    trained.loss = log_loss(chances, labels).value();
  }
  return trained;
}

// With a network for each goal, with equal weights, and in order of priority.
struct LearnedGoals {
  Table methods, certificate;
  std::string lines;  // for the console
};

LearnedGoals learn_goals(const Market& market, const Shoppers& shoppers, const std::filesystem::path& out,
                         bool quiet) {
  const Impressions impressions = write_impressions(out / "market", market, shoppers, {});
  const TrainedGoals alone = train_goals("single", "each alone", out, quiet),
                     equal = train_goals("equal", "equal weights", out, quiet),
                     nmt = train_goals("nmt", "nmt", out, quiet);
  std::vector<size_t> tested;
  for (size_t row = 0; row < impressions.rows.size(); ++row)
    if (nmt.features.part_of(Shoppers::name(static_cast<size_t>(impressions.rows[row].shopper))) ==
        Part::test)
      tested.push_back(row);
  std::array<double, Impressions::kGoals> oracle;
  for (size_t goal = 0; goal < Impressions::kGoals; ++goal)
    oracle[goal] = impressions.oracle_auc(goal, tested).value();

  const GoalResult& first = nmt.outcome.goals[0];
  LearnedGoals learned;
  learned.methods = {"Goals that compete for a small network",
                     {"method", first.name + ".loss", "at most", ""},
                     {},
                     text("The loss of ", first.name,
                          ", the first goal, is that of the dev rows on which bounds are measured; the limit "
                          "is nmt's, its bound with slack. AUC on the shoppers of the test. Each alone: a "
                          "network of that size for every goal. True chances: what made the labels; no "
                          "model passes them but by luck.")};
  learned.lines = text("\ngoals that compete             ", first.name, ".loss  at most        ");
  for (const char* name : Impressions::kNames) {
    learned.methods.header.push_back(text(name, ".auc"));
    learned.lines += text("  ", name, ".auc");
  }
  learned.lines += "\n";
  const auto add = [&](const std::string& name, const std::string& loss, const std::string& verdict,
                       const std::array<double, Impressions::kGoals>& aucs) {
    const std::string limit = verdict.empty() ? "" : rounded(*first.limit);
    char line[120];
    std::snprintf(line, sizeof line, "%-30s %-9s %-8s %-7s %.3f    %.3f      %.3f\n", name.c_str(),
                  loss.c_str(), limit.c_str(), verdict.c_str(), aucs[0], aucs[1], aucs[2]);
    learned.lines += line;
    learned.methods.rows.push_back({name, loss, limit, verdict});
    for (const double value : aucs) learned.methods.rows.back().push_back(rounded(value));
  };
  add(alone.name, rounded(alone.loss), "", alone.aucs);
  add(equal.name, rounded(equal.loss), equal.loss <= *first.limit ? "held" : "broken", equal.aucs);
  add(nmt.name, rounded(first.value.mean), first.held() ? "held" : "broken", nmt.aucs);
  add("true chances", "", "", oracle);

  learned.certificate = certificate_table(nmt.outcome);
  learned.certificate.header.push_back("largest multiplier");
  const auto certificate = nlohmann::json::parse(MappedFile(out / "goals_nmt" / "certificate.json").text());
  for (size_t g = 0; g < nmt.outcome.goals.size(); ++g) {
    const GoalResult& goal = nmt.outcome.goals[g];
    double largest = 0;
    for (const double multiplier : certificate["goals"][g]["multiplier"])
      largest = std::max(largest, multiplier);
    learned.certificate.rows[g].push_back(goal.limit ? rounded(largest) : "—");
    if (goal.limit)
      learned.lines += text(certificate_line(goal), ", largest multiplier ", rounded(largest), "\n");
  }
  return learned;
}

void run_demo(const std::filesystem::path& out, bool quiet) {
  if (std::filesystem::exists(out) && !std::filesystem::is_empty(out)) {
    if (!std::filesystem::exists(out / kMark))
      fail(Fault::usage, "--out ", out.string(),
           ": the folder is in use; expected a new or empty one, or one of an earlier demo");
    for (const char* made : {"market", "deepbow", "bm25", "deepbow_zh", "bm25_zh", "dupn", "goals_single",
                             "goals_equal", "goals_nmt", "report.html"})
      std::filesystem::remove_all(out / made);
  }
  std::filesystem::create_directories(out);
  write_atomically(out / kMark, "made by steelyard demo, which may replace what it made\n");
  Learned english = learn(Language::english, out, quiet), chinese = learn(Language::chinese, out, quiet);
  const Shoppers shoppers = write_shoppers(out / "market", english.market, {});
  LearnedUsers users = learn_users(shoppers, out, quiet);
  LearnedGoals goals = learn_goals(english.market, shoppers, out, quiet);

  Report report;
  report.title = "A simulated shop";
  report.summary =
      text("A shop of ", english.market.products.size(), " products was made up, with ",
           english.market.queries.size(), " queries in English and ", chinese.market.queries.size(),
           " in Chinese, and graded judgements. What follows was learned from them. Simulated "
           "results say nothing about a real shop.");
  report.metrics_title = "DeepBoW on the test rows in English";
  report.metrics = english.deepbow.test;
  report.metrics_jsonl = MappedFile(out / "deepbow" / "metrics.jsonl").text();
  report.config_toml = dump_config(english.config);
  Table comparison{"On queries that nobody trained on",
                   {"model"},
                   {},
                   "bm25 counts words; deepbow learned its weights and its words; zh: in Chinese."};
  Table meant{"Words that mean another",
              {"what", "known", "bm25", "deepbow"},
              {},
              "A word is recognised if, asked alone, it scores what it means above everything else that it "
              "could mean: above every other correct word, or every other name of a category or attribute. "
              "Synonyms that share a run of characters with what they mean are left out; so bm25, which "
              "counts words, can recognise none."};
  for (const auto& [name, value] : english.deepbow.test) comparison.header.push_back(name);
  Output console;
  console << "\nsimulated shop, test queries   spearman   auc     ndcg10\n";
  const auto compare = [&](const Trained& trained) {
    char line[80];
    const auto metric = [&](const char* wanted) {
      for (const auto& [name, value] : trained.test)
        if (name == wanted) return value;
      return 0.0;
    };
    std::snprintf(line, sizeof line, "%-30s %.3f      %.3f   %.3f\n", trained.name.c_str(),
                  metric("spearman"), metric("auc"), metric("ndcg10"));
    console << line;
    comparison.rows.push_back({trained.name});
    for (const auto& [name, value] : trained.test) comparison.rows.back().push_back(rounded(value));
  };
  for (const Learned* learned : {&english, &chinese}) compare(learned->bm25), compare(learned->deepbow);
  console << "\nrecognised                     known      bm25    deepbow\n";
  const auto count = [&](const Learned& learned, const Asked& asked) {
    const auto known = std::ssize(asked.pairs), by_words = recognised(learned.bm25.model, asked),
               found = recognised(learned.deepbow.model, asked);
    char line[80];
    std::snprintf(line, sizeof line, "%-30s %-10td %-7td %td\n", asked.what.c_str(), known, by_words, found);
    console << line;
    meant.rows.push_back(
        {asked.what, std::to_string(known), std::to_string(by_words), std::to_string(found)});
  };
  count(english, misspellings_of(english.market));
  for (const auto& [learned, zh] : {std::pair{&english, ""}, {&chinese, ", zh"}}) {
    const Market& market = learned->market;
    const Relevance& model = learned->deepbow.model;
    count(*learned, synonyms_of(market.categories, market, model, text("synonyms of products", zh)));
    count(*learned, synonyms_of(market.attributes, market, model, text("synonyms of attributes", zh)));
  }
  console << "\nshoppers                       ";
  for (const auto& [name, value] : users.metrics)
    if (name == "buy.auc" || name == "click.auc" || name == "next.hr10")
      console << name << " " << rounded(value) << "   ";
  console << "\ntaste in their vectors         found      shuffled\n";
  for (const std::vector<std::string>& row : users.tastes.rows) {
    char line[80];
    std::snprintf(line, sizeof line, "%-30s %-10s %s\n", row[0].c_str(), row[1].c_str(), row[2].c_str());
    console << line;
  }
  console << goals.lines;
  Table dupn{"DUPN on shoppers that nobody trained on", {"metric", "value"}, {}, ""};
  for (const auto& [name, value] : users.metrics) dupn.rows.push_back({name, rounded(value)});
  report.tables = {std::move(comparison),   std::move(meant),         std::move(dupn),
                   std::move(users.tastes), std::move(goals.methods), std::move(goals.certificate)};
  for (const Learned* learned : {&english, &chinese})
    report.best.push_back(explained(learned->deepbow.model, learned->market));
  write_atomically(out / "report.html", report_page(report));

  for (const Explanation& each : report.best)
    console << "\nquery    " << each.query << "\nproduct  " << each.product << "\n" << explanation_text(each);
  console << "\nreport   " << (out / "report.html").string() << "\n";
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
    const Market english = write_market(o->out, config),
                 chinese = write_market(o->out, config, Language::chinese);
    const Shoppers shoppers = write_shoppers(o->out, english, {.seed = config.seed});
    const Impressions impressions = write_impressions(o->out, english, shoppers, {.seed = config.seed});
    Progress(o->quiet).message(text(o->out, ": ", english.products.size(), " products, ",
                                    english.queries.size(), " queries in English, ", chinese.queries.size(),
                                    " in Chinese, ", shoppers.late.size(), " shoppers, ",
                                    impressions.rows.size(), " impressions"));
  });
}

}  // namespace steelyard
