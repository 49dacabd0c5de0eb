// The configuration of a run: the model's part, which goes into the model file, and what training needs
// beside it.
#pragma once

#include "nn/relevance.h"
#include "nn/table_model.h"
#include "nn/user_model.h"
#include "optim/trainer.h"

namespace steelyard {

constexpr int kMostThreads = 1024;

struct DataConfig {
  std::string train, dev;
  std::string bad_rows = "stop";

  template <class F>
  void fields(F&& f) {
    f("train", train,
      "table of training rows: .tsv, .csv or .jsonl, plain or .gz; relative to the data folder");
    f("dev", dev, "table of rows that choose the best model; empty: none");
    f("bad_rows", bad_rows, "stop at a malformed row, or skip and count it");
  }
};

// How a model was trained; its copy in the model file says nothing of folders and threads.
struct TrainingConfig : PrioritiesConfig {
  DataConfig data;
  TrainerConfig trainer;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;

  template <class F>
  void fields(F&& f) {
    PrioritiesConfig::fields(f);
    f("data", data, "where the rows are");
    f("trainer", trainer, "the loop");
    f("optimizer", optimizer, "the rule of a step");
    f("schedule", schedule, "the learning rate over the steps");
  }
};

// Where a run happens: the same model comes out whatever stands here.
struct PlaceConfig {
  std::string data_dir = ".";
  int threads = 0;
  std::string device = "cpu";

  template <class F>
  void fields(F&& f) {
    f("data_dir", data_dir, "folder of the data files");
    f("threads", threads, "threads; 0: one per core");
    f("device", device, "cpu or gpu");
  }
};

// What every run needs of its configuration. Error(usage) names the key.
void validate(const TrainingConfig& training, const PlaceConfig& place);

struct RunConfig : RelevanceConfig, TrainingConfig {
  PlaceConfig run;

  template <class F>
  void fields(F&& f) {
    RelevanceConfig::fields(f);
    TrainingConfig::fields(f);
    f("run", run, "where it runs; no part of the model");
  }
  void validate() const;  // Error(usage) names the key
};

struct UserRunConfig : UserConfig, TrainingConfig {
  PlaceConfig run;

  template <class F>
  void fields(F&& f) {
    UserConfig::fields(f);
    TrainingConfig::fields(f);
    f("run", run, "where it runs; no part of the model");
  }
  void validate() const;
};

struct TableRunConfig : TableModelConfig, TrainingConfig {
  PlaceConfig run;

  template <class F>
  void fields(F&& f) {
    TableModelConfig::fields(f);
    TrainingConfig::fields(f);
    f("run", run, "where it runs; no part of the model");
  }
  void validate() const;
};

// tools/configs/market_deepbow.toml, market_deepbow_zh.toml, market_dupn.toml and market_nmt.toml
extern const char *const kMarketDeepBow, *const kMarketDeepBowZh, *const kMarketDupn, *const kMarketNmt;

}  // namespace steelyard
