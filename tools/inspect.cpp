#include "data/bag_store.h"
#include "tools/config.h"
#include "tools/verbs.h"
#include "tools/with_model.h"

namespace steelyard {

namespace {

// Prints the configuration, what the model knows by name, and its parameters.
template <class Config, class Model>
void print_model(Config config, const Model& model, const std::string& knows) {
  TrainingConfig& training = config;
  if (const auto found = model.metadata().find("training"); found != model.metadata().end())
    from_json(training, found->second);
  Output out;
  out << dump_config(config) << "\n" << knows;
  for (const Parameter& p : model.parameters().all())
    out << text("# parameter   ", p.path, " ", p.shape, p.table ? ", a table" : "", ", ",
                p.shape.size() * static_cast<int64_t>(sizeof(real)), " bytes\n");
  out << text("# numbers     ", model.parameters().size(), "\n");
  out.flush();
}

void run_inspect(const std::string& path) {
  with_model(
      path,
      [](const Relevance& model) {
        RunConfig config;
        static_cast<RelevanceConfig&>(config) = model.config();
        const Vocabulary& vocabulary = model.vocabulary();
        print_model(config, model,
                    text("# terms       ", vocabulary.entries(), " of their own, ",
                         vocabulary.size() - vocabulary.entries(), " buckets, counted in ",
                         vocabulary.documents(), " texts\n"));
      },
      [](const UserModel& model) {
        UserRunConfig config;
        static_cast<UserConfig&>(config) = model.config();
        print_model(config, model, text("# items       ", model.catalogue().items.size() - 1, "\n"));
      },
      [](const TableModel& model) {
        TableRunConfig config;
        static_cast<TableModelConfig&>(config) = model.config();
        print_model(config, model, text("# features    ", model.encoding().names().size(), "\n"));
      });
}

void run_verify(const std::string& path) {
  if (!std::filesystem::is_directory(path) && BagStore::is(TensorFile(path))) {
    const BagStore store(path);
    Output out;
    out << text(path, ": whole; bags of ", store.size(), " products\n");
    return out.flush();
  }
  const auto say = [&](const auto& model, const std::string& knows) {
    Output out;
    out << text(path, ": whole; ", model.config().model, ", ", model.parameters().size(), " numbers, ", knows,
                "\n");
    out.flush();
  };
  with_model(
      path, [&](const Relevance& model) { say(model, text(model.vocabulary().entries(), " terms")); },
      [&](const UserModel& model) { say(model, text(model.catalogue().items.size() - 1, " items")); },
      [&](const TableModel& model) { say(model, text(model.encoding().names().size(), " features")); });
}

void add_file_verb(CLI::App& app, const char* name, const char* what, const char* example,
                   void (*run)(const std::string&)) {
  CLI::App* verb = add_verb(app, name, what, example);
  const auto model = std::make_shared<std::string>();
  verb->add_option("MODEL", *model, "model file or run folder")->required();
  verb->callback([model, run] { run(*model); });
}

}  // namespace

void add_inspect(CLI::App& app) {
  add_file_verb(app, "inspect", "configuration, parameters and sizes of a model", "steelyard inspect run",
                run_inspect);
}

void add_verify(CLI::App& app) {
  add_file_verb(app, "verify", "is a model file, or a store of bags, whole? exit 0 or 3",
                "steelyard verify run", run_verify);
}

}  // namespace steelyard
