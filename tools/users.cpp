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

Histories read_log(UserModel& model, const std::string& file) {
  return read_histories(file, model.config().events, model.catalogue());
}

// The moment behind everything that a user has done.
int64_t now(std::span<const Event> history) { return history.empty() ? 0 : history.back().time + 1; }

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

void score_users(UserModel& model, const UsersRequest& o) {
  if (o.events.empty()) fail(Fault::usage, "--events: missing; expected the users' histories");
  const Histories histories = read_log(model, o.events);
  std::vector<int64_t> of_user(static_cast<size_t>(histories.users.size()), -1);
  for (int64_t h = 0; h < histories.size(); ++h)
    of_user[static_cast<size_t>(histories.user[static_cast<size_t>(h)]) + 1] = h;
  const EventsConfig& events = model.config().events;
  std::vector<std::string> tasks;
  for (const auto& [name, task] : model.config().tasks)
    if (task.kind == "pair") tasks.push_back(name);
  if (tasks.empty()) fail(Fault::usage, "score: the model has no task of kind \"pair\"; expected one");

  TableRequest request{.required = {events.user, events.item}};
  if (events.timed()) request.optional.push_back(events.time);
  TableReader reader(o.data, request);
  Output out;
  for (const std::string& task : tasks) out << (task == tasks[0] ? "" : "\t") << task;
  out << "\n";
  // Rows of one user and one moment that follow each other are one request.
  struct Request {
    int64_t history = -1;
    std::optional<int64_t> moment;  // of the row; else behind all that the user has done
    std::vector<int32_t> items;
  };
  std::vector<Request> requests;
  const Workers workers(o.threads);
  const auto answer = [&] {
    std::vector<std::string> lines(requests.size());
    workers.rows(std::ssize(requests), 1, [&](int64_t i, int64_t) {
      const Request& asked = requests[static_cast<size_t>(i)];
      std::span<const Event> history;
      if (asked.history >= 0) history = histories[asked.history];
      if (asked.moment) history = events_before(history, *asked.moment);
      Tape tape(cpu(), Mode::score);
      const Shopper shopper = model.read(history, tape);
      // In pieces, so that memory does not grow with the candidates.
      const size_t piece = model.config().dupn.target ? 256 : 16384;
      const int64_t moment = asked.moment ? *asked.moment : now(history);
      std::string& text = lines[static_cast<size_t>(i)];
      std::vector<std::vector<double>> scores;
      for (size_t first = 0; first < asked.items.size(); first += piece) {
        const Ids items = Ids(asked.items).subspan(first, std::min(piece, asked.items.size() - first));
        model.score(shopper, moment, items, tape, scores);
        for (size_t item = 0; item < items.size(); ++item)
          for (size_t k = 0; k < scores.size(); ++k)
            text += (k ? "\t" : "") + number(scores[k][item]) + (k + 1 == scores.size() ? "\n" : "");
      }
    });
    for (const std::string& line : lines) out << line;
    out.flush();
    requests.clear();
  };
  int64_t waiting = 0;
  try {
    for (Row row; reader.next(row); ++waiting) {
      Request asked;
      if (const int32_t user = histories.users.find(row[0]))
        asked.history = of_user[static_cast<size_t>(user)];
      for (const size_t column : {size_t{0}, size_t{1}})
        if (!row.has(column)) row.refuse(column, "an empty cell", column == 0 ? "a user" : "an item");
      if (events.timed() && row.has(2) && !ExampleMaker::moment(events, row[2], asked.moment.emplace()))
        row.refuse(2, "no time", "events.time_format = \"" + events.time_format + "\"");
      constexpr int64_t kWaiting = 1 << 16;
      const bool same = !requests.empty() && requests.back().history == asked.history &&
                        requests.back().moment == asked.moment;
      if (waiting >= kWaiting && !same) answer(), waiting = 0;
      if (requests.empty() || !same) requests.push_back(asked);
      requests.back().items.push_back(model.catalogue().items.find(row[1]));
    }
  } catch (const Error&) {
    answer();  // whatever was read before a bad row is finished first
    throw;
  }
  answer();
}

void encode_users(UserModel& model, const UsersRequest& o) {
  if (model.config().dupn.target)
    fail(Fault::usage,
         "encode: the model's attention looks at a candidate (dupn.target); expected one that does not");
  const DupnConfig& dupn = model.config().dupn;
  if (dupn.pooling == "none" && !dupn.newest_state && !dupn.newest_item)
    fail(Fault::usage, "encode: the model reads no history (dupn.pooling); expected one that does");
  const Histories histories = read_log(model, o.data);
  if (o.npy.empty())
    return print_histories(histories, o.threads, [&](int64_t h, Tape& tape) {
      const std::vector<real> rep = model.represent(model.read(histories[h], tape), now(histories[h]), tape);
      std::string line = "{\"id\":" + json_text(name_of(histories, h)) + ",\"vector\":[";
      for (const real& x : rep) line += (&x == rep.data() ? "" : ",") + number(static_cast<double>(x));
      return line + "]}\n";
    });
  std::vector<std::vector<real>> rows(static_cast<size_t>(histories.size()));
  print_histories(histories, o.threads, [&](int64_t h, Tape& tape) {
    rows[static_cast<size_t>(h)] = model.represent(model.read(histories[h], tape), now(histories[h]), tape);
    return name_of(histories, h) + "\n";
  });
  write_atomically(o.npy, npy(rows));
}

void recommend_users(UserModel& model, const UsersRequest& o) {
  const Histories histories = read_log(model, o.data);
  print_histories(histories, o.threads, [&](int64_t h, Tape& tape) {
    const Shopper shopper = model.read(histories[h], tape);
    std::string line = name_of(histories, h) + "\t";
    for (const int32_t item : model.recommend(shopper, now(histories[h]), o.top, o.with_history, tape))
      line += (line.back() == '\t' ? "" : " ") + std::string(model.catalogue().items[item]);
    return line + "\n";
  });
}

void explain_user(UserModel& model, const UsersRequest& o) {
  if (o.user.empty() || o.events.empty())
    fail(Fault::usage, "explain: --user and --events are needed for a model of users");
  if (model.config().dupn.target && o.item.empty())
    fail(Fault::usage, "explain: --item is needed: the model's attention looks at a candidate");
  const Histories histories = read_log(model, o.events);
  const int32_t user = histories.users.find(o.user);
  if (user == 0) fail(Fault::input, o.events, ": no events of user \"", o.user, "\"; expected some");
  int64_t number_of = histories.size() - 1;  // the last of the user's
  while (histories.user[static_cast<size_t>(number_of)] != user - 1) --number_of;
  const std::span<const Event> history = histories[number_of];
  Tape tape(cpu(), Mode::score);
  const Shopper shopper = model.read(history, tape);
  const int32_t item = o.item.empty() ? -1 : model.catalogue().items.find(o.item);
  const std::vector<real> weights = model.explain(shopper, now(history), item, tape);
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
  const std::string wanted = !o.part.empty() ? o.part : config.examples.test_fold >= 0 ? "test" : "dev";
  if (wanted != "train" && wanted != "dev" && wanted != "test")
    fail(Fault::usage, "--part: \"", wanted, "\"; expected train, dev or test");
  const Part part = wanted == "train" ? Part::train : wanted == "dev" ? Part::dev : Part::test;
  const Histories histories = read_log(model, o.data);
  const RowColumns columns = ExampleMaker(config.events, config.examples, config.tasks)
                                 .make(histories, part, model.catalogue().counts);
  const std::vector<Answers> answers = model.answer(HistoryRows(columns, config.tasks), Workers(o.threads));
  Output out;
  out << "{\"rows\":" << std::to_string(columns.ids.at("user").size()) << ",\"tasks\":{";
  const Metrics metrics = model.metrics(answers);
  const char* comma = "";
  for (const auto& [name, task] : config.tasks) {
    out << comma << json_text(name) << ":{";
    comma = "";
    for (const auto& [key, value] : metrics) {
      if (!key.starts_with(name + ".")) continue;
      out << comma << json_text(key.substr(name.size() + 1)) << ":" << number(value);
      comma = ",";
    }
    out << "}";
    comma = ",";
  }
  out << "}}\n";
  out.flush();
}

}  // namespace steelyard
