// Networks of several tasks on the same features. With x the features' embeddings side by side, task k has
//
//   bottom   h_k = f(x), shared by all (Caruana 1997)
//   mmoe     h_k = Σ_i g_k(x)_i f_i(x), g_k = softmax(x · W_k): experts i that tasks mix by gates of their own
//            (Ma et al. 2018)
//   ple      the same over shared experts and some of its own; in `levels`, each reading the one below. Below the
//            last one more gate mixes all experts for the shared ones above (Tang et al. 2020)
//   linear   nothing but its wide part
//
//   z_k = tower_k(h_k) + the wide part, a weight of each feature (Cheng et al. 2016)
//
// σ(z) of binary, softmax of classes, and of number z itself, in deviations from the training rows' mean. Parameters
// that one task alone reads are under heads/TASK/.
#pragma once

#include <deque>
#include <optional>

#include "autograd/objective.h"
#include "data/features.h"
#include "nn/linear.h"

namespace steelyard {

struct NetworkConfig {
  int width = 8;
  bool wide = true;
  int bottom_layers = 1, bottom_width = 128;
  int experts = 4, own_experts = 2, expert_layers = 1, expert_width = 64, levels = 1;
  int tower_layers = 1, tower_width = 32;
  double dropout = 0.1, embedding_dropout = 0, penalty = 1e-6;

  template <class F>
  void fields(F&& f) {
    f("width", width, "columns of each feature's embedding");
    f("wide", wide, "each task also weighs the features themselves");
    f("bottom_layers", bottom_layers, "of bottom, layers that all tasks share");
    f("bottom_width", bottom_width, "of each of them");
    f("experts", experts, "of mmoe and ple, experts that tasks share");
    f("own_experts", own_experts, "of ple, experts of each task's own");
    f("expert_layers", expert_layers, "layers of an expert");
    f("expert_width", expert_width, "of each of them");
    f("levels", levels, "of ple, times that experts follow experts");
    f("tower_layers", tower_layers, "layers of a task's own before the last; 0: none");
    f("tower_width", tower_width, "of each of them");
    f("dropout", dropout, "of every layer");
    f("embedding_dropout", embedding_dropout, "of embeddings; a step takes longer with it");
    f("penalty", penalty, "L2 on the embeddings of a row");
  }
  void validate() const;
};

// Rows of one step; views of the tape's memory.
struct FeatureBatch {
  int64_t size = 0;
  Ids ids;                                                // [n,F]
  std::span<const real> numbers;                          // [n,N]
  std::vector<std::span<const real>> labels, importance;  // of each task [n]; NaN: not asked; empty: 1
};

class Multitask {
 public:
  // `separate`: each task has a network of its own, and nothing is shared.
  Multitask(Parameters::Scope at, const std::string& model, const NetworkConfig& config,
            const Encoding& encoding, const std::vector<Task>& tasks, bool separate);

  // z of each of the tasks whose bit is set, by their places      [n,1], of classes [n,C]
  std::vector<Var> logits(Tape& tape, const FeatureBatch& batch, uint64_t tasks,
                          Var* penalty = nullptr) const;
  // The mean loss of these tasks over the rows that ask them, not weighed; 0 of 0 rows for the others.
  Objective objective(Tape& tape, const FeatureBatch& batch, uint64_t tasks) const;

 private:
  struct Input {  // rows x; or the embeddings x of what the rows have in some fields
    Var x;
    const FieldRows* fields = nullptr;
    Var relu(const Linear& layer) const;
    Var times(Var W) const;
  };
  struct Layers {  // each of them relu and dropout
    Layers(Parameters::Scope at, int64_t in, int64_t width, int count);
    Var operator()(Input x, real dropout) const;
    std::deque<Linear> layers;
  };
  struct Experts {  // side by side      [n,in] → [n,experts·width]
    Experts(Parameters::Scope at, int64_t in, const NetworkConfig& config, int count);
    Var operator()(const Input& x, real dropout) const;
    int64_t count;
    Linear first;                          // of all of them at once
    std::vector<std::deque<Linear>> rest;  // of each
  };
  struct Level {  // of ple; mmoe is a level without own experts
    std::optional<Experts> shared;
    std::deque<Experts> own;                 // of each task
    std::vector<const Parameter*> gates;     // of each task
    const Parameter* shared_gate = nullptr;  // none in the last level
  };
  struct Head {
    std::optional<Layers> tower;
    std::optional<Linear> last;
    const Parameter *wide = nullptr, *wide_numbers = nullptr, *b = nullptr;  // b: without a tower
  };
  struct Network {  // of all tasks, or of one
    std::vector<Task> tasks;
    const Parameter* embedding = nullptr;
    std::optional<Layers> bottom;
    std::vector<Level> levels;
    std::vector<Head> heads;
  };
  Network build(Parameters::Scope at, const std::string& model, std::vector<Task> tasks,
                const Encoding& encoding) const;
  std::vector<Var> hidden(const Network& network, const Input& x, const std::vector<bool>& wanted) const;

  NetworkConfig config_;
  std::vector<Task> tasks_;
  std::deque<Network> networks_;
};

}  // namespace steelyard
