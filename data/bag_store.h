// The bags of a catalogue in one file, mapped into memory, as scoring reads them: the weight of a word is a number
// from 1 to 255, its *impact*. A word's id chooses one of few blocks and is a 16-bit key there, so a query's word is compared
// with one block of a product and not with all, sixteen keys or eight at a time:
//
//   slots     [n] × blocks × depth × lanes keys (u16), then as many impacts (u8); 64 · depth slots in all, 192 · depth
//             bytes, so that a product begins where a line of memory does. Slots that hold no word have impact 0. If the
//             last two do, their keys say where the product's words in `overflow` begin, counted from 1; 0: there are none
//   overflow  the words that found their block full, as impact · 2²⁴ + id, and 2²³ where another one follows
//   products  the ids that the catalogue gave them, and their order by these
//   words     the surface of each word that any product holds; `others`, where a product's differs: two words that share
//             a bucket of the vocabulary
//
// A score is Σ over the shared words of query impact · product impact, a whole number, times one scale. Sums of
// whole numbers depend on no order: all ways to score agree to the bit, and so does the sum of the listed contributions.
// Next: data/bag_score.h, one query against given products; data/bag_index.h, against all.
#pragma once

#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/tensor_file.h"

namespace steelyard {

struct BagWord {
  int32_t id;
  float weight;              // 0: not held
  std::string_view surface;  // what people read
};

// Where a word of this id is looked for.
struct BagLayout {
  int32_t blocks = 4, lanes = 16, depth = 1;  // blocks · lanes = 64

  static constexpr int64_t kMostIds = 8 << 16;
  static BagLayout of(int64_t ids);  // blocks and lanes for ids below this; Error(usage) if they are too many
  int32_t block(int32_t id) const { return id % blocks; }
  uint16_t key(int32_t id) const { return static_cast<uint16_t>(id / blocks); }
  int32_t id(int32_t block, uint16_t key) const { return key * blocks + block; }
  int64_t slots() const { return int64_t{64} * depth; }
  int64_t bytes() const { return 3 * slots(); }  // of a product
};

// Rounded up to ten significant bits, so that products of two scales and a sum of impacts are exact in double.
double coarse(double scale);

// The catalogue, product by product; the words stay in memory until it is written.
class BagStoreBuilder {
 public:
  explicit BagStoreBuilder(int64_t ids);  // words have ids below this
  // Error(input): a product that was there before, a weight that is negative or no number.
  void add(std::string_view product, std::span<const BagWord> bag);
  int64_t size() const { return static_cast<int64_t>(products_.size()); }
  // Atomic. Error(input) of a catalogue without products.
  void write(const std::filesystem::path& path, Metadata metadata) const;

 private:
  struct Texts {
    std::vector<int32_t> starts{0};
    std::string text;
    void add(std::string_view more);
  };
  struct Other {
    int32_t product, id;
    std::string surface;
  };
  int32_t depth() const;

  int64_t ids_;
  BagLayout layout_;
  std::vector<std::string> products_;
  std::unordered_set<std::string> known_;
  std::vector<int64_t> starts_{0};
  std::vector<std::pair<int32_t, float>> words_;
  std::unordered_map<int32_t, std::string> surfaces_;
  std::vector<Other> others_;
};

struct StoredWord {
  int32_t id, impact;
};

class BagStore {
 public:
  // Verified completely: Error(input) if the file is damaged or no store.
  explicit BagStore(const std::filesystem::path& path);
  static bool is(const TensorFile& file);  // does it say that it is a store?

  int64_t size() const { return std::ssize(order_); }
  const BagLayout& layout() const { return layout_; }
  double scale() const { return scale_; }  // weight = scale · impact; ten significant bits
  int64_t ids() const { return ids_; }
  const Metadata& metadata() const { return file_.metadata(); }

  std::string_view product(int64_t i) const { return text(product_starts_, product_text_, i); }
  int64_t find(std::string_view product) const;             // −1: not there
  void bag(int64_t i, std::vector<StoredWord>& out) const;  // ascending by id
  template <class F>
  void for_words(int64_t i, F f) const {  // f(id, impact), ascending by id within each block
    const int64_t room = layout_.slots() / layout_.blocks;
    for (int32_t block = 0; block < layout_.blocks; ++block)
      for (int64_t slot = (block + 1) * room; slot-- > block * room;)
        if (const int32_t impact = impacts(i)[slot]; impact != 0) f(layout_.id(block, keys(i)[slot]), impact);
    for_overflow(i, f);
  }
  std::string_view surface(int64_t i, int32_t id) const;  // of a word that product i holds

  // For scoring.
  const uint16_t* keys(int64_t i) const {
    return reinterpret_cast<const uint16_t*>(slots_.data() + i * layout_.bytes());
  }
  const uint8_t* impacts(int64_t i) const {
    return slots_.data() + i * layout_.bytes() + 2 * layout_.slots();
  }
  const uint32_t* overflow(int64_t i) const { return overflow_.data() + place(i); }
  template <class F>
  void for_overflow(int64_t i, F f) const {  // f(id, impact)
    const uint32_t* word = overflow(i);
    if (word == overflow_.data()) return;
    do f(static_cast<int32_t>(*word & (kMore - 1)), static_cast<int32_t>(*word >> 24));
    while (*word++ & kMore);
  }

 private:
  bool ordered(int64_t i) const;
  static std::string_view text(std::span<const int32_t> starts, std::span<const uint8_t> bytes, int64_t i);

  friend class BagStoreBuilder;
  static constexpr uint32_t kMore = 1 << 23;
  int64_t place(int64_t i) const {  // of its first word in the overflow; 0: it has none
    uint16_t held;
    uint32_t place;
    std::memcpy(&held, impacts(i) + layout_.slots() - 2, sizeof held);
    std::memcpy(&place, keys(i) + layout_.slots() - 2, sizeof place);
    return held == 0 ? place : 0;
  }

  TensorFile file_;
  BagLayout layout_;
  int64_t ids_ = 0;
  double scale_ = 1;
  std::span<const uint8_t> slots_, product_text_, word_text_, other_text_;
  std::span<const uint32_t> overflow_;
  std::span<const int32_t> product_starts_, order_, word_ids_, word_starts_, other_products_, other_ids_,
      other_starts_;
};

}  // namespace steelyard
