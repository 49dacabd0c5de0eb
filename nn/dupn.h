// The Deep User Perception Network (Ni et al. 2018): a history of behaviours becomes one representation that
// several tasks share. In the paper's letters: e_t is the item of behaviour t, its fields' embeddings side by
// side; p_t its property; u the user's profile; q what is asked for.
//
//   h_t    Property Gated LSTM: the three gates see e_t and p_t, what they let through comes from e_t alone
//   a_t    softmax over the visible behaviours of a network of h_t, p_t, how long ago t was, u and q
//   rep    Σ_t a_t h_t and u, beside it perhaps the newest h_t and e_t
//
// Heads, each a network of its own, are what tasks make of it (x: numbers about the example):
//
//   pair, binary   z of rep, a candidate's e and x; σ(z), cross-entropy
//   classes        the same with a z for each class; softmax
//   rank           w of rep, none below 0; σ(w · x), so x are larger where better
//   next           rep against the e of all items; softmax
//
// Recency is apart from p_t: the gates see the time since the behaviour before, which stays true when more
// follow, so that one step more is all that a new behaviour costs. The paper's gates see the time until the
// request.
#pragma once

#include <deque>
#include <optional>

#include "autograd/objective.h"
#include "nn/histories.h"
#include "nn/linear.h"

namespace steelyard {

struct DupnConfig {
  int item_width = 32, attribute_width = 16, property_width = 12, profile_width = 16, query_width = 64;
  std::string sequence = "lstm", pooling = "attention";
  int hidden = 128;
  bool gates = true, attention = true, target = false, learned_start = false, newest_state = false,
       newest_item = false;
  bool candidate = true, frozen = false;
  int head_width = 128, head_layers = 2;
  double dropout = 0.2, item_dropout = 0, item_penalty = 1e-6;

  template <class F>
  void fields(F&& f) {
    f("item_width", item_width, "columns of an item's own embedding");
    f("attribute_width", attribute_width, "columns of each of its attributes' embeddings, which are summed");
    f("property_width", property_width, "columns of each property's embedding");
    f("profile_width", profile_width, "columns of the embedding of each column of the profile");
    f("query_width", query_width,
      "columns of the embeddings of the words of a query, of which the mean counts");
    f("sequence", sequence, "lstm; or none: a behaviour is its item alone");
    f("hidden", hidden, "units of the LSTM");
    f("gates", gates, "the gates see the property");
    f("attention", attention, "attention sees the property, and how long ago");
    f("target", target, "attention sees the candidate (as in DIN)");
    f("pooling", pooling, "attention, mean, or none: only what is newest, or nothing");
    f("learned_start", learned_start, "the state before the first behaviour is learned; else 0");
    f("newest_state", newest_state, "the newest state is part of the representation");
    f("newest_item", newest_item, "and so is the newest item");
    f("candidate", candidate, "heads see the candidate's item; else only numbers about it");
    f("frozen", frozen, "only the heads learn: of a model that goes on from another");
    f("head_width", head_width, "of the layers of a head");
    f("head_layers", head_layers, "before the last; 0: a head is linear");
    f("dropout", dropout, "of the representation and of every layer of attention and heads");
    f("item_dropout", item_dropout, "of the items' embeddings in histories");
    f("item_penalty", item_penalty, "L2 on the embeddings of a step's items");
  }
  void validate() const;
};

// What the data have.
struct DupnSizes {
  int32_t items = 1;                          // 0 among them, as in all of these
  std::vector<int32_t> values;                // of each attribute
  std::array<int, kProperties> properties{};  // values of each; 0: absent
  std::vector<int32_t> profile;               // values of each column
  int32_t words = 0;                          // of queries; 0: there are no queries
};

class Dupn {
 public:
  Dupn(Parameters::Scope at, const DupnConfig& config, const DupnSizes& sizes,
       const std::vector<ExampleGroup>& groups);

  // e of items, those that the model has not learned by their attributes alone; −1: none      [n,D]
  Var items(Tape& tape, Ids ids, const Catalogue& catalogue) const;
  // h of every behaviour      [n,H]. `first` and `last` are those of autograd/ops.h: lstm.
  Var states(Var e, const HistoryBatch& batch, Var first = {}, Tensor last = {}) const;
  // rep of every view      [v,R]; the attention that it gave, if asked for      [k]
  Var represent(Var e, Var h, const HistoryBatch& batch, const Catalogue& catalogue,
                Var* weights = nullptr) const;
  // z of each example of a group for one of its tasks, other than next      [m,1], of classes [m,C]
  Var logits(const Task& task, Var rep, Var candidates, const ExampleBatch& examples, Tape& tape) const;
  // Of every item that the model has learned, from 1 on, to be the next      [v,items−1]
  Var next_logits(Var rep, const Catalogue& catalogue) const;
  // e of the items that examples of a group are about      [m,D]; none, if no head looks at them
  Var candidates_of(Tape& tape, const ExampleGroup& group, Ids items, const Catalogue& catalogue) const;

  // The mean loss of each task, group by group, over the examples that it is asked of; 0 of 0 of those whose bit is not
  // set.
  Objective objective(Tape& tape, const HistoryBatch& batch, const Catalogue& catalogue,
                      uint64_t tasks) const;
  bool by_example() const { return config_.target; }
  int64_t rep_width() const { return rep_; }      // R; 0: nothing of the user is read
  int64_t depth() const { return depth_; }        // D, columns of e
  int64_t state_width() const { return state_; }  // H; without an LSTM D

 private:
  struct Head {
    Parameter *rep = nullptr, *candidate = nullptr, *numbers = nullptr,
              *b = nullptr;     // the first layer, in parts
    Parameter* wide = nullptr;  // from the numbers straight to the logit (Cheng et al. 2016)
    std::deque<Linear> rest;
  };
  void add_head(Parameters::Scope at, const Task& task, const ExampleGroup& group);
  Var drop(Var x) const { return dropout(x, static_cast<real>(config_.dropout)); }
  Var property(Tape& tape, const HistoryBatch& batch) const;
  Var profile(Tape& tape, const HistoryBatch& batch) const;  // u of every row
  Var query(Tape& tape, const HistoryBatch& batch) const;    // q of every row

  DupnConfig config_;
  DupnSizes sizes_;
  std::vector<ExampleGroup> groups_;
  int64_t depth_ = 0, property_depth_ = 0, state_ = 0, rep_ = 0;  // of e, p, h, rep
  Parameter* item_ = nullptr;
  std::vector<Parameter*> attributes_, properties_, profile_;
  Parameter* words_ = nullptr;
  std::optional<Linear> gates_, content_;
  Parameter *recurrent_ = nullptr, *start_ = nullptr;
  std::optional<Linear> attend_, attend_more_;
  Parameter *attend_last_ = nullptr, *attend_target_ = nullptr, *attend_recency_ = nullptr,
            *attend_profile_ = nullptr, *attend_query_ = nullptr;
  std::map<std::string, Head> heads_;
  std::optional<Linear> next_;       // rep → e
  Parameter* popularity_ = nullptr;  // of each item, a column
};

}  // namespace steelyard
