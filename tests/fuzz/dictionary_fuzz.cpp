// A list and a text. The first byte chooses between the two ways in, the list as a file or as the array of a model; the
// list ends at the first 0 byte, the text is the rest. Checked: a list is refused with Error(input) that names it, or
// gives back its bytes; a cut's words tile the run, are worth what the cut is worth, and no cut into single
// characters is worth more; tokenizing what came out gives the same again.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "data/dictionary.h"
#include "data/tokenizer.h"

using namespace steelyard;

namespace {

void check_cut(const Dictionary& dictionary, std::string_view text) {
  static Tokens scratch;
  static Cut cut, part;
  const auto run = Tokenizer::run(text, scratch);
  dictionary.segment(run, cut);
  double words = 0, characters = 0;
  for (size_t i = 0; i < run.size(); i = cut.next(i)) {
    invariant(cut.next(i) > i && cut.next(i) <= run.size(), "word at ", i);
    dictionary.segment(run.subspan(i, cut.next(i) - i), part);
    invariant(part.next(0) == cut.next(i) - i, "the word at ", i, " is cut");
    words += part.score();
  }
  for (size_t i = 0; i < run.size(); ++i) {
    dictionary.segment(run.subspan(i, 1), part);
    characters += part.score();
  }
  invariant(words == cut.score(), "score of the words: ", words, ", of the cut: ", cut.score());
  invariant(characters <= cut.score(), "score of characters: ", characters, ", of the cut: ", cut.score());
}

void check_tokens(const Dictionary& dictionary, std::string_view text) {
  const Tokenizer tokenizer({.stem = "none", .units = false}, &dictionary),
      by_character({.stem = "none", .units = false});
  static Tokens tokens, other;
  tokenizer.tokenize(text, tokens);
  tokenizer.tokenize(tokens.text(), other);
  invariant(other.text() == tokens.text(), "not idempotent: ", tokens.text(), " → ", other.text());
  by_character.tokenize(text, other);
  // Word by word, the words are made of the characters that there are without a dictionary.
  int64_t next = 0;
  for (int64_t i = 0; i < tokens.size(); ++i) {
    invariant(next < other.size() && tokens.word(i).source_begin == other.word(next).source_begin,
              "begin of ", i);
    std::string joined;
    while (next < other.size() && joined.size() < tokens[i].size()) joined += other[next++];
    invariant(joined == tokens[i] && tokens.word(i).source_end == other.word(next - 1).source_end, "word ",
              i);
  }
  invariant(next == other.size(), "characters left over");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string list(input.substr(0, input.find('\0')));
  const std::string_view text = input.substr(std::min(list.size() + 1, input.size()));
  const std::vector<uint8_t> bytes(list.begin(), list.end());
  const std::string name = data[0] % 2 ? "dictionary/list" : "words.txt";
  try {
    const Dictionary dictionary = data[0] % 2
                                      ? Dictionary::load(std::vector{NamedArray::of<uint8_t>(name, bytes)})
                                      : Dictionary::parse(list, name);
    const auto array = dictionary.arrays().at(0).values<uint8_t>();
    invariant(std::string(array.begin(), array.end()) == list, "another list");
    check_cut(dictionary, text);
    check_tokens(dictionary, text);
  } catch (const Error& error) {
    invariant(error.fault == Fault::input, "another fault: ", error.what());
    invariant(std::string_view(error.what()).starts_with(name + ":"),
              "the list is not named: ", error.what());
  }
  return 0;
}
