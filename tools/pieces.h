// Rows in, lines out, in order: what score, encode, evaluate and recommend have in common.
#pragma once

#include <exception>
#include <vector>

#include "core/check.h"
#include "core/parallel.h"

namespace steelyard {

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
