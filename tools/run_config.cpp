#include "tools/run_config.h"

#include <algorithm>
#include <set>

#include "core/text.h"
#include "data/utf8.h"

namespace steelyard {

namespace {

// The criterion is one of the metrics, `names(kind)`, of a task or their mean.
void check_criterion(const std::string& criterion, const Tasks& tasks,
                     std::vector<std::string> (*names)(const std::string& kind)) {
  std::set<std::string> known;
  for (const auto& [name, task] : tasks)
    for (const std::string& metric : names(task.kind)) known.insert({metric, name + "." + metric});
  if (tasks.size() > 1) known.insert("loss");
  if (!known.contains(criterion))
    fail(Fault::usage, "trainer.criterion: no metric \"", criterion, "\"; expected one of ",
         joined({known.begin(), known.end()}));
}

}  // namespace

void validate(const TrainingConfig& training, const PlaceConfig& place) {
  training.trainer.validate();
  training.optimizer.validate();
  training.schedule.validate();
  training.PrioritiesConfig::validate();
  if (training.data.train.empty()) fail(Fault::usage, "data.train: empty; expected a table");
  if (training.data.bad_rows != "stop" && training.data.bad_rows != "skip")
    fail(Fault::usage, "data.bad_rows: \"", training.data.bad_rows, "\"; expected stop or skip");
  if (place.device != "cpu" && place.device != "gpu")
    fail(Fault::usage, "run.device: \"", place.device, "\"; expected cpu or gpu");
  if (place.threads < 0 || place.threads > kMostThreads)
    fail(Fault::usage, "run.threads: ", place.threads, "; expected 0 … ", kMostThreads);
  if (!valid_utf8(place.data_dir)) fail(Fault::usage, "run.data_dir: not UTF-8; expected a path that is");
}

void RunConfig::validate() const {
  RelevanceConfig::validate();
  steelyard::validate(*this, run);
  if (method == "nmt") {  // relevance, then sparsity
    require(trainer.criterion == "loss", "trainer.criterion", trainer.criterion, "loss, for method nmt");
    require(model == "deepbow" && (deepbow.product_penalty > 0 || deepbow.query_penalty > 0),
            "deepbow.product_penalty", deepbow.product_penalty,
            "more than 0 for method nmt, whose second goal it makes");
    return;
  }
  if (std::ranges::find(Relevance::kMetrics, trainer.criterion) == std::end(Relevance::kMetrics))
    fail(Fault::usage, "trainer.criterion: unknown metric \"", trainer.criterion, "\"; expected one of ",
         joined({std::begin(Relevance::kMetrics), std::end(Relevance::kMetrics)}));
}

void UserRunConfig::validate() const {
  UserConfig::validate();
  steelyard::validate(*this, run);
  require(method != "single", "method", method,
          "another: of users, a task alone is a configuration with one task");
  require(data.dev.empty(), "data.dev", data.dev, "nothing: [examples] says what dev is");
  require(!dupn.frozen || optimizer.weight_decay == 0, "optimizer.weight_decay", optimizer.weight_decay,
          "0 beside dupn.frozen: a decay would move what is frozen");
  check_criterion(trainer.criterion, tasks, UserModel::metric_names);
}

void TableRunConfig::validate() const {
  TableModelConfig::validate();
  steelyard::validate(*this, run);
  check_criterion(trainer.criterion, tasks, TableModel::metric_names);
  if (!data.dev.empty() && features.has(Part::dev))
    fail(Fault::usage, "features.dev_fold: ", features.dev_fold, "; expected -1 beside data.dev");
}

}  // namespace steelyard
