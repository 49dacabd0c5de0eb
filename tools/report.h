// Pages for a browser: why a score is what it is, and how a run went. A page is one HTML file without script,
// images or anything else to fetch: it can be mailed, printed, and opened in ten years. Light or dark as the
// reader's system is. Whatever text comes in is escaped. Callers write pages with write_atomically
// (core/file.h).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer.h"

namespace steelyard {

// A word that query and product share. Its surface says its kind; see data/vocabulary.h.
struct MatchLine {
  std::string word;
  double query_weight = 0, product_weight = 0;
  double contribution = 0;                             // their product
  std::string query_source = {}, product_source = {};  // the text's word behind one that it does not hold
};

// How many words a bag holds: those of its text, and those that were brought in. Priors are no words.
struct BagSize {
  int64_t terms = 0, expansion = 0;
};

struct Explanation {
  std::string query, product;
  double score = 0, probability = 0;
  std::optional<double> grade = {};  // what people said, if known
  BagSize query_bag = {}, product_bag = {};
  std::vector<MatchLine> matches = {};     // in the order in which the score adds them
  TokenizerConfig tokenizer = {};          // how the texts were read; decides which of their words are marked
  const Dictionary* dictionary = nullptr;  // of the model, and must live as long
};

struct Table {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::string note;
};

struct Report {
  std::string title;
  std::string summary;  // an empty line begins a new paragraph
  std::string metrics_title = "The best model on the dev rows";
  std::vector<std::pair<std::string, double>> metrics;
  std::string
      metrics_jsonl;  // the content of the file (optim/trainer.h); lines that are not whole are left out
  std::vector<Table> tables;
  std::vector<Explanation> best, worst;
  std::string config_toml;
};

std::string explanation_page(const Explanation& explanation);
std::string report_page(const Report& report);

}  // namespace steelyard
