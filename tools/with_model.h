// A model file of any kind, for the verbs.
#pragma once

#include <string>

#include "nn/model_file.h"
#include "nn/relevance.h"
#include "nn/table_model.h"
#include "nn/user_model.h"

namespace steelyard {

// Opens a model file or a run folder and calls the one of these that is of its kind.
template <class OfRelevance, class OfUsers, class OfTables>
void with_model(const std::string& path, OfRelevance of_relevance, OfUsers of_users, OfTables of_tables) {
  const TensorFile file(model_file(path));
  const std::string kind = kind_of(file);
  if (kind == "users") {
    UserModel model = UserModel::open(file);
    return of_users(model);
  }
  if (kind == "table") return of_tables(TableModel::open(file));
  of_relevance(Relevance::open(file));
}

}  // namespace steelyard
