#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <fstream>
#include <optional>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/file.h"
#include "data/batches.h"
#include "data/table.h"
#include "tools/config.h"
#include "tools/explain.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace steelyard {

namespace {

constexpr int64_t kRehearsed = 16;  // steps: enough to have seen long texts

std::atomic<bool> stop_wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

// SIGINT and SIGTERM end a run after a clean checkpoint; a second signal ends the program at once.
void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop_wanted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

std::string data_path(const RunConfig& config, const std::string& file) {
  return (std::filesystem::path(config.run.data_dir) / file).string();
}

using Say = std::function<void(const std::string&)>;

// The model before its first step, with what an older one has learned.
Relevance from_older(RunConfig& config, const TrainOptions& options, const Say& say,
                     const std::atomic<bool>* stop) {
  const Relevance older = Relevance::open(options.older);
  RelevanceConfig& ours = config;
  RelevanceConfig theirs = older.config();
  if (ours.bm25.mean_length == 0) ours.bm25.mean_length = theirs.bm25.mean_length;
  // What gives the words and the parameters of a name their meaning.
  std::vector<std::string> same = {"tokenizer.", "vocabulary.", "deepbow.query_bag", "deepbow.product_bag"};
  if (theirs.model == "dense" || theirs.deepbow.query_encoder || theirs.deepbow.product_encoder)
    same.push_back("encoder.kind");
  const auto differs = [&](const std::string& key) {
    fail(Fault::usage, key, ": differs from ", options.older.string(), "; expected the model's own");
  };
  for (const std::string& key : differences(theirs, ours))
    if (options.update ||
        std::ranges::any_of(same, [&](const std::string& begin) { return key.starts_with(begin); }))
      differs(key);
  if (const auto trained = older.metadata().find("training");
      options.update && trained != older.metadata().end()) {
    TrainingConfig before;
    from_json(before, trained->second);
    if (before.optimizer.dense != config.optimizer.dense) differs("optimizer.dense");
    if (before.optimizer.tables != config.optimizer.tables) differs("optimizer.tables");
  }
  std::optional<Dictionary> dictionary;
  if (older.dictionary()) dictionary = *older.dictionary();
  Vocabulary vocabulary =
      options.update ? read_corpus(theirs, data_path(config, config.data.train), config.data.bad_rows,
                                   older.dictionary(), stop, &older.vocabulary())
                           .vocabulary
                     : older.vocabulary();
  Relevance model(config, std::move(vocabulary), static_cast<uint64_t>(config.trainer.seed),
                  std::move(dictionary), &older);
  std::string fresh;
  for (const Parameter& p : model.parameters().all())
    if (!older.parameters().find(p.path)) fresh += " " + p.path;
  say(text("goes on from ", options.older.string(), ": ",
           model.vocabulary().entries() - older.vocabulary().entries(), " new terms",
           fresh.empty() ? "" : ", new parameters" + fresh));
  return model;
}

// The model before its first step: the words of its training rows.
Relevance untrained(RunConfig& config, const TrainOptions& options, const Say& say,
                    const std::atomic<bool>* stop) {
  if (!options.older.empty()) return from_older(config, options, say, stop);
  std::optional<Dictionary> dictionary;
  if (!config.tokenizer.dictionary.empty())
    dictionary = Dictionary::read(data_path(config, config.tokenizer.dictionary));
  Corpus corpus = read_corpus(config, data_path(config, config.data.train), config.data.bad_rows,
                              dictionary ? &*dictionary : nullptr, stop);
  if (config.bm25.mean_length == 0) config.bm25.mean_length = corpus.mean_product_length;
  return Relevance(config, std::move(corpus.vocabulary), static_cast<uint64_t>(config.trainer.seed),
                   std::move(dictionary));
}

// The best and the worst dev pairs, explained.
void add_examples(const Relevance& model, const RunConfig& config, Report& report) {
  if (config.data.dev.empty()) return;
  constexpr size_t kEach = 4;
  PairReader reader(data_path(config, config.data.dev), config.columns, config.data.bad_rows, &stop_wanted);
  struct Candidate {
    double error;
    Explanation explanation;
  };
  std::vector<Candidate> best, worst;
  Workspace workspace;
  Bag query, product;
  // Keeps the first kEach by `before`, in one pass.
  const auto keep = [](std::vector<Candidate>& list, const Candidate& candidate, auto before) {
    list.insert(std::upper_bound(list.begin(), list.end(), candidate, before), candidate);
    if (list.size() > kEach) list.pop_back();
  };
  for (LabelledPair pair; reader.next(pair);) {
    model.encode(Side::query, pair.query, query, workspace);
    model.encode(Side::product, pair.product, product, workspace);
    const double label = config.columns.share(pair.grade);
    const double error = std::abs(model.probability(score(query, product)) - label);
    const auto smaller = [](const Candidate& a, const Candidate& b) { return a.error < b.error; };
    const auto larger = [](const Candidate& a, const Candidate& b) { return a.error > b.error; };
    const bool good = label >= 0.99 && (best.size() < kEach || error < best.back().error);
    const bool bad = worst.size() < kEach || error > worst.back().error;
    if (!good && !bad) continue;
    Candidate candidate{error, explain(model, pair.query, pair.product, query, product)};
    candidate.explanation.grade = pair.grade;
    if (good) keep(best, candidate, smaller);
    if (bad) keep(worst, candidate, larger);
  }
  for (Candidate& candidate : best) report.best.push_back(std::move(candidate.explanation));
  for (Candidate& candidate : worst) report.worst.push_back(std::move(candidate.explanation));
}

void write_report(const Relevance& model, const RunConfig& config, const Outcome& outcome,
                  const std::filesystem::path& folder) {
  Report report;
  report.title = config.model + " on " + config.data.train;
  report.summary =
      text("The best model was found after ", outcome.best_step, " of ", outcome.steps, " steps.");
  report.metrics = outcome.best;
  report.metrics_jsonl = MappedFile(folder / "metrics.jsonl").text();
  RunConfig copy = config;
  report.config_toml = dump_config(copy);
  add_examples(model, config, report);
  write_atomically(folder / "report.html", report_page(report));
}

void check_folder(const std::filesystem::path& folder, RunConfig& config, bool resume) {
  const auto config_path = folder / "config.toml";
  if (!std::filesystem::exists(folder) || std::filesystem::is_empty(folder)) return;
  if (!resume)
    fail(Fault::usage, "--out ", folder.string(),
         ": the folder is in use; expected a new or empty one, or --resume");
  if (!std::filesystem::exists(config_path)) return;
  RunConfig before;
  read_config(config_path, before);
  for (const std::string& key : differences(before, config))
    if (!key.starts_with("run."))
      fail(Fault::usage, "--resume: ", key, " differs from ", config_path.string(),
           "; expected the run's own configuration");
}

// The run's folder, made if need be and locked, so that no second run can work in it; the lock ends with the process.
// Whoever fails before the first step leaves behind what was there before: after a wrong path or a bad row, the same
// command can be tried again.
class RunFolder {
 public:
  explicit RunFolder(const std::filesystem::path& folder) : folder_(folder) {
    const bool fresh = !std::filesystem::exists(folder) || std::filesystem::is_empty(folder);
    for (auto path = folder; !path.empty() && !std::filesystem::exists(path); path = path.parent_path())
      made_.push_back(path);
    std::filesystem::create_directories(folder);
    file_ = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file_ < 0 || flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (file_ >= 0) close(file_);
      fail(Fault::usage, "--out ", folder.string(),
           ": another run is at work there; expected a folder of its own");
    }
    remove_ = fresh;
  }
  ~RunFolder() {
    std::error_code ignored;
    if (remove_) {
      for (const auto& entry : std::filesystem::directory_iterator(folder_, ignored))
        std::filesystem::remove_all(entry, ignored);
      for (const auto& path : made_) std::filesystem::remove(path, ignored);
    }
    close(file_);
  }
  RunFolder(const RunFolder&) = delete;
  void keep() { remove_ = false; }

 private:
  const std::filesystem::path folder_;
  std::vector<std::filesystem::path> made_;  // the folder and its parents, as far as they are new
  int file_ = -1;
  bool remove_ = false;
};

// A folder for the length of a scope.
struct ScratchFolder {
  ScratchFolder() : path((std::filesystem::temp_directory_path() / "steelyard-XXXXXX").string()) {
    if (!mkdtemp(path.data()))
      fail(Fault::resources, path, ": cannot be made; expected room for temporary files");
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  std::string path;
};

// The most memory that this program has had so far, in MiB. Not getrusage: its figure begins with the program that
// started this one.
int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) >> 10;
  fail(Fault::resources, "/proc/self/status: no VmHWM; expected Linux");
}

// What would be trained. A rehearsal, whose folder goes away, finds what is wrong and what memory a run takes.
void dry_run(const RunConfig& config, TrainOptions options) {
  const ScratchFolder folder;
  options.rehearsal = options.quiet = true;
  options.resume = false;
  train_run(config, folder.path, options);
  if (stop_wanted) fail(Fault::interrupted, "interrupted in a rehearsal");
  const int64_t memory = peak_memory();
  const Relevance model = Relevance::open(folder.path);
  const Vocabulary& vocabulary = model.vocabulary();
  Output out;
  out << text("terms       ", vocabulary.entries(), " of their own, ",
              vocabulary.size() - vocabulary.entries(), " buckets\n");
  for (const Parameter& p : model.parameters().all())
    out << text("parameter   ", p.path, " ", p.shape, p.table ? ", a table" : "", "\n");
  out << text("memory      ", memory,
              " MiB at the peak of a rehearsal: the first steps, an evaluation, a report\n");

  const auto rows_in = [&](const std::string& file) {
    int64_t count = 0;
    PairReader reader(data_path(config, file), config.columns, config.data.bad_rows, &stop_wanted);
    for (LabelledPair pair; reader.next(pair);) ++count;
    return count;
  };
  const int64_t count = rows_in(config.data.train);
  const BatchPlan plan{count, config.trainer.batch, config.trainer.shards,
                       static_cast<uint64_t>(config.trainer.seed)};
  out << text("rows        ", count, ", ", plan.steps_per_epoch(), " steps per epoch, ",
              config.trainer.epochs * plan.steps_per_epoch(), " in all\n");
  if (!config.data.dev.empty()) out << text("dev rows    ", rows_in(config.data.dev), "\n");
  out << "\nthe first batch begins with\n";
  std::vector<int64_t> wanted;
  plan.rows_of(0, 0, wanted);
  constexpr size_t kShown = 5;
  wanted.resize(std::min(wanted.size(), kShown));
  PairReader reader(data_path(config, config.data.train), config.columns, config.data.bad_rows);
  Workspace workspace;
  Bag query;
  size_t shown = 0;
  int64_t at = 0;
  for (LabelledPair pair; shown < wanted.size() && reader.next(pair); ++at) {
    if (std::find(wanted.begin(), wanted.end(), at) == wanted.end()) continue;
    ++shown;
    out << text("  ", number(pair.grade), "  ", pair.query, "  |  ", pair.product, "\n     ");
    model.encode(Side::query, pair.query, query, workspace);
    for (int64_t i = 0; i < query.terms.size(); ++i) out << " " << query.terms.surface(i);
    out << "\n";
  }
  out.flush();
}

}  // namespace

Outcome train_run(const RunConfig& wanted, const std::filesystem::path& folder, const TrainOptions& options) {
  RunConfig config = wanted;
  config.validate();
  if (config.run.device == "gpu") gpu();  // says that there is none, until there is
  check_folder(folder, config, options.resume);
  RunFolder run_folder(folder);
  for (const char* file : {"config.toml", "state.safetensors", "model.safetensors", "report.html"})
    remove_leftovers(folder / file);
  Progress progress(options.quiet, config.trainer.batch);
  if (options.resume) {
    if (const std::optional<Outcome> done = Trainer::finished_run(folder);
        done && std::filesystem::exists(folder / "report.html")) {
      if (!std::filesystem::exists(folder / "model.safetensors"))
        fail(Fault::input, (folder / "model.safetensors").string(),
             ": missing from a finished run; expected the model");
      progress.message(text(folder.string(), ": finished at step ", done->steps, "; nothing to do"));
      return *done;
    }
  }
  const Workers workers(config.run.threads);
  const Say say = [&](const std::string& message) { progress.message(message); };
  Relevance model = untrained(config, options, say, &stop_wanted);
  const auto cache = folder / "cache";
  std::filesystem::create_directories(cache);
  const auto encoded = [&](const std::string& file, const char* name) {
    return model.encode_rows(data_path(config, file), config.data.bad_rows, cache / name, say, &stop_wanted);
  };
  const RowCache train_cache = encoded(config.data.train, "train.rows");
  const PairRows train(train_cache);
  std::optional<RowCache> dev_cache;
  if (!config.data.dev.empty()) dev_cache = encoded(config.data.dev, "dev.rows");

  TrainingConfig& training_config = config;
  RelevanceConfig& model_config = config;
  const std::string training_json = to_json(training_config);
  const BatchPlan plan{train.size(), config.trainer.batch, config.trainer.shards,
                       static_cast<uint64_t>(config.trainer.seed)};
  std::vector<std::vector<int64_t>> rows(
      static_cast<size_t>(config.trainer.shards));  // reused, one per shard
  Training training;
  training.steps_per_epoch = plan.steps_per_epoch();
  training.identity = text(to_json(model_config), " ", training_json, " ", train_cache.key(), " ",
                           dev_cache ? dev_cache->key() : std::string("no dev rows"));
  if (!options.older.empty()) {
    training.trained = true;
    training.identity += text(options.update ? " update " : " init ",
                              key_part(MappedFile(Relevance::file_of(options.older)).text()));
  }
  const int64_t steps = config.trainer.epochs * plan.steps_per_epoch();
  if (options.rehearsal) {
    training.steps_per_epoch = std::min(training.steps_per_epoch, kRehearsed);
    config.trainer.epochs = std::min<int64_t>(config.trainer.epochs, 1);
    config.trainer.evaluate_every = config.trainer.collapse = 0;
  }
  training.objective = [&](Tape& tape, int64_t step, int shard) {
    std::vector<int64_t>& of_shard = rows[static_cast<size_t>(shard)];
    plan.rows_of(step, shard, of_shard);
    return model.objective(tape, train, of_shard, static_cast<double>(step) / static_cast<double>(steps));
  };
  if (dev_cache)
    training.evaluate = [&] {
      const PairRows dev(*dev_cache);
      const ScoredRows rows = model.score_rows(dev, workers);
      return Findings{model.metrics(rows.scores, dev.grades, dev.groups), Relevance::figures(rows),
                      model.collapse(rows)};
    };
  training.save = [&](const std::filesystem::path& path) { model.save(path, {{"training", training_json}}); };

  Trainer trainer(model.parameters(), training, config.trainer, config.optimizer, config.schedule, workers,
                  folder);
  trainer.on_step = [&](const StepRecord& record) { progress.step(record); };
  trainer.on_evaluate = [&](int64_t step, const Findings& found, bool best) {
    progress.evaluated(step, found, best);
  };
  if (!options.rehearsal) trainer.stop = &stop_wanted;
  if (options.update) {
    const auto state = options.older / "state.safetensors";
    if (std::filesystem::exists(state))
      trainer.go_on(TensorFile(state));
    else
      say(state.string() + ": not there, the optimiser begins anew");
  }
  model.pretrain(train, workers);  // of a resumed run, too: it says which words bags may bring in
  if (options.resume && trainer.resume()) progress.message(text("resumed at step ", trainer.step()));
  RunConfig recorded = wanted;
  recorded.run.data_dir = std::filesystem::absolute(wanted.run.data_dir).lexically_normal().string();
  write_atomically(folder / "config.toml", dump_config(recorded));
  run_folder.keep();
  const Outcome outcome = trainer.run();
  write_report(Relevance::open(folder), config, outcome, folder);
  std::filesystem::remove_all(cache);
  return outcome;
}

namespace {

// What `train` and `update` have in common.
struct RunOptions : TrainOptions {
  std::string config, out, device, data_dir, model;
  std::vector<std::string> settings;
  int threads = -1;
  bool dry_run = false, dump_config = false;

  void add_to(CLI::App& verb) {
    verb.add_option("CONFIG", config, "TOML file")->required();
    verb.add_option("--out", out, "run folder, new or empty");
    verb.add_option("--data-dir", data_dir, "folder of the data files");
    verb.add_option("--set", settings, "KEY=VALUE: change one option (repeatable)")->allow_extra_args(false);
    verb.add_option("--threads", threads, "threads; 0: one per core")->check(CLI::Range(0, kMostThreads));
    verb.add_option("--device", device, "cpu or gpu");
    verb.add_flag("--resume", resume, "continue from the folder's checkpoint, bit for bit");
    verb.add_flag("--dry-run", dry_run, "print parameters, memory and the first batch in words, and stop");
    verb.add_flag("--dump-config", dump_config, "print the complete configuration, and stop");
    verb.add_flag("--quiet", quiet, "no progress");
  }

  void run() {
    older = model;
    RunConfig run_config;
    read_config(config, run_config);
    for (const std::string& setting : settings) apply_setting(setting, run_config);
    if (!data_dir.empty()) run_config.run.data_dir = data_dir;
    if (!device.empty()) run_config.run.device = device;
    if (threads >= 0) run_config.run.threads = threads;
    run_config.validate();
    if (dump_config) {
      Output text;
      text << steelyard::dump_config(run_config);
      return text.flush();
    }
    catch_signals();
    if (dry_run) return steelyard::dry_run(run_config, *this);
    if (out.empty()) fail(Fault::usage, "--out: missing; expected a folder for the run");
    train_run(run_config, out, *this);
  }
};

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* verb = add_verb(app, "train", "train a model from a configuration",
                            "steelyard market --out shop && steelyard train "
                            "tools/configs/market_deepbow.toml --data-dir shop --out run");
  const auto o = std::make_shared<RunOptions>();
  o->add_to(*verb);
  verb->add_option("--init", o->model, "model or run folder: begin with its words and what it has learned");
  verb->callback([o] { o->run(); });
}

void add_update(CLI::App& app) {
  CLI::App* verb = add_verb(app, "update", "train a model further, on newer rows and with their words",
                            "steelyard update run tools/configs/market_deepbow.toml --data-dir shop --set "
                            "data.train=relevance_test.tsv --out newer");
  const auto o = std::make_shared<RunOptions>();
  o->update = true;
  verb->add_option("MODEL", o->model, "model or run folder; of a folder, the optimiser goes on too")
      ->required();
  o->add_to(*verb);
  verb->callback([o] { o->run(); });
}

}  // namespace steelyard
