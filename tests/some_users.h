// Some users of a small shop, and a small model of each kind for them.
#pragma once

#include <cmath>
#include <vector>

#include "core/random.h"
#include "nn/user_model.h"

namespace steelyard::test {

constexpr int64_t kDay = 24 * 3600;

inline UserConfig small_config() {
  UserConfig config;
  config.events.behaviour = "what";
  config.events.behaviours = {"click", "buy"};
  config.events.time = "when";
  config.events.time_format = "%Y-%m-%d %H";
  config.events.attributes = {"brand", "tags"};
  config.examples.longest = 7;
  config.examples.cuts = {"1970-03-01 00", "1970-04-01 00"};
  config.examples.folds = 2;
  config.tasks = {{"buy", {.behaviour = "buy", .weight = 2}},
                  {"click", {.behaviour = "click"}},
                  {"next", {.kind = "next"}}};
  DupnConfig& dupn = config.dupn;
  dupn.item_width = 5, dupn.attribute_width = 3, dupn.property_width = 2, dupn.hidden = 6,
  dupn.head_width = 4;
  dupn.learned_start = dupn.newest_state = dupn.newest_item = true;
  dupn.dropout = 0, dupn.item_penalty = 0;
  return config;
}

inline Catalogue small_catalogue(int items = 12) {
  Catalogue catalogue(2, 2);
  for (const char* age : {"young", "old"}) catalogue.profile[0].add(age);
  for (const char* hobby : {"tea", "chess", "tents"}) catalogue.profile[1].add(hobby);
  for (int word = 0; word < 9; ++word) catalogue.words.add(text("w", word));
  for (int i = 0; i < items; ++i) {
    const std::string brand = text("b", i % 3), tags = i % 4 == 0 ? "" : text("t", i % 2, " t", 2 + i % 5);
    const std::string_view texts[] = {brand, tags};
    catalogue.add(text("i", i), texts);
  }
  return catalogue;
}

// Users with up to 20 events over 150 days.
inline Histories some_histories(const Catalogue& catalogue, int users = 24) {
  Histories histories;
  for (int user = 0; user < users; ++user) {
    const uint64_t key = key_of(1, "user", user);
    int64_t time = 0;
    for (uint64_t i = 0; i < 3 + random_bits(key, 0) % 18; ++i) {
      time += static_cast<int64_t>(random_bits(key, 3 * i + 1) % (16 * kDay));
      histories.events.push_back(
          {static_cast<int32_t>(1 + random_bits(key, 3 * i + 2) %
                                        static_cast<uint64_t>(catalogue.items.size() - 1)),
           static_cast<int32_t>(random_bits(key, 3 * i + 3) % 2), time});
    }
    histories.user.push_back(histories.users.add(text("u", user)) - 1);
    histories.starts.push_back(std::ssize(histories.events));
  }
  histories.profiles.resize(2);
  for (RowColumns::Lists& lists : histories.profiles) lists.end();
  for (int user = 0; user < users; ++user) {
    histories.profiles[0].add(1 + user % 2), histories.profiles[0].end();
    for (int hobby = 1; hobby <= user % 4; ++hobby) histories.profiles[1].add(hobby);
    histories.profiles[1].end();
  }
  return histories;
}

// Tables of all kinds ask beside the events: `shown`, two items after a query, and `levels`, nothing but the user.
inline UserConfig with_tables(UserConfig config) {
  config.events.users = "users.tsv", config.events.profile = {"age", "hobbies"};
  config.tables["shown"].file = "shown.tsv", config.tables["shown"].time = "when";
  config.tables["shown"].item = "item", config.tables["shown"].query = "query";
  config.tables["shown"].numbers = {"fame", "price"};
  config.tables["levels"].file = "levels.tsv", config.tables["levels"].time = "when";
  config.tasks["open"] = {.kind = "binary", .table = "shown"};
  config.tasks["sort"] = {.kind = "rank", .weight = 0.5, .table = "shown", .importance = "gain"};
  config.tasks["level"] = {.kind = "classes", .table = "levels", .classes = {"a", "b", "c"}};
  config.dupn.profile_width = 2, config.dupn.query_width = 3;
  return config;
}

// What the tables of the configuration ask, in the order of a maker's groups.
inline std::vector<Questions> some_questions(const UserConfig& config, const Histories& histories) {
  std::vector<Questions> all;
  for (const auto& [name, table] : config.tables) {
    Questions& questions = all.emplace_back();
    const size_t tasks = name == "shown" ? 2 : 1;
    for (int64_t history = 0; history < histories.size(); ++history)
      for (int i = 0; i < 4; ++i) {
        const uint64_t key = key_of(2, name, history);
        const auto draw = [&](int what, int64_t below) {
          return static_cast<int64_t>(random_bits(key, static_cast<uint64_t>(10 * i + what)) %
                                      static_cast<uint64_t>(below));
        };
        Question q;
        q.user = histories.user[static_cast<size_t>(history)], q.history = history;
        q.moment = (30 + 40 * (i / 2)) * kDay;
        for (size_t k = 0; k < tasks; ++k)
          q.labels.push_back(static_cast<float>((history + i) % (name == "shown" ? 2 : 3)));
        q.importance.assign(tasks, 1);
        if (name == "shown") {
          q.item = static_cast<int32_t>(1 + draw(0, 12));
          q.query = {static_cast<int32_t>(1 + history % 9), static_cast<int32_t>(1 + i / 2)};
          if (history % 5 == 0) q.query.clear();
          q.numbers = {static_cast<float>(draw(1, 100)), static_cast<float>(draw(2, 7))};
          if (draw(3, 4) == 0) q.labels[0] = NAN;
          q.importance[1] = static_cast<float>(1 + draw(4, 5));
        }
        questions.add(q);
      }
  }
  return all;
}

// Every parameter away from where it begins: heads and start begin at 0.
inline void stir(UserModel& model) {
  for (const Parameter& p : model.parameters().all()) {
    p.touch_all();
    for (int64_t i = 0; i < p.shape.size(); ++i)
      p.value().data[i] += real(0.5) * random_normal(key_of(7, p.path), static_cast<uint64_t>(i));
  }
}

// Every branch of the network.
inline std::vector<UserConfig> variants() {
  const UserConfig whole = small_config();
  std::vector<UserConfig> list = {whole};
  const auto add = [&](auto change) { list.push_back(whole), change(list.back().dupn); };
  add([](DupnConfig& c) { c.gates = c.attention = false, c.learned_start = false; });
  add([](DupnConfig& c) { c.pooling = "mean", c.newest_state = false; });
  add([](DupnConfig& c) { c.sequence = "none"; });
  add([](DupnConfig& c) { c.candidate = false, c.head_layers = 0; });
  add([](DupnConfig& c) { c.pooling = "none", c.newest_item = false, c.head_layers = 3; });
  list.push_back(whole), list.back().dupn.target = true, list.back().tasks.erase("next");
  list.push_back(with_tables(whole));
  list.push_back(with_tables(whole)), list.back().dupn.head_layers = 0, list.back().dupn.target = true;
  list.push_back(with_tables(whole)), list.back().dupn.candidate = false, list.back().dupn.pooling = "mean";
  list.back().tables["shown"].query = "";
  return list;
}

}  // namespace steelyard::test
