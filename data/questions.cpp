#include "data/questions.h"

#include <algorithm>
#include <limits>

#include "core/text.h"

namespace steelyard {

void Questions::add(const Question& question) {
  user.push_back(question.user), item.push_back(question.item);
  history.push_back(question.history), moment.push_back(question.moment);
  for (const int32_t word : question.query) query.add(word);
  query.end();
  numbers.insert(numbers.end(), question.numbers.begin(), question.numbers.end());
  labels.resize(question.labels.size()), importance.resize(question.labels.size());
  for (size_t k = 0; k < labels.size(); ++k)
    labels[k].push_back(question.labels[k]), importance[k].push_back(question.importance[k]);
}

namespace {

constexpr size_t kNone = std::numeric_limits<size_t>::max();  // no column
constexpr double kMost = 1e12;                                // whose squares can be summed

}  // namespace

QuestionReader::QuestionReader(const std::string& file, const TableConfig& table, std::span<const Task> tasks,
                               const EventsConfig& events, const TokenizerConfig& tokenizer,
                               Histories& histories, Catalogue& catalogue, const Reading& how)
    : tasks_(tasks),
      events_(events),
      histories_(histories),
      catalogue_(catalogue),
      tokenizer_(tokenizer),
      of_lines_(table.file.empty() && !events.lists.empty()),
      last_(static_cast<size_t>(histories.users.size()), -1) {
  for (int64_t h = 0; h < histories.size(); ++h)
    last_[static_cast<size_t>(histories.user[static_cast<size_t>(h)]) + 1] = h;
  TableRequest request{.bad_rows = how.bad_rows, .stop = how.stop, .lists = !events.lists.empty()};
  const auto column = [&](const std::string& name) {
    if (name.empty()) return kNone;
    request.required.push_back(name);
    return request.required.size() - 1;
  };
  user_ = column(events.user), item_ = column(table.item), query_ = column(table.query);
  for (const std::string& name : table.attributes) attributes_.push_back(column(name));
  for (const std::string& name : table.numbers) numbers_.push_back(column(name));
  for (const Task& task : tasks)
    labels_.push_back(column(task.label)), importance_.push_back(column(task.importance));
  time_ = table.time.empty() ? kNone : request.required.size();  // the last
  if (time_ != kNone) (tasks.empty() ? request.optional : request.required).push_back(table.time);
  reader_.emplace(file, request);
}

bool QuestionReader::next(Question& question) {
  for (Row row; reader_->next(row);) try {
      if (of_lines_) {  // a line that was skipped has no history
        const std::vector<int64_t>& lines = histories_.lines;
        while (line_ < lines.size() && lines[line_] < row.line()) ++line_;
        if (line_ == lines.size() || lines[line_] != row.line()) continue;
      }
      read(row, question);
      return true;
    } catch (const Error& error) {
      reader_->reject(error);
    }
  return false;
}

void QuestionReader::read(const Row& row, Question& out) {
  if (!row.has(user_)) row.refuse(user_, "no user", "the name of one");
  if (item_ != kNone && !row.has(item_)) row.refuse(item_, "no item", "the name of one");
  const bool at_a_time = time_ != kNone && (row.has(time_) || !tasks_.empty());
  if (at_a_time) out.moment = time_in(row, time_, row[time_], events_);
  out.numbers.clear(), out.labels.clear(), out.importance.clear(), out.query.clear();
  for (const size_t column : numbers_)
    out.numbers.push_back(row.has(column) ? static_cast<float>(row.number(column, -kMost, kMost)) : 0);
  for (size_t k = 0; k < tasks_.size(); ++k) {
    out.labels.push_back(label_in(row, labels_[k], tasks_[k]));
    out.importance.push_back(importance_[k] == kNone ? 1 : importance_in(row, importance_[k]));
  }
  // Nothing is wrong with the row: now it may add to what is known.
  const int32_t id = histories_.users.add(row[user_]);
  out.user = id - 1;
  if (static_cast<size_t>(id) >= last_.size()) last_.resize(static_cast<size_t>(id) + 1, -1);
  out.history = of_lines_ ? static_cast<int64_t>(line_) : last_[static_cast<size_t>(id)];
  if (!at_a_time)
    out.moment = moment_behind(events_, out.history < 0 ? std::span<const Event>() : histories_[out.history]);
  std::vector<std::string_view> texts;
  for (const size_t column : attributes_) texts.push_back(row[column]);
  out.item = item_ == kNone ? -1 : catalogue_.add(row[item_], texts);
  if (query_ == kNone) return;
  tokenizer_.tokenize(row[query_], tokens_);
  for (int64_t i = 0; i < tokens_.size(); ++i) out.query.push_back(catalogue_.words.add(tokens_[i]));
}

Questions read_questions(const std::string& file, const TableConfig& table, std::span<const Task> tasks,
                         const EventsConfig& events, const TokenizerConfig& tokenizer, Histories& histories,
                         Catalogue& catalogue, const Reading& how) {
  QuestionReader reader(file, table, tasks, events, tokenizer, histories, catalogue, how);
  Questions all;
  for (Question question; reader.next(question);) all.add(question);
  if (!table.file.empty()) say_skipped(reader.table(), how);  // of lines the histories' reader has spoken
  return all;
}

void read_profiles(const std::string& file, const EventsConfig& events, Histories& histories,
                   Catalogue& catalogue, const Reading& how) {
  TableRequest request{.required = {events.user}, .bad_rows = how.bad_rows, .stop = how.stop, .lists = true};
  request.required.insert(request.required.end(), events.profile.begin(), events.profile.end());
  TableReader reader(file, request);
  std::vector<Profile> values;  // by the user's id; empty: not there
  for (Row row; reader.next(row);) try {
      if (!row.has(0)) row.refuse(0, "no user", "the name of one");
      const auto id = static_cast<size_t>(histories.users.add(row[0]));
      if (id >= values.size()) values.resize(id + 1);
      if (!values[id].empty()) row.refuse(0, "a user that was there before", "every user once");
      for (size_t k = 0; k < events.profile.size(); ++k) {
        std::vector<int32_t>& of_column = values[id].emplace_back();
        for (const std::string_view value : split(row[1 + k], ' '))
          of_column.push_back(catalogue.profile[k].add(value));
      }
    } catch (const Error& error) {
      reader.reject(error);
    }
  say_skipped(reader, how);
  histories.profiles.assign(events.profile.size(), {});
  for (const Profile& of_user : values)
    for (size_t k = 0; k < histories.profiles.size(); ++k) {
      for (const int32_t value : of_user.empty() ? Ids() : Ids(of_user[k])) histories.profiles[k].add(value);
      histories.profiles[k].end();
    }
}

}  // namespace steelyard
