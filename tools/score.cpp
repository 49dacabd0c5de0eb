// score, encode, evaluate: rows in, lines out, in order. Rows are read in pieces of fixed size; threads share
// a piece.
#include "data/table.h"
#include "tools/pieces.h"
#include "tools/tables.h"
#include "tools/users.h"
#include "tools/verbs.h"
#include "tools/with_model.h"

namespace steelyard {

namespace {

struct ServeOptions : UsersRequest {
  std::string side = "product", id;
  bool probability = false;
};

std::shared_ptr<ServeOptions> add_options(CLI::App* verb, bool data_required) {
  auto o = std::make_shared<ServeOptions>();
  verb->add_option("MODEL", o->model, "model file or run folder")->required();
  CLI::Option* data = verb->add_option("DATA", o->data, "table; -: stdin");
  if (data_required) data->required();
  verb->add_option(
      "--data-dir", o->data_dir,
      "of users, folder of the other tables that the model names; if not given, that of the events");
  verb->add_option("--threads", o->threads, "threads; 0: one per core")->check(CLI::Range(0, kMostThreads));
  return o;
}

struct Scratch {
  Workspace workspace;
  Bag query, product;
};
void set(std::vector<std::string>& list, int64_t i, std::string_view text) {
  if (list.size() <= static_cast<size_t>(i)) list.resize(static_cast<size_t>(i) + 1);
  list[static_cast<size_t>(i)] = text;
}

double score_pair(const Relevance& model, std::string_view query, std::string_view product,
                  Scratch& scratch) {
  model.encode(Side::query, query, scratch.query, scratch.workspace);
  model.encode(Side::product, product, scratch.product, scratch.workspace);
  return score(scratch.query, scratch.product);
}

void run_score(const Relevance& model, const ServeOptions& o) {
  const ColumnsConfig& c = model.config().columns;
  TableReader reader(o.data, {{c.query, c.product}, {}, "stop"});
  Row row;
  const Workers workers(o.threads);
  std::vector<std::string> queries, products;
  std::vector<double> scores;
  Output out;
  in_pieces<Scratch>(
      workers,
      [&](int64_t i) {
        if (!reader.next(row)) return false;
        set(queries, i, row[0]);
        set(products, i, row[1]);
        scores.resize(queries.size());
        return true;
      },
      [&](int64_t i, Scratch& scratch) {
        const auto at = static_cast<size_t>(i);
        const double s = score_pair(model, queries[at], products[at], scratch);
        scores[at] = o.probability ? model.probability(s) : s;
      },
      [&](int64_t n) {
        for (int64_t i = 0; i < n; ++i) out << number(scores[static_cast<size_t>(i)]) << "\n";
        out.flush();
      });
}

void run_encode(const Relevance& model, const ServeOptions& o) {
  if (o.side != "query" && o.side != "product")
    fail(Fault::usage, "--side: \"", o.side, "\"; expected query or product");
  const Side side = o.side == "query" ? Side::query : Side::product;
  const ColumnsConfig& c = model.config().columns;
  TableReader reader(o.data, with_ids(side == Side::query ? c.query : c.product, o.id));
  Row row;
  const Workers workers(o.threads);
  std::vector<std::string> texts, ids, lines;
  int64_t count = 0;
  Output out;
  in_pieces<Scratch>(
      workers,
      [&](int64_t i) {
        if (!reader.next(row)) return false;
        ++count;
        set(texts, i, row[0]);
        set(ids, i, row.has(1) ? std::string(row[1]) : std::to_string(count));
        lines.resize(texts.size());
        return true;
      },
      [&](int64_t i, Scratch& scratch) {
        const auto at = static_cast<size_t>(i);
        Bag& bag = scratch.query;
        model.encode(side, texts[at], bag, scratch.workspace);
        std::string& line = lines[at];
        line = "{\"id\":" + json_text(ids[at]) + ",\"vector\":{";
        const char* comma = "";
        for (int64_t t = 0; t < bag.size(); ++t) {
          if (bag[t].weight == 0) continue;
          line += comma + json_text(model.surface(bag, t)) + ":" + number(static_cast<double>(bag[t].weight));
          comma = ",";
        }
        line += "}}\n";
      },
      [&](int64_t n) {
        for (int64_t i = 0; i < n; ++i) out << lines[static_cast<size_t>(i)];
        out.flush();
      });
}

}  // namespace

Evaluation evaluate_table(const Relevance& model, const std::string& table, int threads) {
  PairReader reader(table, model.config().columns, "stop");
  LabelledPair pair;
  const Workers workers(threads);
  std::vector<std::string> queries, products;
  std::vector<double> piece, scores;
  std::vector<float> grades;
  std::vector<int32_t> groups;
  in_pieces<Scratch>(
      workers,
      [&](int64_t i) {
        if (!reader.next(pair)) return false;
        set(queries, i, pair.query);
        set(products, i, pair.product);
        piece.resize(queries.size());
        grades.push_back(static_cast<float>(pair.grade));
        groups.push_back(pair.group);
        return true;
      },
      [&](int64_t i, Scratch& scratch) {
        const auto at = static_cast<size_t>(i);
        piece[at] = score_pair(model, queries[at], products[at], scratch);
      },
      [&](int64_t n) { scores.insert(scores.end(), piece.begin(), piece.begin() + n); });
  return {static_cast<int64_t>(scores.size()), model.metrics(scores, grades, groups)};
}

namespace {

void run_evaluate(const Relevance& model, const ServeOptions& o) {
  const Evaluation evaluation = evaluate_table(model, o.data, o.threads);
  Metrics metrics;
  for (const auto& [name, value] : evaluation.metrics) metrics.emplace_back("relevance." + name, value);
  print_metrics(evaluation.rows, metrics);
}

}  // namespace

void add_score(CLI::App& app) {
  CLI::App* verb =
      add_verb(app, "score", "one line per row, in order: the sum over matched words, or a column per task",
               "steelyard score run shop/relevance_test.tsv | head");
  const auto o = add_options(verb, false);
  verb->add_flag("--probability", o->probability, "of relevance, print the calibrated probability instead");
  verb->add_option("--events", o->events, "of users, their histories");
  verb->add_option("--table", o->table, "of users, the table whose columns DATA has and whose tasks answer");
  verb->callback([o] {
    with_model(
        o->model, [&](const Relevance& model) { run_score(model, *o); },
        [&](UserModel& model) { score_users(model, *o); },
        [&](const TableModel& model) { score_rows(model, o->data, o->threads); });
  });
}

void add_encode(CLI::App& app) {
  CLI::App* verb =
      add_verb(app, "encode", "as JSON lines, one bag of weighted words per row or one vector per user",
               "steelyard encode run shop/relevance_test.tsv --side query | head -3");
  const auto o = add_options(verb, false);
  verb->add_option("--side", o->side, "of relevance, query or product");
  verb->add_option("--id", o->id,
                   "of relevance, column of the ids; if not given, id, or else rows are numbered from 1");
  verb->add_option("--npy", o->npy, "of users, a file for the vectors; only the users go to stdout");
  verb->callback([o] {
    with_model(
        o->model, [&](const Relevance& model) { run_encode(model, *o); },
        [&](UserModel& model) { encode_users(model, *o); },
        [](const TableModel&) {
          fail(Fault::usage, "encode: a model of tables; expected one of relevance or users");
        });
  });
}

void add_evaluate(CLI::App& app) {
  CLI::App* verb = add_verb(app, "evaluate", "metrics on labelled rows or on histories, as one JSON object",
                            "steelyard evaluate run shop/relevance_test.tsv");
  const auto o = add_options(verb, true);
  verb->add_option("--part", o->part,
                   "train, dev or test; if not given, of users test if there is one, of tables all rows");
  verb->callback([o] {
    with_model(
        o->model, [&](const Relevance& model) { run_evaluate(model, *o); },
        [&](UserModel& model) { evaluate_users(model, *o); },
        [&](const TableModel& model) { evaluate_rows(model, o->data, o->part, o->threads); });
  });
}

void add_recommend(CLI::App& app) {
  CLI::App* verb =
      add_verb(app, "recommend", "the next items of each history, best first",
               "steelyard market --out market && steelyard train tools/configs/market_dupn.toml --data-dir "
               "market --out users && steelyard recommend users market/events.tsv --top 10 | head -3");
  const auto o = add_options(verb, true);
  verb->add_option("--top", o->top, "items per user")->check(CLI::Range(1, 1'000'000));
  verb->add_flag("--with-history", o->with_history, "also items that the user knows");
  verb->callback([o] {
    UserModel model = UserModel::open(o->model);
    recommend_users(model, *o);
  });
}

}  // namespace steelyard
