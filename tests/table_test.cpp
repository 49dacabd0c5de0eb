#include "data/table.h"

#include <random>

#include <zlib.h>

#include "tests/support.h"

namespace steelyard {
namespace {

using test::check_fails;
using Lines = std::vector<std::string>;

const TableRequest kTwo{.required = {"b", "a"}, .optional = {"c"}};

std::string gzip(const std::string& bytes) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// Every row as "LINE:cell|cell|cell", absent cells as "-".
Lines read_all(TableReader& table, size_t columns) {
  Lines rows;
  for (Row row; table.next(row);) {
    std::string line = std::to_string(row.line()) + ":";
    for (size_t i = 0; i < columns; ++i) line += (i ? "|" : "") + (row.has(i) ? std::string(row[i]) : "-");
    rows.push_back(line);
  }
  return rows;
}

Lines rows_of(const std::string& name, const std::string& bytes, TableRequest request = kTwo,
              size_t piece = 1 << 16) {
  const size_t columns = request.required.size() + request.optional.size();
  TableReader table = TableReader::from_memory(name, bytes, std::move(request), piece);
  return read_all(table, columns);
}

template <class... Parts>
void refused(const std::string& name, const std::string& bytes, const Parts&... parts) {
  CAPTURE(bytes);
  check_fails(
      Fault::input, [&] { rows_of(name, bytes); }, parts...);
}

TEST_CASE("a column may be wanted twice") {
  const TableRequest twice{.required = {"a", "b"}, .optional = {"a"}};
  CHECK(rows_of("t.tsv", "b\ta\n1\t2\n", twice) == Lines{"2:2|1|2"});
  CHECK(rows_of("t.csv", "b,a\n1,2\n", twice) == Lines{"2:2|1|2"});
  CHECK(rows_of("t.jsonl", "{\"b\":1,\"a\":2}\n", twice) == Lines{"1:2|1|2"});
}

TEST_CASE("a reader that is told to stop does so at the next row") {
  std::atomic<bool> stop = false;
  TableReader table =
      TableReader::from_memory("t.tsv", "a\n1\n2\n", {.required = {"a"}, .bad_rows = "skip", .stop = &stop});
  Row row;
  CHECK(table.next(row));
  stop = true;
  check_fails(
      Fault::interrupted, [&] { table.next(row); }, "interrupted while reading t.tsv");
}

TEST_CASE("the wanted columns come in the wanted order, whatever the file's") {
  CHECK(rows_of("t.tsv", "x\ta\tb\n1\t2\t3\n4\t5\t6\n") == Lines{"2:3|2|-", "3:6|5|-"});
  CHECK(rows_of("t.tsv", "c\ta\tb\n\t2\t3\n") == Lines{"2:3|2|-"});
  CHECK(rows_of("t.csv", "c,a,b\n1,2,3\n") == Lines{"2:3|2|1"});
  CHECK(rows_of("t.jsonl", "{\"c\": 1, \"a\": \"x\", \"b\": true}\n{\"b\":0.50,\"a\":null}\n") ==
        Lines{"1:1|x|1", "2:0.50|-|-"});
}

TEST_CASE("line ends, the mark of UTF-8, an unfinished last line, a header alone") {
  CHECK(rows_of("t.tsv",
                "\xEF\xBB\xBF"
                "a\tb\r\n1\t2\r\n3\t4") == Lines{"2:2|1|-", "3:4|3|-"});
  CHECK(rows_of("t.csv", "\xEF\xBB\xBF\"a\",\"b\"\r\n1,\"2\"\r\n3,\"4\"") == Lines{"2:2|1|-", "3:4|3|-"});
  CHECK(rows_of("t.csv", "a,b\r\n1,\"2\"\r") == Lines{"2:2|1|-"});
  CHECK(rows_of("t.tsv", "a\tb\n").empty());
  CHECK(rows_of("t.tsv", "a\tb").empty());
  CHECK(rows_of("t.tsv", "a\tb\n\t\n") == Lines{"2:-|-|-"});
}

TEST_CASE("TSV has no quoting, CSV has RFC 4180's") {
  CHECK(rows_of("t.tsv", "a\tb\n\"1\t2\"\n") == Lines{"2:2\"|\"1|-"});
  CHECK(rows_of("t.csv", "a,b\n\"x, y\",\"say \"\"hi\"\"\"\n") == Lines{"2:say \"hi\"|x, y|-"});
  CHECK(rows_of("t.csv", "a,b\n\"two\nlines\r\nor three\",2\n3,4\n") ==
        Lines{"2:2|two\nlines\r\nor three|-", "5:4|3|-"});
  CHECK(rows_of("t.csv", "a,b\n5\" pipe,\"\"\n\"\"\"\",x\n") == Lines{"2:-|5\" pipe|-", "3:x|\"|-"});
  CHECK(rows_of("t.csv", "a,b\n,\n") == Lines{"2:-|-|-"});
}

TEST_CASE("JSON Lines: escapes, texts of numbers, nesting where nobody looks") {
  CHECK(rows_of("t.jsonl", R"({"a":"\u00e9\n\t\"","b":-1.50e3,"x":{"a":[1,{"b":2}]},"y":[["a"]]})") ==
        Lines{"1:-1.50e3|\xC3\xA9\n\t\"|-"});
  CHECK(rows_of("t.jsonl", R"({"b":18446744073709551615,"a":-9223372036854775808,"c":false})") ==
        Lines{"1:18446744073709551615|-9223372036854775808|0"});
  CHECK(rows_of("t.jsonl", R"( { "\u0061" : 123456789012345678901234567890 , "b" : "" } )") ==
        Lines{"1:-|123456789012345678901234567890|-"});
}

TEST_CASE("the format follows the name, or else the first byte") {
  const std::string json = "{\"a\":1,\"b\":2}\n", tabs = "a\tb\n1\t2\n", commas = "a,b\n1,2\n";
  for (const char* name : {"x.jsonl", "x.ndjson", "stdin", "table"})
    CHECK(rows_of(name, json) == Lines{"1:2|1|-"});
  for (const char* name : {"x.tsv", "stdin", "table"}) CHECK(rows_of(name, tabs) == Lines{"2:2|1|-"});
  CHECK(rows_of("x.csv", commas) == Lines{"2:2|1|-"});
  CHECK(rows_of("{x}.tsv", "{\tb\ta\n1\t2\t3\n") == Lines{"2:2|3|-"});
  for (const char* name : {"x.csv.gz", "x.csv"}) CHECK(rows_of(name, gzip(commas)) == Lines{"2:2|1|-"});
  for (const char* name : {"x.tsv.gz", "x.tsv", "stdin"})
    CHECK(rows_of(name, gzip(tabs)) == Lines{"2:2|1|-"});
  for (const char* name : {"x.jsonl.gz", "stdin"}) CHECK(rows_of(name, gzip(json)) == Lines{"1:2|1|-"});
}

TEST_CASE("files: read from disk, absent ones, folders and empty ones are refused") {
  const test::TempDir folder;
  const std::string path = (folder / "t.tsv.gz").string();
  test::write_file(path, gzip("a\tb\n1\t2\n"));
  TableReader table(path, kTwo);
  CHECK(read_all(table, 3) == Lines{"2:2|1|-"});
  CHECK(table.rows() == 1);

  const std::string absent = (folder / "absent.tsv").string();
  check_fails(
      Fault::input, [&] { TableReader reader(absent, kTwo); }, absent, "cannot be opened", "No such file");
  check_fails(
      Fault::input, [&] { TableReader reader(folder.path().string(), kTwo); }, "cannot be read",
      "expected a file");
  for (const char* name : {"e.tsv", "e.csv", "e.jsonl", "e", "e.tsv.gz"}) {
    refused(name, "", name, ":1:1: the file is empty; expected a table");
    refused(name, "\xEF\xBB\xBF", "e",
            name == std::string("e.tsv.gz") ? "no gzip data" : "the file is empty");
  }
  refused("e.tsv", gzip(""), "e.tsv:1:1: the file is empty");
}

TEST_CASE("a missing column: the error lists what there is and names the nearest") {
  refused("t.tsv", "bb\ta\tquery\n",
          "t.tsv:1:1: no column \"b\"; expected it among \"bb\", \"a\", \"query\"");
  check_fails(
      Fault::input, [] { rows_of("t.csv", "id,queery\n", {.required = {"query"}}); },
      "t.csv:1:1: no column \"query\"", "did you mean \"queery\"?");
  refused("t.jsonl", "{\"a\":1,\"b\":2}\n{\"a\":1}\n",
          "t.jsonl:2:1: no column \"b\"; expected it among \"a\"");
  refused("t.jsonl", "{}\n", "none");
  refused("t.tsv", "a\tb\tb\n1\t2\t3\n", "t.tsv:1:5: the column \"b\" again; expected every name once");
  CHECK(rows_of("t.tsv", "a\tb\tx\tx\n1\t2\t3\t4\n").size() == 1);  // nobody wants x

  std::string header;
  for (int i = 0; i < 30; ++i) header += (i ? "\tcolumn" : "column") + std::to_string(i);
  refused("t.tsv", header, "\"column19\" and 10 more");
}

TEST_CASE("malformed rows: the error names the byte") {
  refused("t.tsv", "a\tb\n1\n", "t.tsv:2:2: too few fields, 1; expected 2, as in the header");
  refused("t.tsv", "a\tb\n1\t2\n1\t2\t3\t4\n", "t.tsv:3:5: too many fields, 4; expected 2");
  refused("t.tsv", "a\tb\n\n", "t.tsv:2:1: too few fields");
  refused("t.tsv", "a\tb\nx\xC3\x28\t2\n", "t.tsv:2:2: a byte that is no UTF-8; expected text in UTF-8");
  refused("t.tsv", "a\tb\xFF\n", "t.tsv:1:4: a byte that is no UTF-8");
  refused("t.csv", "a,b\n\"1\n2\",3,4\n", "t.csv:3:6: too many fields, 3; expected 2");
  refused("t.csv", "a,b\n1,\"2\n3\n", "t.csv:2:3: a quote that is never closed; expected another quote");
  refused("t.csv", "a,b\n\"1\n\"x,2\n", "t.csv:3:2: text behind a closing quote; expected a comma");
  refused("t.csv", "a,b\n\"1\"\rx\n", "t.csv:2:5: text behind a closing quote");
  refused("t.csv", "a,\"b\n", "t.csv:1:3: a quote that is never closed");
  refused("t.csv", "a,b\n\"1\n2\xFF\",2\n", "t.csv:3:2: a byte that is no UTF-8");
  refused("t.jsonl", "{\"a\":1,\"b\":2\n", "t.jsonl:1:13: no valid JSON; expected one object per line");
  refused("t.jsonl", "{\"a\":1,\"b\":2} x\n", "t.jsonl:1:15: no valid JSON");
  refused("t.jsonl", "{\"a\":1,\"b\":01}\n", "no valid JSON");
  refused("t.jsonl", "{\"a\":1,\"b\":1e999}\n", "no valid JSON");
  refused("t.jsonl", "{\"a\":\"\\ud800\",\"b\":2}\n", "no valid JSON");
  refused("t.jsonl", "\n", "t.jsonl:1:1: no valid JSON");
  refused("t.jsonl", "[1]\n", "t.jsonl:1:1: a line that is no JSON object");
  refused("t.jsonl", "7\n", "t.jsonl:1:1: a line that is no JSON object");
  refused("t.jsonl", "{\"a\":1,\"b\":2,\"a\":3}\n",
          "t.jsonl:1:16: the key \"a\" again; expected every key once");
  refused("t.jsonl", "{\"a\":1,\"z\":2,\"z\":3}\n", "the key \"z\" again");
  refused("t.jsonl", "{\"a\":1,\"b\": [2]}\n", "t.jsonl:1:13: b: an array; expected a string, a number");
  refused("t.jsonl", "{\"a\": {},\"b\":2}\n", "t.jsonl:1:7: a: an object; expected a string");
}

TEST_CASE("lists: an array is its values by blanks where a caller wants lists, and only there") {
  TableRequest lists = kTwo;
  lists.lists = true;
  CHECK(rows_of("t.jsonl", "{\"b\":[1,\"x\",true,0.50],\"a\":[ ],\"z\":[[1],{}]}\n{\"a\":[7],\"b\":8}\n",
                lists) == Lines{"1:1 x 1 0.50|-|-", "2:8|7|-"});
  CHECK(rows_of("t.jsonl", "{\"b\":[1],\"a\":[\"22\",\"3\"]}\n", lists, 1) == Lines{"1:1|22 3|-"});
  const auto refused_list = [&](const std::string& bytes, const char* part) {
    CAPTURE(bytes);
    test::check_fails(
        Fault::input, [&] { rows_of("t.jsonl", bytes, lists); }, part);
  };
  refused_list("{\"a\":1,\"b\":[\"x y\"]}\n",
               "t.jsonl:1:12: b: a list with an empty value or a blank in it; expected values");
  refused_list("{\"a\":1,\"b\":[1,\"\"]}\n", "a list with an empty value");
  refused_list("{\"a\":1,\"b\":[null]}\n", "a list with an empty value");
  refused_list("{\"a\":1,\"b\":[[1]]}\n",
               "t.jsonl:1:12: b: an array; expected a string, a number, true, false, null or a list of them");
  refused_list("{\"a\":1,\"b\":[{}]}\n", "b: an object; expected");
  refused_list("{\"a\":1,\"b\":{}}\n", "b: an object; expected");
}

TEST_CASE("gzip: several members are one file, a cut, damage or another tail is refused") {
  const std::string head = gzip("a\tb\n1\t"), tail = gzip("2\n3\t4\n");
  CHECK(rows_of("t.tsv.gz", head + tail) == Lines{"2:2|1|-", "3:4|3|-"});
  CHECK(rows_of("t.tsv.gz", head + gzip("") + tail, kTwo, 1) == Lines{"2:2|1|-", "3:4|3|-"});
  for (size_t size = 2; size < tail.size(); ++size)
    refused("t.tsv", head + tail.substr(0, size), "gzip data are cut short; expected a whole gzip file");
  for (size_t size = 2; size < head.size(); ++size)
    refused("t.tsv", head.substr(0, size), "t.tsv:", "gzip data are cut short");
  refused("t.tsv", head + tail + "more", "gzip data are damaged");
  refused("t.tsv.gz", "a\tb\n", "t.tsv.gz:1:1: no gzip data; expected what the name says, .gz");
  std::string damaged = gzip("a\tb\n1\t2\n");
  damaged[damaged.size() - 6] ^= 1;  // the checksum
  refused("t.tsv", damaged, "gzip data are damaged; expected a whole gzip file");
}

TEST_CASE("numbers") {
  const auto number = [](const std::string& cell, double low, double high) {
    const std::string bytes = "x\ty\n" + std::string("abc\t") + cell + "\n";
    TableReader table = TableReader::from_memory("n.tsv", bytes, {.required = {"y"}});
    Row row;
    REQUIRE(table.next(row));
    return row.number(0, low, high);
  };
  constexpr double most = std::numeric_limits<double>::max();
  CHECK(number("2.5", -most, most) == 2.5);
  CHECK(number(" -1e-3 ", -most, most) == -1e-3);
  CHECK(number("1", 1, 3) == 1);
  CHECK(number("3", 1, 3) == 3);
  for (const char* bad : {"x", "1x", "1 2", "nan", "inf", "1e999", "1,5", "0x10", "+", "--1"})
    check_fails(
        Fault::input, [&] { number(bad, -most, most); }, "n.tsv:2:5: y: \"",
        " is no number; expected a number");
  for (const char* bad : {"0.99", "3.01", "-2"})
    check_fails(
        Fault::input, [&] { number(bad, 1, 3); }, "n.tsv:2:5: y: \"", bad,
        "\" is out of range; expected a number from 1 to 3");
  check_fails(
      Fault::input, [&] { number("", 1, 3); }, "n.tsv:2:5: y: no value; expected a number from 1 to 3");

  TableReader json = TableReader::from_memory("n.jsonl", "{\"a\": 1, \"y\":  \"z\"}", {.required = {"y"}});
  Row row;
  REQUIRE(json.next(row));
  check_fails(
      Fault::input, [&] { row.number(0); }, "n.jsonl:1:16: y: \"z\" is no number");
  check_fails(
      Fault::input, [&] { row.refuse(0, "an unknown word", "a known one"); },
      "n.jsonl:1:16: y: an unknown word; expected a known one");
}

TEST_CASE("skipping: bad rows are left out, counted and the first few reported") {
  TableRequest request = kTwo;
  request.bad_rows = "skip";
  std::string bytes = "a\tb\n1\t2\n";
  for (int i = 0; i < 9; ++i) bytes += "bad\n";
  bytes += "3\t4\n5\tx\n";
  TableReader table = TableReader::from_memory("t.tsv", bytes, request);
  Row row;
  double sum = 0;
  while (table.next(row)) {
    try {
      sum += row.number(0);
    } catch (const Error& error) {
      table.reject(error);
    }
  }
  CHECK(sum == 6);
  CHECK(table.rows() == 2);
  CHECK(table.skipped() == 10);
  REQUIRE(table.reports().size() == TableReader::kReports);
  CHECK(table.reports()[0] == "t.tsv:3:4: too few fields, 1; expected 2, as in the header");

  CHECK(rows_of("t.csv", "a,b\n\"1,2\n3,4\n\"5\"x,6\n7,\"8\n9\"\n", request) ==
        Lines{"3:4|3|-", "5:8\n9|7|-"});
  CHECK(rows_of("t.jsonl", "{\n{\"a\":1,\"b\":2}\n", request) == Lines{"2:2|1|-"});
  check_fails(
      Fault::input, [&] { rows_of("t.tsv", "a\tb\n1\n2\n", request); },
      "t.tsv: not one good row among 2; the first error: t.tsv:2:2: too few fields");
  check_fails(
      Fault::input, [&] { rows_of("t.tsv", "a\n1\n", request); }, "no column");  // the header is no row
  check_fails(
      Fault::input, [&] { rows_of("t.tsv", gzip("a\tb\n1\t2\n").substr(0, 25), request); }, "cut short");
  check_fails(
      Fault::usage, [&] { rows_of("t.tsv", "a\tb\n", {.required = {"a"}, .bad_rows = "ignore"}); },
      "bad_rows: \"ignore\"; expected \"stop\" or \"skip\"");
}

TEST_CASE("a row of more than 16 MiB is malformed and costs one line") {
  const std::string longest(TableReader::kLongestRow - 2, 'x');
  TableRequest request = kTwo;
  request.bad_rows = "skip";
  CHECK(rows_of("t.tsv", "a\tb\n" + longest + "\t2\n3\t4\n", request).size() == 2);
  CHECK(rows_of("t.tsv", "a\tb\n" + longest + "\t22\n3\t4\n", request) == Lines{"3:4|3|-"});
  CHECK(rows_of("t.csv", "a,b\n\"1,2\n3,4\n\"" + longest + "\n5,6\n", request) ==
        Lines{"3:4|3|-", "5:6|5|-"});
  refused("t.tsv", longest + "xxx", "t.tsv:1:1: a row of more than 16777216 bytes; expected a shorter one");
}

TEST_CASE("the seams between pieces do not matter") {
  std::mt19937 random(7);
  const std::string alphabet = "ab12\t,\"\n\r{}:\\ \xC3\xA9";
  for (const char* name : {"t.tsv", "t.csv", "t.jsonl"}) {
    int good = 0;
    for (int round = 0; round < 400; ++round) {
      std::string bytes = name[2] == 't' ? "a\tb\n" : name[2] == 'c' ? "a,b\n" : "{\"a\":1,\"b\":2}\n";
      const std::string good_row = bytes;
      for (int i = 0; i < 12; ++i) {
        if (random() % 2) bytes += good_row;
        for (size_t n = random() % 8; n > 0; --n) bytes += alphabet[random() % alphabet.size()];
        if (random() % 2) bytes += '\n';
      }
      CAPTURE(bytes);
      TableRequest request = kTwo;
      request.bad_rows = "skip";
      Lines whole;
      std::string error;
      try {
        whole = rows_of(name, bytes, request);
      } catch (const Error& e) {
        error = e.what();
      }
      good += static_cast<int>(whole.size());
      for (const size_t piece : {1, 2, 3, 7, 50}) {
        Lines again;
        std::string again_error;
        try {
          again = rows_of(name, round % 2 ? gzip(bytes) : bytes, request, piece);
        } catch (const Error& e) {
          again_error = e.what();
        }
        CHECK(again == whole);
        CHECK(again_error == error);
      }
    }
    CHECK(good > 400);  // the comparison is not one of errors only
  }
}

TEST_CASE("random bytes do no harm") {
  std::mt19937 random(11);
  for (const char* name : {"t.tsv", "t.csv", "t.jsonl"}) {
    std::string bytes = name[2] == 't' ? "a\tb\n" : name[2] == 'c' ? "a,b\n" : "{}\n";
    for (int i = 0; i < 3'000'000; ++i) bytes += static_cast<char>(random());
    TableRequest request = kTwo;
    request.bad_rows = "skip";
    CAPTURE(name);
    TableReader table = TableReader::from_memory(name, bytes, request);
    try {
      read_all(table, 3);
    } catch (const Error& error) {
      CHECK(error.fault == Fault::input);  // not one good row
    }
    CHECK(table.skipped() > 5000);
    CHECK(table.rows() < 50);
  }
}

}  // namespace
}  // namespace steelyard
