// Another runtime that models are run with, as a measuring instrument beside the engine's executor:
// its latency is what users will see. The engine knows this interface alone; who starts the engine
// brings what is behind it (worker/ort/).
#ifndef LATHE_WORKER_ENGINE_EVALUATE_RUNTIME_PROBE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_RUNTIME_PROBE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// How far the runtime may rewrite the graph before it runs it.
enum class GraphOptimization {
  kNone,
  kBasic,  // what every machine can run
  kAll,    // also fusions and layouts for this machine: the runtime's default
};

struct RuntimeOptions {
  GraphOptimization optimization = GraphOptimization::kAll;
  int threads = 1;  // at least 1
  // Where the runtime writes the graph as it runs it, with its own operators; "": nowhere.
  std::string optimized_path;
  // What the model is known to take, in bytes, so that the runtime can refuse to be opened rather
  // than run out of memory: its files with their external data, and a run's activations. 0: not
  // known.
  int64_t model_bytes = 0;
  int64_t activation_bytes = 0;
};

// A model that the runtime has loaded. Not thread-safe.
class RuntimeSession {
 public:
  virtual ~RuntimeSession() = default;

  // Of the model's outputs, in its order.
  virtual const std::vector<std::string>& output_names() const = 0;

  // One run. Inputs by name, in plain layout, borrowed until it returns; those that the model does
  // not ask for are ignored. The outputs are in the order of `output_names` and must not outlive
  // the session; one that is no tensor is a value of kind kNone. Errors: INVALID_ARGUMENT (an input
  // is missing, or of a type the runtime has not), else what the runtime says.
  virtual absl::StatusOr<std::vector<Value>> Run(const std::map<std::string, Value>& inputs) = 0;
};

class RuntimeProbe {
 public:
  virtual ~RuntimeProbe() = default;

  // "1.32.0".
  virtual const std::string& version() const = 0;

  // Loads a model from its file; external data are looked for beside it. The session must not
  // outlive this. Errors: RESOURCE_EXHAUSTED (too little memory is left for it), else what the
  // runtime says of the model, without the folder's path.
  virtual absl::StatusOr<std::unique_ptr<RuntimeSession>> Open(const std::string& path,
                                                               const RuntimeOptions& options) = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_RUNTIME_PROBE_H_
