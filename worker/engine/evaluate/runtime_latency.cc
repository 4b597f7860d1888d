#include "worker/engine/evaluate/runtime_latency.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/latency.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// A runtime's message may hold a whole node; a report wants its beginning.
constexpr size_t kMaxMessage = 2000;

std::string Shortened(absl::string_view message) {
  return message.size() <= kMaxMessage ? std::string(message)
                                       : absl::StrCat(message.substr(0, kMaxMessage), "...");
}

// One of the two models in the runtime.
struct Side {
  std::unique_ptr<RuntimeSession> session;  // null: it cannot be run
  std::string error;                        // why not; "" also when there is no model
};

Side OpenSide(RuntimeProbe& probe, const RuntimeLatencyRequest& request,
              const RuntimeModel& model) {
  Side side;
  if (model.path.empty()) return side;
  RuntimeOptions options;
  options.threads = request.threads;
  options.model_bytes = model.file_bytes;
  options.activation_bytes = std::max<int64_t>(model.activation_bytes, 0);
  absl::StatusOr<std::unique_ptr<RuntimeSession>> opened = probe.Open(model.path, options);
  if (!opened.ok()) {
    side.error = absl::StrCat("cannot be loaded: ", Shortened(opened.status().message()));
    return side;
  }
  if (const absl::Status ran = (*opened)->Run(*request.inputs).status(); !ran.ok()) {
    side.error = absl::StrCat("cannot be run: ", Shortened(ran.message()));
    return side;
  }
  side.session = *std::move(opened);
  return side;
}

void AddTimes(const char* name, const RunTimes& times, json* figure) {
  (*figure)[absl::StrCat(name, "_ms")] = times.median_ms;
  (*figure)[absl::StrCat(name, "_spread_ms")] = {times.p10_ms, times.p90_ms};
}

absl::Status CheckCancelled(const RuntimeLatencyRequest& request) {
  if (request.cancelled && request.cancelled()) {
    return absl::CancelledError("the job was cancelled");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<json> MeasureInRuntime(const RuntimeLatencyRequest& request) {
  const absl::StatusOr<RuntimeProbe*> probe = request.runtime();
  if (!probe.ok()) return json{{"not_measured", Shortened(probe.status().message())}};
  json figure = {
      {"version", (*probe)->version()}, {"threads", request.threads}, {"batch", request.examples}};
  RETURN_IF_ERROR(CheckCancelled(request));
  const Side before = OpenSide(**probe, request, request.before);
  RETURN_IF_ERROR(CheckCancelled(request));
  const Side after = OpenSide(**probe, request, request.after);
  if (!before.error.empty()) figure["before_error"] = before.error;
  if (!after.error.empty()) figure["after_error"] = after.error;
  if (before.session == nullptr && after.session == nullptr) return figure;

  const auto run = [&request](const Side& side, const Side& other) {
    RuntimeSession* session = (side.session != nullptr ? side : other).session.get();
    return [&request, session]() -> absl::Status {
      RETURN_IF_ERROR(CheckCancelled(request));
      return session->Run(*request.inputs).status();
    };
  };
  const absl::StatusOr<Latency> latency =
      MeasureLatency(run(before, after), run(after, before), request.seconds);
  RETURN_IF_ERROR(CheckCancelled(request));
  if (!latency.ok()) {
    figure["not_measured"] = Shortened(latency.status().message());
    return figure;
  }
  figure["runs"] = latency->runs;
  if (before.session != nullptr) AddTimes("before", latency->before, &figure);
  if (after.session != nullptr) AddTimes("after", latency->after, &figure);
  if (before.session != nullptr && after.session != nullptr) figure["ratio"] = latency->ratio;
  return figure;
}

std::vector<std::string> RuntimeWarnings(const json& figure) {
  std::vector<std::string> out;
  const std::string name = absl::StrCat("ONNX Runtime", figure.contains("version") ? " " : "",
                                        figure.value("version", std::string()));
  for (const auto& [key, which] :
       {std::pair{"before_error", "the model"}, std::pair{"after_error", "the compressed model"}}) {
    if (!figure.contains(key)) continue;
    out.push_back(absl::StrCat("in ", name, " ", which, " ", figure[key].get<std::string>()));
  }
  if (figure.contains("not_measured")) {
    out.push_back(absl::StrCat("latency in ", name,
                               " was not measured: ", figure["not_measured"].get<std::string>()));
  }
  return out;
}

}  // namespace lathe::engine
