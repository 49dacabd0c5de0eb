// Fuzzes the table reader. The first byte of the input chooses the format, the policy for bad rows and how
// the bytes arrive; the rest is the file, which is gzip whenever it begins so. Whatever the bytes, the reader
// may only deliver rows of valid texts or throw an input error of one line, and a second reading in one piece
// must deliver the same.
#include <cstdint>
#include <cstdlib>

#include "data/table.h"
#include "data/utf8.h"

namespace {

using namespace steelyard;

void require(bool holds) {
  if (!holds) std::abort();
}

uint64_t mix(uint64_t hash, std::string_view text) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash * 31 + text.size();
}

// A fingerprint of everything that the reader says about these bytes.
uint64_t read_all(const char* name, std::string_view bytes, const TableRequest& request, size_t piece) {
  uint64_t hash = 1;
  try {
    TableReader table = TableReader::from_memory(name, bytes, request, piece);
    for (Row row; table.next(row);) {
      for (size_t column = 0; column < 3; ++column) {
        require(valid_utf8(row[column]));
        hash = mix(hash, row[column]);
      }
      hash = hash * 31 + static_cast<uint64_t>(row.line());
      try {
        require(row.number(1, -10, 10) <= 10);
      } catch (const Error& error) {
        require(error.fault == Fault::input);
        hash = mix(hash, error.what());
        if (request.bad_rows == "skip") table.reject(error);
      }
    }
    hash = hash * 31 + static_cast<uint64_t>(table.rows() * 1000 + table.skipped());
  } catch (const Error& error) {
    require(error.fault == Fault::input);
    const std::string_view what = error.what();
    require(what.find('\n') == what.npos && what.find("; expected ") != what.npos);
    hash = mix(hash, what);
  }
  return hash;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const char* names[] = {"f.tsv", "f.csv", "f.jsonl", "stdin"};
  const char* name = names[data[0] & 3];
  const TableRequest request{.required = {"a"},
                             .optional = {"b", "c"},
                             .bad_rows = data[0] & 4 ? "skip" : "stop",
                             .lists = (data[0] & 8) != 0};
  const size_t piece = 1 + (data[0] >> 3);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const uint64_t hash = read_all(name, bytes, request, piece);
  if (piece % 4 == 0) require(hash == read_all(name, bytes, request, 1 << 12));
  return 0;
}
