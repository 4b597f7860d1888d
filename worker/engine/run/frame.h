// One run of a program, and of the programs within (internal to run/).
#ifndef LATHE_WORKER_ENGINE_RUN_FRAME_H_
#define LATHE_WORKER_ENGINE_RUN_FRAME_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/run/executor.h"
#include "worker/engine/run/program.h"
#include "worker/engine/tensor/activation_memory.h"

namespace lathe::engine {

// The values of one program while it runs.
struct Frame {
  const Program* program = nullptr;
  Frame* outer = nullptr;
  std::vector<Value> slots;
};

class Machine {
 public:
  Machine(const ExecutorOptions& options, ActivationMemory& memory, Backend& backend)
      : options_(options), memory_(memory), backend_(backend) {}

  // Starts a new count of visits.
  void Begin() { visits_ = 0; }
  // Runs `program` on `inputs` (one a graph input; those of constants are ignored) and returns its
  // outputs. `outer` is the frame around it.
  absl::StatusOr<std::vector<Value>> RunProgram(const Program& program, Frame* outer,
                                                std::vector<Value> inputs);
  // One instruction of frame.program: reads and writes the frame's slots.
  absl::Status RunInstruction(const Instruction& instruction, Frame& frame);

 private:
  absl::Status Visit();
  absl::StatusOr<std::vector<Value>> RunIf(const Instruction& instruction, Frame& frame,
                                           std::vector<Value> inputs);
  absl::StatusOr<std::vector<Value>> RunLoop(const Instruction& instruction, Frame& frame,
                                             std::vector<Value> inputs);
  absl::StatusOr<std::vector<Value>> RunScan(const Instruction& instruction, Frame& frame,
                                             std::vector<Value> inputs);
  // Joins the slices of all iterations along a new axis `axis`, backwards when `reverse`. `dtype`
  // and `dims` (of a slice) are for the case that there are none.
  absl::StatusOr<Value> Stack(const std::vector<Value>& slices, int64_t axis, bool reverse,
                              DType dtype, const Shape& dims);
  // Slice `index` along `axis` of a plain tensor, that axis dropped.
  absl::StatusOr<Value> Slice(const Value& value, int64_t axis, int64_t index);

  const ExecutorOptions& options_;
  ActivationMemory& memory_;
  Backend& backend_;
  int64_t visits_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RUN_FRAME_H_
