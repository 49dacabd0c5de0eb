#include "nn/model_file.h"

#include <string_view>

namespace steelyard {

namespace {
constexpr const char* kFormat = "steelyard-model-2";
}

std::filesystem::path model_file(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? path / "model.safetensors" : path;
}

std::string kind_of(const TensorFile& model) {
  const auto kind = model.metadata().find("kind");
  return kind == model.metadata().end() ? "" : kind->second;
}

void save_model(const std::filesystem::path& path, const char* kind, std::vector<NamedArray> arrays,
                const Fields& config, const Metadata& more) {
  Metadata metadata = more;
  metadata["format"] = kFormat;
  metadata["kind"] = kind;
  metadata["config"] = to_json(config);
  write_tensor_file(path, std::move(arrays), metadata);
}

void expect_model(const TensorFile& file, const char* kind) {
  const auto expect = [&](const char* key, const char* expected) {
    if (file.metadata(key) != expected)
      fail(Fault::input, file.path().string(), ": ", key, " is \"", file.metadata(key), "\"; expected \"",
           expected, "\"");
  };
  expect("format", kFormat);
  expect("kind", kind);
}

void blame(const TensorFile& file, const Error& error) {
  const std::string path = file.path().string();
  if (std::string_view(error.what()).starts_with(path)) fail(error.fault, error.what());
  fail(error.fault == Fault::usage ? Fault::input : error.fault, path, ": ", error.what());
}

}  // namespace steelyard
