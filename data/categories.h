// The values of a categorical column, such as items, brands or shops: each has an id, from 1 on in the order
// in which they came; 0 is any value that is not known. Ids never move, so a model that has grown gives old
// values their old rows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor_file.h"

namespace steelyard {

class Categories {
 public:
  int32_t add(std::string_view value);            // its id, perhaps a new one; the empty value is 0
  int32_t find(std::string_view value) const;     // 0: not known
  std::string_view operator[](int32_t id) const;  // "" of 0
  int32_t size() const { return static_cast<int32_t>(starts_.size()); }  // of the ids, 0 among them

  // "PREFIX/bytes" and "PREFIX/starts" in a model file, and back; views, which live as long as this.
  // Error(input).
  std::vector<NamedArray> arrays(const std::string& prefix) const;
  static Categories load(const TensorFile& file, const std::string& prefix);

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::string bytes_;
  std::vector<int64_t> starts_{0};  // of value id in bytes_: starts_[id − 1] … starts_[id]
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
};

}  // namespace steelyard
