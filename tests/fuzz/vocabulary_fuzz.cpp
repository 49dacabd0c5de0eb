// Two ways into a vocabulary. Even first byte: the input is a training corpus, one text per line; what is
// built from it must find its own entries, give each text consistent terms, and survive writing and loading.
// Odd first byte: the input is the four arrays of a vocabulary file; they are refused with Error(input), or
// what is loaded must give back the same arrays and find each entry under its surface.
// A corpus is cut at kCorpus bytes: runs of characters are many, and a longer one only repeats what it does.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "data/utf8.h"
#include "data/vocabulary.h"

using namespace steelyard;

namespace {

constexpr size_t kCorpus = 256;

void check_entries(const Vocabulary& v) {
  for (int32_t id = v.buckets(); id < v.size(); ++id) {
    invariant(v.id(v.surface(id)) == id, "entry ", id, " is not found");
    invariant(valid_utf8(v.surface(id)), "entry ", id, " is not UTF-8");
  }
  for (int32_t id = 0; id < v.size(); ++id)
    invariant(v.document_frequency(id) >= 0 && v.idf(id) >= 1, "frequency of ", id);
}

void check_terms(const Vocabulary& v, const Tokens& tokens, const Terms& terms) {
  std::vector<bool> seen(static_cast<size_t>(v.size()));
  int32_t word = 0;
  int64_t words = 0;
  for (int64_t i = 0; i < terms.size(); ++i) {
    const Term& term = terms[i];
    const std::string_view surface = terms.surface(i);
    invariant(term.id >= 0 && term.id < v.size() && !seen[static_cast<size_t>(term.id)], "id of term ", i);
    seen[static_cast<size_t>(term.id)] = true;
    invariant(term.count > 0 && term.word >= word && term.word < tokens.size(), "place of term ", i);
    invariant(v.id(surface) == term.id && valid_utf8(surface), "surface of term ", i);
    invariant(v.is_bucket(term.id) || v.surface(term.id) == surface, "entry of term ", i);
    const bool bracketed = surface.front() == '*' || surface.front() == '+';
    const TermKind kind = surface.front() == '*'                        ? TermKind::subword
                          : surface.front() == '+'                      ? TermKind::across
                          : surface.find(' ') != std::string_view::npos ? TermKind::phrase
                                                                        : TermKind::word;
    invariant(kind == term.kind && (!bracketed || surface.back() == surface.front()), "kind of term ", i);
    word = term.word;
    if (kind == TermKind::word) ++words;
  }
  invariant(words <= tokens.size() && terms.empty() == tokens.empty(), "number of terms");
}

void fuzz_corpus(std::string_view text, uint8_t options) {
  const VocabularyConfig config{.word_ngrams = 1 + options % 3,
                                .subword_max = 2 + options / 3 % 4,
                                .across = options / 12 % 6,
                                .min_count = 1 + options / 72 % 2,
                                .max_terms = 40,
                                .buckets = 16};
  static const Tokenizer tokenizer;
  VocabularyBuilder builder(config);
  std::vector<Tokens> corpus;
  for (size_t begin = 0; begin < text.size() && corpus.size() < 8;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    tokenizer.tokenize(text.substr(begin, end - begin), corpus.emplace_back());
    builder.add(corpus.back());
    begin = end + 1;
  }
  const Vocabulary v = builder.finish();
  check_entries(v);
  const Vocabulary loaded = Vocabulary::load(v.arrays(), config);
  invariant(loaded.fingerprint() == v.fingerprint(), "another fingerprint after loading");

  static Terms reused;
  std::vector<int64_t> frequencies(static_cast<size_t>(v.size()));
  for (const Tokens& tokens : corpus) {
    Terms fresh;
    v.terms(tokens, fresh);
    check_terms(v, tokens, fresh);
    for (const Term& term : fresh.all()) ++frequencies[static_cast<size_t>(term.id)];
    loaded.terms(tokens, reused);
    invariant(reused.size() == fresh.size(), "other terms after loading");
    for (int64_t i = 0; i < fresh.size(); ++i)
      invariant(reused[i].id == fresh[i].id && reused[i].count == fresh[i].count &&
                    reused.surface(i) == fresh.surface(i),
                "another term ", i, " after loading");
  }
  for (int32_t id = 0; id < v.size(); ++id) {  // of a bucket, a text may hold several surfaces
    const int64_t counted = v.document_frequency(id), seen = frequencies[static_cast<size_t>(id)];
    invariant(v.is_bucket(id) ? counted >= seen : counted == seen, "document frequency of ", id);
  }
}

// Layout: options, entries, buckets (as a power), bytes of surfaces; then documents, frequencies, offsets,
// all one byte each and widened (255 stands for −1, 254 for the greatest value), so that the fuzzer can reach
// valid ones.
void fuzz_arrays(const uint8_t* data, size_t size) {
  if (size < 5) return;
  size_t at = 4;
  const auto next = [&]<class T>(T) -> T {
    const uint8_t byte = at < size ? data[at] : 0;
    ++at;
    return byte == 255 ? T(-1) : byte == 254 ? std::numeric_limits<T>::max() : T(byte);
  };
  const VocabularyConfig config{.buckets = 1 << data[1] % 4};
  std::vector<int64_t> documents(data[3] % 16 == 15 ? 2 : 1), offsets(data[0] / 2 % 32);
  std::vector<int32_t> frequencies(data[2] % 64);
  for (auto& value : documents) value = next(int64_t{});
  for (auto& value : frequencies) value = next(int32_t{});
  for (auto& value : offsets) value = next(int64_t{});
  const std::vector<uint8_t> surfaces(data + std::min(at, size), data + size);
  const std::vector<NamedArray> arrays = {NamedArray::of<uint8_t>("vocabulary/surfaces", surfaces),
                                          NamedArray::of<int64_t>("vocabulary/offsets", offsets),
                                          NamedArray::of<int32_t>("vocabulary/frequencies", frequencies),
                                          NamedArray::of<int64_t>("vocabulary/documents", documents)};
  try {
    const Vocabulary v = Vocabulary::load(arrays, config);
    check_entries(v);
    for (size_t i = 0; const NamedArray& array : v.arrays()) {
      const NamedArray& given = arrays[i++];
      const auto bytes = static_cast<size_t>(array.size() * width(array.type));
      invariant(array.name == given.name && array.type == given.type && array.shape == given.shape, "array ",
                i);
      invariant(bytes == 0 || std::memcmp(array.data, given.data, bytes) == 0, "content of array ", i);
    }
  } catch (const Error& error) {
    invariant(error.fault == Fault::input, "another fault: ", error.what());
    invariant(std::string_view(error.what()).starts_with("vocabulary/"), "no array named: ", error.what());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  if (data[0] % 2 == 0)
    fuzz_corpus({reinterpret_cast<const char*>(data) + 2, std::min(size - 2, kCorpus)}, data[1]);
  else
    fuzz_arrays(data, size);
  return 0;
}
