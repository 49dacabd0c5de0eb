// Rows of a small table with tasks of every kind, and a small network of each kind for them.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/text.h"
#include "nn/table_model.h"

namespace steelyard::test {

inline TableModelConfig small_config(const std::string& model) {
  TableModelConfig config;
  config.model = model;
  config.features.categorical = {"color", "shop"};
  config.features.numeric = {"size", "age"};
  config.features.buckets = 4, config.features.min_count = 3;
  config.tasks = {{"buy", {.kind = "binary", .label = "bought", .importance = "worth"}},
                  {"grade", {.kind = "classes", .label = "grade", .classes = {"a", "b", "c"}}},
                  {"paid", {.kind = "number", .label = "paid"}}};
  NetworkConfig& net = config.network;
  net.width = 3, net.bottom_width = 6, net.bottom_layers = 2;
  net.experts = 3, net.own_experts = 2, net.expert_width = 7, net.tower_width = 8;
  net.dropout = 0, net.penalty = 0;
  return config;
}

inline std::string some_table(int rows = 60) {
  std::string table = "color\tshop\tsize\tage\tbought\tworth\tgrade\tpaid\n";
  for (int i = 0; i < rows; ++i) {
    const auto draw = [&](int what, uint64_t below) {
      return random_bits(key_of(1, "row", i), static_cast<uint64_t>(what)) % below;
    };
    const auto often = [&](int what, const std::string& value) { return draw(what, 5) > 0 ? value : ""; };
    table += often(0, text("c", draw(1, 6))) + "\t" + text("s", draw(2, 14)) + "\t" +
             often(3, text(draw(4, 20))) + "\t" + text(draw(5, 80)) + "\t" + often(6, text(draw(7, 2))) +
             "\t" + often(8, text(1 + draw(9, 3))) + "\t" + often(10, std::string(1, "abc"[draw(11, 3)])) +
             "\t" + often(12, text(draw(13, 100))) + "\n";
  }
  return table;
}

// Every kind of network, of buckets and of standard numbers.
inline std::vector<TableModelConfig> table_variants() {
  std::vector<TableModelConfig> list;
  for (const char* model : {"bottom", "mmoe", "ple", "linear"})
    for (const char* numbers : {"buckets", "standard"})
      list.push_back(small_config(model)), list.back().features.numbers_as = numbers;
  list.push_back(small_config("mmoe")), list.back().network.expert_layers = 3;
  list.push_back(small_config("mmoe")), list.back().network.experts = 1, list.back().network.wide = false;
  list.push_back(small_config("ple")), list.back().network.levels = 2, list.back().network.expert_layers = 2;
  list.push_back(small_config("ple")), list.back().network.levels = 3, list.back().network.tower_layers = 0;
  list.push_back(small_config("ple")), list.back().features.categorical = {},
                                       list.back().network.tower_layers = 2;
  list.back().features.numbers_as = "standard";  // no ids at all
  return list;
}

// Away from where they begin, which is often 0; with every unit alive for some row.
inline void stir(TableModel& model) {
  for (const Parameter& p : model.parameters().all())
    for (int64_t i = 0; i < p.shape.size(); ++i)
      p.value().data[i] += (p.path.ends_with("/b") ? real(1) : real(0)) +
                           real(0.2) * random_normal(key_of(7, p.path), static_cast<uint64_t>(i));
}

}  // namespace steelyard::test
