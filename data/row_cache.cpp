#include "data/row_cache.h"

#include <optional>
#include <utility>

#include "core/check.h"

namespace steelyard {
namespace {

constexpr const char* kFormat = "steelyard rows 1";
constexpr std::string_view kStarts = "/starts", kValues = "/values";

std::optional<std::string> stem_of(std::string_view name, std::string_view ending) {
  if (!name.ends_with(ending)) return {};
  return std::string(name.substr(0, name.size() - ending.size()));
}

void write_columns(const std::filesystem::path& path, const std::string& key, const RowColumns& columns) {
  std::vector<NamedArray> arrays;
  int64_t rows = -1;
  const auto count = [&](const std::string& name, size_t entries) {
    if (rows < 0) rows = static_cast<int64_t>(entries);
    check(rows == static_cast<int64_t>(entries), "RowCache: column ", name, " has ", entries,
          " entries; expected ", rows, " like the others");
  };
  for (const auto& [name, texts] : columns.texts) {
    count(name, texts.starts.size() - 1);
    arrays.push_back(NamedArray::of<int64_t>(name + std::string(kStarts), texts.starts));
    arrays.push_back(NamedArray::of<int32_t>(name + std::string(kValues), texts.values));
  }
  for (const auto& [name, numbers] : columns.numbers) {
    count(name, numbers.size());
    arrays.push_back(NamedArray::of<float>(name, numbers));
  }
  check(rows >= 0, "RowCache: nothing to write; expected at least one column");
  write_tensor_file(path, std::move(arrays),
                    {{"format", kFormat}, {"key", key}, {"rows", std::to_string(rows)}});
}

// The file's rows if it is a row cache of this key. The checksums say that it is what was written, not that
// what was written is a row cache, so the starts are walked once: after that no row leads outside its values.
std::optional<int64_t> rows_in(const TensorFile& file, const std::string& key) {
  const auto has = [&](const char* name, const std::string& value) {
    const auto found = file.metadata().find(name);
    return found != file.metadata().end() && found->second == value;
  };
  if (!has("format", kFormat) || !has("key", key)) return {};
  std::optional<int64_t> rows;
  const auto agrees = [&](int64_t entries) {
    return entries == rows.value_or(entries) && (rows = entries, true);
  };
  for (const NamedArray& array : file.arrays()) {
    if (const auto name = stem_of(array.name, kStarts)) {
      const NamedArray* values = file.find(*name + std::string(kValues));
      if (!values || array.type != ElementType::i64 || values->type != ElementType::i32) return {};
      const auto starts = array.values<int64_t>();
      if (starts.empty() || starts.front() != 0 || starts.back() != values->size()) return {};
      for (size_t i = 1; i < starts.size(); ++i)
        if (starts[i] < starts[i - 1]) return {};
      if (!agrees(array.size() - 1)) return {};
    } else if (const auto text = stem_of(array.name, kValues)) {
      if (!file.find(*text + std::string(kStarts))) return {};
    } else {
      if (array.type != ElementType::f32 || !agrees(array.size())) return {};
    }
  }
  return rows && has("rows", std::to_string(*rows)) ? rows : std::nullopt;
}

std::unique_ptr<TensorFile> open_if_good(const std::filesystem::path& path, const std::string& key) {
  if (!std::filesystem::exists(path)) return nullptr;
  try {
    auto file = std::make_unique<TensorFile>(path);
    if (rows_in(*file, key)) return file;
  } catch (const Error& error) {
    if (error.fault != Fault::input) throw;
  }
  return nullptr;
}

}  // namespace

RowCache RowCache::open_or_build(const std::filesystem::path& path, const std::string& key,
                                 const Build& build) {
  auto file = open_if_good(path, key);
  if (!file) {
    write_columns(path, key, build());
    file = std::make_unique<TensorFile>(path);
  }
  return RowCache(std::move(file));
}

RowCache::RowCache(std::unique_ptr<TensorFile> file) : file_(std::move(file)) {
  const std::optional<int64_t> rows = rows_in(*file_, file_->metadata("key"));
  invariant(rows.has_value(), "RowCache: ", file_->path().string(), " is not what was just written");
  rows_ = *rows;
}

Ragged<int32_t> RowCache::ragged(std::string_view name) const {
  const NamedArray* starts = file_->find(std::string(name) + std::string(kStarts));
  check(starts != nullptr, "RowCache: no texts named ", name, " in ", file_->path().string());
  return {starts->values<int64_t>(), file_->at(std::string(name) + std::string(kValues)).values<int32_t>()};
}

std::span<const float> RowCache::column(std::string_view name) const {
  const NamedArray* array = file_->find(std::string(name));
  check(array != nullptr && array->type == ElementType::f32, "RowCache: no numbers named ", name, " in ",
        file_->path().string());
  return array->values<float>();
}

}  // namespace steelyard
