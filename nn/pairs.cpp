#include "nn/pairs.h"

#include <algorithm>

namespace steelyard {

namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// The `count` places of item i become those of item `to`.
void copy_places(Ids from, size_t i, std::span<int32_t> into, size_t to, size_t count) {
  for (size_t p = 0; p < count; ++p) into[to * count + p] = from[i * count + p];
}

}  // namespace

PairRows::PairRows(const RowCache& cache)
    : query_terms(cache.ragged("query_terms")),
      query_places(cache.ragged("query_places")),
      matches(cache.ragged("matches")),
      match_places(cache.ragged("match_places")),
      labels(cache.column("label")),
      grades(cache.column("grade")),
      groups(cache.ragged("group").values) {}

PairBatch gather_pairs(Tape& tape, const PairRows& pairs, std::span<const int64_t> rows, double dropout) {
  int64_t terms = 0, matches = 0, longest = 0;
  for (int64_t row : rows) {
    const auto length = static_cast<int64_t>(pairs.query_terms[row].size());
    terms += length;
    longest = std::max(longest, length);
    matches += static_cast<int64_t>(pairs.matches[row].size());
  }
  check_count("gather_pairs", terms);  // matches are never more
  const auto n = static_cast<int64_t>(rows.size());
  const auto per_term = [](const Ragged<int32_t>& places, const Ragged<int32_t>& items) {
    return items.values.empty() ? 0 : static_cast<int64_t>(places.values.size() / items.values.size());
  };
  const int64_t query_places = per_term(pairs.query_places, pairs.query_terms);
  const int64_t product_places = per_term(pairs.match_places, pairs.matches);
  const auto array = [&](int64_t count) { return tape.array<int32_t>(count); };
  const std::span<int32_t> ids = array(terms), places = array(terms * query_places), starts = array(n + 1);
  const std::span<int32_t> match_ids = array(matches), match_places = array(matches * product_places);
  const std::span<int32_t> match_starts = array(n + 1), positions = array(matches), kept = array(longest);

  const bool drop = dropout > 0 && tape.mode() == Mode::train;
  const uint64_t key = drop ? tape.next_random_key() : 0;
  uint64_t drawn = 0;
  int64_t term = 0, match = 0;
  for (int64_t b = 0; b < n; ++b) {
    const int64_t row = rows[at(b)], first = term;
    const Ids query = pairs.query_terms[row], all_places = pairs.query_places[row];
    starts[at(b)] = static_cast<int32_t>(term);
    match_starts[at(b)] = static_cast<int32_t>(match);
    const auto keep = [&](size_t j) {
      ids[at(term)] = query[j];
      copy_places(all_places, j, places, at(term), at(query_places));
      kept[j] = static_cast<int32_t>(term++);
    };
    for (size_t j = 0; j < query.size(); ++j) {
      kept[j] = -1;
      if (!drop || random_uniform(key, drawn++) >= static_cast<real>(dropout)) keep(j);
    }
    if (term == first)  // everything was dropped: a query keeps its terms rather than become empty
      for (size_t j = 0; j < query.size(); ++j) keep(j);
    const Ids matched = pairs.matches[row], matched_places = pairs.match_places[row];
    for (size_t k = 0; k < matched.size(); ++k) {
      const auto j = static_cast<size_t>(matched[k]);
      if (kept[j] < 0) continue;
      positions[at(match)] = kept[j];
      match_ids[at(match)] = query[j];
      copy_places(matched_places, k, match_places, at(match), at(product_places));
      ++match;
    }
  }
  starts[at(n)] = static_cast<int32_t>(term);
  match_starts[at(n)] = static_cast<int32_t>(match);
  const auto first = [](std::span<int32_t> values, int64_t count) { return values.first(at(count)); };
  return {
      {first(ids, term), first(places, term * query_places), Segments::between(starts)},
      {first(match_ids, match), first(match_places, match * product_places), Segments::between(match_starts)},
      first(positions, match)};
}

}  // namespace steelyard
