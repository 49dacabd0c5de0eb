// score MODEL QUERY PRODUCT: how relevant is a product to a query? Any number of threads may share one
// Relevance; each brings a Workspace and its bags, and a score then allocates nothing.
#include <iomanip>
#include <iostream>

#include "nn/relevance.h"

using namespace steelyard;

int main(int argc, char** argv) try {
  if (argc != 4) fail(Fault::usage, "expected MODEL QUERY PRODUCT");
  const Relevance relevance = Relevance::open(argv[1]);
  Workspace workspace;
  Bag query, product;
  relevance.encode(Side::query, argv[2], query, workspace);
  relevance.encode(Side::product, argv[3], product, workspace);
  const double s = score(query, product);
  std::cout << std::setprecision(17) << s << "  probability " << relevance.probability(s) << '\n';
} catch (const Error& error) {
  std::cerr << "score: " << error.what() << '\n';
  return static_cast<int>(error.fault);
}
