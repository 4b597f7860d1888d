// ValueInfoProto to ValueInfo and back.
#ifndef LATHE_WORKER_ENGINE_GRAPH_VALUE_INFO_H_
#define LATHE_WORKER_ENGINE_GRAPH_VALUE_INFO_H_

#include <string>

#include "absl/strings/string_view.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Parses a serialized ValueInfoProto; the result keeps it as `original`, unmodified. False when it
// is not one.
bool ParseValueInfo(absl::string_view serialized, ValueInfo& info);

// `original` when the info is not modified. Otherwise its fields, over those of `original` that the
// IR does not model (doc_string, denotations, non-tensor types).
std::string SerializeValueInfo(const ValueInfo& info);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_VALUE_INFO_H_
