// index and search: a catalogue's bags in one file, and the products that match a query best.
#include <algorithm>

#include "core/file.h"
#include "data/bag_index.h"
#include "data/table.h"
#include "tools/pieces.h"
#include "tools/verbs.h"
#include "tools/with_model.h"

namespace steelyard {

namespace {

constexpr const char* kModel = "model";  // in a store: of whose weights it is made

// f(model, key): the key says which file it was.
template <class F>
void with_bags(const std::string& path, F f) {
  const TensorFile file(model_file(path));
  const Relevance model = Relevance::open(file);
  if (model.config().model == "dense")
    fail(Fault::usage, path, ": a dense model has vectors; expected one whose bags are words");
  f(model, file.digits());
}

struct IndexOptions {
  std::string model, data, id, out;
  int threads = 0;
};

void run_index(const Relevance& model, const std::string& key, const IndexOptions& o) {
  TableReader reader(o.data, with_ids(model.config().columns.product, o.id));
  const Workers workers(o.threads);
  struct Product {
    std::string text, id;
    int64_t line = 0;
    Bag bag;
  };
  std::vector<Product> products;
  std::vector<BagWord> words;
  BagStoreBuilder store(model.ids());
  int64_t count = 0;
  Row row;
  in_pieces<Workspace>(
      workers,
      [&](int64_t i) {
        if (!reader.next(row)) return false;
        if (std::ssize(products) <= i) products.resize(static_cast<size_t>(i) + 1);
        ++count;
        Product& product = products[static_cast<size_t>(i)];
        product.text = row[0], product.line = row.line();
        if (!row.has(1) && !o.id.empty()) row.refuse(1, "no id", "one for each product");
        product.id = row.has(1) ? std::string(row[1]) : std::to_string(count);
        if (product.id.find_first_of("\t\r\n") != product.id.npos)
          row.refuse(1, "a tab or the end of a line", "an id that fits in a cell");
        return true;
      },
      [&](int64_t i, Workspace& workspace) {
        Product& product = products[static_cast<size_t>(i)];
        model.encode(Side::product, product.text, product.bag, workspace);
      },
      [&](int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
          const Product& product = products[static_cast<size_t>(i)];
          model.words(product.bag, words);
          try {
            store.add(product.id, words);
          } catch (const Error& error) {
            fail(error.fault, o.data, ":", product.line, ": ", error.what());
          }
        }
      });
  store.write(o.out, {{kModel, key}});
}

struct SearchOptions {
  std::string model, store, data, query, allow;
  int64_t top = 10;
  int threads = 0;
  bool json = false;
};

// A bit for each product that the file names, one a line.
std::vector<uint64_t> allowed_products(const BagStore& store, const std::string& path) {
  std::vector<uint64_t> allowed(static_cast<size_t>(store.size() / 64 + 1));
  const MappedFile file(path);
  int64_t number = 0;
  for (std::string_view rest = file.text(), line; !rest.empty();) {
    ++number;
    line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const int64_t product = store.find(line);
    if (product < 0)
      fail(Fault::input, path, ":", number, ": \"", line.substr(0, 80),
           "\"; expected a product of the store");
    allowed[static_cast<size_t>(product / 64)] |= uint64_t{1} << (product % 64);
  }
  return allowed;
}

struct SearchScratch {
  Workspace workspace;
  Bag bag;
  std::vector<BagWord> words;
  BagQuery query;
  BagIndex::Workspace work;
  std::vector<BagHit> hits;
  std::vector<BagMatch> matches;
};

double score_of(const BagStore& store, const BagQuery& query, const BagHit& hit) {
  return hit.sum * query.scale() * store.scale();
}

std::string hits_text(const BagStore& store, std::string text, const SearchScratch& s) {
  std::string out;
  for (char& c : text)
    if (c == '\t' || c == '\r' || c == '\n') c = ' ';
  for (const BagHit& hit : s.hits)
    out += text + "\t" + std::string(store.product(hit.product)) + "\t" +
           number(score_of(store, s.query, hit)) + "\n";
  return out;
}

std::string hits_json(const BagStore& store, std::string_view text, SearchScratch& s) {
  std::string out = "{\"query\":" + json_text(text) + ",\"hits\":[";
  for (const BagHit& hit : s.hits) {
    out += std::string(&hit == s.hits.data() ? "" : ",") +
           "{\"product\":" + json_text(store.product(hit.product)) +
           ",\"score\":" + number(score_of(store, s.query, hit)) + ",\"matches\":[";
    match(store, s.query, hit.product, s.matches);
    for (const BagMatch& m : s.matches)
      out += std::string(&m == s.matches.data() ? "" : ",") +
             "{\"word\":" + json_text(store.surface(hit.product, m.id)) +
             ",\"query_weight\":" + number(m.query_weight) +
             ",\"product_weight\":" + number(m.product_weight) +
             ",\"contribution\":" + number(m.contribution) + "}";
    out += "]}";
  }
  return out + "]}\n";
}

void run_search(const Relevance& model, const std::string& key, const SearchOptions& o) {
  const BagStore store(o.store);
  const auto made_with = store.metadata().find(kModel);
  if (made_with == store.metadata().end() || made_with->second != key)
    fail(Fault::input, o.store, ": made with another model; expected `steelyard index ", o.model, "` of it");
  const std::vector<uint64_t> allowed =
      o.allow.empty() ? std::vector<uint64_t>() : allowed_products(store, o.allow);
  const BagIndex index(store);
  const auto search = [&](std::string_view text, SearchScratch& s) {
    model.encode(Side::query, text, s.bag, s.workspace);
    model.words(s.bag, s.words);
    s.query.set(store, s.words);
    index.search(s.query, o.top, allowed, s.work, s.hits);
    return o.json ? hits_json(store, text, s) : hits_text(store, std::string(text), s);
  };
  Output out;
  if (o.data.empty()) {
    SearchScratch scratch;
    out << search(o.query, scratch);
    return out.flush();
  }
  TableReader reader(o.data, {.required = {model.config().columns.query}});
  Row row;
  std::vector<std::string> queries, answers;
  in_pieces<SearchScratch>(
      Workers(o.threads),
      [&](int64_t i) {
        if (!reader.next(row)) return false;
        if (std::ssize(queries) <= i)
          queries.resize(static_cast<size_t>(i) + 1), answers.resize(queries.size());
        queries[static_cast<size_t>(i)] = row[0];
        return true;
      },
      [&](int64_t i, SearchScratch& scratch) {
        answers[static_cast<size_t>(i)] = search(queries[static_cast<size_t>(i)], scratch);
      },
      [&](int64_t n) {
        for (int64_t i = 0; i < n; ++i) out << answers[static_cast<size_t>(i)];
        out.flush();
      });
}

}  // namespace

void add_index(CLI::App& app) {
  CLI::App* verb = add_verb(app, "index", "the bags of a catalogue in one file, for search",
                            "steelyard index run shop/catalogue.tsv --out shop/bags");
  const auto o = std::make_shared<IndexOptions>();
  verb->add_option("MODEL", o->model, "model file or run folder")->required();
  verb->add_option("CATALOGUE", o->data, "table of the products; -: stdin")->required();
  verb->add_option("--out", o->out, "the file, replaced when the new one is whole")->required();
  verb->add_option("--id", o->id, "column of the ids; if not given, id, or else rows are numbered from 1");
  verb->add_option("--threads", o->threads, "threads; 0: one per core")->check(CLI::Range(0, kMostThreads));
  verb->callback([o] {
    with_bags(o->model, [&](const Relevance& model, const std::string& key) { run_index(model, key, *o); });
  });
}

void add_search(CLI::App& app) {
  CLI::App* verb =
      add_verb(app, "search", "the products that match queries best: query, product and score a line",
               "steelyard search run shop/bags --query 'shower faucet'");
  const auto o = std::make_shared<SearchOptions>();
  verb->add_option("MODEL", o->model, "model file or run folder")->required();
  verb->add_option("STORE", o->store, "what index wrote")->required();
  auto* const data = verb->add_option("QUERIES", o->data, "table with the column of queries; -: stdin");
  verb->add_option("--query", o->query, "the text of one query")->excludes(data);
  verb->add_option("--top", o->top, "products a query")->check(CLI::Range(1, 10'000));
  verb->add_option("--allow", o->allow, "file of product ids, one a line; no others are found");
  verb->add_flag("--json", o->json,
                 "an object a query, with the matched words: they sum exactly to the score");
  verb->add_option("--threads", o->threads, "threads; 0: one per core")->check(CLI::Range(0, kMostThreads));
  verb->callback([o, verb] {
    if (o->data.empty() && verb->count("--query") == 0) throw CLI::RequiredError("QUERIES or --query");
    with_bags(o->model, [&](const Relevance& model, const std::string& key) { run_search(model, key, *o); });
  });
}

}  // namespace steelyard
