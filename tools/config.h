// Configuration files: TOML into any struct with fields (core/fields.h), and back with the help as comments.
// Every error is one line that says where: "train.toml:7:1: unknown key "trainer.lerning_rate"; did you mean
// …". TOML's own errors, unknown keys, wrong types and numbers out of range are all Error(usage). What values
// make sense together is checked by whoever owns the struct.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/fields.h"

namespace steelyard {

// Sets what the file names; other options keep their values.
void read_config(const std::filesystem::path& path, Fields fields);
// The same from memory; `path` is for messages.
void parse_config(std::string_view toml, const std::string& path, Fields fields);

// The text of a key at the top of a file, whatever else it holds; empty: there is none, or no such file.
std::string peek_config(const std::filesystem::path& path, const std::string& key);

// One `--set KEY=VALUE`: a dotted key, a value in TOML; a bare word is a string.
void apply_setting(std::string_view setting, Fields fields);

// A complete file, which reads back to an equal configuration.
std::string dump_config(const Fields& fields);

}  // namespace steelyard
