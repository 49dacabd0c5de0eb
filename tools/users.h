// What the verbs do with a model of users (nn/user_model.h); score.cpp and explain.cpp do it with one of
// relevance.
#pragma once

#include <string>

#include "nn/user_model.h"

namespace steelyard {

bool is_user_model(const std::string& model);  // a file or a run folder; false also of what is neither

struct UsersRequest {
  std::string model, data = "-", events, npy, user, item, part;
  int threads = 0;
  int64_t top = 10;
  bool with_history = false, json = false;
};

void score_users(
    const UsersRequest&
        request);  // a header, then a line per row of DATA: the probability of each task of pairs
void encode_users(const UsersRequest& request);     // the representation of each history of DATA
void recommend_users(const UsersRequest& request);  // user and items of each history of DATA
void explain_user(const UsersRequest& request);     // the attention over one user's events
void evaluate_users(const UsersRequest& request);   // the metrics of a part of the users of DATA

}  // namespace steelyard
