#include "data/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#define XXH_INLINE_ALL  // surfaces are short: a call would cost more than the hash
#include <xxhash.h>

#include "core/check.h"
#include "core/fields.h"
#include "data/utf8.h"

namespace steelyard {
namespace {

constexpr uint64_t kSeed = 0x5354'4545'4C59'4152;  // part of every model file: buckets depend on it

uint64_t hash_of(std::string_view surface) {
  return XXH3_64bits_withSeed(surface.data(), surface.size(), kSeed);
}

size_t at(int64_t i) { return static_cast<size_t>(i); }

// A large vocabulary's table does not fit into the cache: lines are asked for this many look-ups ahead.
constexpr size_t kAhead = 8;

const NamedArray& find(std::span<const NamedArray> arrays, std::string_view name) {
  for (const NamedArray& array : arrays)
    if (array.name == name) return array;
  fail(Fault::input, name, ": missing");
}

// The values of the named array, which must have one dimension.
template <class T>
std::span<const T> values(std::span<const NamedArray> arrays, std::string_view name) {
  const NamedArray& array = find(arrays, name);
  if (array.shape.size() != 1 || array.shape[0] < 0)
    fail(Fault::input, name, ": got ", array.shape.size(), " dimensions; expected 1");
  return array.values<T>();
}

constexpr char kSurfaces[] = "vocabulary/surfaces", kOffsets[] = "vocabulary/offsets",
               kFrequencies[] = "vocabulary/frequencies", kDocuments[] = "vocabulary/documents";

}  // namespace

void VocabularyConfig::validate() const {
  const auto within = [](const char* option, int value, int low, int high) {
    if (value < low || value > high)
      fail(Fault::usage, "vocabulary.", option, ": got ", value, "; expected ", low, " … ", high);
  };
  within("word_ngrams", word_ngrams, 1, 16);
  within("subword_min", subword_min, 1, 32);
  within("subword_max", subword_max, 0, 32);
  within("ideographs", ideographs, 0, 32);
  within("across", across, 0, 32);
  within("min_count", min_count, 1, std::numeric_limits<int>::max());
  within("max_terms", max_terms, 0, 1 << 30);
  within("buckets", buckets, 1, 1 << 29);
  if (!std::has_single_bit(static_cast<unsigned>(buckets)))
    fail(Fault::usage, "vocabulary.buckets: got ", buckets, "; expected a power of two");
}

// Terms

void Terms::read(const Tokens& tokens, const VocabularyConfig& config) {
  check(tokens.size() < std::numeric_limits<int32_t>::max(), "terms: a text of ", tokens.size(), " words");
  characters_.clear();
  starts_.clear();
  first_of_word_.clear();
  for (int64_t w = 0; w < tokens.size(); ++w) {
    first_of_word_.push_back(static_cast<int64_t>(starts_.size()));
    for (const char byte : tokens[w]) {
      const bool continuation = (byte & 0xC0) == 0x80;
      if (!continuation) starts_.push_back(static_cast<int64_t>(characters_.size()));
      characters_.push_back(byte);
    }
  }
  const auto length = static_cast<int64_t>(starts_.size());
  first_of_word_.push_back(length);
  starts_.push_back(static_cast<int64_t>(characters_.size()));

  occurrences_.clear();
  surfaces_.clear();
  const auto close = [&](TermKind kind, int64_t word, int64_t last, size_t begin) {
    const uint64_t hash = hash_of(std::string_view(surfaces_).substr(begin));
    const auto end = static_cast<int64_t>(surfaces_.size());
    occurrences_.push_back({hash, static_cast<int64_t>(begin), end, static_cast<int32_t>(word),
                            static_cast<int32_t>(last), kind});
  };
  // Bytes of the normalised text.
  const auto add_words = [&](TermKind kind, int64_t word, int64_t last) {
    const size_t begin = surfaces_.size();
    const int64_t first = tokens.word(word).begin;
    surfaces_.append(tokens.text().substr(at(first), at(tokens.word(last).end - first)));
    close(kind, word, last, begin);
  };
  // Characters across words.
  const auto add_across = [&](int64_t word, int64_t first, int64_t count) {
    int64_t last = word;
    const size_t begin = surfaces_.size();
    surfaces_.push_back('+');
    surfaces_.append(characters_, at(starts_[at(first)]),
                     at(starts_[at(first + count)] - starts_[at(first)]));
    surfaces_.push_back('+');
    while (first_of_word_[at(last + 1)] < first + count) ++last;
    close(TermKind::across, word, last, begin);
  };

  // Characters of one word, of which the first may be the boundary before it and the last the one behind it.
  const auto add_subword = [&](int64_t word, int64_t first, int64_t count) {
    const int64_t begin = std::max(first, first_of_word_[at(word)]);
    const int64_t end = std::min(first + count, first_of_word_[at(word + 1)]);
    const size_t surface = surfaces_.size();
    surfaces_.append(first < begin ? "*<" : "*");
    surfaces_.append(characters_, at(starts_[at(begin)]), at(starts_[at(end)] - starts_[at(begin)]));
    surfaces_.append(end < first + count ? ">*" : "*");
    close(TermKind::subword, word, word, surface);
  };

  for (int64_t w = 0; w < tokens.size(); ++w) {
    add_words(TermKind::word, w, w);
    const int64_t begin = first_of_word_[at(w)], end = first_of_word_[at(w + 1)];
    const bool ideographs = tokens.word(w).ideographs;
    // A boundary is a character before the first and one behind the last.
    const int64_t margin = config.boundaries && !ideographs ? 1 : 0;
    const int64_t shortest = ideographs ? 1 : config.subword_min;
    const int64_t longest = ideographs ? std::min<int64_t>(config.ideographs, end - begin)
                                       : std::min<int64_t>(config.subword_max, end - begin + 2 * margin - 1);
    for (int64_t n = shortest; n <= longest; ++n)
      for (int64_t i = begin - margin; i + n <= end + margin; ++i) add_subword(w, i, n);
    for (int64_t n = 2; n <= config.word_ngrams && w + n <= tokens.size(); ++n)
      add_words(TermKind::phrase, w, w + n - 1);
    if (config.across > 0)
      for (int64_t i = begin; i < end && i + config.across <= length; ++i) add_across(w, i, config.across);
  }
}

int64_t Terms::find(int32_t id) const { return in_use_ == 0 ? -1 : places_[place(id)]; }

// Vocabulary

void Vocabulary::terms(const Tokens& tokens, Terms& out) const {
  out.read(tokens, config_);
  out.terms_.clear();
  out.first_.clear();
  // The table of this text's terms is at most half full. Only the part that this text needs is cleared, so
  // one long text does not slow the short ones that follow it.
  out.in_use_ = std::bit_ceil(out.occurrences_.size() * 2 + 1);
  if (out.places_.size() < out.in_use_) out.places_.resize(out.in_use_);
  std::fill_n(out.places_.begin(), out.in_use_, -1);
  for (size_t i = 0; i < out.occurrences_.size(); ++i) {
    if (i + kAhead < out.occurrences_.size())
      __builtin_prefetch(&slots_[out.occurrences_[i + kAhead].hash & (slots_.size() - 1)]);
    const Terms::Occurrence& occurrence = out.occurrences_[i];
    const int32_t id = this->id(occurrence.hash);
    int32_t& found = out.places_[out.place(id)];
    if (found < 0) {
      found = static_cast<int32_t>(out.terms_.size());
      out.terms_.push_back({id, 0, occurrence.kind, occurrence.word, occurrence.last});
      out.first_.push_back(static_cast<int64_t>(i));
    }
    Term& term = out.terms_[at(found)];
    ++term.count;
    term.last = std::max(term.last, occurrence.last);
  }
}

int32_t Vocabulary::id(std::string_view surface) const { return id(hash_of(surface)); }

int32_t Vocabulary::id(uint64_t hash) const {
  const int32_t entry = slots_[find(hash)].id;
  return entry >= 0 ? entry : static_cast<int32_t>(hash & static_cast<uint64_t>(buckets() - 1));
}

size_t Vocabulary::find(uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask)
    if (slots_[i].id < 0 || slots_[i].hash == hash) return i;
}

bool Vocabulary::index() {
  const size_t count = at(entries());
  slots_.assign(std::bit_ceil(count + count / 2 + 1), {0, -1});  // at most two thirds full
  for (int32_t id = buckets(); id < size(); ++id) {
    const uint64_t hash = hash_of(surface(id));
    Slot& slot = slots_[find(hash)];
    if (slot.id >= 0) return false;
    slot = {hash, id};
  }
  return true;
}

std::string_view Vocabulary::surface(int32_t id) const {
  check(id >= buckets() && id < size(), "vocabulary: surface of id ", id, "; entries are ", buckets(), " … ",
        size() - 1);
  const int64_t begin = offsets_[at(id - buckets())], end = offsets_[at(id - buckets()) + 1];
  return {reinterpret_cast<const char*>(surfaces_.data()) + begin, at(end - begin)};
}

int32_t Vocabulary::document_frequency(int32_t id) const {
  check(id >= 0 && id < size(), "vocabulary: id ", id, "; expected 0 … ", size() - 1);
  return frequencies_[at(id)];
}

double Vocabulary::idf(int32_t id) const {
  const auto texts = static_cast<double>(documents_);
  return std::log((texts + 1) / (std::min<double>(document_frequency(id), texts) + 1)) + 1;
}

std::vector<NamedArray> Vocabulary::arrays() const {
  return {NamedArray::of<uint8_t>(kSurfaces, surfaces_), NamedArray::of<int64_t>(kOffsets, offsets_),
          NamedArray::of<int32_t>(kFrequencies, frequencies_),
          NamedArray::of<int64_t>(kDocuments, std::span(&documents_, 1))};
}

Vocabulary Vocabulary::load(const TensorFile& file, const VocabularyConfig& config) {
  return load(file.arrays(), config);
}

Vocabulary Vocabulary::load(std::span<const NamedArray> arrays, const VocabularyConfig& config) {
  config.validate();
  const auto surfaces = values<uint8_t>(arrays, kSurfaces);
  const auto offsets = values<int64_t>(arrays, kOffsets);
  const auto frequencies = values<int32_t>(arrays, kFrequencies);
  const auto documents = values<int64_t>(arrays, kDocuments);

  if (documents.size() != 1 || documents[0] < 0)
    fail(Fault::input, kDocuments, ": expected one number, not negative");
  if (offsets.empty() || offsets.size() > (1u << 30) + 1u)
    fail(Fault::input, kOffsets, ": got ", offsets.size(), " numbers; expected 1 … 2^30 + 1");
  const size_t entries = offsets.size() - 1;
  if (offsets[0] != 0 || offsets[entries] != static_cast<int64_t>(surfaces.size()))
    fail(Fault::input, kOffsets, ": got ", offsets[0], " … ", offsets[entries], "; expected 0 … ",
         surfaces.size());
  for (size_t i = 0; i < entries; ++i)
    if (offsets[i] >= offsets[i + 1])
      fail(Fault::input, kOffsets, ": entry ", i, " from ", offsets[i], " to ", offsets[i + 1],
           "; expected ascending");
  for (size_t i = 0; i < entries; ++i) {
    const std::string_view surface(reinterpret_cast<const char*>(surfaces.data()) + offsets[i],
                                   at(offsets[i + 1] - offsets[i]));
    if (!valid_utf8(surface)) fail(Fault::input, kSurfaces, ": entry ", i, " is not valid UTF-8");
  }
  if (frequencies.size() != entries + at(config.buckets))
    fail(Fault::input, kFrequencies, ": got ", frequencies.size(), " numbers; expected ", config.buckets,
         " buckets + ", entries, " entries");
  for (size_t i = 0; i < frequencies.size(); ++i)
    if (frequencies[i] < 0 || (i >= at(config.buckets) && frequencies[i] > documents[0]))
      fail(Fault::input, kFrequencies, ": id ", i, " is in ", frequencies[i], " of ", documents[0], " texts");

  Vocabulary result(config);
  result.surfaces_.assign(surfaces.begin(), surfaces.end());
  result.offsets_.assign(offsets.begin(), offsets.end());
  result.frequencies_.assign(frequencies.begin(), frequencies.end());
  result.documents_ = documents[0];
  if (!result.index()) fail(Fault::input, kSurfaces, ": two entries are the same");
  return result;
}

uint64_t Vocabulary::fingerprint() const {
  const int64_t options[] = {config_.word_ngrams, config_.subword_min, config_.subword_max,
                             config_.ideographs,  config_.across,      config_.boundaries,
                             config_.buckets,     documents_};
  uint64_t hash = XXH3_64bits_withSeed(options, sizeof options, kSeed);
  const auto mix = [&](const auto& values) {
    hash = XXH3_64bits_withSeed(values.data(), values.size() * sizeof values[0], hash);
  };
  mix(surfaces_);
  mix(offsets_);
  mix(frequencies_);
  return hash;
}

// VocabularyBuilder

VocabularyBuilder::VocabularyBuilder(const VocabularyConfig& config) : config_(config) {
  config_.validate();
  counts_.resize(1 << 8);
}

void VocabularyBuilder::add(const Tokens& text) {
  check(documents_ < std::numeric_limits<int32_t>::max(), "vocabulary: more than ", documents_, " texts");
  ++documents_;
  terms_.read(text, config_);
  const auto& occurrences = terms_.occurrences_;
  while ((at(used_) + occurrences.size()) * 2 >= counts_.size()) widen();
  for (size_t i = 0; i < occurrences.size(); ++i) {
    if (i + kAhead < occurrences.size())
      __builtin_prefetch(&counts_[occurrences[i + kAhead].hash & (counts_.size() - 1)], 1);
    Count& count = find(occurrences[i].hash);
    if (count.texts == 0) {
      count = {occurrences[i].hash, 0, 0, -1};
      ++used_;
    }
    if (count.last_text == documents_) continue;
    count.last_text = documents_;
    if (++count.texts != config_.min_count) continue;
    count.surface = static_cast<int64_t>(ends_.size()) - 1;
    surfaces_ += terms_.surface(occurrences[i]);
    ends_.push_back(static_cast<int64_t>(surfaces_.size()));
  }
}

VocabularyBuilder::Count& VocabularyBuilder::find(uint64_t hash) {
  const size_t mask = counts_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask)
    if (counts_[i].texts == 0 || counts_[i].hash == hash) return counts_[i];
}

void VocabularyBuilder::widen() {
  std::vector<Count> old(counts_.size() * 2);
  old.swap(counts_);
  for (const Count& count : old)
    if (count.texts > 0) find(count.hash) = count;
}

Vocabulary VocabularyBuilder::finish() const {
  Vocabulary result(config_);
  result.documents_ = documents_;
  result.frequencies_.resize(at(config_.buckets));
  result.index();
  for (const Count* count : append(result)) {
    int32_t& sum = result.frequencies_[at(result.id(count->hash))];
    constexpr int64_t kGreatest = std::numeric_limits<int32_t>::max();
    sum = static_cast<int32_t>(std::min(int64_t{sum} + count->texts, kGreatest));
  }
  return result;
}

Vocabulary VocabularyBuilder::grow(const Vocabulary& older) const {
  VocabularyConfig ours = config_, theirs = older.config_;
  check(differences(ours, theirs).empty(), "vocabulary: grown with other options than its own");
  Vocabulary result = older;
  append(result);
  return result;
}

std::vector<const VocabularyBuilder::Count*> VocabularyBuilder::append(Vocabulary& vocabulary) const {
  const auto surface = [&](const Count& count) {
    const int64_t begin = ends_[at(count.surface)], end = ends_[at(count.surface) + 1];
    return std::string_view(surfaces_).substr(at(begin), at(end - begin));
  };
  std::vector<const Count*> kept, rest;
  for (const Count& count : counts_)
    if (count.texts > 0 && vocabulary.is_bucket(vocabulary.id(count.hash)))
      (count.surface >= 0 ? kept : rest).push_back(&count);
  std::sort(kept.begin(), kept.end(), [&](const Count* a, const Count* b) {
    return a->texts != b->texts ? a->texts > b->texts : surface(*a) < surface(*b);
  });
  const int room = std::max(0, config_.max_terms - vocabulary.entries());
  if (std::ssize(kept) > room) {
    rest.insert(rest.end(), kept.begin() + room, kept.end());
    kept.resize(at(room));
  }
  for (const Count* count : kept) {
    const std::string_view text = surface(*count);
    vocabulary.surfaces_.insert(vocabulary.surfaces_.end(), text.begin(), text.end());
    vocabulary.offsets_.push_back(static_cast<int64_t>(vocabulary.surfaces_.size()));
    vocabulary.frequencies_.push_back(
        static_cast<int32_t>(std::min<int64_t>(count->texts, vocabulary.documents_)));
  }
  invariant(vocabulary.index(), "vocabulary: two entries are the same");
  return rest;
}

}  // namespace steelyard
