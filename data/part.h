// Which rows train a model, which choose the best one, and on which it is reported: parts into which names, of users or of
// groups of rows, fall by their hash, so that a name is in the same part wherever it turns up.
#pragma once

#include <string_view>

#include "core/random.h"

namespace steelyard {

enum class Part { train, dev, test };

inline int fold_of(std::string_view name, int folds) {
  return static_cast<int>(key_of(0, "fold", name) % static_cast<uint64_t>(folds));
}

inline Part part_of(std::string_view name, int folds, int dev_fold, int test_fold) {
  const int fold = fold_of(name, folds);
  return fold == dev_fold ? Part::dev : fold == test_fold ? Part::test : Part::train;
}

}  // namespace steelyard
