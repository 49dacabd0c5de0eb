// A training set encoded once per run and mapped into memory: lists of ids (a text is a list of terms), ids and
// numbers. Each column has as many entries as its writer gave it: one per row, one per distinct text. Training
// reads entries in any order at the price of a page that the system keeps.
//
// The cache has a key, a fingerprint of everything it was made from (data files, options, vocabulary). One
// with another key, of another format or damaged in any way is built again, never trusted: core/tensor_file.h
// checks every bit when it opens the file, and the columns are checked to be columns. Next: data/batches.h,
// which says in what order rows are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/batch.h"
#include "core/tensor_file.h"

namespace steelyard {

// The columns while they are being made, in memory.
struct RowColumns {
  struct Lists {
    std::vector<int64_t> starts{0};
    std::vector<int32_t> values;

    void add(int32_t value) { values.push_back(value); }
    void end() { starts.push_back(static_cast<int64_t>(values.size())); }  // of an entry
    void clear() { starts.resize(1), values.clear(); }
    Ragged<int32_t> ragged() const { return {starts, values}; }
  };
  std::map<std::string, Lists> lists;                 // "NAME/starts" and "NAME/values" in the file
  std::map<std::string, std::vector<int32_t>> ids;    // "NAME"
  std::map<std::string, std::vector<float>> numbers;  // "NAME"
};

class RowCache {
 public:
  using Build = std::function<RowColumns()>;

  // Opens the cache at this path if it is whole and has this key; otherwise calls `build`, writes its columns
  // there (atomically) and opens that. Error(resources) if they cannot be written.
  static RowCache open_or_build(const std::filesystem::path& path, const std::string& key,
                                const Build& build);

  const std::string& key() const { return file_->metadata("key"); }

  // Views into the map, valid as long as the cache. Error(bug) if there is no such column.
  Ragged<int32_t> ragged(std::string_view name) const;
  Ids ids(std::string_view name) const;
  std::span<const float> numbers(std::string_view name) const;

 private:
  explicit RowCache(std::unique_ptr<TensorFile> file) : file_(std::move(file)) {}
  template <class T>
  std::span<const T> column(std::string_view name, ElementType type) const;

  std::unique_ptr<TensorFile> file_;
};

}  // namespace steelyard
