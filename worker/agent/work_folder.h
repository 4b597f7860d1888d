// The folder an attempt works in.
#ifndef LATHE_WORKER_AGENT_WORK_FOLDER_H_
#define LATHE_WORKER_AGENT_WORK_FOLDER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::worker {

// `in/` (the model's files), `compared/` (those of the model to compare with), `teacher/` (those of
// the one to learn from), `data/` (datasets), `resume/` (where an earlier training stood), `out/`
// (what the job writes), `meta/` (its report), `checkpoint/` (where its training stands) and
// `tmp/`; all of it is removed with the object.
class WorkFolder {
 public:
  static absl::StatusOr<std::unique_ptr<WorkFolder>> Create(const std::string& path);
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string in() const { return path_ + "/in"; }
  std::string compared() const { return path_ + "/compared"; }
  std::string teacher() const { return path_ + "/teacher"; }
  std::string data() const { return path_ + "/data"; }
  std::string resume() const { return path_ + "/resume"; }
  std::string out() const { return path_ + "/out"; }
  std::string meta() const { return path_ + "/meta"; }
  std::string checkpoint() const { return path_ + "/checkpoint"; }
  std::string tmp() const { return path_ + "/tmp"; }

  // Puts a cached file at `folder/relative`. With `share` it is a hard link, which costs nothing
  // but needs a job that cannot write there; else a copy (a reflink where the file system can).
  // INVALID_ARGUMENT on a path that leaves the folder.
  absl::Status Place(const std::string& cached, const std::string& folder,
                     const std::string& relative, bool share) const;

 private:
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// Relative, with no empty, "." or ".." part, no NUL: it stays below whatever it is joined to.
bool IsSafeRelativePath(absl::string_view path);

// The full path of `folder/relative`, once it is sure that it is a regular file reached through
// real folders: a hostile job may have left links that point elsewhere. INVALID_ARGUMENT otherwise.
// Only for folders that nobody writes to any more.
absl::StatusOr<std::string> RegularFileBelow(const std::string& folder,
                                             const std::string& relative);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_WORK_FOLDER_H_
