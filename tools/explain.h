// A score as the list of its matches, in the order in which they are added.
#pragma once

#include "nn/relevance.h"
#include "tools/report.h"

namespace steelyard {

Explanation explain(const Relevance& model, std::string_view query_text, std::string_view product_text,
                    const Bag& query, const Bag& product);
std::string explanation_text(const Explanation& explanation);  // for a terminal
std::string explanation_json(const Explanation& explanation);  // its numbers read back to the same bits

}  // namespace steelyard
