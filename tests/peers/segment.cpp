// segment DICTIONARY: the words of each line of stdin, for the comparison with jieba (tests/jieba). Tells on stderr how
// many seconds of processor time loading and cutting took.
#include <ctime>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>

#include "data/dictionary.h"
#include "data/tokenizer.h"

using namespace steelyard;

int main(int argc, char** argv) try {
  if (argc != 2) fail(Fault::usage, "expected DICTIONARY");
  auto seconds = [last = std::clock()]() mutable {
    const auto before = std::exchange(last, std::clock());
    return static_cast<double>(last - before) / CLOCKS_PER_SEC;
  };
  const Dictionary dictionary = Dictionary::read(argv[1]);
  const double load = seconds();
  const std::string texts(std::istreambuf_iterator<char>(std::cin), {});
  const Tokenizer tokenizer({.stem = "none", .units = false}, &dictionary);
  std::string out;
  Tokens tokens;
  seconds();
  for (size_t begin = 0; begin < texts.size();) {
    const size_t end = std::min(texts.find('\n', begin), texts.size());
    tokenizer.tokenize(std::string_view(texts).substr(begin, end - begin), tokens);
    (out += tokens.text()) += '\n';
    begin = end + 1;
  }
  const double cut = seconds();
  std::cout << out;
  std::cerr << load << ' ' << cut << '\n';
} catch (const Error& error) {
  std::cerr << "segment: " << error.what() << '\n';
  return static_cast<int>(error.fault);
}
