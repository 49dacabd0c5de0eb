#include "core/parallel.h"

#include <thread>

#ifdef STEELYARD_STD_THREADS
#include <atomic>
#include <exception>
#include <mutex>
#include <vector>
#else
#include <optional>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#endif

namespace steelyard {

namespace {
int cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }
}  // namespace

#ifdef STEELYARD_STD_THREADS

struct Workers::Pool {};

Workers::Workers(int threads) : threads_(threads > 0 ? threads : cores()) {}

void Workers::run(int64_t count, Piece piece) const {
  std::atomic<int64_t> next{0};
  std::exception_ptr thrown;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) piece.call(piece.object, i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      thrown = std::current_exception();
    }
  };
  std::vector<std::thread> team;
  for (int64_t t = 1; t < std::min<int64_t>(threads_, count); ++t) team.emplace_back(work);
  work();
  for (std::thread& thread : team) thread.join();
  if (thrown) std::rethrow_exception(thrown);
}

#else

struct Workers::Pool {
  explicit Pool(int threads) : arena(threads) {
    // oneTBB starts no more threads than there are cores unless it is told to.
    if (threads > cores())
      limit.emplace(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads));
  }
  std::optional<tbb::global_control> limit;
  tbb::task_arena arena;
};

Workers::Workers(int threads) : threads_(threads > 0 ? threads : cores()), pool_(new Pool(threads_)) {}

void Workers::run(int64_t count, Piece piece) const {
  if (threads_ == 1 || count < 2) {
    for (int64_t i = 0; i < count; ++i) piece.call(piece.object, i);
    return;
  }
  pool_->arena.execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<int64_t>(0, count, 1),
        [&](const tbb::blocked_range<int64_t>& range) {
          for (int64_t i = range.begin(); i < range.end(); ++i) piece.call(piece.object, i);
        },
        tbb::simple_partitioner());
  });
}

#endif

Workers::~Workers() = default;

}  // namespace steelyard
