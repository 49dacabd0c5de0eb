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
#include "nn/model_file.h"
#include "tools/certificate.h"
#include "tools/config.h"
#include "tools/job.h"
#include "tools/progress.h"

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

void write_report(Job& job, const Outcome& outcome, const std::filesystem::path& folder) {
  const Fields fields = job.fields();
  Report report;
  report.title = std::get<std::string>(fields.at("model").value()) + " on " + job.training().data.train;
  report.summary =
      text("The best model was found after ", outcome.best_step, " of ", outcome.steps, " steps.");
  report.metrics = outcome.best;
  report.metrics_jsonl = MappedFile(folder / "metrics.jsonl").text();
  report.config_toml = dump_config(fields);
  if (!outcome.goals.empty()) {
    write_atomically(folder / "certificate.json", certificate_json(outcome, report.metrics_jsonl));
    report.tables.push_back(certificate_table(outcome));
  }
  job.report(folder, report, &stop_wanted);
  write_atomically(folder / "report.html", report_page(report));
}

// How the rows of a run follow each other.
BatchPlan plan_of(Job& job) {
  const TrainerConfig& config = job.training().trainer;
  return {job.rows(), config.batch, config.shards, static_cast<uint64_t>(config.seed)};
}

// The dev rows, of goals in an order cut in two.
struct DevRows {
  std::vector<int64_t> choosing, bounding;
};
DevRows dev_rows(Job& job, const std::vector<Goal>& goals) {
  DevRows rows;
  const bool in_order = std::ranges::any_of(goals, [](const Goal& goal) { return goal.priority > 0; });
  const double share = in_order ? job.training().nmt.held_out : 0;
  for (int64_t row = 0; row < job.dev_rows(); ++row)
    (measures_bounds(row, share) ? rows.bounding : rows.choosing).push_back(row);
  return rows;
}

std::string recorded_config(Job& job) {
  const std::string data_dir = job.place().data_dir;
  job.place().data_dir = std::filesystem::absolute(data_dir).lexically_normal().string();
  const std::string config = dump_config(job.fields());
  job.place().data_dir = data_dir;
  return config;
}

void check_folder(const std::filesystem::path& folder, Job& job, bool resume) {
  const auto config_path = folder / "config.toml";
  if (!std::filesystem::exists(folder) || std::filesystem::is_empty(folder)) return;
  if (!resume)
    fail(Fault::usage, "--out ", folder.string(),
         ": the folder is in use; expected a new or empty one, or --resume");
  if (!std::filesystem::exists(config_path)) return;
  const std::unique_ptr<Job> before = job.fresh();
  read_config(config_path, before->fields());
  for (const std::string& key : differences(before->fields(), job.fields()))
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
void dry_run(Job& job, TrainOptions options) {
  const ScratchFolder folder;
  options.rehearsal = options.quiet = true;
  options.resume = false;
  const TrainerConfig config = job.training().trainer;
  train_run(job, folder.path, options);
  if (stop_wanted) fail(Fault::interrupted, "interrupted in a rehearsal");
  const int64_t memory = peak_memory();
  Output out;
  out << job.vocabulary();
  for (const Parameter& p : job.parameters().all())
    out << text("parameter   ", p.path, " ", p.shape, p.table ? ", a table" : "", "\n");
  out << text("memory      ", memory,
              " MiB at the peak of a rehearsal: the first steps, an evaluation, a report\n");
  const BatchPlan plan = plan_of(job);
  out << text("rows        ", plan.rows, ", ", plan.steps_per_epoch(), " steps per epoch, ",
              config.epochs * plan.steps_per_epoch(), " in all\n");
  if (job.dev_rows() > 0) out << text("dev rows    ", job.dev_rows(), "\n");
  out << "\nthe first batch begins with\n";
  std::vector<int64_t> wanted;
  plan.rows_of(0, 0, wanted);
  constexpr size_t kShown = 5;
  wanted.resize(std::min(wanted.size(), kShown));
  out << job.in_words(wanted);
  out.flush();
}

}  // namespace

std::string Job::data_path(const std::string& file) {
  return (std::filesystem::path(place().data_dir) / file).string();
}

std::unique_ptr<Job> make_job(const std::string& model) {
  if (model == "dupn") return users_job();
  if (TableModelConfig::knows(model)) return table_job();
  if (model.empty() || model == "deepbow" || model == "dense" || model == "bm25")
    return relevance_job(RunConfig());
  fail(Fault::usage, "model: unknown model \"", model,
       "\"; expected deepbow, dense, bm25, dupn, "
       "bottom, mmoe, ple or linear");
}

bool measures_bounds(int64_t row, double share) {
  return static_cast<double>(random_uniform(key_of(0, "bounds"), static_cast<uint64_t>(row))) < share;
}

void refuse_difference(const std::string& key, const std::filesystem::path& older) {
  fail(Fault::usage, key, ": differs from ", older.string(), "; expected the model's own");
}

void check_optimizer(const Metadata& older, const OptimizerConfig& ours, const std::filesystem::path& path) {
  const auto trained = older.find("training");
  if (trained == older.end()) return;
  TrainingConfig before;
  from_json(before, trained->second);
  if (before.optimizer.dense != ours.dense) refuse_difference("optimizer.dense", path);
  if (before.optimizer.tables != ours.tables) refuse_difference("optimizer.tables", path);
}

std::string new_parameters(const Parameters& ours, const Parameters& older) {
  std::string fresh;
  for (const Parameter& p : ours.all())
    if (!older.find(p.path)) fresh += " " + p.path;
  return fresh.empty() ? "" : ", new parameters" + fresh;
}

Outcome train_run(Job& job, const std::filesystem::path& folder, const TrainOptions& options) {
  job.validate();
  const std::string recorded = recorded_config(job);  // as it was asked for: the data may fill in defaults
  TrainerConfig config = job.training().trainer;
  if (job.place().device == "gpu") gpu();  // says that there is none, until there is
  check_folder(folder, job, options.resume);
  RunFolder run_folder(folder);
  for (const char* file : {"config.toml", "state.safetensors", "model.safetensors", "report.html"})
    remove_leftovers(folder / file);
  Progress progress(options.quiet, config.batch);
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
  const Workers workers(job.place().threads);
  const Say say = [&](const std::string& message) { progress.message(message); };
  const auto cache = folder / "cache";
  std::filesystem::create_directories(cache);
  job.prepare({options, cache, say, &stop_wanted, workers});

  const std::string training_json = to_json(job.training());
  const BatchPlan plan = plan_of(job);
  std::vector<std::vector<int64_t>> rows(static_cast<size_t>(config.shards));  // reused, one per shard
  Training training;
  training.steps_per_epoch = plan.steps_per_epoch();
  training.identity = text(training_json, " ", job.identity());
  if (!options.older.empty()) {
    training.trained = true;
    training.identity +=
        text(options.update ? " update " : " init ", key_part(MappedFile(model_file(options.older)).text()));
  }
  const int64_t steps = config.epochs * plan.steps_per_epoch();
  if (options.rehearsal) {
    training.steps_per_epoch = std::min(training.steps_per_epoch, kRehearsed);
    config.epochs = std::min<int64_t>(config.epochs, 1);
    config.evaluate_every = config.collapse = 0;
  }
  training.goals = job.goals();
  training.objective = [&](Tape& tape, int64_t step, int shard, uint64_t tasks) {
    std::vector<int64_t>& of_shard = rows[static_cast<size_t>(shard)];
    plan.rows_of(step, shard, of_shard);
    return job.objective(tape, of_shard, static_cast<double>(step) / static_cast<double>(steps), tasks);
  };
  const DevRows dev = dev_rows(job, training.goals);
  if (job.dev_rows() > 0) training.evaluate = [&] { return job.evaluate(workers, dev.choosing); };
  const auto held_out = [&](const std::vector<int64_t>& of) {
    return HeldOut{std::ssize(of), [&](Tape& tape, int64_t begin, int64_t end, uint64_t tasks) {
                     const std::span<const int64_t> all = of;
                     return job.dev_objective(
                         tape, all.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
                         tasks);
                   }};
  };
  training.choosing = held_out(dev.choosing), training.bounding = held_out(dev.bounding);
  training.save = [&](const std::filesystem::path& path) { job.save(path, {{"training", training_json}}); };

  Trainer trainer(job.parameters(), training, config, job.training().optimizer, job.training().schedule,
                  job.training(), workers, folder);
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
  job.pretrain(workers);  // of a resumed run, too: it says which words bags may bring in
  if (options.resume && trainer.resume())
    progress.message(text("resumed at step ", trainer.step()));
  else
    trainer.check_goals();
  write_atomically(folder / "config.toml", recorded);
  run_folder.keep();
  const Outcome outcome = trainer.run();
  for (const GoalResult& goal : outcome.goals)
    if (goal.bound) say(certificate_line(goal));
  write_report(job, outcome, folder);
  std::filesystem::remove_all(cache);
  return outcome;
}

namespace {

// The one option that decides which others there are.
struct Kind {
  std::string model;
  template <class F>
  void fields(F&& f) {
    f("model", model, "");
  }
};

// What `train` and `update` have in common.
struct RunOptions : TrainOptions {
  std::string config, out, device, data_dir, model;
  std::vector<std::string> settings;
  int threads = -1;
  bool dry_run = false, dump_config = false, strict = false;

  void add_to(CLI::App& verb) {
    verb.add_option("CONFIG", config, "TOML file")->required();
    verb.add_option("--out", out, "run folder, new or empty");
    verb.add_option("--data-dir", data_dir, "folder of the data files");
    verb.add_option("--set", settings, "KEY=VALUE: change one option (repeatable)")->allow_extra_args(false);
    verb.add_option("--threads", threads, "threads; 0: one per core")->check(CLI::Range(0, kMostThreads));
    verb.add_option("--device", device, "cpu or gpu");
    verb.add_flag("--resume", resume, "continue from the folder's checkpoint, bit for bit");
    verb.add_flag("--strict", strict, "of method nmt: exit 4 if a goal's bound is not held");
    verb.add_flag("--dry-run", dry_run, "print parameters, memory and the first batch in words, and stop");
    verb.add_flag("--dump-config", dump_config, "print the complete configuration, and stop");
    verb.add_flag("--quiet", quiet, "no progress");
  }

  void run() {
    older = model;
    Kind kind{peek_config(config, "model")};
    for (const std::string& setting : settings)
      if (setting.starts_with("model=")) apply_setting(setting, kind);
    const std::unique_ptr<Job> job = make_job(kind.model);
    read_config(config, job->fields());
    for (const std::string& setting : settings) apply_setting(setting, job->fields());
    if (!data_dir.empty()) job->place().data_dir = data_dir;
    if (!device.empty()) job->place().device = device;
    if (threads >= 0) job->place().threads = threads;
    job->validate();
    if (dump_config) {
      Output text;
      text << steelyard::dump_config(job->fields());
      return text.flush();
    }
    catch_signals();
    if (dry_run) return steelyard::dry_run(*job, *this);
    if (out.empty()) fail(Fault::usage, "--out: missing; expected a folder for the run");
    const bool by_priority = job->training().method == "nmt";
    if (strict && !by_priority)
      fail(Fault::usage, "--strict: method is ", job->training().method,
           "; expected nmt, which has bounds to hold");
    train_run(*job, out, *this);
    if (strict && !certified(out))
      fail(Fault::broken, out, ": a goal is not held; certificate.json says which");
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
