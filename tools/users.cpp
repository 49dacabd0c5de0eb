#include "tools/users.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "core/backend.h"
#include "core/file.h"
#include "tools/pieces.h"
#include "tools/verbs.h"

namespace steelyard {

namespace {

std::string in_folder(const std::string& folder, const std::string& file) {
  return (std::filesystem::path(folder) / file).string();
}

std::string folder_of(const UsersRequest& o, const std::string& log) {
  return o.data_dir.empty() ? std::filesystem::path(log).parent_path().string() : o.data_dir;
}

Histories read_log(UserModel& model, const std::string& file, const UsersRequest& o) {
  const EventsConfig& events = model.config().events;
  Histories histories = read_histories(file, events, model.catalogue());
  if (!events.users.empty())
    read_profiles(in_folder(folder_of(o, file), events.users), events, histories, model.catalogue());
  return histories;
}

void refuse_stdin_twice(const std::string& data, bool twice) {
  if (data == "-" && twice) fail(Fault::usage, "DATA: -; expected a file, which is read twice");
}

Shopper read_shopper(const UserModel& model, const Histories& histories, int64_t history, Tape& tape) {
  Shopper shopper = model.read(histories[history], tape);
  shopper.profile = histories.profile(histories.user[static_cast<size_t>(history)]);
  return shopper;
}

// A request behind everything that a user has done.
Request now(const UserModel& model, std::span<const Event> history) {
  return {.moment = moment_behind(model.config().events, history)};
}

struct ScoreTape {
  Tape tape{cpu(), Mode::score};
};

// The lines f(history number, tape) of all histories.
template <class F>
void print_histories(const Histories& histories, int threads, F f) {
  std::vector<std::string> lines;
  Output out;
  int64_t read = 0;
  in_pieces<ScoreTape>(
      Workers(threads),
      [&](int64_t i) {
        if (read == histories.size()) return false;
        ++read, lines.resize(static_cast<size_t>(i) + 1);
        return true;
      },
      [&](int64_t i, ScoreTape& scratch) {
        lines[static_cast<size_t>(i)] = f(read - std::ssize(lines) + i, scratch.tape);
      },
      [&](int64_t n) {
        for (int64_t i = 0; i < n; ++i) out << lines[static_cast<size_t>(i)];
        out.flush();
        lines.clear();
      });
}

std::string name_of(const Histories& histories, int64_t history) {
  return std::string(histories.users[histories.user[static_cast<size_t>(history)] + 1]);
}

// NumPy's format, version 1.0: float32, row-major.
std::string npy(const std::vector<std::vector<real>>& rows) {
  const size_t cols = rows.empty() ? 0 : rows[0].size();
  std::string header =
      text("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows.size(), ", ", cols, "), }");
  constexpr size_t kBefore = 10, kAlign = 64;
  header.append((kAlign - (kBefore + header.size() + 1) % kAlign) % kAlign, ' ');
  header += '\n';
  std::string out = std::string("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xff);
  out += static_cast<char>(header.size() >> 8);
  out += header;
  for (const std::vector<real>& row : rows)
    for (const real x : row) {
      const auto number = static_cast<float>(x);
      out.append(reinterpret_cast<const char*>(&number), sizeof number);
    }
  return out;
}

}  // namespace

std::vector<Questions> read_tables(const UserConfig& config, const ExampleMaker& maker,
                                   const std::string& log, const std::string& data_dir, Histories& histories,
                                   Catalogue& catalogue, const Reading& how) {
  std::vector<Questions> questions;
  for (const ExampleGroup& group : maker.groups()) {
    if (!group.of_table()) continue;
    const TableConfig& table = config.tables.at(group.name);
    const std::string file = table.file.empty() ? log : in_folder(data_dir, table.file);
    questions.push_back(
        read_questions(file, table, group.tasks, config.events, config.tokenizer, histories, catalogue, how));
  }
  if (!config.events.users.empty())
    read_profiles(in_folder(data_dir, config.events.users), config.events, histories, catalogue, how);
  return questions;
}

namespace {

// Rows of one user, moment and query that follow each other.
struct Asked {
  int32_t user;
  int64_t history, moment;
  std::vector<int32_t> query, items;
  std::vector<float> numbers;
};

// A line of each item: what each task says.
std::string answer(const UserModel& model, const Histories& histories, const Asked& asked,
                   const std::string& table) {
  std::span<const Event> history;
  if (asked.history >= 0) history = events_before(histories[asked.history], asked.moment);
  Tape tape(cpu(), Mode::score);
  Shopper shopper = model.read(history, tape);
  shopper.profile = histories.profile(asked.user);
  std::vector<std::vector<double>> scores;
  model.score(shopper,
              {.moment = asked.moment,
               .items = asked.items,
               .table = table,
               .numbers = asked.numbers,
               .query = asked.query},
              tape, scores);
  std::string lines;
  for (size_t i = 0; i < asked.items.size(); ++i) {
    const char* tab = "";
    for (const std::vector<double>& of_task : scores) {  // of classes all of them
      const size_t width = of_task.size() / asked.items.size();
      for (size_t c = i * width; c < (i + 1) * width; ++c) lines += tab + number(of_task[c]), tab = "\t";
    }
    lines += "\n";
  }
  return lines;
}

}  // namespace

void score_users(UserModel& model, const UsersRequest& o) {
  const UserConfig& config = model.config();
  const std::vector<ExampleGroup>& groups = model.maker().groups();
  const auto group = std::ranges::find(groups, o.table.empty() ? "pair" : o.table, &ExampleGroup::name);
  if (group == groups.end() || group->name == "next")
    fail(Fault::usage, "--table: \"", o.table,
         "\"; expected one that tasks ask, or none of a model of pairs");
  TableConfig table;
  if (o.table.empty())  // of pairs
    table.time = config.events.time, table.item = config.events.item;
  else
    table = config.tables.at(o.table);
  const bool of_lines = !o.table.empty() && table.file.empty();  // which are histories themselves
  if (o.events.empty() != of_lines)
    fail(Fault::usage, "--events: ", o.events.empty() ? "missing" : o.events, "; expected ",
         of_lines ? "none: DATA has the histories" : "the users' histories");
  refuse_stdin_twice(o.data, of_lines || o.events == "-");
  Histories histories = read_log(model, of_lines ? o.data : o.events, o);
  QuestionReader reader(o.data, table, {}, config.events, config.tokenizer, histories, model.catalogue());
  Output out;
  std::string header;
  for (const Task& task : group->tasks) {
    if (task.classes.empty()) header += "\t" + task.name;
    for (const std::string& name : task.classes) header += "\t" + task.name + "." + name;
  }
  out << header.substr(1) << "\n";
  std::vector<Asked> waiting;
  const Workers workers(o.threads);
  const auto answer_all = [&] {
    std::vector<std::string> lines(waiting.size());
    workers.rows(std::ssize(waiting), 1, [&](int64_t i, int64_t) {
      lines[static_cast<size_t>(i)] = answer(model, histories, waiting[static_cast<size_t>(i)], o.table);
    });
    for (const std::string& line : lines) out << line;
    out.flush();
    waiting.clear();
  };
  constexpr int64_t kWaiting = 1 << 16;
  int64_t rows = 0;  // of those that wait
  const auto ask = [&](const Question& q) {
    if (waiting.empty() || waiting.back().user != q.user || waiting.back().moment != q.moment ||
        waiting.back().history != q.history || waiting.back().query != q.query) {
      if (rows >= kWaiting) answer_all(), rows = 0;
      waiting.push_back({q.user, q.history, q.moment, q.query, {}, {}});
    }
    Asked& last = waiting.back();
    last.items.push_back(q.item), ++rows;
    last.numbers.insert(last.numbers.end(), q.numbers.begin(), q.numbers.end());
  };
  std::exception_ptr bad;
  for (Question q;;) {
    try {
      if (!reader.next(q)) break;
    } catch (const Error&) {
      bad = std::current_exception();  // whatever was read before a bad row is finished first
      break;
    }
    ask(q);
  }
  answer_all();
  if (bad) std::rethrow_exception(bad);
}

void encode_users(UserModel& model, const UsersRequest& o) {
  if (model.config().dupn.target)
    fail(Fault::usage,
         "encode: the model's attention looks at a candidate (dupn.target); expected one that does not");
  if (!model.config().reads_users())
    fail(Fault::usage, "encode: the model reads no history (dupn.pooling); expected one that does");
  const Histories histories = read_log(model, o.data, o);
  const auto vector = [&](int64_t h, Tape& tape) {
    return model.represent(read_shopper(model, histories, h, tape), now(model, histories[h]), tape);
  };
  if (o.npy.empty())
    return print_histories(histories, o.threads, [&](int64_t h, Tape& tape) {
      const std::vector<real> rep = vector(h, tape);
      std::string line = "{\"id\":" + json_text(name_of(histories, h)) + ",\"vector\":[";
      for (const real& x : rep) line += (&x == rep.data() ? "" : ",") + number(static_cast<double>(x));
      return line + "]}\n";
    });
  std::vector<std::vector<real>> rows(static_cast<size_t>(histories.size()));
  print_histories(histories, o.threads, [&](int64_t h, Tape& tape) {
    rows[static_cast<size_t>(h)] = vector(h, tape);
    return name_of(histories, h) + "\n";
  });
  write_atomically(o.npy, npy(rows));
}

void recommend_users(UserModel& model, const UsersRequest& o) {
  const Histories histories = read_log(model, o.data, o);
  print_histories(histories, o.threads, [&](int64_t h, Tape& tape) {
    const Shopper shopper = read_shopper(model, histories, h, tape);
    std::string line = name_of(histories, h) + "\t";
    for (const int32_t item : model.recommend(shopper, now(model, histories[h]), o.top, o.with_history, tape))
      line += (line.back() == '\t' ? "" : " ") + std::string(model.catalogue().items[item]);
    return line + "\n";
  });
}

void explain_user(UserModel& model, const UsersRequest& o) {
  if (o.user.empty() || o.events.empty())
    fail(Fault::usage, "explain: --user and --events are needed for a model of users");
  if (model.config().dupn.target && o.item.empty())
    fail(Fault::usage, "explain: --item is needed: the model's attention looks at a candidate");
  const Histories histories = read_log(model, o.events, o);
  const int32_t user = histories.users.find(o.user) - 1;
  int64_t number_of = histories.size() - 1;  // the last of the user's
  while (number_of >= 0 && histories.user[static_cast<size_t>(number_of)] != user) --number_of;
  if (number_of < 0 || histories[number_of].empty())
    fail(Fault::input, o.events, ": no events of user \"", o.user, "\"; expected some");
  if (!o.query.empty() && model.catalogue().words.size() == 1)
    fail(Fault::usage, "--query: \"", o.query, "\"; expected none: the model knows no queries");
  const std::span<const Event> history = histories[number_of];
  Tape tape(cpu(), Mode::score);
  const Shopper shopper = read_shopper(model, histories, number_of, tape);
  const int32_t item = o.item.empty() ? -1 : model.catalogue().items.find(o.item);
  const std::vector<int32_t> query = model.words(o.query);
  Request request = now(model, history);
  request.items = {&item, 1}, request.query = query;
  const std::vector<real> weights = model.explain(shopper, request, tape);
  if (weights.empty()) fail(Fault::usage, "explain: the model has no attention (dupn.pooling); expected one");
  const EventsConfig& events = model.config().events;
  const std::span<const Event> seen = history.last(weights.size());
  Output out;
  if (o.json)
    out << "{\"user\":" << json_text(o.user) << ",\"events\":[";
  else
    out << "attention  behaviour  item\n";
  for (size_t i = 0; i < seen.size(); ++i) {
    const std::string name(model.catalogue().items[seen[i].item]);
    const std::string behaviour =
        events.behaviours.empty() ? "" : events.behaviours[static_cast<size_t>(seen[i].behaviour)];
    if (o.json) {
      out << (i ? "," : "") << "{\"item\":" << json_text(name) << ",\"behaviour\":" << json_text(behaviour)
          << ",\"attention\":" << number(static_cast<double>(weights[i])) << "}";
      continue;
    }
    char line[64];
    std::snprintf(line, sizeof line, "%9.6f  %-9s  ", static_cast<double>(weights[i]), behaviour.c_str());
    out << line << name << "\n";
  }
  if (o.json) out << "]}\n";
  out.flush();
}

void evaluate_users(UserModel& model, const UsersRequest& o) {
  const UserConfig& config = model.config();
  const std::string wanted = !o.part.empty() ? o.part : model.maker().has(Part::test) ? "test" : "dev";
  if (wanted != "train" && wanted != "dev" && wanted != "test")
    fail(Fault::usage, "--part: \"", wanted, "\"; expected train, dev or test");
  const Part part = wanted == "train" ? Part::train : wanted == "dev" ? Part::dev : Part::test;
  refuse_stdin_twice(o.data,
                     std::ranges::any_of(config.tables, [](const auto& t) { return t.second.file.empty(); }));
  Histories histories = read_histories(o.data, config.events, model.catalogue());
  const std::vector<Questions> questions =
      read_tables(config, model.maker(), o.data, folder_of(o, o.data), histories, model.catalogue());
  const RowColumns columns = model.maker().make(histories, part, model.catalogue().counts, false, questions);
  const std::vector<Answers> answers = model.answer(HistoryRows(columns, model.maker()), Workers(o.threads));
  print_metrics(std::ssize(columns.ids.at("user")), model.metrics(answers));
}

}  // namespace steelyard
