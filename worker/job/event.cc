#include "worker/job/event.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace lathe::worker {
namespace {

using nlohmann::json;

json ToJson(const ProgressEvent& e) {
  return {{"event", "progress"}, {"step_index", e.step_index}, {"step_count", e.step_count},
          {"stage", e.stage},    {"fraction", e.fraction},     {"message", e.message}};
}

json ToJson(const LogEvent& e) { return {{"event", "log"}, {"line", e.line}}; }

json ToJson(const CheckpointEvent& e) {
  return {{"event", "checkpoint"}, {"size_bytes", e.size_bytes}};
}

json ToJson(const ResultEvent& e) {
  json files = json::array();
  for (const ResultFile& f : e.files) {
    files.push_back({{"path", f.path}, {"size_bytes", f.size_bytes}});
  }
  return {{"event", "result"},
          {"files", files},
          {"rejected", e.rejected},
          {"compression_ratio", e.compression_ratio},
          {"peak_rss_bytes", e.peak_rss_bytes}};
}

json ToJson(const ErrorEvent& e) {
  return {{"event", "error"},
          {"code", static_cast<int>(e.code)},
          {"reason", e.reason},
          {"message", e.message},
          {"peak_rss_bytes", e.peak_rss_bytes}};
}

// A number from the other side, forced into a range: a NaN or 1e300 must not travel on.
double Bounded(double value, double least, double most) {
  return std::isfinite(value) ? std::clamp(value, least, most) : least;
}

absl::StatusOr<JobEvent> Decode(const json& in) {
  const std::string kind = in.at("event").get<std::string>();
  if (kind == "progress") {
    ProgressEvent e;
    in.at("step_index").get_to(e.step_index);
    in.at("step_count").get_to(e.step_count);
    e.stage = CleanText(in.at("stage").get<std::string>(), 64);
    e.fraction = Bounded(in.at("fraction").get<double>(), 0, 1);
    e.message = CleanText(in.at("message").get<std::string>(), 1024);
    return e;
  }
  if (kind == "log") return LogEvent{CleanText(in.at("line").get<std::string>(), 4096)};
  if (kind == "checkpoint") return CheckpointEvent{in.at("size_bytes").get<int64_t>()};
  if (kind == "result") {
    ResultEvent e;
    for (const json& f : in.at("files")) {
      e.files.push_back({f.at("path").get<std::string>(), f.at("size_bytes").get<int64_t>()});
    }
    e.rejected = CleanText(in.at("rejected").get<std::string>(), 16 << 10);
    e.compression_ratio = Bounded(in.at("compression_ratio").get<double>(), 0, 1e9);
    in.at("peak_rss_bytes").get_to(e.peak_rss_bytes);
    return e;
  }
  if (kind == "error") {
    ErrorEvent e;
    e.code = static_cast<absl::StatusCode>(std::clamp(in.at("code").get<int>(), 1, 16));
    in.at("reason").get_to(e.reason);
    e.message = CleanText(in.at("message").get<std::string>(), 16 << 10);
    in.at("peak_rss_bytes").get_to(e.peak_rss_bytes);
    return e;
  }
  return absl::InvalidArgumentError(absl::StrCat("job event: unknown event \"", kind, "\""));
}

}  // namespace

std::string EncodeJobEvent(const JobEvent& event) {
  return std::visit([](const auto& e) { return ToJson(e); }, event)
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<JobEvent> DecodeJobEvent(absl::string_view line) {
  try {
    return Decode(json::parse(line.begin(), line.end()));
  } catch (const json::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("job event: ", e.what()));
  }
}

std::string CleanText(absl::string_view text, size_t max_bytes) {
  const bool cut = text.size() > max_bytes;
  if (cut) text = text.substr(0, max_bytes);
  const json value = std::string(text);
  // With `replace`, what dump() writes is UTF-8, so that reading it back cannot fail.
  std::string out =
      json::parse(value.dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
  if (cut) out += "...";
  return out;
}

}  // namespace lathe::worker
