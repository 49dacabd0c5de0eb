#include "data/bag_store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/check.h"
#include "core/text.h"

namespace steelyard {
namespace {

constexpr const char* kFormat = "steelyard bags 1";

size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

BagLayout BagLayout::of(int64_t ids) {
  if (ids > kMostIds)
    fail(Fault::usage, "a vocabulary of ", ids, " terms; expected at most ", kMostIds, " in a store of bags");
  return ids <= 4 << 16 ? BagLayout{4, 16, 1} : BagLayout{8, 8, 1};
}

double coarse(double scale) {
  constexpr int kBits = 10;
  int exponent = 0;
  const double mantissa = std::frexp(scale, &exponent);
  return std::ldexp(std::ceil(std::ldexp(mantissa, kBits)), exponent - kBits);
}

// ---- building

BagStoreBuilder::BagStoreBuilder(int64_t ids) : ids_(ids), layout_(BagLayout::of(ids)) {}

void BagStoreBuilder::add(std::string_view product, std::span<const BagWord> bag) {
  std::vector<std::pair<int32_t, float>> words;
  for (const BagWord& word : bag) {
    check(word.id >= 0 && word.id < ids_, "BagStoreBuilder: id ", word.id, " of ", ids_);
    if (!(word.weight >= 0) || std::isinf(word.weight))
      fail(Fault::input, "product \"", product, "\", word \"", word.surface, "\": weight ", word.weight,
           "; expected a number of at least 0");
    if (word.weight != 0) words.emplace_back(word.id, word.weight);
  }
  std::ranges::sort(words);
  check(std::ranges::adjacent_find(words, {}, &std::pair<int32_t, float>::first) == words.end(),
        "BagStoreBuilder: a word of product \"", product, "\" is there twice");
  if (!known_.emplace(product).second)
    fail(Fault::input, "product \"", product, "\" is there twice; expected each once");
  for (const BagWord& word : bag) {
    if (word.weight == 0) continue;
    const auto [known, is_new] = surfaces_.try_emplace(word.id, word.surface);
    if (!is_new && known->second != word.surface)
      others_.push_back({static_cast<int32_t>(size()), word.id, std::string(word.surface)});
  }
  products_.emplace_back(product);
  words_.insert(words_.end(), words.begin(), words.end());
  starts_.push_back(static_cast<int64_t>(words_.size()));
}

void BagStoreBuilder::Texts::add(std::string_view more) {
  text += more;
  if (text.size() > at(std::numeric_limits<int32_t>::max()))
    fail(Fault::resources, "names of more than 2 GiB; expected less in one store of bags");
  starts.push_back(static_cast<int32_t>(text.size()));
}

// A slot costs its bytes in every product, a word that found none costs a search.
int32_t BagStoreBuilder::depth() const {
  constexpr int64_t kWithoutSlot = 16;
  constexpr int32_t kDeepest = 16;
  std::array<int64_t, kDeepest + 1> without{};  // words that find no slot, by depth
  std::array<int32_t, 8> held{};
  for (size_t i = 0; i < products_.size(); ++i) {
    held.fill(0);
    for (int64_t j = starts_[i]; j < starts_[i + 1]; ++j) ++held[at(layout_.block(words_[at(j)].first))];
    for (int32_t d = 1; d <= kDeepest; ++d)
      for (const int32_t words : held) without[at(d)] += std::max(0, words - d * layout_.lanes);
  }
  int32_t best = 1;
  const auto cost = [&](int32_t d) { return size() * 192 * d + without[at(d)] * kWithoutSlot; };
  for (int32_t d = 2; d <= kDeepest; ++d)
    if (cost(d) < cost(best)) best = d;
  return best;
}

void BagStoreBuilder::write(const std::filesystem::path& path, Metadata metadata) const {
  if (products_.empty()) fail(Fault::input, "no products; expected at least one in a store of bags");
  BagLayout layout = layout_;
  layout.depth = depth();
  float most = 0;
  for (const auto& [id, weight] : words_) most = std::max(most, weight);
  const double scale = coarse(most > 0 ? static_cast<double>(most) / 255 : 1);

  std::vector<int64_t> slots(
      at(size() * layout.bytes() / 8));  // whole numbers of 8 bytes stand first in the file
  std::vector<int32_t> overflow{0};
  const int64_t room = layout.lanes * layout.depth, last = layout.slots() - 2;
  for (int64_t i = 0; i < size(); ++i) {
    auto* const keys =
        reinterpret_cast<uint16_t*>(reinterpret_cast<uint8_t*>(slots.data()) + i * layout.bytes());
    auto* const impacts = reinterpret_cast<uint8_t*>(keys + layout.slots());
    std::array<int64_t, 8> held{};
    for (int64_t j = starts_[at(i)]; j < starts_[at(i + 1)]; ++j)
      ++held[at(layout.block(words_[at(j)].first))];
    const bool full = std::ranges::max(held) > room;
    const auto place = static_cast<uint32_t>(overflow.size());
    held.fill(0);
    if (full) held[at(layout.blocks - 1)] = 2;  // of its slots the last two say where the overflow is
    for (int64_t j = starts_[at(i)]; j < starts_[at(i + 1)]; ++j) {
      const auto [id, weight] = words_[at(j)];
      const auto impact =
          static_cast<uint32_t>(std::clamp(std::lround(static_cast<double>(weight) / scale), 1L, 255L));
      const int32_t block = layout.block(id);
      if (held[at(block)] == room) {
        overflow.push_back(static_cast<int32_t>(impact << 24 | BagStore::kMore | static_cast<uint32_t>(id)));
        continue;
      }
      const int64_t slot = (block + 1) * room - ++held[at(block)];
      keys[slot] = layout.key(id);
      impacts[slot] = static_cast<uint8_t>(impact);
    }
    if (full) {
      overflow.back() &= ~static_cast<int32_t>(BagStore::kMore);
      std::memcpy(keys + last, &place, sizeof place);
    }
  }
  if (overflow.size() > at(std::numeric_limits<int32_t>::max()))
    fail(Fault::resources, "too many words for one store of bags");

  std::vector<int32_t> order(products_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return products_[at(a)] < products_[at(b)]; });
  Texts products, words, others;
  for (const std::string& product : products_) products.add(product);
  std::vector<int32_t> word_ids, other_products, other_ids;
  for (const auto& [id, surface] : surfaces_) word_ids.push_back(id);
  std::sort(word_ids.begin(), word_ids.end());
  for (const int32_t id : word_ids) words.add(surfaces_.at(id));
  for (const Other& other : others_) {
    other_products.push_back(other.product), other_ids.push_back(other.id);
    others.add(other.surface);
  }

  const auto bytes = [](const std::string& text) {
    return std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  };
  metadata["format"] = kFormat;
  metadata["scale"] = number(scale);
  metadata["ids"] = std::to_string(ids_);
  metadata["depth"] = std::to_string(layout.depth);
  write_tensor_file(
      path,
      {NamedArray::of<int64_t>("slots", slots), NamedArray::of<int32_t>("overflow", overflow),
       NamedArray::of<int32_t>("products/starts", products.starts),
       NamedArray::of<int32_t>("products/order", order), NamedArray::of<int32_t>("words/ids", word_ids),
       NamedArray::of<int32_t>("words/starts", words.starts),
       NamedArray::of<int32_t>("others/products", other_products),
       NamedArray::of<int32_t>("others/ids", other_ids),
       NamedArray::of<int32_t>("others/starts", others.starts),
       NamedArray::of<uint8_t>("products/text", bytes(products.text)),
       NamedArray::of<uint8_t>("words/text", bytes(words.text)),
       NamedArray::of<uint8_t>("others/text", bytes(others.text))},
      metadata);
}

// ---- reading

bool BagStore::is(const TensorFile& file) {
  const auto format = file.metadata().find("format");
  return format != file.metadata().end() && format->second == kFormat;
}

BagStore::BagStore(const std::filesystem::path& path) : file_(path) {
  const auto expect = [&](bool holds, const char* what) {
    if (!holds)
      fail(Fault::input, path.string(), ": ", what, "; expected a store of bags as `index` writes it");
  };
  const auto number_of = [&]<class T>(const char* key, T& value) {
    const auto found = file_.metadata().find(key);
    expect(found != file_.metadata().end(), key);
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    expect(error == std::errc() && end == text.data() + text.size(), key);
  };
  expect(is(file_), "another format");
  number_of("ids", ids_);
  expect(ids_ >= 0 && ids_ <= BagLayout::kMostIds, "ids");
  layout_ = BagLayout::of(ids_);
  number_of("depth", layout_.depth);
  expect(layout_.depth >= 1 && layout_.depth <= 16, "depth");
  number_of("scale", scale_);
  expect(scale_ > 0 && std::isfinite(scale_) && coarse(scale_) == scale_, "scale");

  // The checksums say that the file is what was written, not that what was written is a store: after these walks no
  // number leads outside its array.
  const auto numbers = [&](const char* name) { return file_.at(name).values<int32_t>(); };
  const auto ragged = [&](std::span<const int32_t> starts, int64_t size, const char* name) {
    expect(!starts.empty() && starts.front() == 0 && starts.back() == size && std::ranges::is_sorted(starts),
           name);
  };
  const auto below = [&](std::span<const int32_t> values, int64_t end, const char* name) {
    expect(std::ranges::all_of(values, [&](int32_t v) { return v >= 0 && v < end; }), name);
  };
  order_ = numbers("products/order");
  const int64_t n = size();
  below(order_, n, "order of products");
  product_starts_ = numbers("products/starts"), product_text_ = file_.at("products/text").values<uint8_t>();
  ragged(product_starts_, std::ssize(product_text_), "products");
  const auto slots = file_.at("slots").values<int64_t>();
  expect(n > 0 && std::ssize(product_starts_) == n + 1 && std::ssize(slots) == n * layout_.bytes() / 8,
         "products");
  slots_ = {reinterpret_cast<const uint8_t*>(slots.data()), slots.size() * 8};
  const auto overflow = numbers("overflow");
  overflow_ = {reinterpret_cast<const uint32_t*>(overflow.data()), overflow.size()};
  expect(!overflow_.empty() && !(overflow_.back() & kMore), "overflow");
  for (int64_t i = 0; i < n; ++i) {
    expect(place(i) < std::ssize(overflow_), "overflow");
    expect(ordered(i), "words of a product");
  }
  word_ids_ = numbers("words/ids"), word_starts_ = numbers("words/starts");
  word_text_ = file_.at("words/text").values<uint8_t>();
  ragged(word_starts_, std::ssize(word_text_), "words");
  expect(word_starts_.size() == word_ids_.size() + 1 && std::ranges::is_sorted(word_ids_), "words");
  other_products_ = numbers("others/products"), other_ids_ = numbers("others/ids");
  other_starts_ = numbers("others/starts"), other_text_ = file_.at("others/text").values<uint8_t>();
  ragged(other_starts_, std::ssize(other_text_), "others");
  expect(other_ids_.size() == other_products_.size() && other_starts_.size() == other_ids_.size() + 1 &&
             std::ranges::is_sorted(other_products_),
         "others");
}

// No word twice, and none that the vocabulary has not.
bool BagStore::ordered(int64_t i) const {
  std::array<int32_t, 8> last;
  last.fill(-1);
  bool ordered = true;
  for_words(i, [&](int32_t id, int32_t impact) {
    int32_t& before = last[at(layout_.block(id))];
    ordered = ordered && impact > 0 && id > before && id < ids_;
    before = id;
  });
  return ordered;
}

std::string_view BagStore::text(std::span<const int32_t> starts, std::span<const uint8_t> bytes, int64_t i) {
  return {reinterpret_cast<const char*>(bytes.data()) + starts[at(i)], at(starts[at(i + 1)] - starts[at(i)])};
}

int64_t BagStore::find(std::string_view wanted) const {
  const auto found = std::lower_bound(order_.begin(), order_.end(), wanted,
                                      [&](int32_t i, std::string_view text) { return product(i) < text; });
  return found != order_.end() && product(*found) == wanted ? *found : -1;
}

void BagStore::bag(int64_t i, std::vector<StoredWord>& out) const {
  out.clear();
  for_words(i, [&](int32_t id, int32_t impact) { out.push_back({id, impact}); });
  std::ranges::sort(out, {}, &StoredWord::id);
}

std::string_view BagStore::surface(int64_t i, int32_t id) const {
  const auto [first, last] =
      std::equal_range(other_products_.begin(), other_products_.end(), static_cast<int32_t>(i));
  for (auto other = first; other != last; ++other)
    if (const int64_t k = other - other_products_.begin(); other_ids_[at(k)] == id)
      return text(other_starts_, other_text_, k);
  const auto word = std::lower_bound(word_ids_.begin(), word_ids_.end(), id);
  return word != word_ids_.end() && *word == id ? text(word_starts_, word_text_, word - word_ids_.begin())
                                                : std::string_view();
}

}  // namespace steelyard
