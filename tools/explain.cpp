#include "tools/explain.h"

#include <algorithm>
#include <cstdio>

#include "core/file.h"
#include "tools/tables.h"
#include "tools/users.h"
#include "tools/verbs.h"
#include "tools/with_model.h"

namespace steelyard {

Explanation explain(const Relevance& model, std::string_view query_text, std::string_view product_text,
                    const Bag& query, const Bag& product) {
  Explanation e{.query = std::string(query_text), .product = std::string(product_text)};
  std::vector<Match> matches;
  match(query, product, matches);
  // The words of the texts that brought in what they do not hold.
  Workspace workspace;
  const std::vector<int32_t> query_sources = model.sources(Side::query, query, workspace);
  const std::vector<int32_t> product_sources = model.sources(Side::product, product, workspace);
  const auto source = [](const Bag& bag, const std::vector<int32_t>& sources, int64_t entry) {
    const int64_t at = entry - bag.terms.size();
    const int32_t token = at < 0 ? -1 : sources[static_cast<size_t>(at)];
    return token < 0 ? std::string() : std::string(bag.tokens[token]);
  };
  for (const Match& m : matches)
    e.matches.push_back({std::string(model.surface(query, m.query)),
                         static_cast<double>(query[m.query].weight),
                         static_cast<double>(product[m.product].weight), m.contribution,
                         source(query, query_sources, m.query), source(product, product_sources, m.product)});
  const auto size = [&](const Bag& bag) {
    const auto kept = [](real weight) { return weight != 0; };
    const auto word = [&](const Entry& entry) { return entry.id < model.vocabulary().size(); };
    return BagSize{std::ranges::count_if(bag.weights, kept), std::ranges::count_if(bag.expansion, word)};
  };
  e.query_bag = size(query);
  e.product_bag = size(product);
  e.score = score(query, product);
  e.probability = model.probability(e.score);
  e.tokenizer = model.config().tokenizer;
  e.dictionary = model.dictionary();
  return e;
}

std::string explanation_text(const Explanation& e) {
  std::string out = "query weight  product weight  contribution  word\n";
  char line[64];
  for (const MatchLine& m : e.matches) {
    std::snprintf(line, sizeof line, "%12.6f  %14.6f  %12.6f  ", m.query_weight, m.product_weight,
                  m.contribution);
    out += line + m.word;
    if (!m.query_source.empty()) out += " (query: from " + m.query_source + ")";
    if (!m.product_source.empty()) out += " (product: from " + m.product_source + ")";
    out += "\n";
  }
  return out + "score " + number(e.score) + "  probability " + number(e.probability) + "\n";
}

std::string explanation_json(const Explanation& e) {
  std::string json =
      "{\"score\":" + number(e.score) + ",\"probability\":" + number(e.probability) + ",\"matches\":[";
  for (const MatchLine& m : e.matches)
    json += std::string(&m == e.matches.data() ? "" : ",") + "{\"word\":" + json_text(m.word) +
            (m.query_source.empty() ? "" : ",\"query_source\":" + json_text(m.query_source)) +
            (m.product_source.empty() ? "" : ",\"product_source\":" + json_text(m.product_source)) +
            ",\"query_weight\":" + number(m.query_weight) +
            ",\"product_weight\":" + number(m.product_weight) +
            ",\"contribution\":" + number(m.contribution) + "}";
  return json + "]}\n";
}

void add_explain(CLI::App& app) {
  struct Options : UsersRequest {
    std::string product, html;
    int64_t row = 0;
  };
  CLI::App* verb =
      add_verb(app, "explain",
               "the matched words of a pair, summing exactly to its score, the attention over a history, or "
               "what the features of a row do",
               "steelyard explain run --query 'shower faucet' --product 'Chrome Shower Faucet'");
  const auto o = std::make_shared<Options>();
  verb->add_option("MODEL", o->model, "model file or run folder")->required();
  verb->add_option("--query", o->query,
                   "text of the query, also of a model of users whose attention looks at it");
  verb->add_option("--product", o->product, "text of the product");
  verb->add_option("--html", o->html, "of a pair, also write a page for a browser");
  verb->add_option("--user", o->user, "of a model of users, whose history");
  verb->add_option("--events", o->events, "and where it is");
  verb->add_option("--data-dir", o->data_dir,
                   "folder of the other tables that the model names; if not given, that of the events");
  verb->add_option("--item", o->item, "and the candidate that attention looks at, if it does");
  verb->add_option("--data", o->data, "of a model of tables, where the row is; -: stdin");
  verb->add_option("--row", o->row, "and which, from 1");
  verb->add_flag("--json", o->json, "one JSON object whose numbers read back to the same bits");
  const auto explain_pair = [o, verb](const Relevance& model) {
    for (const char* option : {"--query", "--product"})
      if (verb->count(option) == 0) throw CLI::RequiredError(option);
    Workspace workspace;
    Bag query, product;
    model.encode(Side::query, o->query, query, workspace);
    model.encode(Side::product, o->product, product, workspace);
    const Explanation e = explain(model, o->query, o->product, query, product);
    if (!o->html.empty()) write_atomically(o->html, explanation_page(e));
    Output out;
    out << (o->json ? explanation_json(e) : explanation_text(e));
    out.flush();
  };
  const auto explain_one = [o](const TableModel& model) {
    if (o->row < 1) throw CLI::RequiredError("--row");
    explain_row(model, o->data, o->row, o->json);
  };
  verb->callback([o, explain_pair, explain_one] {
    with_model(
        o->model, explain_pair, [&](UserModel& model) { explain_user(model, *o); }, explain_one);
  });
}

}  // namespace steelyard
