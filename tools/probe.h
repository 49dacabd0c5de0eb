// A linear probe: how much of a known label a straight line finds in vectors that were made without it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/real.h"

namespace steelyard {

// The share of odd-numbered vectors whose class least squares name, with a ridge of a thousandth of the
// variance, fitted on the even-numbered ones: one number per class, the largest wins. `shuffled`: the labels
// it is fitted on are dealt anew from this seed, so that it can know nothing; 0: they are the true ones.
double probe(const std::vector<std::vector<real>>& vectors, const std::vector<int>& labels,
             uint64_t shuffled = 0);

}  // namespace steelyard
