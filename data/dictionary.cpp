#include "data/dictionary.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>

#include <xxhash.h>
#include <zlib.h>

#include "core/check.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace steelyard {
namespace {

constexpr char kList[] = "dictionary/list";
constexpr size_t kMostBytes = size_t{1} << 30;  // so that nodes fit into 31 bits
constexpr size_t kLongestWord = 64;             // characters; bounds what any list can cost per character

std::string_view take_field(std::string_view& line) {
  constexpr std::string_view kBlanks = " \t\r";
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const std::string_view field = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(field.size());
  return field;
}

// The frequency that the text says, 0 if it says none.
int64_t frequency_of(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = error == std::errc() && end == text.data() + text.size();
  return good && value >= 1 && value <= int64_t{1} << 53 ? value : 0;
}

}  // namespace

// A table has a header and a word list has none, so this is not TableReader's work; zlib's own reader takes
// plain files and gzip alike.
Dictionary Dictionary::read(const std::filesystem::path& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file)
    fail(Fault::input, path.string(), ": cannot be opened: ", std::strerror(errno),
         "; expected a word list, plain or gzip");
  std::string list;
  std::vector<char> piece(1 << 16);
  for (;;) {
    const int count = gzread(file.get(), piece.data(), static_cast<unsigned>(piece.size()));
    int error = Z_OK;
    const char* what = gzerror(file.get(), &error);  // begins with the path
    if (error != Z_OK && error != Z_STREAM_END)
      fail(Fault::input, what, "; expected a word list, plain or gzip");
    if (count == 0) break;
    list.append(piece.data(), static_cast<size_t>(count));
  }
  return parse(std::move(list), path.string());
}

Dictionary Dictionary::parse(std::string list, const std::string& name) {
  if (list.size() > kMostBytes)
    fail(Fault::input, name, ": ", list.size(), " bytes; expected at most ", kMostBytes);
  Dictionary result;
  Tokens scratch;
  double total = 0;
  std::string_view rest = list;
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  for (int64_t number = 1; !rest.empty(); ++number) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const auto refuse = [&](const auto&... parts) { fail(Fault::input, name, ":", number, ": ", parts...); };

    if (!valid_utf8(line)) refuse("not valid UTF-8; expected a word and its frequency in UTF-8");
    const std::string_view word = take_field(line);
    if (word.empty()) continue;
    const int64_t frequency = frequency_of(take_field(line));
    take_field(line);  // the part of speech
    if (frequency == 0 || !take_field(line).empty())
      refuse("expected `word frequency [part of speech]`, the frequency a whole number, 1 … 2^53");
    total += static_cast<double>(frequency);

    const auto run = Tokenizer::run(word, scratch);
    if (std::find(run.begin(), run.end(), Tokenizer::kNoCode) != run.end()) continue;
    if (run.size() > kLongestWord)
      refuse("a word of ", run.size(), " characters; expected at most ", kLongestWord);
    int32_t node = 0;
    for (const int32_t code : run) node = result.add_child(node, code);
    if (node == 0) continue;
    int32_t& weight = result.weights_[static_cast<size_t>(node)];
    if (weight != kNoWord) refuse("\"", word, "\" once more; expected each word once");
    weight = static_cast<int32_t>(std::lround(kOne * std::log(static_cast<double>(frequency))));
    ++result.words_;
  }
  if (total == 0) fail(Fault::input, name, ": no words; expected one in a line, with its frequency");
  result.log_total_ = std::lround(kOne * std::log(total));
  result.list_ = std::move(list);
  return result;
}

int32_t Dictionary::add_child(int32_t parent, int32_t code) {
  Edge& edge = edges_[find(parent, code)];
  if (edge.child != 0) return edge.child;
  const auto child = static_cast<int32_t>(weights_.size());
  edge = {parent, code, child};
  weights_.push_back(kNoWord);
  if (weights_.size() * 3 > edges_.size() * 2) {  // at most two thirds full
    std::vector<Edge> old(edges_.size() * 2);
    old.swap(edges_);
    for (const Edge& moved : old)
      if (moved.child != 0) edges_[find(moved.parent, moved.code)] = moved;
  }
  return child;
}

Dictionary Dictionary::load(std::span<const NamedArray> arrays) {
  const auto array = std::find_if(arrays.begin(), arrays.end(), [](auto& a) { return a.name == kList; });
  if (array == arrays.end()) fail(Fault::input, kList, ": missing");
  if (array->shape.size() != 1 || array->shape[0] < 0)
    fail(Fault::input, kList, ": got ", array->shape.size(), " dimensions; expected 1");
  const auto bytes = array->values<uint8_t>();
  return parse({bytes.begin(), bytes.end()}, kList);
}

std::vector<NamedArray> Dictionary::arrays() const {
  return {NamedArray::of<uint8_t>(kList, {reinterpret_cast<const uint8_t*>(list_.data()), list_.size()})};
}

uint64_t Dictionary::fingerprint() const { return XXH3_64bits(list_.data(), list_.size()); }

double Cut::score() const { return static_cast<double>(places_[0].score) / Dictionary::kOne; }

void Dictionary::segment(std::span<const int32_t> run, Cut& out) const {
  auto& places = out.places_;
  places.resize(run.size() + 1);
  places[run.size()] = {0, run.size()};
  for (size_t i = run.size(); i-- > 0;) {
    Cut::Place best = {std::numeric_limits<int64_t>::min(), 0};
    int32_t node = 0;
    for (size_t end = i; end < run.size();) {
      node = edges_[find(node, run[end++])].child;
      if (node == 0) break;
      const int32_t weight = weights_[static_cast<size_t>(node)];
      if (weight == kNoWord) continue;
      const int64_t score = weight - log_total_ + places[end].score;
      if (score >= best.score) best = {score, end};
    }
    if (best.next == 0) best = {places[i + 1].score - log_total_, i + 1};
    places[i] = best;
  }
}

}  // namespace steelyard
