// Training of a TableModel: the rows of a table, and what its tasks ask of them.
#include "core/file.h"
#include "core/random.h"
#include "nn/model_file.h"
#include "tools/job.h"

namespace steelyard {

namespace {

constexpr const char* kRowsFormat = "steelyard-features-1";

class TableJob final : public Job {
 public:
  std::unique_ptr<Job> fresh() const override { return std::make_unique<TableJob>(); }

  Fields fields() override { return config_; }
  TrainingConfig& training() override { return config_; }
  PlaceConfig& place() override { return config_.run; }
  void validate() const override { config_.validate(); }

  void prepare(const Workshop& shop) override {
    const FeaturesConfig& features = config_.features;
    const std::vector<Task> tasks = all_tasks(config_.tasks);
    const std::string train = data_path(config_.data.train);
    const Reading how{config_.data.bad_rows, shop.stop, shop.say};
    Encoding encoding = Encoding::fit(train, features, tasks, how);
    std::optional<TableModel> older;
    std::string content;
    const auto read = [&](const std::string& file) {
      content += text(key_part(MappedFile(file).text()), " ");
    };
    read(train);
    if (!shop.options.older.empty()) {
      older.emplace(from_older(shop));
      encoding.keep(older->encoding());
      read(model_file(shop.options.older).string());
    }
    model_.emplace(config_, std::move(encoding), static_cast<uint64_t>(config_.trainer.seed),
                   config_.method == "single", older ? &*older : nullptr);
    const std::string dev = config_.data.dev.empty() ? train : data_path(config_.data.dev);
    if (dev != train) read(dev);
    TableModelConfig copy = config_;
    const std::string key = text(kRowsFormat, " ", content, config_.data.bad_rows, " ", to_json(copy));
    const auto rows = [&](const std::string& file, std::optional<Part> part, const char* name) {
      return RowCache::open_or_build(shop.cache / name, text(key, " ", name), [&] {
        RowColumns columns = model_->encoding().read(file, features, tasks, part, how);
        if (columns.ids.empty() && columns.numbers.empty())
          fail(Fault::input, file, ": no rows to choose the best model by; expected some");
        return columns;
      });
    };
    train_.emplace(rows(train, Part::train, "train.rows"), *model_);
    if (dev != train)
      dev_.emplace(rows(dev, {}, "dev.rows"), *model_);
    else if (features.has(Part::dev))
      dev_.emplace(rows(train, Part::dev, "dev.rows"), *model_);
    if (older)
      shop.say(text("goes on from ", shop.options.older.string(),
                    new_parameters(model_->parameters(), older->parameters())));
  }
  Parameters& parameters() override { return model_->parameters(); }
  void pretrain(const Workers&) override {}
  int64_t rows() const override { return train_->rows.size; }
  int64_t dev_rows() const override { return dev_ ? dev_->rows.size : 0; }
  std::string identity() const override { return train_->cache.key(); }
  std::vector<Goal> goals() const override {
    std::vector<Goal> goals;
    for (const Task& task : model_->tasks()) goals.push_back({task.name, task.priority, task.weight});
    return goals;
  }
  Objective objective(Tape& tape, std::span<const int64_t> rows, double, uint64_t tasks) const override {
    return model_->objective(tape, train_->rows, rows, tasks);
  }
  Objective dev_objective(Tape& tape, std::span<const int64_t> rows, uint64_t tasks) const override {
    return model_->objective(tape, dev_->rows, rows, tasks);
  }
  Findings evaluate(const Workers& workers, std::span<const int64_t> rows) const override {
    return {model_->metrics(model_->answer(dev_->rows, rows, workers))};
  }
  void save(const std::filesystem::path& path, const Metadata& more) const override {
    model_->save(path, more);
  }

  std::string vocabulary() const override {
    const Encoding& encoding = model_->encoding();
    std::string out;
    for (size_t f = 0; f < encoding.names().size(); ++f) {
      out += text("feature     ", encoding.names()[f]);
      if (f + 1 < encoding.first().size())
        out += text(", ", encoding.first()[f + 1] - encoding.first()[f] - 2, " values");
      out += "\n";
    }
    return out;
  }
  std::string in_words(std::span<const int64_t> wanted) override {
    std::string out;
    const int64_t F = model_->encoding().fields();
    for (const int64_t row : wanted) {
      out += "  " + model_->encoding().in_words(
                        train_->rows.ids.subspan(static_cast<size_t>(row * F), static_cast<size_t>(F)));
      for (const Task& task : model_->tasks())
        out += text("; ", task.name, " ", train_->rows.labels[task.place][static_cast<size_t>(row)]);
      out += "\n";
    }
    return out;
  }

 private:
  struct Rows {
    Rows(RowCache of, const TableModel& model)
        : cache(std::move(of)), rows(cache, model.encoding(), model.tasks()) {}
    RowCache cache;
    TableRows rows;
  };

  // Its features stay what they are, so that its parameters mean the same.
  TableModel from_older(const Workshop& shop) {
    const std::filesystem::path& path = shop.options.older;
    TableModel older = TableModel::open(path);
    TableModelConfig &ours = config_, theirs = older.config();
    for (const std::string& key : differences(theirs, ours)) {
      const bool of_parts = key == "features.group" || key.ends_with("fold") || key == "features.folds";
      if (shop.options.update ? !of_parts : key.starts_with("features.") && !of_parts)
        refuse_difference(key, path);
    }
    for (const auto& [name, task] : theirs.tasks)
      if (const auto own = ours.tasks.find(name);
          own != ours.tasks.end() && own->second.classes != task.classes)
        refuse_difference("tasks." + name + ".classes", path);
    if (shop.options.update) check_optimizer(older.metadata(), config_.optimizer, path);
    return older;
  }

  TableRunConfig config_;
  std::optional<TableModel> model_;
  std::optional<Rows> train_, dev_;
};

}  // namespace

std::unique_ptr<Job> table_job() { return std::make_unique<TableJob>(); }

}  // namespace steelyard
