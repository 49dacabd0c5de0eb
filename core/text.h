// What more than one room needs of text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace steelyard {

// The number of inserted, deleted and replaced bytes that turn one text into the other (Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b);

// The parts between a character, empty ones left out; views of the text.
std::vector<std::string_view> split(std::string_view text, char at);

// The texts with a comma and a blank between.
std::string joined(const std::vector<std::string>& texts);

// A number in JSON: the shortest text that reads back to the same bits; "null" for NaN and Inf.
std::string number(double value);

}  // namespace steelyard
