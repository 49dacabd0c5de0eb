// What the verbs do with a model of users (nn/user_model.h); tables.h does it with one of tables, score.cpp and explain.cpp
// with one of relevance.
#pragma once

#include <string>
#include <vector>

#include "nn/user_model.h"

namespace steelyard {

// `data_dir`: where the other files are that the model names; empty: beside the events.
struct UsersRequest {
  std::string model, data = "-", events, table, data_dir, npy, user, item, query, part;
  int threads = 0;
  int64_t top = 10;
  bool with_history = false, json = false;
};

// What the tables that are asked by tasks ask, in the order of the maker's groups; and the users' profiles. Files
// are relative to the folder, `log` has been read into the histories.
std::vector<Questions> read_tables(const UserConfig& config, const ExampleMaker& maker,
                                   const std::string& log, const std::string& data_dir, Histories& histories,
                                   Catalogue& catalogue, const Reading& how = {});

// A model's catalogue grows by what the files bring. Lines: of score one for each row of DATA, of encode (the
// representation) and recommend (user and items) one for each of its histories; explain says the attention over
// one user's events, evaluate the metrics of a part of the users of DATA.
void score_users(UserModel& model, const UsersRequest& request);
void encode_users(UserModel& model, const UsersRequest& request);
void recommend_users(UserModel& model, const UsersRequest& request);
void explain_user(UserModel& model, const UsersRequest& request);
void evaluate_users(UserModel& model, const UsersRequest& request);

}  // namespace steelyard
