#include "data/table.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <iterator>
#include <unordered_map>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <zlib.h>

#include "core/file.h"
#include "core/text.h"
#include "data/utf8.h"

namespace steelyard {
namespace {

// A text of the file as an error message shows it: short, in quotes, without line breaks.
std::string shown(std::string_view text) {
  constexpr size_t longest = 60;
  const bool cut = text.size() > longest;
  if (cut) {
    text = text.substr(0, longest);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.remove_suffix(1);
    if (!text.empty()) text.remove_suffix(1);  // the first byte of a character that may have lost the others
  }
  std::string out = "\"";
  for (const char c : text) out += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  return out + (cut ? "…\"" : "\"");
}

// The candidate most like `name`, or "" if none is like it.
std::string nearest(const std::string& name, const std::vector<std::string>& candidates) {
  std::string best;
  size_t least = name.size() / 2 + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 2 * name.size()) continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance < least) least = distance, best = candidate;
  }
  return best;
}

// Where a record ends. It can be asked again with more bytes and goes on where it stopped.
struct RecordScan {
  enum State { field_start, plain, quoted, closed, closed_cr } state = field_start;
  size_t at = 0;      // the first byte not yet looked at; on success the line break
  size_t opened = 0;  // CSV: the last opening quote
  bool broken =
      false;  // CSV: `at` is neither a comma nor the end of the line, but stands behind a closing quote

  bool find_line_end(std::string_view bytes) {
    const size_t found = bytes.find('\n', at);
    at = found == bytes.npos ? bytes.size() : found;
    return found != bytes.npos;
  }

  bool find_csv_end(std::string_view bytes) {
    for (; at < bytes.size() && !broken; ++at) {
      const char c = bytes[at];
      if (state == quoted) {
        if (c == '"') state = closed;
      } else if (c == '\n') {
        return true;
      } else if (c == ',' && state != closed_cr) {
        state = field_start;
      } else if (state == field_start) {
        if (c == '"') opened = at;
        state = c == '"' ? quoted : plain;
      } else if (state == closed) {
        if (c == '"') {
          state = quoted;  // a doubled quote
        } else if (c == '\r') {
          state = closed_cr;
        } else {
          broken = true;
          return false;
        }
      } else if (state == closed_cr) {
        broken = true;
        return false;
      }
    }
    return false;
  }
};

}  // namespace

// ---- where the bytes come from ----

struct TableReader::Source {
  virtual ~Source() = default;
  // Puts at most `room` bytes there and says how many; 0 at the end. Throws an Error without a place.
  virtual size_t read(char* to, size_t room) = 0;

  class File;
  class Memory;
  class Unpacked;
};

class TableReader::Source::File : public Source {
 public:
  explicit File(const std::string& path) {
    if (path == "-") {
      file_ = STDIN_FILENO;
      return;
    }
    file_ = uninterrupted([&] { return open(path.c_str(), O_RDONLY | O_CLOEXEC); });
    if (file_ < 0)
      fail(Fault::input, path, ": cannot be opened: ", std::strerror(errno), "; expected a readable file");
  }
  ~File() override {
    if (file_ != STDIN_FILENO) close(file_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  size_t read(char* to, size_t room) override {
    const ssize_t count = uninterrupted([&] { return ::read(file_, to, room); });
    if (count < 0) fail(Fault::input, "cannot be read: ", std::strerror(errno), "; expected a file");
    return static_cast<size_t>(count);
  }

 private:
  int file_;
};

class TableReader::Source::Memory : public Source {
 public:
  Memory(std::string_view bytes, size_t piece) : bytes_(bytes), piece_(piece) {}
  size_t read(char* to, size_t room) override {
    const size_t count = std::min({room, piece_, bytes_.size()});
    bytes_.copy(to, count);
    bytes_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view bytes_;
  size_t piece_;
};

// Another source, unpacked if it begins like gzip. A gzip file may consist of several members, one after the
// other.
class TableReader::Source::Unpacked : public Source {
 public:
  Unpacked(std::unique_ptr<Source> packed, bool must_be_gzip) : packed_(std::move(packed)) {
    while (stream_.avail_in < 2 && refill()) continue;
    gzip_ = stream_.avail_in >= 2 && input_[0] == 0x1f && input_[1] == 0x8b;
    if (!gzip_ && must_be_gzip && stream_.avail_in > 0)
      fail(Fault::input, "no gzip data; expected what the name says, .gz");
    constexpr int gzip_window = 15 + 16;  // zlib: the largest window, gzip framing
    if (gzip_ && inflateInit2(&stream_, gzip_window) != Z_OK) fail(Fault::resources, "zlib: out of memory");
  }
  ~Unpacked() override {
    if (gzip_) inflateEnd(&stream_);
  }
  Unpacked(const Unpacked&) = delete;
  Unpacked& operator=(const Unpacked&) = delete;

  size_t read(char* to, size_t room) override {
    if (!gzip_) {
      if (stream_.avail_in == 0) return packed_->read(to, room);
      const size_t count = std::min<size_t>(room, stream_.avail_in);
      std::memcpy(to, stream_.next_in, count);
      stream_.next_in += count;
      stream_.avail_in -= static_cast<uInt>(count);
      return count;
    }
    room = std::min<size_t>(room, 1 << 30);
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(room);
    while (stream_.avail_out == room) {
      if (damage_) fail(Fault::input, "gzip data are ", damage_, "; expected a whole gzip file");
      const bool more = stream_.avail_in > 0 || refill();
      if (between_members_) {
        if (!more) return 0;
        inflateReset(&stream_);
      }
      const int result = inflate(&stream_, Z_NO_FLUSH);  // without input too: it may hold back some output
      between_members_ = result == Z_STREAM_END;
      if (result == Z_MEM_ERROR) fail(Fault::resources, "zlib: out of memory");
      if (result == Z_BUF_ERROR && !more) damage_ = "cut short";
      if (result == Z_DATA_ERROR || result == Z_NEED_DICT || result == Z_STREAM_ERROR) damage_ = "damaged";
    }
    return room - stream_.avail_out;
  }

 private:
  // Only the beginning of a file, for its first two bytes, can find input left over: it is at most one byte.
  bool refill() {
    const size_t left = stream_.avail_in;
    if (left > 0) input_[0] = *stream_.next_in;
    const size_t count = packed_->read(reinterpret_cast<char*>(input_) + left, sizeof input_ - left);
    stream_.next_in = input_;
    stream_.avail_in = static_cast<uInt>(left + count);
    return count > 0;
  }

  std::unique_ptr<Source> packed_;
  Bytef input_[1 << 15];
  z_stream stream_{};
  bool gzip_ = false;
  bool between_members_ = false;
  const char* damage_ = nullptr;  // reported when everything before it has been delivered
};

// ---- one JSON object ----

namespace {

// Walks a line and tells how far it has come, which nlohmann's SAX interface does not.
struct CountingIterator {
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** reached;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    *reached = ++at;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
};

}  // namespace

struct TableReader::Object : nlohmann::json_sax<nlohmann::json> {
  struct Key {
    int64_t line = 0;  // the last line that had it: how a duplicate is found
    int column = -1;   // -1: nobody wants it
  };
  std::unordered_map<std::string, Key> keys;  // every key seen, so that most lines allocate nothing
  static constexpr size_t most_keys = 4096;

  TableReader& table;
  Row* row = nullptr;
  const char* reached = nullptr;
  int depth = 0;
  int column = -1;  // of the current value
  bool in_list = false;

  explicit Object(TableReader& table) : table(table) {}

  void read(Row& into) {
    if (keys.size() > most_keys) keys.clear();
    if (keys.empty())
      for (size_t i = 0; i < table.column_count(); ++i)
        keys[table.column_name(i)].column = static_cast<int>(i);
    row = &into;
    depth = 0;
    in_list = false;
    const std::string_view line = table.record_;
    reached = line.data();
    const char* ignored = nullptr;
    nlohmann::json::sax_parse(CountingIterator{line.data(), &reached},
                              CountingIterator{line.data() + line.size(), &ignored}, this);
    for (size_t i = 0; i < table.column_count(); ++i) {
      const Key& key = keys[table.column_name(i)];
      if (i < table.request_.required.size() && key.line != table.line_)
        table.fail_missing(table.column_name(i), present());
      into.cells_[i] = into.cells_[static_cast<size_t>(key.column)];  // a column may be wanted twice
    }
  }

  std::vector<std::string> present() const {
    std::vector<std::string> names;
    for (const auto& [name, key] : keys)
      if (key.line == table.line_) names.push_back(name);
    std::sort(names.begin(), names.end());
    return names;
  }

  [[noreturn]] void refuse(size_t offset, const std::string& what) {
    fail(Fault::input, table.place(table.record_, offset), what);
  }

  bool value(std::string_view text) {
    if (depth == 0) refuse(0, "a line that is no JSON object; expected {\"column\": value, …}");
    if (in_list) {
      std::string_view& list = row->cells_[static_cast<size_t>(column)].text;
      if (text.empty() || text.find(' ') != text.npos)
        row->refuse(static_cast<size_t>(column), "a list with an empty value or a blank in it",
                    "values without blanks");
      if (!list.empty()) table.scratch_ += ' ';  // where the line has a comma
      table.scratch_ += text;
      const size_t size = list.size() + !list.empty() + text.size();
      list = std::string_view(table.scratch_).substr(table.scratch_.size() - size);
      return true;
    }
    if (depth == 1 && column >= 0) {
      table.scratch_ += text;  // never longer than the line, so it does not move
      row->cells_[static_cast<size_t>(column)].text =
          std::string_view(table.scratch_).substr(table.scratch_.size() - text.size());
    }
    return true;
  }
  bool null() override { return value(""); }
  bool boolean(bool yes) override { return value(yes ? "1" : "0"); }
  bool number_integer(int64_t number) override { return integer(number); }
  bool number_unsigned(uint64_t number) override { return integer(number); }
  bool number_float(double, const std::string& text) override { return value(text); }
  bool string(std::string& text) override { return value(text); }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // does not occur in JSON text

  template <class Integer>
  bool integer(Integer number) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    return value({digits, static_cast<size_t>(end - digits)});
  }

  bool begin(bool object) {
    if (depth == 0 && !object) value("");  // refuses
    const bool list = table.request_.lists && depth == 1 && !object;
    if (in_list || (depth == 1 && column >= 0 && !list))
      row->refuse(static_cast<size_t>(column), object ? "an object" : "an array",
                  table.request_.lists ? "a string, a number, true, false, null or a list of them"
                                       : "a string, a number, true, false or null");
    ++depth;
    in_list = list && column >= 0;
    if (in_list) row->cells_[static_cast<size_t>(column)].text = {};
    return true;
  }
  bool end() {
    --depth;
    in_list = false;
    return true;
  }
  bool start_object(size_t) override { return begin(true); }
  bool start_array(size_t) override { return begin(false); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }

  // Called when the lexer stands behind the key's closing quote.
  bool key(std::string& name) override {
    if (depth > 1) return true;
    const std::string_view line = table.record_;
    const size_t after = static_cast<size_t>(reached - line.data());
    Key& found = keys[name];
    if (found.line == table.line_)
      refuse(after - 1, "the key " + shown(name) + " again; expected every key once");
    found.line = table.line_;
    column = found.column;
    if (column >= 0)
      row->cells_[static_cast<size_t>(column)].offset =
          std::min(line.find_first_not_of(" \t\r:", after), line.size());
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    refuse(std::min(position > 0 ? position - 1 : 0, table.record_.size()),
           "no valid JSON; expected one object per line, {\"column\": value, …}");
  }
};

// ---- rows ----

double Row::number(size_t column, double low, double high) const {
  std::string_view digits = cells_[column].text;
  while (!digits.empty() && digits.front() == ' ') digits.remove_prefix(1);
  while (!digits.empty() && digits.back() == ' ') digits.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool good = error == std::errc() && end == digits.data() + digits.size() && std::isfinite(value);
  if (good && value >= low && value <= high) return value;

  const bool bounded =
      low > std::numeric_limits<double>::lowest() || high < std::numeric_limits<double>::max();
  refuse(column, digits.empty() ? "no value" : shown(digits) + (good ? " is out of range" : " is no number"),
         bounded ? text("a number from ", low, " to ", high) : "a number");
}

void Row::refuse(size_t column, const std::string& what, const std::string& expected) const {
  fail(Fault::input, table_->place(record_, cells_[column].offset), table_->column_name(column), ": ", what,
       "; expected ", expected);
}

// ---- the reader ----

TableReader::TableReader(const std::string& path, TableRequest request)
    : TableReader(path == "-" ? "stdin" : path, std::make_unique<Source::File>(path), std::move(request),
                  1 << 18) {}

TableReader TableReader::from_memory(std::string name, std::string_view bytes, TableRequest request,
                                     size_t piece) {
  check(piece > 0, "TableReader: a piece of no bytes");
  return TableReader(std::move(name), std::make_unique<Source::Memory>(bytes, piece), std::move(request),
                     piece);
}

TableReader::TableReader(std::string name, std::unique_ptr<Source> source, TableRequest request, size_t piece)
    : name_(std::move(name)), request_(std::move(request)), piece_(piece) {
  if (request_.bad_rows != "stop" && request_.bad_rows != "skip")
    fail(Fault::usage, "bad_rows: ", shown(request_.bad_rows), "; expected \"stop\" or \"skip\"");
  skip_ = request_.bad_rows == "skip";

  std::string_view stem = name_;
  const bool gzip = stem.ends_with(".gz");
  if (gzip) stem.remove_suffix(3);
  try {
    source_ = std::make_unique<Source::Unpacked>(std::move(source), gzip);
  } catch (const Error& error) {
    fail(error.fault, name_, ":1:1: ", error.what());
  }

  if (has_bytes(3) && rest().substr(0, 3) == "\xEF\xBB\xBF") begin_ += 3;
  if (!has_bytes(1)) fail(Fault::input, name_, ":1:1: the file is empty; expected a table");
  if (stem.ends_with(".csv")) {
    format_ = Format::csv;
  } else if (stem.ends_with(".jsonl") || stem.ends_with(".ndjson") ||
             (!stem.ends_with(".tsv") && rest().front() == '{')) {
    format_ = Format::jsonl;
  }
  if (format_ == Format::jsonl) {
    object_ = std::make_unique<Object>(*this);
  } else {
    read_header();
  }
}

TableReader::~TableReader() = default;

bool TableReader::next(Row& row) {
  while (next_record()) {
    if (request_.stop && *request_.stop) fail(Fault::interrupted, "interrupted while reading ", name_);
    try {
      if (!trouble_.empty()) fail(Fault::input, trouble_);
      size_t bad = 0;
      if (!valid_utf8(record_, &bad))
        fail(Fault::input, place(record_, bad), "a byte that is no UTF-8; expected text in UTF-8");
      row.table_ = this;
      row.record_ = record_;
      row.line_ = line_;
      row.cells_.assign(column_count(), {});
      scratch_.clear();
      scratch_.reserve(record_.size());
      if (format_ == Format::jsonl) {
        object_->read(row);
      } else {
        read_fields(row);
      }
      ++good_;
      return true;
    } catch (const Error& error) {
      skip(error);
    }
  }
  if (good_ == 0 && skipped_ > 0)
    fail(Fault::input, name_, ": not one good row among ", skipped_, "; the first error: ", reports_.front());
  return false;
}

std::string TableReader::summary() const {
  return skipped_ == 0 ? "" : text(name_, ": ", skipped_, " bad rows skipped; the first: ", reports_.front());
}

void TableReader::reject(const Error& error) {
  skip(error);
  --good_;
}

void TableReader::skip(const Error& error) {
  if (!skip_ || error.fault != Fault::input) throw error;
  ++skipped_;
  if (reports_.size() < kReports) reports_.push_back(error.what());
}

bool TableReader::fill() {
  if (end_ == buffer_.size()) {
    if (begin_ > 0) {
      std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
      end_ -= begin_;
      begin_ = 0;
    } else {
      buffer_.resize(std::max(2 * buffer_.size(), piece_));
    }
  }
  try {
    const size_t count = source_->read(buffer_.data() + end_, buffer_.size() - end_);
    end_ += count;
    return count > 0;
  } catch (const Error& error) {
    fail(error.fault, name_, ":", next_line_, ":1: ", error.what());
  }
}

bool TableReader::has_bytes(size_t count) {
  while (end_ - begin_ < count)
    if (!fill()) return false;
  return true;
}

// Finds the next record and steps behind it. A broken one sets `trouble_` and costs the line on which it
// begins, no more: a stray quote does not swallow the rest of the file.
bool TableReader::next_record() {
  trouble_.clear();
  line_ = next_line_;
  RecordScan scan;
  const bool csv = format_ == Format::csv;
  while (!(csv ? scan.find_csv_end(rest()) : scan.find_line_end(rest()))) {
    if (scan.broken || scan.at > kLongestRow) break;
    if (fill()) continue;
    if (rest().empty()) return false;
    break;
  }
  if (scan.at > kLongestRow) {
    trouble_ = place({}, 0) + text("a row of more than ", kLongestRow, " bytes; expected a shorter one");
  } else if (scan.broken) {
    trouble_ =
        place(rest(), scan.at) + "text behind a closing quote; expected a comma or the end of the line";
  } else if (scan.state == RecordScan::quoted) {
    trouble_ = place(rest(), scan.opened) + "a quote that is never closed; expected another quote";
  }
  if (!trouble_.empty()) {
    drop_line();
    return true;
  }
  record_ = rest().substr(0, scan.at);
  next_line_ = line_ + 1 + (csv ? std::count(record_.begin(), record_.end(), '\n') : 0);
  begin_ += std::min(scan.at + 1, rest().size());
  if (!record_.empty() && record_.back() == '\r') record_.remove_suffix(1);
  return true;
}

void TableReader::drop_line() {
  record_ = {};
  ++next_line_;
  for (;;) {
    const size_t found = rest().find('\n');
    if (found != std::string_view::npos) {
      begin_ += found + 1;
      return;
    }
    begin_ = end_ = 0;
    if (!fill()) return;
  }
}

void TableReader::read_header() {
  if (!next_record()) fail(Fault::input, name_, ":1:1: the file is empty; expected a header line");
  if (!trouble_.empty()) fail(Fault::input, trouble_);
  size_t bad = 0;
  if (!valid_utf8(record_, &bad))
    fail(Fault::input, place(record_, bad), "a byte that is no UTF-8; expected text in UTF-8");
  scratch_.reserve(record_.size());
  format_ == Format::csv ? split_commas() : split_tabs();
  width_ = fields_.size();
  std::vector<std::string> present;
  for (const Field& field : fields_) present.emplace_back(field.text);
  for (size_t column = 0; column < column_count(); ++column) {
    const std::string& wanted = column_name(column);
    const auto found = std::find(present.begin(), present.end(), wanted);
    if (found == present.end() && column < request_.required.size()) fail_missing(wanted, present);
    const auto again = found == present.end() ? found : std::find(found + 1, present.end(), wanted);
    if (again != present.end())
      fail(Fault::input, place(record_, fields_[static_cast<size_t>(again - present.begin())].offset),
           "the column ", shown(wanted), " again; expected every name once");
    places_.push_back(found == present.end() ? -1 : found - present.begin());
  }
}

void TableReader::read_fields(Row& row) {
  format_ == Format::csv ? split_commas() : split_tabs();
  if (fields_.size() != width_)
    fail(Fault::input, place(record_, fields_.size() < width_ ? record_.size() : fields_[width_].offset),
         fields_.size() < width_ ? "too few fields, " : "too many fields, ", fields_.size(), "; expected ",
         width_, ", as in the header");
  for (size_t column = 0; column < places_.size(); ++column) {
    if (places_[column] < 0) continue;
    const Field& field = fields_[static_cast<size_t>(places_[column])];
    row.cells_[column] = {field.text, field.offset};
  }
}

void TableReader::split_tabs() {
  fields_.clear();
  size_t from = 0;
  for (size_t tab = record_.find('\t'); tab != record_.npos; tab = record_.find('\t', from)) {
    fields_.push_back({record_.substr(from, tab - from), from});
    from = tab + 1;
  }
  fields_.push_back({record_.substr(from), from});
}

// The record is well-formed: next_record has seen to that.
void TableReader::split_commas() {
  fields_.clear();
  for (size_t from = 0;; ++from) {  // steps over the comma
    const size_t offset = from;
    if (from == record_.size() || record_[from] != '"') {
      from = std::min(record_.find(',', from), record_.size());
      fields_.push_back({record_.substr(offset, from - offset), offset});
    } else {
      const size_t kept = scratch_.size();
      for (;;) {
        const size_t quote = record_.find('"', from + 1);
        scratch_ +=
            record_.substr(from + 1, quote - from - 1);  // never longer than the record, so it does not move
        from = quote + 1;
        if (from == record_.size() || record_[from] != '"') break;
        scratch_ += '"';
      }
      fields_.push_back({std::string_view(scratch_).substr(kept), offset});
    }
    if (from >= record_.size()) return;
  }
}

const std::string& TableReader::column_name(size_t column) const {
  const size_t required = request_.required.size();
  return column < required ? request_.required[column] : request_.optional[column - required];
}

std::string TableReader::place(std::string_view record, size_t offset) const {
  const std::string_view before = record.substr(0, offset);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 = 0: the first line
  return text(name_, ":", line_ + lines, ":", offset - line_start + 1, ": ");
}

void TableReader::fail_missing(const std::string& wanted, const std::vector<std::string>& present) const {
  constexpr size_t most = 20;
  std::string names;
  for (size_t i = 0; i < std::min(most, present.size()); ++i) names += (i ? ", " : "") + shown(present[i]);
  if (present.size() > most) names += text(" and ", present.size() - most, " more");
  const std::string near = nearest(wanted, present);
  fail(Fault::input, place({}, 0), "no column ", shown(wanted), "; expected it among ",
       names.empty() ? "the columns, of which there are none" : names,
       near.empty() ? "" : "; did you mean " + shown(near) + "?");
}

}  // namespace steelyard
