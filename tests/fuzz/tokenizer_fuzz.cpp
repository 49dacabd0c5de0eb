// Arbitrary bytes through the tokenizer. The first byte chooses the options, the second where to cut for the
// last property. Checked: spans tile the normalised text, source ranges ascend inside the source, the result
// is UTF-8, reuse of the buffers leaves no trace, normalising again changes nothing, and a line break parts
// texts completely.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/check.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

using namespace steelyard;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const Tokenizer tokenizers[] = {
      Tokenizer({.stem = "none", .units = false}),    Tokenizer({.stem = "none", .units = true}),
      Tokenizer({.stem = "plural", .units = false}),  Tokenizer({.stem = "plural", .units = true}),
      Tokenizer({.stem = "english", .units = false}), Tokenizer({.stem = "english", .units = true})};
  const int option = data[0] % 6;
  const bool units = option % 2, stem = option >= 2;
  const Tokenizer& tokenizer = tokenizers[option];
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);

  static Tokens reused, other;
  Tokens fresh;
  tokenizer.tokenize(text, reused);
  tokenizer.tokenize(text, fresh);
  invariant(reused.text() == fresh.text() && reused.size() == fresh.size(), "reuse");

  int64_t end = -1, source_begin = 0, source_end = 0;
  for (int64_t i = 0; i < fresh.size(); ++i) {
    const Tokens::Word& word = fresh.word(i);
    invariant(word.begin == end + 1 && word.end > word.begin, "span of word ", i);
    invariant(word.source_begin >= source_begin && word.source_end >= source_end, "source order of word ", i);
    invariant(word.source_end > word.source_begin, "empty source of word ", i);
    invariant(fresh[i].find(' ') == std::string_view::npos, "blank in word ", i);
    end = word.end, source_begin = word.source_begin, source_end = word.source_end;
  }
  invariant(end == (fresh.empty() ? -1 : static_cast<int64_t>(fresh.text().size())), "end of the text");
  invariant(source_end <= static_cast<int64_t>(text.size()), "source range beyond the text");
  invariant(valid_utf8(fresh.text()), "not UTF-8");

  if (!stem) {
    tokenizer.tokenize(fresh.text(), other);
    invariant(other.text() == fresh.text() && other.size() == fresh.size(), "not idempotent: ", fresh.text(),
              " → ", other.text());
  }
  if (!units) {
    const size_t cut = data[1] % (text.size() + 1);
    tokenizer.tokenize(text.substr(0, cut), fresh);
    tokenizer.tokenize(text.substr(cut), other);
    const std::string joined = std::string(text.substr(0, cut)) + "\n" + std::string(text.substr(cut));
    tokenizer.tokenize(joined, reused);
    const std::string blank = fresh.empty() || other.empty() ? "" : " ";
    invariant(reused.text() == std::string(fresh.text()) + blank + std::string(other.text()), "line break");
  }
  return 0;
}
