// Users, as several tasks see them: everything that scoring needs in one object and one file. Events become
// histories (data/events.h), histories rows with examples (data/examples.h), those the representation that
// all tasks share (nn/dupn.h). `const` and thread-safe: each thread brings a Tape.
#pragma once

#include <filesystem>
#include <memory>

#include "autograd/objective.h"
#include "core/parallel.h"
#include "nn/dupn.h"

namespace steelyard {

struct UserConfig {
  std::string model = "dupn";
  EventsConfig events;
  ExamplesConfig examples;
  DupnConfig dupn;
  Tasks tasks;
  Tables tables;
  TokenizerConfig tokenizer;

  template <class F>
  void fields(F&& f) {
    f("model", model, "dupn");
    f("events", events, "what users do, and the items");
    f("examples", examples, "what is asked of their histories");
    f("dupn", dupn, "the network");
    f("tasks", tasks, "a section for each, as [tasks.click]");
    f("tables", tables, "a section for each table that asks something, as [tables.impressions]");
    f("tokenizer", tokenizer, "the words of queries");
  }
  void validate() const;
  bool reads_users() const;  // or there is no representation
};

// What a model says of all examples of some rows: of pair, binary and rank a probability; of classes that of the
// right one, its label says whether it was the most likely; of next the rank of the item that came, from 0, among
// all but those of the history.
struct Answers {
  std::vector<double> answers, labels;  // of a task, where it was asked
  std::vector<int64_t> rows;            // of each answer
};

// A user as scoring keeps one: the events, and what was computed of the newest of them. One event more costs
// one step.
struct Shopper {
  std::vector<Event> events;  // all of them, in the order of time
  Profile profile;            // may be set at any time
  int64_t read = 0;           // the newest so many are known to the network
  std::vector<real> items;    // [read,D]
  std::vector<real> states;   // [read,H]
  std::vector<real> last;     // h | c behind the newest
};

class UserModel {
 public:
  // Untrained, or with what an older model has learned (Parameters), whose catalogue this one's begins with.
  UserModel(UserConfig config, Catalogue catalogue, uint64_t seed, const UserModel* older = nullptr);
  static UserModel open(const std::filesystem::path& path);  // a model file or a run folder
  static UserModel open(const TensorFile& file);
  UserModel(UserModel&&) noexcept;
  ~UserModel();
  void save(const std::filesystem::path& path, const Metadata& more) const;

  const UserConfig& config() const;
  const Catalogue& catalogue() const;
  Catalogue& catalogue();  // may grow: items that the model has not learned it knows by their attributes
  const Metadata& metadata() const;
  Parameters& parameters();
  const Parameters& parameters() const;

  // ---- serving. Every thread brings a Tape in Mode::score; a request's moment is behind the shopper's events.

  Shopper read(std::span<const Event> history, Tape& tape) const;
  // The same bits as reading the longer history, as long as that has no more than examples.longest events.
  // Error(input) if the event is older than the newest.
  void append(Shopper& shopper, const Event& event, Tape& tape) const;
  std::vector<int32_t> words(std::string_view query) const;  // for Request::query; 0: not known
  std::vector<real> represent(const Shopper& shopper, const Request& request, Tape& tape) const;
  // Of each task that the request's table or, without one, pairs have, in the order of their names, the
  // probability of each item, of classes those of all classes of each. Error(usage) if nobody asks.
  void score(const Shopper& shopper, const Request& request, Tape& tape,
             std::vector<std::vector<double>>& out) const;
  // The k items most likely to be the next, best first, those of the history left out unless `known`.
  // Error(usage) without such a task.
  std::vector<int32_t> recommend(const Shopper& shopper, const Request& request, int64_t k, bool known,
                                 Tape& tape) const;
  // The attention of each of the newest events, the sum 1; of a model that looks at a candidate: the request's
  // first. Empty: there is none.
  std::vector<real> explain(const Shopper& shopper, const Request& request, Tape& tape) const;

  // ---- training

  // The scale of the examples' numbers, of a model that is new.
  void pretrain(const HistoryRows& rows);
  // Of the tasks in the order of the maker's groups; of those whose bit is not set nothing is computed.
  Objective objective(Tape& tape, const HistoryRows& rows, std::span<const int64_t> wanted,
                      uint64_t tasks = ~uint64_t{0}) const;
  // By task, of some rows or, if none are named, of all.
  std::vector<Answers> answer(const HistoryRows& rows, const Workers& workers,
                              std::span<const int64_t> of = {}) const;
  // "TASK.KEY" for the keys of its kind, and each key's mean over the tasks; NaN where the data do not define
  // it.
  std::vector<std::pair<std::string, double>> metrics(const std::vector<Answers>& answers) const;
  static std::vector<std::string> metric_names(const std::string& kind);
  const ExampleMaker& maker() const;  // of its configuration

 private:
  struct Parts;
  explicit UserModel(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace steelyard
