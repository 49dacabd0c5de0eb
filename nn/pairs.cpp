#include "nn/pairs.h"

#include <algorithm>

#include "core/random.h"

namespace steelyard {

namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// Lists that are written item by item.
struct Lists {
  Lists(Tape& tape, int64_t items, int64_t size)
      : starts(tape.array<int64_t>(items + 1)), values(tape.array<int32_t>(size)) {
    starts[0] = 0;
  }
  void add(int32_t value) { values[at(size++)] = value; }
  void end() { starts[at(++items)] = size; }
  Ragged<int32_t> all() const { return {starts.first(at(items + 1)), values.first(at(size))}; }

  std::span<int64_t> starts;
  std::span<int32_t> values;
  int64_t items = 0, size = 0;
};

// Where the terms of a text are, by id.
class Positions {
 public:
  Positions(Tape& tape, Ids terms) : list_(tape.array<std::pair<int32_t, int32_t>>(std::ssize(terms))) {
    for (size_t j = 0; j < terms.size(); ++j) list_[j] = {terms[j], static_cast<int32_t>(j)};
    std::sort(list_.begin(), list_.end());
  }
  int32_t of(int32_t id) const {  // −1: nowhere
    const auto found = std::lower_bound(list_.begin(), list_.end(), std::pair{id, 0});
    return found != list_.end() && found->first == id ? found->second : -1;
  }

 private:
  std::span<std::pair<int32_t, int32_t>> list_;
};

}  // namespace

PairRows::PairRows(const RowCache& cache)
    : queries(cache, "query/"),
      products(cache, "product/"),
      query_matches(cache.ragged("query_matches")),
      product_matches(cache.ragged("product_matches")),
      query(cache.ids("query")),
      product(cache.ids("product")),
      labels(cache.numbers("label")),
      grades(cache.numbers("grade")),
      groups(cache.ids("group")) {}

PairBatch gather_pairs(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows,
                       const PairOptions& options) {
  check(options.all_products || !options.negatives, "gather_pairs: negatives need all terms of the products");
  const auto n = static_cast<int64_t>(rows.size());
  const std::span<int64_t> queries = tape.array<int64_t>(n), products = tape.array<int64_t>(n);
  int64_t terms = 0, matches = 0, longest = 0;
  for (size_t b = 0; b < rows.size(); ++b) {
    queries[b] = pairs.query[at(rows[b])];
    products[b] = pairs.product[at(rows[b])];
    const auto length = std::ssize(pairs.queries.terms[queries[b]]);
    terms += length;
    longest = std::max(longest, length);
    matches += std::ssize(pairs.query_matches[rows[b]]);
  }
  if (options.negatives) matches += terms;
  const bool drop = options.query_dropout > 0 && tape.mode() == Mode::train;
  const auto rate = static_cast<real>(options.query_dropout);
  const uint64_t key = drop ? tape.next_random_key() : 0;
  uint64_t drawn = 0;
  const int64_t size = options.negatives ? 2 * n : n;
  Lists kept(tape, n, terms), wanted(tape, n, options.all_products ? 0 : matches);
  Lists query_matches(tape, size, matches), product_matches(tape, size, matches);
  const std::span<int32_t> position = tape.array<int32_t>(longest);  // of a query's terms in the batch
  const std::span<int32_t> product_starts = tape.array<int32_t>(n + 1);
  product_starts[0] = 0;
  for (size_t b = 0; b < rows.size(); ++b) {
    const auto length = std::ssize(pairs.queries.terms[queries[b]]);
    const int64_t before = kept.size;
    const auto keep = [&](int64_t j) {
      position[at(j)] = static_cast<int32_t>(kept.size);
      kept.add(static_cast<int32_t>(j));
    };
    for (int64_t j = 0; j < length; ++j) {
      position[at(j)] = -1;
      if (!drop || random_uniform(key, drawn++) >= rate) keep(j);
    }
    if (kept.size == before)  // everything was dropped: a query keeps its terms rather than become empty
      for (int64_t j = 0; j < length; ++j) keep(j);
    kept.end();
    const Ids of_query = pairs.query_matches[rows[b]], of_product = pairs.product_matches[rows[b]];
    for (size_t k = 0; k < of_query.size(); ++k) {
      if (position[at(of_query[k])] < 0) continue;
      query_matches.add(position[at(of_query[k])]);
      product_matches.add(options.all_products ? product_starts[b] + of_product[k]
                                               : static_cast<int32_t>(wanted.size));
      if (!options.all_products) wanted.add(of_product[k]);
    }
    query_matches.end(), product_matches.end(), wanted.end();
    product_starts[b + 1] =
        product_starts[b] + static_cast<int32_t>(pairs.products.terms[products[b]].size());
  }
  const std::span<int32_t> query = tape.array<int32_t>(size), product = tape.array<int32_t>(size);
  for (int32_t b = 0; b < static_cast<int32_t>(n); ++b) query[at(b)] = product[at(b)] = b;
  if (options.negatives)
    for (size_t b = 0; b < rows.size(); ++b) {
      const size_t other = (b + 1) % rows.size(), pair = rows.size() + b;
      query[pair] = static_cast<int32_t>(b), product[pair] = static_cast<int32_t>(other);
      const Positions positions(tape, pairs.products.terms[products[other]]);
      for (int64_t j = kept.starts[b]; j < kept.starts[b + 1]; ++j) {
        const int32_t found = positions.of(pairs.queries.terms[queries[b]][at(kept.values[at(j)])]);
        if (found < 0) continue;
        query_matches.add(static_cast<int32_t>(j));
        product_matches.add(product_starts[other] + found);
      }
      query_matches.end(), product_matches.end();
    }
  const std::span<int32_t> offsets = tape.array<int32_t>(size + 1);
  std::copy(query_matches.starts.begin(), query_matches.starts.end(), offsets.begin());
  const Ragged<int32_t> kept_terms = kept.all(), wanted_terms = wanted.all();
  return {.queries = gather_texts(tape, pairs.queries, queries, &kept_terms),
          .products =
              gather_texts(tape, pairs.products, products, options.all_products ? nullptr : &wanted_terms),
          .query = query,
          .product = product,
          .matches = Segments::between(offsets),
          .query_matches = query_matches.all().values,
          .product_matches = product_matches.all().values};
}

}  // namespace steelyard
