// Rows in, lines out, in order: what score, encode, evaluate and recommend have in common.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/parallel.h"
#include "data/table.h"

namespace steelyard {

// A column of texts, and behind it their ids: the column that is named, or `id` if the table has one.
inline TableRequest with_ids(const std::string& texts, const std::string& ids) {
  TableRequest request{.required = {texts}};
  (ids.empty() ? request.optional : request.required).push_back(ids.empty() ? "id" : ids);
  return request;
}

// Calls next(i), which reads the i-th row of a piece or says that there is none; then work(i, scratch) for all of the
// piece's n rows in parallel, and done(n). Whatever was read before a bad row is finished first.
template <class Scratch, class Next, class Work, class Done>
void in_pieces(const Workers& workers, Next next, Work work, Done done) {
  constexpr int64_t kPiece = 4096, kGrain = 64;
  std::vector<Scratch> scratch(kPiece / kGrain);
  for (bool more = true; more;) {
    int64_t n = 0;
    std::exception_ptr bad;
    try {
      while (n < kPiece && (more = next(n))) ++n;
    } catch (const Error&) {
      bad = std::current_exception();
    }
    workers.rows(n, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(i, scratch[static_cast<size_t>(begin / kGrain)]);
    });
    done(n);
    if (bad) std::rethrow_exception(bad);
  }
}

}  // namespace steelyard
