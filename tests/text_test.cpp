#include "core/text.h"

#include <cmath>

#include "tests/support.h"

using namespace steelyard;

TEST_CASE("text: the distance of two words") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("sitting", "kitten") == 3);
}

TEST_CASE("text: numbers as JSON has them") {
  CHECK(number(0.1) == "0.1");
  CHECK(number(-3) == "-3");
  CHECK(number(1e300) == "1e+300");
  CHECK(number(NAN) == "null");
  CHECK(number(-INFINITY) == "null");
}
