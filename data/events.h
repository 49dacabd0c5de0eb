// What shoppers did, as histories: the events of a user in the order of time. A log has one event a line, in
// any order; a table of ready sequences has one history a line, its events in lists, oldest first. What the
// data lack (behaviours, times, attributes) is absent, not made up. Next: data/examples.h, which makes
// training rows of histories.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "data/categories.h"
#include "data/row_cache.h"
#include "data/table.h"

namespace steelyard {

// The columns of the files; kept in the model, so that scoring reads what training read.
struct EventsConfig {
  std::string user = "user", item = "item", items, key, users, behaviour, time;
  std::string time_format = "seconds";
  int year = 1970;
  std::vector<std::string> behaviours, attributes, profile, lists;

  template <class F>
  void fields(F&& f) {
    f("user", user, "column of the user");
    f("item", item, "column of the item");
    f("items", items, "table of items with their attributes, relative to the data folder; empty: none");
    f("key", key, "its column of the item; empty: `item`");
    f("users", users, "table of users with their profile, relative to the data folder; empty: none");
    f("profile", profile, "its columns of what is known of a user; values by blanks");
    f("behaviour", behaviour, "column of what was done, one of `behaviours`; empty: there is none");
    f("behaviours", behaviours, "the values that it may have");
    f("time", time, "column of when; empty: there is none, and events are in the order of the file");
    f("time_format", time_format,
      "seconds; or age, in seconds before the history's end; or as of strptime: %Y-%m-%d %H:%M:%S");
    f("year", year, "of times without one");
    f("attributes", attributes,
      "columns of the item's attributes in the table of items, or beside the events; values by blanks");
    f("lists", lists,
      "ready sequences, one a line: the columns of each behaviour's events, * where `item`, `time` or an "
      "attribute stands");
  }
  void validate() const;
  bool timed() const { return !time.empty(); }
  size_t kinds() const { return std::max<size_t>(1, behaviours.size()); }  // of behaviours; 1 without any
  bool with_hours() const;                                                 // or only days
};

struct Event {
  int32_t item = 0, behaviour = 0;
  int64_t time = 0;  // seconds; 0 without times
};

// In how many histories something was done with an item: in all, then by behaviour.
struct ItemCounts {
  size_t width = 0;            // 1 + behaviours
  std::vector<int32_t> users;  // [items,width]; of items behind it none

  int32_t operator()(int32_t item, size_t column) const {
    const size_t at = static_cast<size_t>(item) * width + column;
    return at < users.size() ? users[at] : 0;
  }
  void add(std::span<const Event> of_one_user);
};

// Items and their attributes, and what else has a name. It grows at its end: an id never changes.
struct Catalogue {
  Catalogue() = default;
  explicit Catalogue(size_t attributes, size_t profile = 0);

  Categories items;
  std::vector<Categories> values;             // of each attribute
  std::vector<RowColumns::Lists> attributes;  // of each attribute its values by the item's id
  ItemCounts counts;                          // of the users who trained a model, before its last cut
  std::vector<Categories> profile;            // the values of each column
  Categories words;                           // of queries

  // The id of an item, which is new if it was not there; a new item takes the attributes, texts of values by
  // blanks.
  int32_t add(std::string_view item, std::span<const std::string_view> texts);
  std::vector<NamedArray> arrays() const;
  static Catalogue load(const TensorFile& file, size_t attributes, size_t profile = 0);
};

// Adds the items of a table that the catalogue lacks. Error(input) where one is there twice.
void read_items(const std::string& table, const EventsConfig& config, Catalogue& catalogue,
                const Reading& how = {});

using Profile = std::vector<std::vector<int32_t>>;  // the values of a user in each column of events.profile

struct Histories {
  Categories users;
  std::vector<int32_t> user;       // [histories]
  std::vector<int64_t> starts{0};  // [histories+1]
  std::vector<Event> events;       // of each history in the order of time; equal times as in the file
  std::vector<int64_t> lines;      // of ready sequences, where each stood
  std::vector<RowColumns::Lists> profiles;  // of each column of events.profile its values, by the user's id

  int64_t size() const { return static_cast<int64_t>(user.size()); }
  // The values of a user in a column of the profile; none where they are not known.
  Ids profile(size_t k, int32_t of_user) const {
    if (k >= profiles.size() || of_user + 1 >= profiles[k].ragged().size()) return {};
    return profiles[k].ragged()[of_user + 1];
  }
  Profile profile(int32_t of_user) const {
    Profile values;
    for (size_t k = 0; k < profiles.size(); ++k) {
      const Ids of_column = profile(k, of_user);
      values.emplace_back(of_column.begin(), of_column.end());
    }
    return values;
  }
  std::span<const Event> operator[](int64_t history) const {
    const auto at = static_cast<size_t>(history);
    return std::span(events).subspan(static_cast<size_t>(starts[at]),
                                     static_cast<size_t>(starts[at + 1] - starts[at]));
  }
};

// Items that the catalogue lacks are added to it. `with_attributes`: their columns must be there. Error(input)
// for a behaviour that is none of the configuration's, a time that is no time, lists of different lengths.
Histories read_histories(const std::string& table, const EventsConfig& config, Catalogue& catalogue,
                         const Reading& how = {}, bool with_attributes = false);

// The events before a moment.
std::span<const Event> events_before(std::span<const Event> history, int64_t moment);

// Seconds since 1970 of a text in the configuration's format; false if it is none.
bool parse_time(const EventsConfig& config, std::string_view text, int64_t& seconds);
// The same of a text in a cell. Error(input) with its place if it is none.
int64_t time_in(const Row& row, size_t column, std::string_view text, const EventsConfig& config);
// What such a text means as a cut: events up to it are before it, and a day includes its evening. False if it is
// no time.
bool cut_at(const EventsConfig& config, std::string_view text, int64_t& seconds);
// The moment of a request behind everything that a user has done.
int64_t moment_behind(const EventsConfig& config, std::span<const Event> history);

}  // namespace steelyard
