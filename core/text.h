// Two things about text that more than one room needs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace steelyard {

// The number of inserted, deleted and replaced bytes that turn one text into the other (Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b);

// A number in JSON: the shortest text that reads back to the same bits; "null" for NaN and Inf.
std::string number(double value);

}  // namespace steelyard
