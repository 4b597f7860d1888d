// A graph made ready to run: names resolved to slots, constants read, lifetimes known.
#ifndef LATHE_WORKER_ENGINE_RUN_PROGRAM_H_
#define LATHE_WORKER_ENGINE_RUN_PROGRAM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/op_table.h"
#include "worker/engine/ops/value_fact.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// Where an instruction finds a value: in the frame `depth` levels out, or among that level's
// constants.
struct ValueRef {
  enum class From : uint8_t { kNone, kSlot, kConstant };
  From from = From::kNone;
  int depth = 0;
  int index = 0;
};

struct Program;

struct Instruction {
  enum class Kind : uint8_t { kOperator, kIf, kLoop, kScan, kCall };
  Kind kind = Kind::kOperator;
  const Node* node = nullptr;
  int64_t opset = 0;
  const OpRule* rule = nullptr;
  const OpForward* forward = nullptr;
  std::vector<ValueRef> inputs;
  // Whether this is the last reader of input i's slot: its reference is handed over.
  std::vector<bool> takes;
  std::vector<int> outputs;                      // slots; -1: nobody reads it
  std::vector<int> releases;                     // slots that nothing reads after this instruction
  std::vector<const ValueFact*> constants;       // one an input; nullptr: not a constant
  std::vector<std::unique_ptr<Program>> bodies;  // If: then, else; Loop, Scan, call: one
  mutable std::unique_ptr<NodeState> state;      // of the operator, from run to run
};

struct Program {
  const Graph* graph = nullptr;
  const Program* outer = nullptr;  // nullptr: main graph, or a function's body
  std::vector<Value> constants;
  std::vector<ValueFact> facts;  // of the constants
  std::vector<Instruction> instructions;
  std::vector<int> inputs;  // slot of each graph input; -1 for one that is a constant
  std::vector<ValueRef> outputs;
  int slots = 0;
  // Names of this level; the compiler's.
  std::unordered_map<std::string, ValueRef> names;
  // A function's body with the call's attributes put in; owned here.
  std::unique_ptr<Graph> resolved;
};

// Errors: UNIMPLEMENTED naming the nodes that cannot be run and why (the first ten), with reason
// UNSUPPORTED_OP; INVALID_ARGUMENT for a graph that cannot be resolved. `model` must outlive the
// program.
absl::StatusOr<std::unique_ptr<Program>> CompileModel(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RUN_PROGRAM_H_
