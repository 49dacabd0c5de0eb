// Training of a UserModel: histories of events, and what is asked of them.
#include <algorithm>

#include "core/file.h"
#include "core/random.h"
#include "nn/model_file.h"
#include "tools/job.h"
#include "tools/users.h"

namespace steelyard {

namespace {

constexpr const char* kRowsFormat = "steelyard-histories-2";

class UsersJob final : public Job {
 public:
  std::unique_ptr<Job> fresh() const override { return std::make_unique<UsersJob>(); }

  Fields fields() override { return config_; }
  TrainingConfig& training() override { return config_; }
  PlaceConfig& place() override { return config_.run; }
  void validate() const override { config_.validate(); }

  void prepare(const Workshop& shop) override {
    const EventsConfig& events = config_.events;
    const std::string log = data_path(config_.data.train);
    std::string content;
    const auto read = [&](const std::string& file) {
      content += text(key_part(MappedFile(file).text()), " ");
    };
    read(log);
    Catalogue catalogue(events.attributes.size(), events.profile.size());
    std::optional<UserModel> older;
    if (!shop.options.older.empty()) {
      older.emplace(from_older(shop));
      catalogue = older->catalogue();
      read(model_file(shop.options.older).string());
    }
    for (const std::string& file : {events.items, events.users})
      if (!file.empty()) read(data_path(file));
    const ExampleMaker maker(events, config_.examples, config_.tasks, config_.tables);
    for (const ExampleGroup& group : maker.groups())
      if (group.of_table() && !config_.tables.at(group.name).file.empty())
        read(data_path(config_.tables.at(group.name).file));
    const Reading how{config_.data.bad_rows, shop.stop, shop.say};
    if (!events.items.empty()) read_items(data_path(events.items), events, catalogue, how);
    Histories histories = read_histories(log, events, catalogue, how, events.items.empty());
    const std::vector<Questions> questions =
        read_tables(config_, maker, log, config_.run.data_dir, histories, catalogue, how);
    if (!older) catalogue.counts = maker.count(histories);
    model_.emplace(config_, std::move(catalogue), static_cast<uint64_t>(config_.trainer.seed),
                   older ? &*older : nullptr);
    UserConfig copy = config_;
    const std::string key = text(kRowsFormat, " ", content, " ", config_.data.bad_rows, " ", to_json(copy));
    const auto rows = [&](Part part, const char* name) {
      return RowCache::open_or_build(shop.cache / name, text(key, " ", name), [&] {
        return maker.make(histories, part, model_->catalogue().counts, older.has_value(), questions);
      });
    };
    train_.emplace(rows(Part::train, "train.rows"), model_->maker());
    if (maker.has(Part::dev)) dev_.emplace(rows(Part::dev, "dev.rows"), model_->maker());
    if (older)
      shop.say(text("goes on from ", shop.options.older.string(), ": ",
                    model_->catalogue().items.size() - older->catalogue().items.size(), " new items",
                    new_parameters(model_->parameters(), older->parameters())));
  }
  Parameters& parameters() override { return model_->parameters(); }
  void pretrain(const Workers&) override { model_->pretrain(train_->rows); }
  int64_t rows() const override { return train_->rows.size(); }
  int64_t dev_rows() const override { return dev_ ? dev_->rows.size() : 0; }
  std::string identity() const override { return train_->cache.key(); }
  std::vector<Goal> goals() const override {
    std::vector<Goal> goals;
    for (const ExampleGroup& group : model_->maker().groups())
      for (const Task& task : group.tasks) goals.push_back({task.name, task.priority, task.weight});
    return goals;
  }
  Objective objective(Tape& tape, std::span<const int64_t> rows, double, uint64_t tasks) const override {
    return model_->objective(tape, train_->rows, rows, tasks);
  }
  Objective dev_objective(Tape& tape, std::span<const int64_t> rows, uint64_t tasks) const override {
    return model_->objective(tape, dev_->rows, rows, tasks);
  }
  Findings evaluate(const Workers& workers, std::span<const int64_t> rows) const override {
    return {model_->metrics(model_->answer(dev_->rows, workers, rows))};
  }
  void save(const std::filesystem::path& path, const Metadata& more) const override {
    model_->save(path, more);
  }

  std::string vocabulary() const override {
    std::string out = text("items       ", model_->catalogue().items.size() - 1, "\n");
    for (size_t k = 0; k < config_.events.attributes.size(); ++k)
      out += text("attribute   ", config_.events.attributes[k], ", ",
                  model_->catalogue().values[k].size() - 1, " values\n");
    for (size_t k = 0; k < config_.events.profile.size(); ++k)
      out += text("profile     ", config_.events.profile[k], ", ", model_->catalogue().profile[k].size() - 1,
                  " values\n");
    if (const int32_t words = model_->catalogue().words.size() - 1)
      out += text("queries     ", words, " words\n");
    return out;
  }
  std::string in_words(std::span<const int64_t> wanted) override {
    std::string out;
    const HistoryRows& rows = train_->rows;
    for (const int64_t row : wanted) {
      size_t examples = 0;
      for (const ExampleRows& group : rows.groups) examples += group.visible[row].size();
      out += text("  ", rows.item[row].size(), " events, ", examples, " examples:");
      for (const int32_t item : rows.item[row].last(std::min<size_t>(8, rows.item[row].size())))
        out += text(" ", model_->catalogue().items[item]);
      out += "\n";
    }
    return out;
  }

 private:
  struct Rows {
    Rows(RowCache of, const ExampleMaker& maker) : cache(std::move(of)), rows(cache, maker) {}
    RowCache cache;
    HistoryRows rows;
  };

  UserModel from_older(const Workshop& shop) {
    const auto& [path, update] = std::pair(shop.options.older, shop.options.update);
    UserModel older = UserModel::open(path);
    UserConfig &ours = config_, theirs = older.config();
    // What gives the parameters of a name their meaning.
    for (const std::string& key : differences(theirs, ours))
      if (update ? !key.starts_with("examples.") && key != "events.items" && key != "events.users" &&
                       !(key.starts_with("tables.") && key.ends_with(".file"))
                 : key == "events.behaviours" || key == "events.attributes" || key == "events.profile" ||
                       key.starts_with("tokenizer."))
        refuse_difference(key, path);
    for (const auto& [name, task] : theirs.tasks)
      if (const auto own = ours.tasks.find(name);
          own != ours.tasks.end() && own->second.classes != task.classes)
        refuse_difference("tasks." + name + ".classes", path);
    for (const auto& [name, table] : theirs.tables)
      if (const auto own = ours.tables.find(name);
          own != ours.tables.end() && own->second.numbers != table.numbers)
        refuse_difference("tables." + name + ".numbers", path);
    if (update) check_optimizer(older.metadata(), config_.optimizer, path);
    return older;
  }

  UserRunConfig config_;
  std::optional<UserModel> model_;
  std::optional<Rows> train_, dev_;
};

}  // namespace

std::unique_ptr<Job> users_job() { return std::make_unique<UsersJob>(); }

}  // namespace steelyard
