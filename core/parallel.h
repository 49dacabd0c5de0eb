// Threads. Work is cut into pieces whose number and size are functions of the problem, never of the thread
// count; a piece runs on one thread from begin to end. So any number of threads gives the same bits.
//
// oneTBB underneath. The `tsan` preset takes std::thread instead, since the packaged oneTBB is not
// instrumented.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

namespace steelyard {

class Workers {
 public:
  explicit Workers(int threads);  // 0: one per core
  ~Workers();
  int threads() const { return threads_; }

  // f(i) for 0 ≤ i < count, each once. An exception of a piece reaches the caller.
  template <class F>
  void each(int64_t count, F&& f) const {
    run(count,
        {&f, [](const void* g, int64_t i) { (*static_cast<const std::remove_reference_t<F>*>(g))(i); }});
  }
  // f(begin, end) over pieces of `grain` rows.
  template <class F>
  void rows(int64_t rows, int64_t grain, F&& f) const {
    each((rows + grain - 1) / grain,
         [&](int64_t piece) { f(piece * grain, std::min(rows, (piece + 1) * grain)); });
  }

 private:
  struct Piece {
    const void* object;
    void (*call)(const void*, int64_t);
  };
  void run(int64_t count, Piece piece) const;

  struct Pool;
  int threads_;
  std::unique_ptr<Pool> pool_;
};

}  // namespace steelyard
