// The market: a simulated shop, deterministic from its seed, so that everything can be tried without data.
// What a model must discover is known: which words are synonyms, which are misspelt, what a shopper meant.
// Nothing measured here says anything about a real shop.
//
// A product has a category (its head noun), a brand and one value of each kind of attribute its category
// knows; its title says so in one of several patterns. A query is an intent (a category, perhaps a brand,
// perhaps attributes) put into words: synonyms, plurals, either word order, misspellings. The relevance of a
// product to an intent is
//
//   1     another family
//   1.25  the same family, but a thing where an accessory is meant or the reverse: a phone case for "phone"
//   1.5   the same family, another thing for a thing: a shower curtain for "shower head"
//   3     the same category; less 0.75 if a brand is asked for and this is another, less 0.5 for each
//         attribute asked for that it lacks, but never below 1.5
//
// and its label is the mean of three raters. A rater answers with one of the two whole grades around the true
// relevance, such that his expectation is exact, or, with probability `careless`, with a grade drawn at
// random.
//
// Why counting shared words does badly, as in real shops: accessories and neighbours share the head noun,
// titles name what they fit, synonyms share nothing, and some candidates are chosen for the words they share.
//
// The shop speaks English and Chinese. Its products are the same, so are family, brand, attributes and price;
// titles and queries are made anew, of Chinese words and without blanks between them, with synonyms of their own
// and without misspellings. A Market is one language's, so whoever reads one needs to know nothing of the other,
// and both write into one folder, so that one --data-dir serves every configuration.
//
// Later parts (Chinese, shoppers and their weeks, goals in conflict: data/impressions.h) draw from streams of their own
// and leave the English files as they are. Next: market.cpp begins with the word lists.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace steelyard {

struct MarketConfig {
  int64_t seed = 1;
  int products = 3000;
  int train_queries = 1500;
  int dev_queries = 250;
  int test_queries = 250;
  int products_per_query = 8;
  double misspelt = 0.12;
  double careless = 0.05;

  template <class F>
  void fields(F&& f) {
    f("seed", seed, "the market is a function of it and of the options here");
    f("products", products, "products in the catalogue");
    f("train_queries", train_queries, "different queries to train on");
    f("dev_queries", dev_queries, "different queries to choose by, none of them in train");
    f("test_queries", test_queries, "different queries to report on, in neither");
    f("products_per_query", products_per_query, "judged products per query");
    f("misspelt", misspelt, "share of the English queries with a misspelt word");
    f("careless", careless, "probability that a rater answers at random");
  }
};

enum class Language { english, chinese };

struct Product {
  std::string id;
  std::string title;
  int category = 0;             // in Market::categories
  int brand = 0;                // in Market::brands
  std::vector<int> attributes;  // in Market::attributes, ascending
  int64_t cents = 0;            // the price
};

// What a query means.
struct Intent {
  int category = 0;
  int brand = -1;  // −1: any
  std::vector<int> attributes;
};

struct Judgement {
  int query = 0;         // in Market::queries
  int product = 0;       // in Market::products
  double truth = 0;      // by the definition above
  double relevance = 0;  // the mean of three raters
};

struct WordPair {
  std::string word, other;
};

struct Query {
  std::string text;
  Intent intent;
};

struct Market {
  std::vector<std::string> categories, brands, attributes;  // names
  std::vector<Product> products;
  std::vector<Query> queries;  // of all parts, no text twice
  std::vector<Judgement> train, dev, test;
  std::vector<WordPair> misspellings;  // wrong, right: every one that queries may contain; English only
  std::vector<WordPair> synonyms;      // word, synonym: every one that titles and queries may contain
  std::vector<std::string> words;      // of which titles and queries are made; Chinese only
};

// Error(usage) if the options are out of range or ask for more different queries than there are.
Market make_market(const MarketConfig& config, Language language = Language::english);

// The relevance of a product to an intent, before any rater.
double true_relevance(const Product& product, const Intent& intent);

// Makes the market and writes it into the folder, which is created if need be, as TSV files with headers:
//   catalogue.tsv                     id, title, category, brand, price
//   relevance_{train,dev,test}.tsv    query, product, title, relevance
//   misspellings.tsv                  wrong, right
//   synonyms.tsv                      word, synonym
// and in Chinese catalogue_zh.tsv, relevance_zh_{train,dev,test}.tsv, synonyms_zh.tsv and
//   words_zh.txt                      the words, for data/dictionary.h. All are equally frequent, so the cut with
//                                     the fewest words is taken.
Market write_market(const std::filesystem::path& folder, const MarketConfig& config,
                    Language language = Language::english);

}  // namespace steelyard
