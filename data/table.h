// Tables as people have them: TSV, CSV and JSON Lines, plain or gzip, from a file, from stdin or from memory,
// read as a stream, one row at a time. The caller names the columns it wants and gets their texts in that
// order, whatever the order in the file; other columns are ignored. Whatever is wrong is one line,
// `FILE:LINE:COLUMN: what; expected …`, where COLUMN counts bytes from 1, and never a crash.
//
//   TableReader table(path, {.required = {"query", "title"}, .optional = {"relevance"}});
//   for (Row row; table.next(row);) learn(row[0], row[1], row.has(2) ? row.number(2, 1, 3) : 2);
//
// The formats, as strict as they can be without refusing what people really have:
//   TSV    the first line is the header; a TAB parts two fields; there is no quoting
//   CSV    RFC 4180: a field that begins with a quote ends with one and may hold commas, line breaks and
//          doubled quotes. A quote inside an unquoted field stands for itself (5" pipe)
//   JSONL  one object per line. true and false are 1 and 0, null is an empty cell. A key that appears twice is an
//          error; an array or object is one only in a wanted column
// Everywhere: UTF-8, whose mark at the beginning is skipped; lines end with LF or CRLF, the last one may lack
// its end.
//
// The name decides the format (.tsv .csv .jsonl .ndjson, with or without .gz); stdin ("-") and other names
// are JSON Lines if they begin with '{', else TSV. Whether it is gzip is seen from the first two bytes.
//
// Why own code for CSV and TSV: fifty lines each, and nobody else's reader says where in the file the mistake
// is. Next: data/tokenizer.h, which makes words of the texts.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"

namespace steelyard {

struct TableRequest {
  std::vector<std::string> required = {};  // columns 0, 1, … of a Row; an error if the file lacks one
  std::vector<std::string> optional = {};  // the columns after them; empty cells if the file lacks one
  std::string bad_rows = "stop";  // a malformed row is an error; "skip": left out, counted and reported
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler: the next row is an Error(interrupted)
  bool lists =
      false;  // an array of JSON is a cell, too: its values with a blank between; else it is malformed
};

// How a table is read that is read to its end.
struct Reading {
  std::string bad_rows = "stop";                     // as in TableRequest
  const std::atomic<bool>* stop = nullptr;           // as there
  std::function<void(const std::string&)> say = {};  // hears of rows that were skipped
};

// One row: the texts of the wanted columns. Its views live until the reader's next call.
class Row {
 public:
  // The text of a cell, "" where there is none.
  std::string_view operator[](size_t column) const { return cells_[column].text; }

  // False for a column that the file lacks, an empty cell and a JSON null: a missing label is all three.
  bool has(size_t column) const { return !cells_[column].text.empty(); }

  // The cell as a message shows it, cut at 80 bytes.
  std::string quoted(size_t column) const { return "\"" + std::string((*this)[column].substr(0, 80)) + "\""; }

  // The cell as a finite number from `low` to `high`. Error(input) with its place if it is none.
  double number(size_t column, double low = std::numeric_limits<double>::lowest(),
                double high = std::numeric_limits<double>::max()) const;

  // The number of the line it begins on, from 1.
  int64_t line() const { return line_; }

  // Throws the Error(input) of this cell: `FILE:LINE:COLUMN: NAME: what; expected …`. For what only the
  // caller can see, such as an unknown category.
  [[noreturn]] void refuse(size_t column, const std::string& what, const std::string& expected) const;

 private:
  friend class TableReader;
  struct Cell {
    std::string_view text;
    size_t offset = 0;  // where it begins in the record
  };
  const class TableReader* table_ = nullptr;
  std::string_view record_;
  int64_t line_ = 0;
  std::vector<Cell> cells_;
};

class TableReader {
 public:
  // `path` may be "-", stdin. Reads the header; Error(input) if the file cannot be read or lacks a required
  // column.
  explicit TableReader(const std::string& path, TableRequest request);

  // The same for bytes in memory, which must outlive the reader. The name decides the format and appears in
  // errors; the bytes are taken in pieces of this size, so that a test can put the seams anywhere.
  static TableReader from_memory(std::string name, std::string_view bytes, TableRequest request,
                                 size_t piece = 1 << 16);

  ~TableReader();
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  // The next good row; false at the end. Under "skip", a table of which every row was bad is an error at its
  // end.
  bool next(Row& row);

  // Under "skip" counts and reports a row that the caller found bad, under "stop" throws the error again:
  //   try { use(row); } catch (const Error& error) { table.reject(error); }
  void reject(const Error& error);

  int64_t rows() const { return good_; }        // handed out and not rejected, so far
  int64_t skipped() const { return skipped_; }  // bad rows, so far
  const std::vector<std::string>& reports() const {
    return reports_;
  }                             // the messages of the first few of them
  std::string summary() const;  // a line about them; empty if there is none
  const std::string& name() const { return name_; }

  static constexpr size_t kLongestRow = size_t{1} << 24;  // 16 MiB: a longer row is malformed
  static constexpr size_t kReports = 5;

 private:
  friend class Row;
  enum class Format { tsv, csv, jsonl };
  struct Source;
  struct Object;  // receives the parts of one JSON line
  struct Field {
    std::string_view text;
    size_t offset;
  };

  TableReader(std::string name, std::unique_ptr<Source> source, TableRequest request, size_t piece);

  std::string_view rest() const { return {buffer_.data() + begin_, end_ - begin_}; }
  bool fill();                   // more bytes behind rest(); false at the end of the source
  bool has_bytes(size_t count);  // fills until rest() has as many
  bool next_record();
  void drop_line();
  void split_tabs();
  void split_commas();
  void read_header();
  void read_fields(Row& row);
  void skip(const Error& error);
  const std::string& column_name(size_t column) const;
  size_t column_count() const { return request_.required.size() + request_.optional.size(); }
  std::string place(std::string_view record, size_t offset) const;  // `FILE:LINE:COLUMN: `
  [[noreturn]] void fail_missing(const std::string& wanted, const std::vector<std::string>& present) const;

  std::string name_;
  std::unique_ptr<Source> source_;
  TableRequest request_;
  Format format_ = Format::tsv;
  bool skip_ = false;

  size_t piece_;  // bytes by which the buffer grows at least
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // the part of the buffer that is still to be read

  std::string_view record_;  // the current record without its line end
  int64_t line_ = 1;         // the line it begins on
  int64_t next_line_ = 1;
  std::string trouble_;  // the message if the current record is broken, else ""

  std::vector<Field> fields_;    // of the current record
  std::string scratch_;          // cells that are not literally in the record: unquoted CSV, JSON
  std::vector<int64_t> places_;  // TSV, CSV: for every wanted column its field in the file, or -1
  size_t width_ = 0;             // TSV, CSV: fields per row
  std::unique_ptr<Object> object_;

  int64_t good_ = 0, skipped_ = 0;
  std::vector<std::string> reports_;
};

inline void say_skipped(const TableReader& reader, const Reading& how) {
  if (how.say && reader.skipped() > 0) how.say(reader.summary());
}

}  // namespace steelyard
