#include "data/row_cache.h"

#include <utility>

#include "core/check.h"

namespace steelyard {
namespace {

constexpr const char* kFormat = "steelyard rows 2";
constexpr std::string_view kStarts = "/starts", kValues = "/values";

void write_columns(const std::filesystem::path& path, const std::string& key, const RowColumns& columns) {
  std::vector<NamedArray> arrays;
  for (const auto& [name, lists] : columns.lists) {
    arrays.push_back(NamedArray::of<int64_t>(name + std::string(kStarts), lists.starts));
    arrays.push_back(NamedArray::of<int32_t>(name + std::string(kValues), lists.values));
  }
  for (const auto& [name, ids] : columns.ids) arrays.push_back(NamedArray::of<int32_t>(name, ids));
  for (const auto& [name, numbers] : columns.numbers) arrays.push_back(NamedArray::of<float>(name, numbers));
  check(!arrays.empty(), "RowCache: nothing to write; expected at least one column");
  write_tensor_file(path, std::move(arrays), {{"format", kFormat}, {"key", key}});
}

// Is it a row cache of this key? The checksums say that it is what was written, not that what was written is a
// row cache, so the starts are walked once: after that no entry leads outside its values.
bool holds_columns(const TensorFile& file, const std::string& key) {
  const auto has = [&](const char* name, const std::string& value) {
    const auto found = file.metadata().find(name);
    return found != file.metadata().end() && found->second == value;
  };
  if (!has("format", kFormat) || !has("key", key)) return false;
  for (const NamedArray& array : file.arrays()) {
    if (!array.name.ends_with(kStarts)) continue;
    const std::string name = array.name.substr(0, array.name.size() - kStarts.size());
    const NamedArray* values = file.find(name + std::string(kValues));
    if (!values || array.type != ElementType::i64 || values->type != ElementType::i32) return false;
    const auto starts = array.values<int64_t>();
    if (starts.empty() || starts.front() != 0 || starts.back() != values->size()) return false;
    for (size_t i = 1; i < starts.size(); ++i)
      if (starts[i] < starts[i - 1]) return false;
  }
  return true;
}

std::unique_ptr<TensorFile> open_if_good(const std::filesystem::path& path, const std::string& key) {
  if (!std::filesystem::exists(path)) return nullptr;
  try {
    auto file = std::make_unique<TensorFile>(path);
    if (holds_columns(*file, key)) return file;
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
    file = open_if_good(path, key);
    invariant(file != nullptr, "RowCache: ", path.string(), " is not what was just written");
  }
  return RowCache(std::move(file));
}

template <class T>
std::span<const T> RowCache::column(std::string_view name, ElementType type) const {
  const NamedArray* array = file_->find(std::string(name));
  check(array != nullptr && array->type == type, "RowCache: no column ", name, " of this type in ",
        file_->path().string());
  return array->values<T>();
}

Ragged<int32_t> RowCache::ragged(std::string_view name) const {
  const std::string text(name);
  return {column<int64_t>(text + std::string(kStarts), ElementType::i64),
          column<int32_t>(text + std::string(kValues), ElementType::i32)};
}
Ids RowCache::ids(std::string_view name) const { return column<int32_t>(name, ElementType::i32); }
std::span<const float> RowCache::numbers(std::string_view name) const {
  return column<float>(name, ElementType::f32);
}

}  // namespace steelyard
