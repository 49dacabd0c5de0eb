#include "data/events.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <numeric>
#include <set>

#include "core/text.h"

namespace steelyard {

namespace {

constexpr const char *kItems = "catalogue/items", *kCounts = "catalogue/counts", *kWords = "catalogue/words";

constexpr int64_t kDay = 24 * 3600;

std::string attribute_name(size_t k) { return "catalogue/attribute" + std::to_string(k); }

std::string profile_name(size_t k) { return "catalogue/profile" + std::to_string(k); }

std::vector<std::string_view> values_of(std::string_view cell) { return split(cell, ' '); }

}  // namespace

void EventsConfig::validate() const {
  if (user.empty()) fail(Fault::usage, "events.user: empty; expected the name of a column");
  if (item.empty()) fail(Fault::usage, "events.item: empty; expected the name of a column");
  const bool named = !behaviour.empty() || !lists.empty();
  if (named && lists.empty() && behaviours.empty())
    fail(Fault::usage, "events.behaviours: empty; expected the values of the column \"", behaviour, "\"");
  if (!named && !behaviours.empty())
    fail(Fault::usage, "events.behaviours: ", behaviours.size(),
         "; expected none without events.behaviour or lists");
  for (const auto& [key, names] : {std::pair{"events.behaviours", behaviours},
                                   {"events.attributes", attributes},
                                   {"events.profile", profile}})
    for (const std::string& name : names)
      if (name.empty() || std::ranges::count(names, name) > 1)
        fail(Fault::usage, key, ": \"", name, "\"; expected names, each once");
  if (users.empty() != profile.empty())
    fail(Fault::usage, "events.profile: ", joined(profile),
         "; expected columns of the table events.users, both or none");
  if (!lists.empty() && !behaviour.empty())
    fail(Fault::usage, "events.behaviour: \"", behaviour, "\"; expected none beside events.lists");
  if (lists.size() > 1 && lists.size() != behaviours.size())
    fail(Fault::usage, "events.lists: ", lists.size(), " patterns; expected one for each of the ",
         behaviours.size(), " behaviours");
  if (lists.size() > 1 && time.empty())
    fail(Fault::usage, "events.time: empty; expected a column by which several lists become one");
  for (const std::string& pattern : lists)
    if (std::count(pattern.begin(), pattern.end(), '*') != 1)
      fail(Fault::usage, "events.lists: \"", pattern, "\"; expected one * where a column's name stands");
  if (time_format == "age" && lists.empty())
    fail(Fault::usage, "events.time_format: age; expected it for ready sequences (events.lists) only");
  if (time_format != "seconds" && time_format != "age" && time_format.find('%') == time_format.npos)
    fail(Fault::usage, "events.time_format: \"", time_format,
         "\"; expected seconds, age or a format as %Y-%m-%d");
  if (time_format.find("%z") != time_format.npos || time_format.find("%s") != time_format.npos)
    fail(Fault::usage, "events.time_format: \"", time_format,
         "\"; expected times of one zone, without %z and %s");
  if (year < 1970 || year > 9999) fail(Fault::usage, "events.year: ", year, "; expected 1970 … 9999");
}

bool EventsConfig::with_hours() const {
  constexpr const char* kHours[] = {"%H", "%I", "%k", "%l", "%T", "%R", "%r", "%c", "%X"};
  return time_format == "seconds" || std::ranges::any_of(kHours, [&](const char* hours) {
           return time_format.find(hours) != time_format.npos;
         });
}

bool parse_time(const EventsConfig& config, std::string_view text, int64_t& seconds) {
  if (config.time_format == "seconds" || config.time_format == "age") {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    constexpr int64_t kFar = int64_t{1} << 40;  // some 35,000 years
    if (error != std::errc() || end != text.data() + text.size() || seconds < 0 || seconds > kFar)
      return false;
    if (config.time_format == "age") seconds = -seconds;
    return true;
  }
  std::tm date{};
  date.tm_year = config.year - 1900;
  date.tm_mday = 1;
  const std::string copy(text);
  const char* end = strptime(copy.c_str(), config.time_format.c_str(), &date);
  if (!end || end != copy.c_str() + copy.size()) return false;
  const std::tm asked = date;
  seconds = timegm(&date);
  return asked.tm_mday == date.tm_mday && asked.tm_mon == date.tm_mon;  // no 30th of February
}

int64_t time_in(const Row& row, size_t column, std::string_view text, const EventsConfig& config) {
  int64_t seconds = 0;
  if (!parse_time(config, text, seconds))
    row.refuse(column, "\"" + std::string(text.substr(0, 80)) + "\" is no time",
               "events.time_format = \"" + config.time_format + "\"");
  return seconds;
}

bool cut_at(const EventsConfig& config, std::string_view text, int64_t& seconds) {
  if (!config.timed() || !parse_time(config, text, seconds)) return false;
  seconds += config.with_hours() || config.time_format == "age" ? 1 : kDay;
  return true;
}

int64_t moment_behind(const EventsConfig& config, std::span<const Event> history) {
  if (config.time_format == "age") return 1;  // the request is what ages are counted from
  return history.empty() ? 0 : history.back().time + 1;
}

std::span<const Event> events_before(std::span<const Event> history, int64_t moment) {
  const auto end = std::ranges::partition_point(history, [&](const Event& e) { return e.time < moment; });
  return history.first(static_cast<size_t>(end - history.begin()));
}

void ItemCounts::add(std::span<const Event> of_one_user) {
  std::set<std::pair<int32_t, size_t>> done;
  for (const Event& event : of_one_user)
    for (const size_t column : {size_t{0}, static_cast<size_t>(event.behaviour) + 1}) {
      if (!done.emplace(event.item, column).second) continue;
      const size_t at = static_cast<size_t>(event.item) * width + column;
      if (at >= users.size()) users.resize((static_cast<size_t>(event.item) + 1) * width);
      ++users[at];
    }
}

Catalogue::Catalogue(size_t count, size_t of_users) : values(count), attributes(count), profile(of_users) {
  for (RowColumns::Lists& lists : attributes) lists.end();  // of the item that is not known
}

int32_t Catalogue::add(std::string_view item, std::span<const std::string_view> texts) {
  const int32_t before = items.size(), id = items.add(item);
  if (id < before) return id;
  for (size_t k = 0; k < attributes.size(); ++k) {
    if (k < texts.size())
      for (const std::string_view value : values_of(texts[k])) attributes[k].add(values[k].add(value));
    attributes[k].end();
  }
  return id;
}

std::vector<NamedArray> Catalogue::arrays() const {
  std::vector<NamedArray> arrays = items.arrays(kItems);
  for (size_t k = 0; k < attributes.size(); ++k) {
    for (NamedArray& array : values[k].arrays(attribute_name(k))) arrays.push_back(std::move(array));
    arrays.push_back(NamedArray::of<int64_t>(attribute_name(k) + "/of_item/starts", attributes[k].starts));
    arrays.push_back(NamedArray::of<int32_t>(attribute_name(k) + "/of_item/values", attributes[k].values));
  }
  const auto add = [&](std::vector<NamedArray> more) {
    for (NamedArray& array : more) arrays.push_back(std::move(array));
  };
  for (size_t k = 0; k < profile.size(); ++k) add(profile[k].arrays(profile_name(k)));
  if (words.size() > 1) add(words.arrays(kWords));
  if (counts.width > 0) {
    const auto width = static_cast<int64_t>(counts.width), rows = std::ssize(counts.users) / width;
    arrays.push_back({kCounts, ElementType::i32, {rows, width}, counts.users.data()});
  }
  return arrays;
}

Catalogue Catalogue::load(const TensorFile& file, size_t count, size_t of_users) {
  Catalogue catalogue;
  catalogue.items = Categories::load(file, kItems);
  for (size_t k = 0; k < count; ++k) {
    catalogue.values.push_back(Categories::load(file, attribute_name(k)));
    const std::string name = attribute_name(k) + "/of_item";
    const auto starts = file.at(name + "/starts").values<int64_t>();
    const auto values = file.at(name + "/values").values<int32_t>();
    bool holds = starts.size() == static_cast<size_t>(catalogue.items.size()) + 1 && starts.front() == 0 &&
                 starts.back() == std::ssize(values) && std::ranges::is_sorted(starts);
    for (int32_t value : values) holds = holds && value >= 0 && value < catalogue.values[k].size();
    if (!holds)
      fail(Fault::input, name, ": expected lists of known values for ", catalogue.items.size(), " items");
    catalogue.attributes.push_back({{starts.begin(), starts.end()}, {values.begin(), values.end()}});
  }
  for (size_t k = 0; k < of_users; ++k) catalogue.profile.push_back(Categories::load(file, profile_name(k)));
  if (file.find(std::string(kWords) + "/starts")) catalogue.words = Categories::load(file, kWords);
  if (const NamedArray* counts = file.find(kCounts)) {
    const auto users = counts->values<int32_t>();
    if (counts->shape.size() != 2 || counts->shape[1] < 1 ||
        std::ranges::any_of(users, [](int32_t n) { return n < 0; }))
      fail(Fault::input, kCounts, ": expected a row of counts for each item");
    catalogue.counts = {static_cast<size_t>(counts->shape[1]), {users.begin(), users.end()}};
  }
  return catalogue;
}

void read_items(const std::string& table, const EventsConfig& config, Catalogue& catalogue,
                const Reading& how) {
  TableRequest request{.required = {config.key.empty() ? config.item : config.key},
                       .bad_rows = how.bad_rows,
                       .stop = how.stop,
                       .lists = true};
  request.required.insert(request.required.end(), config.attributes.begin(), config.attributes.end());
  TableReader reader(table, request);
  std::vector<std::string_view> texts(config.attributes.size());
  std::vector<bool> here(static_cast<size_t>(catalogue.items.size()));  // of the items known before
  for (Row row; reader.next(row);) try {
      for (size_t k = 0; k < texts.size(); ++k) texts[k] = row[1 + k];
      if (!row.has(0)) row.refuse(0, "no item", "the name of one");
      const int32_t before = catalogue.items.size(), id = catalogue.add(row[0], texts);
      if (id == before) continue;
      if (static_cast<size_t>(id) >= here.size() || here[static_cast<size_t>(id)])
        row.refuse(0, "an item that was there before", "every item once");
      here[static_cast<size_t>(id)] = true;
    } catch (const Error& error) {
      reader.reject(error);
    }
  say_skipped(reader, how);
}

namespace {

class HistoryReader {
 public:
  HistoryReader(const EventsConfig& config, Catalogue& catalogue) : config_(config), catalogue_(catalogue) {
    for (const std::string& behaviour : config.behaviours) behaviours_.add(behaviour);
  }

  Histories read_log(TableReader& reader) {
    Histories out;
    std::vector<int32_t> owner;
    std::vector<Event> events;
    std::vector<std::string_view> texts(config_.attributes.size());
    for (Row row; reader.next(row);) try {
        if (!row.has(0)) row.refuse(0, "no user", "the name of one");
        if (!row.has(1)) row.refuse(1, "no item", "the name of one");
        Event event;
        size_t column = 2;
        if (!config_.behaviour.empty()) event.behaviour = behaviour(row, column++);
        if (config_.timed()) event.time = time_in(row, column, row[column], config_), ++column;
        for (std::string_view& text : texts) text = row[column++];
        event.item = catalogue_.add(row[1], texts);
        owner.push_back(out.users.add(row[0]) - 1);
        events.push_back(event);
      } catch (const Error& error) {
        reader.reject(error);
      }
    std::vector<size_t> order(events.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::pair(owner[a], events[a].time) < std::pair(owner[b], events[b].time);
    });
    for (size_t i = 0; i < order.size(); ++i) {
      out.events.push_back(events[order[i]]);
      if (i + 1 < order.size() && owner[order[i]] == owner[order[i + 1]]) continue;
      out.user.push_back(owner[order[i]]);
      out.starts.push_back(static_cast<int64_t>(i) + 1);
    }
    return out;
  }

  // Behind the user stand the items of each behaviour, perhaps with times, then their attributes.
  Histories read_lists(TableReader& reader) {
    Histories out;
    const size_t behaviours = config_.lists.size(), count = config_.attributes.size(),
                 width = 1 + config_.timed();
    std::vector<std::string_view> texts(count);
    for (Row row; reader.next(row);) try {
        if (!row.has(0)) row.refuse(0, "no user", "the name of one");
        std::vector<Event> events;
        for (size_t b = 0; b < config_.lists.size(); ++b) {
          const auto list = [&](size_t column, size_t size) {
            const std::vector<std::string_view> values = values_of(row[column]);
            if (values.size() != size)
              row.refuse(column, std::to_string(values.size()) + " values",
                         std::to_string(size) + ", as there are items");
            return values;
          };
          const size_t begin = 1 + b * width, behind = 1 + behaviours * width + b * count;
          const std::vector<std::string_view> items = values_of(row[begin]);
          const std::vector<std::string_view> times =
              config_.timed() ? list(begin + 1, items.size()) : std::vector<std::string_view>();
          std::vector<std::vector<std::string_view>> attributes(count);
          for (size_t k = 0; k < count; ++k)
            if (row.has(behind + k)) attributes[k] = list(behind + k, items.size());
          for (size_t i = 0; i < items.size(); ++i) {
            for (size_t k = 0; k < count; ++k) texts[k] = attributes[k].empty() ? "" : attributes[k][i];
            events.push_back({catalogue_.add(items[i], texts), static_cast<int32_t>(b),
                              config_.timed() ? time_in(row, begin + 1, times[i], config_) : 0});
          }
        }
        std::stable_sort(events.begin(), events.end(),
                         [](const Event& a, const Event& b) { return a.time < b.time; });
        out.events.insert(out.events.end(), events.begin(), events.end());
        out.starts.push_back(std::ssize(out.events));
        out.user.push_back(out.users.add(row[0]) - 1);
        out.lines.push_back(row.line());
      } catch (const Error& error) {
        reader.reject(error);
      }
    return out;
  }

 private:
  int32_t behaviour(const Row& row, size_t column) const {
    const int32_t id = behaviours_.find(row[column]);
    if (id == 0) {
      row.refuse(column, row.quoted(column) + " is no behaviour", "one of " + joined(config_.behaviours));
    }
    return id - 1;
  }

  const EventsConfig& config_;
  Catalogue& catalogue_;
  Categories behaviours_;
};

}  // namespace

Histories read_histories(const std::string& table, const EventsConfig& config, Catalogue& catalogue,
                         const Reading& how, bool with_attributes) {
  TableRequest request{
      .required = {config.user}, .bad_rows = how.bad_rows, .stop = how.stop, .lists = !config.lists.empty()};
  HistoryReader reader(config, catalogue);
  if (config.lists.empty()) {
    request.required.push_back(config.item);
    for (const std::string& column : {config.behaviour, config.time})
      if (!column.empty()) request.required.push_back(column);
    for (const std::string& attribute : config.attributes)
      (with_attributes ? request.required : request.optional).push_back(attribute);
    TableReader rows(table, request);
    Histories histories = reader.read_log(rows);
    say_skipped(rows, how);
    return histories;
  }
  const auto column = [](std::string pattern, const std::string& name) {
    return pattern.replace(pattern.find('*'), 1, name);
  };
  for (const std::string& pattern : config.lists) {
    request.required.push_back(column(pattern, config.item));
    if (config.timed()) request.required.push_back(column(pattern, config.time));
  }
  for (const std::string& pattern : config.lists)
    for (const std::string& attribute : config.attributes)
      (with_attributes ? request.required : request.optional).push_back(column(pattern, attribute));
  TableReader rows(table, request);
  Histories histories = reader.read_lists(rows);
  say_skipped(rows, how);
  return histories;
}

}  // namespace steelyard
