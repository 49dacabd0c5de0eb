#include "data/market.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>

#include "core/check.h"
#include "core/file.h"
#include "core/random.h"

namespace steelyard {
namespace {

// ---- the words ----

// Kinds of attributes, one letter each: c colour, m material, s size of clothes, l length, v volume, f
// feature of a device, t style of furniture, u whom or what it is for.
struct CategoryWords {
  const char* family;  // department/family
  bool accessory;      // is for the things of its family
  const char* name;
  const char* synonyms;  // parted by |
  const char* kinds;
  int low, high;  // price in whole units
};

constexpr CategoryWords kCategories[] = {
    {"electronics/phone", false, "phone", "smartphone|mobile|handset", "cfg", 150, 1100},
    {"electronics/phone", true, "phone case", "phone cover", "cm", 8, 45},
    {"electronics/phone", true, "phone charger", "power adapter", "cfl", 9, 60},
    {"electronics/phone", true, "screen protector", "tempered film", "m", 5, 25},
    {"electronics/computer", false, "laptop", "notebook|ultrabook", "cf", 300, 2200},
    {"electronics/computer", false, "tablet", "slate", "cf", 120, 900},
    {"electronics/computer", false, "monitor", "display", "fl", 100, 800},
    {"electronics/computer", true, "laptop bag", "notebook sleeve", "cm", 15, 90},
    {"electronics/computer", true, "keyboard", "keypad", "cf", 12, 160},
    {"electronics/computer", true, "mouse", "trackball", "cf", 8, 90},
    {"electronics/sound", false, "headphones", "headset|earphones", "cf", 20, 400},
    {"electronics/sound", false, "speaker", "loudspeaker|boombox", "cf", 25, 500},
    {"electronics/sound", true, "headphone stand", "headset holder", "cm", 10, 40},
    {"electronics/sound", true, "speaker cable", "audio wire", "l", 5, 50},
    {"electronics/camera", false, "camera", "camcorder", "cf", 150, 2500},
    {"electronics/camera", true, "camera bag", "photo pouch", "cm", 20, 120},
    {"electronics/camera", true, "tripod", "stand", "ml", 20, 200},
    {"kitchen/coffee", false, "coffee maker", "espresso machine|percolator", "cfv", 30, 600},
    {"kitchen/coffee", false, "kettle", "water boiler", "cmv", 18, 120},
    {"kitchen/coffee", true, "coffee filter", "brewing paper", "mv", 4, 25},
    {"kitchen/coffee", true, "coffee mug", "cup|beaker", "cmv", 5, 30},
    {"kitchen/cooking", false, "frying pan", "skillet", "cml", 15, 150},
    {"kitchen/cooking", false, "saucepan", "cooking pot", "cmv", 18, 160},
    {"kitchen/cooking", true, "pan lid", "pot cover", "ml", 8, 40},
    {"kitchen/cutting", false, "chef knife", "cook blade|cleaver", "ml", 20, 220},
    {"kitchen/cutting", true, "knife block", "blade holder", "cm", 20, 90},
    {"kitchen/cutting", true, "knife sharpener", "whetstone", "cm", 10, 60},
    {"kitchen/storage", false, "water bottle", "flask|canteen", "cmv", 8, 45},
    {"kitchen/storage", false, "lunch box", "bento", "cmu", 9, 40},
    {"bath/shower", false, "shower head", "rain spray|sprinkler", "cmf", 15, 180},
    {"bath/shower", false, "shower curtain", "bath drape", "cml", 10, 50},
    {"bath/shower", false, "bathtub", "tub", "cml", 200, 1500},
    {"bath/shower", true, "shower hose", "spray tube", "ml", 8, 35},
    {"bath/shower", true, "curtain ring", "drape hook", "cm", 4, 20},
    {"bath/towel", false, "bath towel", "washcloth|terry", "cml", 8, 50},
    {"bath/towel", true, "towel rack", "rail", "cml", 15, 90},
    {"furniture/seat", false, "sofa", "couch|settee", "cmt", 250, 2400},
    {"furniture/seat", false, "office chair", "desk seat|swivel", "cmt", 80, 700},
    {"furniture/seat", false, "armchair", "recliner", "cmt", 120, 1100},
    {"furniture/seat", true, "chair cushion", "seat pad", "cm", 10, 50},
    {"furniture/seat", true, "sofa cover", "couch throw|slipcover", "cm", 20, 110},
    {"furniture/table", false, "dining table", "dinner board", "cmtl", 120, 1500},
    {"furniture/table", false, "coffee table", "side stand", "cmt", 50, 600},
    {"furniture/table", false, "desk", "bureau|workstation", "cmtl", 80, 900},
    {"furniture/table", true, "table cloth", "linen runner", "cml", 10, 60},
    {"furniture/table", true, "table leg", "trestle", "ml", 15, 90},
    {"furniture/bed", false, "bed frame", "bedstead", "cmt", 120, 1400},
    {"furniture/bed", false, "mattress", "futon", "tl", 100, 1600},
    {"furniture/bed", true, "bed sheet", "linens", "cm", 15, 120},
    {"furniture/bed", true, "pillow", "bolster", "cmu", 10, 90},
    {"furniture/light", false, "table lamp", "reading light", "cmt", 20, 250},
    {"furniture/light", false, "ceiling lamp", "chandelier|pendant", "cmt", 30, 600},
    {"furniture/light", true, "lamp shade", "light cover", "cm", 10, 80},
    {"furniture/light", true, "light bulb", "globe", "cf", 3, 30},
    {"clothes/shoes", false, "running shoes", "sneakers|trainers", "csu", 40, 220},
    {"clothes/shoes", false, "boots", "wellingtons", "cmsu", 50, 300},
    {"clothes/shoes", true, "shoe rack", "footwear shelf", "cm", 20, 90},
    {"clothes/shoes", true, "shoe laces", "strings", "cl", 3, 12},
    {"clothes/coat", false, "jacket", "anorak|windbreaker", "cmsu", 40, 400},
    {"clothes/coat", false, "sweater", "pullover|jumper", "cmsu", 25, 180},
    {"clothes/coat", false, "raincoat", "mackintosh", "csu", 30, 200},
    {"clothes/coat", true, "coat hanger", "garment hook", "cm", 3, 30},
    {"clothes/trousers", false, "jeans", "denims", "csu", 30, 180},
    {"clothes/trousers", false, "trousers", "pants|slacks", "cmsu", 25, 160},
    {"clothes/trousers", true, "trouser belt", "waist strap", "cml", 10, 80},
    {"clothes/watch", false, "watch", "timepiece|chronograph", "cmu", 40, 1200},
    {"clothes/watch", true, "watch strap", "wrist band", "cml", 8, 90},
    {"garden/water", false, "garden hose", "water pipe", "cl", 15, 90},
    {"garden/water", true, "hose reel", "pipe winder", "cl", 20, 140},
    {"garden/water", true, "hose nozzle", "jet", "cm", 5, 35},
    {"garden/outdoor", false, "garden chair", "patio seat|deckchair", "cmt", 25, 250},
    {"garden/outdoor", false, "grill", "barbecue|smoker", "cmf", 60, 900},
    {"garden/outdoor", true, "grill cover", "barbecue tarp", "cl", 15, 80},
    {"garden/outdoor", true, "charcoal", "briquettes", "v", 6, 30},
    {"pets/dog", false, "dog bed", "kennel mat", "cml", 20, 150},
    {"pets/dog", false, "dog food", "kibble|chow", "vu", 10, 90},
    {"pets/dog", true, "dog leash", "lead", "cml", 6, 50},
    {"pets/dog", true, "dog bowl", "feeder", "cmv", 5, 40},
    {"sport/bike", false, "bicycle", "bike|cycle", "cmu", 150, 2500},
    {"sport/bike", true, "bicycle pump", "tyre inflator", "cl", 10, 60},
    {"sport/bike", true, "bicycle lock", "chain bolt", "cml", 10, 120},
    {"sport/bike", true, "helmet", "headgear", "csu", 20, 200},
    {"sport/camp", false, "tent", "shelter", "ct", 60, 800},
    {"sport/camp", false, "backpack", "rucksack|knapsack", "cmv", 25, 300},
    {"sport/camp", true, "tent peg", "stake", "ml", 4, 25},
    {"sport/camp", true, "sleeping bag", "bedroll", "cmu", 30, 350},
};
constexpr int kCategoryCount = static_cast<int>(std::size(kCategories));

struct AttributeWords {
  char kind;
  const char* name;
  const char* synonyms;
};

constexpr AttributeWords kAttributes[] = {
    {'c', "black", "jet"},
    {'c', "white", "ivory"},
    {'c', "grey", "gray|anthracite"},
    {'c', "red", "scarlet"},
    {'c', "blue", "azure"},
    {'c', "navy", "indigo"},
    {'c', "green", "emerald"},
    {'c', "yellow", "lemon"},
    {'c', "orange", ""},
    {'c', "purple", "violet"},
    {'c', "pink", "rose"},
    {'c', "brown", "chestnut"},
    {'c', "beige", "cream"},
    {'c', "silver", "chrome"},
    {'c', "gold", "golden"},
    {'c', "turquoise", "teal"},
    {'c', "burgundy", "maroon"},
    {'m', "leather", "hide"},
    {'m', "cotton", ""},
    {'m', "wool", "merino"},
    {'m', "linen", "flax"},
    {'m', "silicone", "rubber"},
    {'m', "plastic", "polymer"},
    {'m', "steel", "stainless"},
    {'m', "aluminium", "alloy"},
    {'m', "oak", "oaken"},
    {'m', "pine", "softwood"},
    {'m', "walnut", ""},
    {'m', "bamboo", "cane"},
    {'m', "glass", "crystal"},
    {'m', "ceramic", "porcelain"},
    {'m', "velvet", "plush"},
    {'m', "polyester", "synthetic"},
    {'m', "nylon", ""},
    {'m', "copper", ""},
    {'m', "canvas", "sailcloth"},
    {'s', "xs", ""},
    {'s', "small", "petite"},
    {'s', "medium", "regular"},
    {'s', "large", "big"},
    {'s', "xl", "oversize"},
    {'s', "xxl", "plussize"},
    {'l', "50cm", "20inch"},
    {'l', "80cm", "32inch"},
    {'l', "100cm", "1m"},
    {'l', "120cm", "48inch"},
    {'l', "150cm", "60inch"},
    {'l', "180cm", "6ft"},
    {'l', "200cm", "2m"},
    {'l', "10m", "33ft"},
    {'v', "250ml", "quarterlitre"},
    {'v', "500ml", "halflitre"},
    {'v', "1l", "litre"},
    {'v', "2l", "twolitre"},
    {'v', "5l", "fivelitre"},
    {'g', "64gb", ""},
    {'g', "128gb", ""},
    {'g', "256gb", ""},
    {'f', "wireless", "cordless"},
    {'f', "bluetooth", ""},
    {'f', "waterproof", "watertight"},
    {'f', "rechargeable", ""},
    {'f', "portable", "travel"},
    {'f', "compact", "mini"},
    {'f', "digital", "electronic"},
    {'f', "gaming", "gamer"},
    {'t', "modern", "contemporary"},
    {'t', "vintage", "retro"},
    {'t', "rustic", "farmhouse"},
    {'t', "folding", "collapsible"},
    {'t', "industrial", "factory"},
    {'t', "scandinavian", "nordic"},
    {'t', "adjustable", "variable"},
    {'u', "women", "ladies"},
    {'u', "men", "gents"},
    {'u', "kids", "children|junior"},
    {'u', "unisex", ""},
    {'u', "senior", "elderly"},
};
constexpr int kAttributeCount = static_cast<int>(std::size(kAttributes));

constexpr const char* kBrands[] = {
    "Alvora",   "Benton",   "Brixel",   "Caldera",  "Cirrus",    "Corvane", "Dalmere",  "Denvio",
    "Dorsey",   "Elmstead", "Emberly",  "Fenwick",  "Ferrano",   "Fjordal", "Galloway", "Gravix",
    "Hadley",   "Halcyon",  "Hartwell", "Inverna",  "Ivorix",    "Jasper",  "Jorvik",   "Kestrel",
    "Kinloch",  "Koravo",   "Lakemont", "Lumaro",   "Lynford",   "Maplin",  "Meridian", "Montrose",
    "Nexara",   "Nimbus",   "Norden",   "Oakhurst", "Olympus",   "Orbitel", "Palmera",  "Pemberton",
    "Pinnacle", "Quantis",  "Quillon",  "Ravello",  "Redfern",   "Rivona",  "Sabrel",   "Selwyn",
    "Solaris",  "Stanmore", "Tavira",   "Tessaro",  "Thornbury", "Trivex",  "Ulmen",    "Umbria",
    "Valdane",  "Verano",   "Vortexa",  "Wexford",  "Windmere",  "Xantor",  "Yarrow",   "Zephyra"};
constexpr int kBrandCount = static_cast<int>(std::size(kBrands));

// What titles add and no query means; what queries add and no product has.
constexpr const char* kTitleNoise[] = {
    "Premium",       "New",      "Pack of 2", "Heavy Duty",        "Limited Edition",
    "Great Gift",    "Set of 4", "Original",  "Free Delivery",     "Best Seller",
    "Easy to Clean", "Eco",      "Deluxe",    "Two Year Warranty", "Home Office"};
constexpr const char* kQueryNoise[] = {"cheap", "best", "new", "buy", "sale", "good"};

// ---- chance ----

// Random numbers of one purpose and item: a function of (seed, purpose, item, how many were drawn). A stream of its
// own for each item keeps the catalogue when only the number of queries changes.
class Dice {
 public:
  Dice(int64_t seed, const char* purpose, int64_t item)
      : key_(key_of(static_cast<uint64_t>(seed), purpose, item)) {}

  uint64_t bits() { return random_bits(key_, drawn_++); }
  int below(int n) { return static_cast<int>((bits() >> 32) * static_cast<uint64_t>(n) >> 32); }
  bool chance(double p) { return static_cast<double>(bits() >> 11) * 0x1p-53 < p; }
  template <class Range>
  const auto& one_of(const Range& range) {
    return range[static_cast<size_t>(below(static_cast<int>(std::size(range))))];
  }

 private:
  uint64_t key_, drawn_ = 0;
};

// ---- texts ----

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(at), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

std::string capitalised(std::string text) {
  for (size_t i = 0; i < text.size(); ++i)
    if ((i == 0 || text[i - 1] == ' ') && text[i] >= 'a' && text[i] <= 'z')
      text[i] = static_cast<char>(text[i] - 32);
  return text;
}

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts)
    if (!part.empty()) out += (out.empty() ? "" : " ") + part;
  return out;
}

std::string plural(const std::string& noun) {
  if (noun.ends_with("s")) return noun;
  if (noun.ends_with("mouse")) return noun.substr(0, noun.size() - 4) + "ice";
  if (noun.ends_with("knife")) return noun.substr(0, noun.size() - 2) + "ves";
  for (const char* hissing : {"x", "ch", "sh"})
    if (noun.ends_with(hissing)) return noun + "es";
  const char before = noun.size() > 1 ? noun[noun.size() - 2] : 'a';
  if (noun.back() == 'y' && std::string_view("aeiou").find(before) == std::string_view::npos)
    return noun.substr(0, noun.size() - 1) + "ies";
  return noun + "s";
}

std::string family(int category) { return kCategories[category].family; }
std::string department(int category) { return family(category).substr(0, family(category).find('/')); }

// Lower-case words, sorted, each once.
std::vector<std::string> words_of(const std::string& text) {
  std::string plain = lower(text);
  for (char& c : plain)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) c = ' ';
  std::vector<std::string> words = split(plain, ' ');
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

// Words as numbers, so that sharing them is cheap to count.
class Lexicon {
 public:
  std::vector<int> numbers(const std::string& text) {
    std::vector<int> out;
    for (const std::string& word : words_of(text))
      out.push_back(numbers_.emplace(word, static_cast<int>(numbers_.size())).first->second);
    return out;
  }

 private:
  std::unordered_map<std::string, int> numbers_;
};

int shared_words(const std::vector<int>& a, const std::vector<int>& b) {
  int shared = 0;
  for (const int word : a) shared += std::find(b.begin(), b.end(), word) != b.end();
  return shared;
}

// ---- the shop ----

// The families, brands and attributes as lists to draw from.
struct Shelves {
  std::vector<std::vector<int>> brands_of, family_of, things_of, accessories_of;  // by category
  std::map<char, std::vector<int>> values_of;                                     // by kind of attribute
  std::vector<int> popular;  // categories, each as often as it is asked for

  explicit Shelves(int64_t seed) {
    std::set<std::string> names;
    for (int c = 0; c < kCategoryCount; ++c) names.insert(department(c));
    const std::vector<std::string> departments(names.begin(), names.end());
    const int n = static_cast<int>(departments.size());
    for (int c = 0; c < kCategoryCount; ++c) {
      std::vector<int> sellers, relatives, things, accessories;
      for (int b = 0; b < kBrandCount; ++b)  // every brand is at home in two departments, or one
        if (departments[static_cast<size_t>(b % n)] == department(c) ||
            departments[static_cast<size_t>((7 * b + 3) % n)] == department(c))
          sellers.push_back(b);
      for (int other = 0; other < kCategoryCount; ++other) {
        if (other == c || family(other) != family(c)) continue;
        relatives.push_back(other);
        (kCategories[other].accessory ? accessories : things).push_back(other);
      }
      brands_of.push_back(sellers);
      family_of.push_back(relatives);
      things_of.push_back(things);
      accessories_of.push_back(accessories);
    }
    for (int a = 0; a < kAttributeCount; ++a) values_of[kAttributes[a].kind].push_back(a);

    // A few categories are asked for often, most seldom: the r-th most popular in proportion to 1/(r + 5).
    std::vector<std::pair<uint64_t, int>> order;
    for (int c = 0; c < kCategoryCount; ++c) order.emplace_back(Dice(seed, "popularity", c).bits(), c);
    std::sort(order.begin(), order.end());
    for (int r = 0; r < kCategoryCount; ++r)
      popular.insert(popular.end(), static_cast<size_t>(1000 / (r + 5)),
                     order[static_cast<size_t>(r)].second);
  }
};

// A name or one of its synonyms.
std::string worded(const char* name, const char* synonyms, double synonym, Dice& dice) {
  const std::vector<std::string> others = split(synonyms, '|');
  return !others.empty() && dice.chance(synonym) ? dice.one_of(others) : name;
}

std::string head_of(int category, double synonym, Dice& dice) {
  return worded(kCategories[category].name, kCategories[category].synonyms, synonym, dice);
}

std::string title_of(const Product& product, const Shelves& shelves, Dice& dice) {
  const size_t category = static_cast<size_t>(product.category);
  const std::string brand = kBrands[product.brand];
  const std::string head = capitalised(head_of(product.category, 0.35, dice));
  std::vector<std::string> attributes;
  for (const int a : product.attributes)
    attributes.push_back(capitalised(worded(kAttributes[a].name, kAttributes[a].synonyms, 0.25, dice)));
  std::string commas, spaces;
  for (const std::string& attribute : attributes) {
    commas += ", " + attribute;
    spaces += (spaces.empty() ? "" : " ") + attribute;
  }
  std::string model(1, static_cast<char>('A' + dice.below(26)));
  model += std::to_string(10 + dice.below(90));

  std::string extra;
  const std::vector<int>& things = shelves.things_of[category];
  const std::vector<int>& accessories = shelves.accessories_of[category];
  if (kCategories[category].accessory && !things.empty() && dice.chance(0.7)) {
    extra = " for " + (dice.chance(0.5) ? std::string(dice.one_of(kBrands)) + " " : "") +
            capitalised(head_of(dice.one_of(things), 0.3, dice));
  } else if (!kCategories[category].accessory && !accessories.empty() && dice.chance(0.25)) {
    extra = " with " + capitalised(head_of(dice.one_of(accessories), 0.3, dice));
  }
  const std::string noise = dice.chance(0.5) ? dice.one_of(kTitleNoise) : "";
  switch (dice.below(5)) {
    case 0:
      return join({brand, model, head + extra + commas, noise});
    case 1:
      return join({noise, brand, spaces, head + extra, "-", model});
    case 2:
      return join({spaces, head + extra, "by", brand, "(" + model + ")", noise});
    case 3:
      return join({noise, head + extra, "|", spaces, "|", brand});
    default:
      return join({brand, head + extra, spaces, model, noise});
  }
}

Product make_product(int64_t seed, int number, const Shelves& shelves) {
  Dice dice(seed, "product", number);
  Product product;
  const std::string digits = std::to_string(number + 1);
  product.id = "P" + std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  product.category = dice.chance(0.5) ? dice.below(kCategoryCount) : dice.one_of(shelves.popular);
  const CategoryWords& words = kCategories[product.category];
  product.brand = dice.one_of(shelves.brands_of[static_cast<size_t>(product.category)]);
  for (const char kind : std::string_view(words.kinds))
    product.attributes.push_back(dice.one_of(shelves.values_of.at(kind)));
  std::sort(product.attributes.begin(), product.attributes.end());
  product.cents = 100 * int64_t{words.low} + dice.below(100 * (words.high - words.low));
  product.title = title_of(product, shelves, dice);
  return product;
}

// One slip of the keyboard: two letters swapped, one lost, one doubled, one vowel wrong.
std::string slip(const std::string& word, Dice& dice) {
  std::string wrong = word;
  const size_t at = 1 + static_cast<size_t>(dice.below(static_cast<int>(word.size()) - 2));
  const std::string_view vowels = "aeiou";
  switch (dice.below(4)) {
    case 0:
      std::swap(wrong[at], wrong[at + 1]);
      break;
    case 1:
      wrong.erase(at, 1);
      break;
    case 2:
      wrong.insert(at, 1, wrong[at]);
      break;
    default:
      for (size_t i = at; i < wrong.size(); ++i)
        if (vowels.find(wrong[i]) != vowels.npos) {
          wrong[i] = vowels[(vowels.find(wrong[i]) + 1 + static_cast<size_t>(dice.below(4))) % 5];
          break;
        }
  }
  return wrong;
}

// Two for each word of five letters or more, none of which is a word itself or the misspelling of another.
std::vector<WordPair> make_misspellings(int64_t seed) {
  std::set<std::string> right;
  const auto add = [&](const std::string& text) {
    for (const std::string& word : words_of(text)) right.insert(word), right.insert(plural(word));
  };
  std::set<std::string> candidates;
  const auto offer = [&](const std::string& text) {
    add(text);
    for (const std::string& word : words_of(text))
      if (word.size() >= 5 && word.find_first_of("0123456789") == word.npos) candidates.insert(word);
  };
  for (const CategoryWords& words : kCategories) offer(words.name), offer(words.synonyms);
  for (const AttributeWords& words : kAttributes) offer(words.name), offer(words.synonyms);
  for (const char* brand : kBrands) offer(brand);
  for (const char* noise : kTitleNoise) add(noise);
  for (const char* noise : kQueryNoise) add(noise);

  std::vector<WordPair> pairs;
  int64_t number = 0;
  for (const std::string& word : candidates) {
    Dice dice(seed, "spelling", number++);
    for (int found = 0, tries = 0; found < 2 && tries < 20; ++tries) {
      const std::string wrong = slip(word, dice);
      if (!right.insert(wrong).second) continue;
      pairs.push_back({wrong, word});
      ++found;
    }
  }
  return pairs;
}

Intent make_intent(const Shelves& shelves, Dice& dice) {
  Intent intent;
  intent.category = dice.one_of(shelves.popular);
  if (dice.chance(0.4)) intent.brand = dice.one_of(shelves.brands_of[static_cast<size_t>(intent.category)]);
  const int wanted = dice.chance(0.25) ? 2 : dice.chance(0.6) ? 1 : 0;
  std::string kinds = kCategories[intent.category].kinds;
  for (int i = 0; i < wanted && !kinds.empty(); ++i) {
    const size_t at = static_cast<size_t>(dice.below(static_cast<int>(kinds.size())));
    intent.attributes.push_back(dice.one_of(shelves.values_of.at(kinds[at])));
    kinds.erase(at, 1);
  }
  std::sort(intent.attributes.begin(), intent.attributes.end());
  return intent;
}

using Misspellings = std::map<std::string, std::vector<std::string>>;  // by the right word

std::string query_text(const Intent& intent, const Misspellings& misspellings, double misspelt, Dice& dice) {
  std::string head = head_of(intent.category, 0.4, dice);
  if (dice.chance(0.25)) head = plural(head);
  const std::string brand = intent.brand < 0 ? "" : lower(kBrands[intent.brand]);
  std::vector<std::string> attributes;
  for (const int a : intent.attributes)
    attributes.push_back(worded(kAttributes[a].name, kAttributes[a].synonyms, 0.3, dice));
  const std::string noise = dice.chance(0.1) ? dice.one_of(kQueryNoise) : "";
  std::string text;
  switch (dice.below(4)) {
    case 0:
      text = join({noise, join(attributes), brand, head});
      break;
    case 1:
      text = join({head, join(attributes), brand, noise});
      break;
    case 2:
      text = join({brand, head, join(attributes), noise});
      break;
    default:
      text = join({noise, brand, join(attributes), head});
  }
  if (!dice.chance(misspelt)) return text;

  std::vector<std::string> words = split(text, ' ');
  std::vector<std::string*> able;
  for (std::string& word : words)
    if (misspellings.count(word)) able.push_back(&word);
  if (able.empty()) return text;
  std::string& word = *dice.one_of(able);
  word = dice.one_of(misspellings.at(word));
  return join(words);
}

// The mean of three raters, rounded to two decimals.
double rated(double truth, double careless, Dice& dice) {
  int sum = 0;
  for (int rater = 0; rater < 3; ++rater) {
    const int below = static_cast<int>(truth);
    sum += dice.chance(careless) ? 1 + dice.below(3) : below + dice.chance(truth - below);
  }
  const int hundredths = (100 * sum + 1) / 3;
  return hundredths / 100.0;
}

// What candidates are drawn from.
struct Stock {
  const Shelves& shelves;
  std::vector<Product> products;
  std::vector<std::vector<int>> titles;       // by product: its words
  std::vector<std::vector<int>> by_category;  // products
  Lexicon lexicon;

  // The products that are judged for a query. Of eight, four are of the category asked for (one of them the
  // best of several), two of its family, one of another category chosen for the words it shares with the
  // query, one is any.
  std::vector<int> candidates(const Query& query, int count, Dice& dice) {
    const std::vector<int> words = lexicon.numbers(query.text);
    const auto shelf = [&](int category) -> const std::vector<int>& {
      return by_category[static_cast<size_t>(category)];
    };
    const auto any = [&] { return dice.below(static_cast<int>(products.size())); };
    const auto from = [&](int category) {
      return shelf(category).empty() ? any() : dice.one_of(shelf(category));
    };
    const auto own = [&] { return from(query.intent.category); };
    const auto relevance = [&](int p) {
      return true_relevance(products[static_cast<size_t>(p)], query.intent);
    };
    const auto overlap = [&](int p) {
      const bool same = products[static_cast<size_t>(p)].category == query.intent.category;
      return same ? -1.0 : shared_words(words, titles[static_cast<size_t>(p)]);
    };
    const auto best_of = [](int tries, const auto& draw, const auto& measure) {
      int best = draw();
      double most = measure(best);
      for (int i = 1; i < tries; ++i) {
        const int other = draw();
        const double value = measure(other);
        if (value > most) most = value, best = other;
      }
      return best;
    };
    std::vector<int> chosen;
    for (int slot = 0; static_cast<int>(chosen.size()) < count; ++slot) {
      const int kind = slot % 8;
      const int product =
          kind == 0   ? best_of(8, own, relevance)
          : kind <= 3 ? own()
          : kind <= 5 ? from(dice.one_of(shelves.family_of[static_cast<size_t>(query.intent.category)]))
          : kind == 6 ? best_of(60, any, overlap)
                      : any();
      if (std::find(chosen.begin(), chosen.end(), product) == chosen.end()) chosen.push_back(product);
    }
    return chosen;
  }
};

void check_config(const MarketConfig& config) {
  const auto range = [](const char* name, double value, double low, double high) {
    if (!(value >= low && value <= high))
      fail(Fault::usage, "market: ", name, " = ", value, "; expected ", low, " to ", high);
  };
  range("products", config.products, 500, 1e6);
  range("train_queries", config.train_queries, 1, 20000);
  range("dev_queries", config.dev_queries, 1, 20000);
  range("test_queries", config.test_queries, 1, 20000);
  range("products_per_query", config.products_per_query, 2, 100);
  range("misspelt", config.misspelt, 0, 1);
  range("careless", config.careless, 0, 1);
}

std::string decimals(int64_t hundredths) {
  const std::string cents = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + (cents.size() < 2 ? ".0" : ".") + cents;
}

std::string pairs_file(const char* header, const std::vector<WordPair>& pairs) {
  std::string out = header;
  for (const WordPair& pair : pairs) out += pair.word + '\t' + pair.other + '\n';
  return out;
}

}  // namespace

double true_relevance(const Product& product, const Intent& intent) {
  if (family(product.category) != family(intent.category)) return 1;
  if (product.category != intent.category)
    return kCategories[product.category].accessory == kCategories[intent.category].accessory ? 1.5 : 1.25;
  double relevance = 3;
  if (intent.brand >= 0 && intent.brand != product.brand) relevance -= 0.75;
  for (const int wanted : intent.attributes)
    if (std::find(product.attributes.begin(), product.attributes.end(), wanted) == product.attributes.end())
      relevance -= 0.5;
  return std::max(relevance, 1.5);
}

Market make_market(const MarketConfig& config) {
  check_config(config);
  const Shelves shelves(config.seed);
  Market market;
  for (const CategoryWords& words : kCategories) {
    market.categories.push_back(words.name);
    for (const std::string& synonym : split(words.synonyms, '|'))
      market.synonyms.push_back({words.name, synonym});
  }
  for (const AttributeWords& words : kAttributes) {
    market.attributes.push_back(words.name);
    for (const std::string& synonym : split(words.synonyms, '|'))
      market.synonyms.push_back({words.name, synonym});
  }
  market.brands.assign(std::begin(kBrands), std::end(kBrands));
  market.misspellings = make_misspellings(config.seed);

  Stock stock{shelves, {}, {}, std::vector<std::vector<int>>(static_cast<size_t>(kCategoryCount)), {}};
  for (int i = 0; i < config.products; ++i) {
    stock.products.push_back(make_product(config.seed, i, shelves));
    stock.titles.push_back(stock.lexicon.numbers(stock.products.back().title));
    stock.by_category[static_cast<size_t>(stock.products.back().category)].push_back(i);
  }

  Misspellings misspellings;
  for (const WordPair& pair : market.misspellings) misspellings[pair.other].push_back(pair.word);
  const int wanted = config.train_queries + config.dev_queries + config.test_queries;
  std::set<std::string> texts;
  for (int tries = 0; static_cast<int>(market.queries.size()) < wanted; ++tries) {
    if (tries > 100 * wanted)
      fail(Fault::usage, "market: no more than ", market.queries.size(), " different queries; expected ",
           wanted);
    Dice dice(config.seed, "query", tries);
    Query query;
    query.intent = make_intent(shelves, dice);
    query.text = query_text(query.intent, misspellings, config.misspelt, dice);
    if (texts.insert(query.text).second) market.queries.push_back(std::move(query));
  }

  for (int q = 0; q < wanted; ++q) {
    const Query& query = market.queries[static_cast<size_t>(q)];
    Dice dice(config.seed, "candidates", q);
    Dice raters(config.seed, "raters", q);
    std::vector<Judgement>& part = q < config.train_queries                        ? market.train
                                   : q < config.train_queries + config.dev_queries ? market.dev
                                                                                   : market.test;
    for (const int p : stock.candidates(query, config.products_per_query, dice)) {
      const double truth = true_relevance(stock.products[static_cast<size_t>(p)], query.intent);
      part.push_back({q, p, truth, rated(truth, config.careless, raters)});
    }
  }
  market.products = std::move(stock.products);
  return market;
}

Market write_market(const std::filesystem::path& folder, const MarketConfig& config) {
  Market market = make_market(config);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    fail(Fault::resources, folder.string(), ": cannot be created: ", error.message(), "; expected a folder");

  std::string catalogue = "id\ttitle\tcategory\tbrand\tprice\n";
  for (const Product& product : market.products)
    catalogue += product.id + '\t' + product.title + '\t' +
                 market.categories[static_cast<size_t>(product.category)] + '\t' +
                 market.brands[static_cast<size_t>(product.brand)] + '\t' + decimals(product.cents) + '\n';
  write_atomically(folder / "catalogue.tsv", catalogue);

  const auto relevance_file = [&](const std::vector<Judgement>& judgements) {
    std::string out = "query\tproduct\ttitle\trelevance\n";
    for (const Judgement& judgement : judgements) {
      const Product& product = market.products[static_cast<size_t>(judgement.product)];
      out += market.queries[static_cast<size_t>(judgement.query)].text + '\t' + product.id + '\t' +
             product.title + '\t' + decimals(std::llround(judgement.relevance * 100)) + '\n';
    }
    return out;
  };
  write_atomically(folder / "relevance_train.tsv", relevance_file(market.train));
  write_atomically(folder / "relevance_dev.tsv", relevance_file(market.dev));
  write_atomically(folder / "relevance_test.tsv", relevance_file(market.test));
  write_atomically(folder / "misspellings.tsv", pairs_file("wrong\tright\n", market.misspellings));
  write_atomically(folder / "synonyms.tsv", pairs_file("word\tsynonym\n", market.synonyms));
  return market;
}

}  // namespace steelyard
