// What the linter finds: a place of a model that a stock ONNX Runtime cannot load, computes
// wrongly, or runs slower than it could.
#ifndef LATHE_WORKER_ENGINE_LINT_FINDING_H_
#define LATHE_WORKER_ENGINE_LINT_FINDING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lathe::engine {

enum class Severity {
  kError,  // wrong values, or the file cannot be loaded
  kSlow,   // runs slower than the float model, or than the form that the fix names
  kNote,   // costs something else: accuracy, bytes, a chance of speed
};

// "error", "slow", "note".
absl::string_view SeverityName(Severity severity);

// Kinds of processor that a finding holds for: a set of bits.
using Profiles = uint32_t;
inline constexpr Profiles kVnni = 1 << 0;  // x86 with VNNI or AMX
inline constexpr Profiles kAvx2 = 1 << 1;  // x86 with AVX2 or AVX-512, without VNNI
inline constexpr Profiles kArm = 1 << 2;
inline constexpr Profiles kNpu = 1 << 3;  // symmetric, per tensor, power-of-two scales
inline constexpr Profiles kMicrocontroller = 1 << 4;
inline constexpr Profiles kX86 = kVnni | kAvx2;
// What a stock ONNX Runtime's CPU provider runs on: the `portable` target of recipes.
inline constexpr Profiles kPortable = kX86 | kArm;
inline constexpr Profiles kEverywhere = kPortable | kNpu | kMicrocontroller;

// The names of the bits: "vnni", "avx2", "arm", "npu", "microcontroller".
std::vector<std::string> ProfileNames(Profiles profiles);

struct Finding {
  std::string rule;  // of LintRules()
  Severity severity = Severity::kNote;
  std::string node;     // as DescribeNode says it; "" when it is about no node
  std::string value;    // the tensor it is about; "" when it is about none
  std::string message;  // what is there, and what a stock ONNX Runtime does with it
  std::string fix;
  Profiles profiles = kPortable;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINT_FINDING_H_
