// The one file of a model: its parameters, its configuration and whatever else scoring needs
// (core/tensor_file.h). Every kind of model is written and read through here. Next: nn/relevance.h,
// nn/user_model.h.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/fields.h"
#include "core/tensor_file.h"

namespace steelyard {

std::filesystem::path model_file(const std::filesystem::path& path);  // of a run folder; a file is its own
std::string kind_of(const TensorFile& model);                         // empty: it does not say

void save_model(const std::filesystem::path& path, const char* kind, std::vector<NamedArray> arrays,
                const Fields& config, const Metadata& more);

// Error(input): the file is of another format or kind.
void expect_model(const TensorFile& file, const char* kind);
// Throws the error again, as this file's fault if it does not name the file already: a configuration that no
// run could have had, an array that is not what it must be.
[[noreturn]] void blame(const TensorFile& file, const Error& error);

// What load(config) makes of the file.
template <class Config, class Load>
auto load_model(const TensorFile& file, const char* kind, Load load) {
  expect_model(file, kind);
  try {
    Config config;
    from_json(config, file.metadata("config"));
    config.validate();
    return load(std::move(config));
  } catch (const Error& error) {
    blame(file, error);
  }
}

}  // namespace steelyard
