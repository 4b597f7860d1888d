// The flags that say what to do to a model, shared by `submit` and `compress`.
#ifndef LATHE_CLIENT_CLI_JOB_FLAGS_H_
#define LATHE_CLIENT_CLI_JOB_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/context.h"
#include "client/cli/progress.h"
#include "common/recipe/validate.h"
#include "lathe/client.h"

namespace lathe::cli {

struct JobFlags {
  std::string recipe_file;
  std::vector<std::string> steps;
  std::string teacher;  // a file or models/ID; "": none
  std::optional<uint64_t> seed;
  std::vector<std::string> data;  // [ROLE=]FILE
  // KEY=VALUE,... of a section each.
  std::vector<std::string> evaluate;
  std::vector<std::string> preprocess;
  std::vector<std::string> split;
  std::vector<std::string> constraints;
  std::vector<std::string> bindings;
  std::vector<std::string> labels;
  int priority = 0;
  std::string max_run;
  std::string max_pending;

  void Add(CLI::App& command);
  // Those of an evaluation: without steps.
  void AddForEvaluation(CLI::App& command);
  // The job without its model and datasets; reads and validates the recipe. INVALID_ARGUMENT
  // otherwise.
  absl::StatusOr<v1::Job> ToJob(RecipeUse use = RecipeUse::kCompress) const;
  // Holds the files of --data against the model, where that is a file too, and the job's recipe
  // (data_check.h): to be called before anything is sent.
  absl::Status CheckData(const std::string& model, const v1::Job& job) const;
  // Uploads what --teacher names, where that is a file, and adds it to the job.
  absl::Status UploadTeacher(client::Client& client, const Context& context, v1::Job* job) const;
  // Uploads what --data names and adds it to the job.
  absl::Status UploadData(client::Client& client, const Context& context, v1::Job* job) const;
};

// Uploads an ONNX file with a progress bar.
absl::StatusOr<v1::Model> UploadWithProgress(client::Client& client, const Context& context,
                                             const std::string& path,
                                             const std::string& display_name);

// The name of the model that a command's argument means: models/ID or ID as it is, a file once it
// is uploaded.
absl::StatusOr<std::string> ModelArgument(client::Client& client, const Context& context,
                                          const std::string& given);

struct FollowOptions {
  // Ctrl-C cancels the job and waits for it to stop; otherwise it stops following.
  bool cancel_on_interrupt = false;
  // With --json, every event goes to standard output, a line each.
  bool print_events = false;
  // Gets every line of the job's log; may be empty.
  std::function<void(const std::string& line)> on_log;
};
// Follows a job to its end: progress on standard error, and with --verbose the job's log.
absl::StatusOr<v1::Job> FollowJob(client::Client& client, const Context& context,
                                  const v1::Job& job, const FollowOptions& options);

// The exit code that a finished job stands for; prints why it failed to standard error.
int FinishedJobExitCode(Context& context, const v1::Job& job);

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_JOB_FLAGS_H_
