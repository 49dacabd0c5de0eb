#include "data/categories.h"

#include "core/batch.h"

namespace steelyard {

int32_t Categories::add(std::string_view value) {
  if (value.empty()) return 0;
  if (const int32_t id = find(value)) return id;
  check_count("categories", size() + int64_t{1});
  bytes_ += value;
  starts_.push_back(static_cast<int64_t>(bytes_.size()));
  return ids_.emplace(value, size() - 1).first->second;
}

int32_t Categories::find(std::string_view value) const {
  const auto found = ids_.find(value);
  return found == ids_.end() ? 0 : found->second;
}

std::string_view Categories::operator[](int32_t id) const {
  check(id >= 0 && id < size(), "categories: no id ", id);
  if (id == 0) return "";
  const auto at = static_cast<size_t>(id);
  return std::string_view(bytes_).substr(static_cast<size_t>(starts_[at - 1]),
                                         static_cast<size_t>(starts_[at] - starts_[at - 1]));
}

std::vector<NamedArray> Categories::arrays(const std::string& prefix) const {
  const std::span bytes(reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size());
  return {NamedArray::of<uint8_t>(prefix + "/bytes", bytes),
          NamedArray::of<int64_t>(prefix + "/starts", starts_)};
}

Categories Categories::load(const TensorFile& file, const std::string& prefix) {
  const auto bytes = file.at(prefix + "/bytes").values<uint8_t>();
  const auto starts = file.at(prefix + "/starts").values<int64_t>();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto expect = [&](bool holds) {
    if (!holds)
      fail(Fault::input, prefix, "/starts: expected the ascending ends of ", bytes.size(),
           " bytes of values");
  };
  expect(!starts.empty() && starts.front() == 0 && starts.back() == static_cast<int64_t>(bytes.size()));
  Categories categories;
  for (size_t i = 1; i < starts.size(); ++i) {
    expect(starts[i - 1] < starts[i] && starts[i] <= static_cast<int64_t>(bytes.size()));
    const auto begin = static_cast<size_t>(starts[i - 1]);
    if (categories.add(text.substr(begin, static_cast<size_t>(starts[i]) - begin)) != static_cast<int32_t>(i))
      fail(Fault::input, prefix, ": value ", i, " is there twice");
  }
  return categories;
}

}  // namespace steelyard
