#include "tools/run_config.h"

#include <algorithm>

#include "data/utf8.h"

namespace steelyard {

void RunConfig::validate() const {
  RelevanceConfig::validate();
  trainer.validate();
  optimizer.validate();
  schedule.validate();
  if (std::ranges::find(Relevance::kMetrics, trainer.criterion) == std::end(Relevance::kMetrics)) {
    std::string known;
    for (const char* metric : Relevance::kMetrics) known += std::string(known.empty() ? "" : ", ") + metric;
    fail(Fault::usage, "trainer.criterion: unknown metric \"", trainer.criterion, "\"; expected one of ",
         known);
  }
  if (data.train.empty()) fail(Fault::usage, "data.train: empty; expected a table");
  if (data.bad_rows != "stop" && data.bad_rows != "skip")
    fail(Fault::usage, "data.bad_rows: \"", data.bad_rows, "\"; expected stop or skip");
  if (run.device != "cpu" && run.device != "gpu")
    fail(Fault::usage, "run.device: \"", run.device, "\"; expected cpu or gpu");
  if (run.threads < 0 || run.threads > kMostThreads)
    fail(Fault::usage, "run.threads: ", run.threads, "; expected 0 … ", kMostThreads);
  if (!valid_utf8(run.data_dir)) fail(Fault::usage, "run.data_dir: not UTF-8; expected a path that is");
}

}  // namespace steelyard
