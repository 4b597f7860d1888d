// Tensors there and back: the engine's values as ONNX Runtime's, and the other way around.
#ifndef LATHE_WORKER_ORT_ORT_VALUE_H_
#define LATHE_WORKER_ORT_ORT_VALUE_H_

#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/tensor/value.h"
#include "worker/ort/ort_api.h"

namespace lathe::ort {

// What tensors are made with; borrowed.
struct ValueFactory {
  Api api;
  const OrtMemoryInfo* memory;  // of this process
  OrtAllocator* allocator;
};

// The tensor `value`, whose elements are borrowed (strings are copied). INVALID_ARGUMENT, naming
// input `name`, for what is no tensor in plain layout, for types that ONNX Runtime has no number
// for, and for strings with a NUL in them, which its interface would cut.
absl::StatusOr<Owned<OrtValue>> ToOrt(const ValueFactory& factory, const std::string& name,
                                      const engine::Value& value);

// The tensor that `value` holds; its memory is kept as long as a copy of the result lives, and no
// longer than the session that made it. A value of kind kNone for what is no tensor. INTERNAL for a
// shape whose size overflows.
absl::StatusOr<engine::Value> FromOrt(const Api& api, Owned<OrtValue> value);

}  // namespace lathe::ort

#endif  // LATHE_WORKER_ORT_ORT_VALUE_H_
