// Measures a model, or compares two (internal to engine.h).
#ifndef LATHE_WORKER_ENGINE_EVALUATE_RUN_H_
#define LATHE_WORKER_ENGINE_EVALUATE_RUN_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/engine.h"
#include "worker/engine/evaluate/report.h"
#include "worker/engine/evaluation_data.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

class EvaluateRun {
 public:
  EvaluateRun(const EvaluateRequest& request, const Hooks& hooks);
  absl::Status Run(CompressResult* result);

 private:
  absl::StatusOr<Model> Read(const std::string& folder, const std::string& main_file,
                             ModelFigures* figures);
  absl::Status RunModels();
  void Tell(const char* stage, double fraction, const std::string& message) const;
  double Now() const { return hooks_.seconds ? hooks_.seconds() : 0; }

  const EvaluateRequest& request_;
  const Hooks& hooks_;
  std::unique_ptr<Parallel> parallel_;
  Model model_;
  Model compared_;  // when there is one
  std::unique_ptr<EvaluationData> data_;
  ReportInput report_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_RUN_H_
