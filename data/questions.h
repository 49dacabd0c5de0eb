// What tables ask of users: each row a question at a moment, perhaps of an item, perhaps after a query, with the
// answers that are known. And what is known of the users themselves. Next: data/examples.h.
#pragma once

#include <map>
#include <optional>

#include "data/events.h"
#include "data/tasks.h"
#include "data/tokenizer.h"

namespace steelyard {

// A table whose rows ask; the user's column is that of the events.
struct TableConfig {
  std::string file, time, item, query;
  std::vector<std::string> attributes, numbers;

  template <class F>
  void fields(F&& f) {
    f("file", file, "its rows, relative to the data folder; empty: the lines of ready sequences themselves");
    f("time", time,
      "column of the moment, as those of events, which count if before it; empty: behind all that the user "
      "did");
    f("item", item, "column of the item that is asked about; empty: none");
    f("attributes", attributes,
      "columns of its attributes, in the order of events.attributes; empty: not here");
    f("query", query, "column of the text that was searched for; empty: none");
    f("numbers", numbers,
      "columns of numbers that heads see, and that a task of kind rank weighs; an empty cell is 0");
  }
};
using Tables = std::map<std::string, TableConfig>;

// A row of a table.
struct Question {
  int32_t user = 0, item = -1;  // as Histories::user counts; −1: no item
  int64_t history = -1;         // −1: the user has none
  int64_t moment = 0;
  std::vector<int32_t> query = {};                  // words of the catalogue
  std::vector<float> numbers = {};                  // [F]
  std::vector<float> labels = {}, importance = {};  // of each of the table's tasks; NaN: not asked
};

// All of them, column by column.
struct Questions {
  std::vector<int32_t> user, item;
  std::vector<int64_t> history, moment;
  RowColumns::Lists query;
  std::vector<float> numbers;                          // [questions,F]
  std::vector<std::vector<float>> labels, importance;  // of each task

  int64_t size() const { return static_cast<int64_t>(user.size()); }
  void add(const Question& question);
};

class QuestionReader {
 public:
  // Users, items and words that are new are added. Of a user with several histories the last one is asked; a
  // table without a file of its own is the lines of the file of ready sequences, each about itself. Without
  // tasks, to score, the time may be missing: behind all that the user did. Error(input) for a bad row, unless
  // it is to be skipped.
  QuestionReader(const std::string& file, const TableConfig& table, std::span<const Task> tasks,
                 const EventsConfig& events, const TokenizerConfig& tokenizer, Histories& histories,
                 Catalogue& catalogue, const Reading& how = {});
  bool next(Question& question);  // false at the end
  const TableReader& table() const { return *reader_; }

 private:
  void read(const Row& row, Question& out);

  const std::span<const Task> tasks_;
  const EventsConfig& events_;
  Histories& histories_;
  Catalogue& catalogue_;
  Tokenizer tokenizer_;
  Tokens tokens_;
  size_t user_, item_, query_, time_;
  std::vector<size_t> attributes_, numbers_, labels_, importance_;
  const bool of_lines_;        // the rows are the lines of the histories
  std::vector<int64_t> last_;  // history of each user
  size_t line_ = 0;            // in histories.lines
  std::optional<TableReader> reader_;
};

Questions read_questions(const std::string& file, const TableConfig& table, std::span<const Task> tasks,
                         const EventsConfig& events, const TokenizerConfig& tokenizer, Histories& histories,
                         Catalogue& catalogue, const Reading& how = {});

// The users' table, of events.profile, into histories.profiles; users that are new are added. Error(input)
// where one is there twice.
void read_profiles(const std::string& file, const EventsConfig& events, Histories& histories,
                   Catalogue& catalogue, const Reading& how = {});

}  // namespace steelyard
