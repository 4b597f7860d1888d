#include "worker/job/spec.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace lathe::worker {
namespace {

using nlohmann::json;

json EncodeFiles(const std::vector<JobFile>& files) {
  json out = json::array();
  for (const JobFile& file : files) {
    out.push_back({{"path", file.path}, {"sha256", file.sha256}, {"size_bytes", file.size_bytes}});
  }
  return out;
}

json EncodeDatasets(const std::vector<JobDataset>& datasets) {
  json out = json::array();
  for (const JobDataset& d : datasets) {
    out.push_back({{"role", d.role}, {"name", d.name}, {"sha256", d.sha256}, {"path", d.path}});
  }
  return out;
}

const char* KindName(JobKind kind) {
  switch (kind) {
    case JobKind::kInspect:
      return "inspect";
    case JobKind::kEvaluate:
      return "evaluate";
    default:
      return "compress";
  }
}

JobSpec Decode(const json& in) {
  JobSpec spec;
  const std::string kind = in.at("kind").get<std::string>();
  for (const JobKind known : {JobKind::kInspect, JobKind::kEvaluate}) {
    if (kind == KindName(known)) spec.kind = known;
  }
  in.at("input_folder").get_to(spec.input_folder);
  in.at("main_file").get_to(spec.main_file);
  in.at("output_folder").get_to(spec.output_folder);
  in.at("meta_folder").get_to(spec.meta_folder);
  in.at("temp_folder").get_to(spec.temp_folder);
  in.at("recipe_json").get_to(spec.recipe_json);
  in.at("compared_folder").get_to(spec.compared_folder);
  in.at("compared_main_file").get_to(spec.compared_main_file);
  in.at("teacher_folder").get_to(spec.teacher_folder);
  in.at("teacher_main_file").get_to(spec.teacher_main_file);
  in.at("processor").get_to(spec.processor);
  for (const auto& [name, size] : in.at("bindings").items()) {
    spec.bindings[name] = size.get<int64_t>();
  }
  in.at("threads").get_to(spec.threads);
  for (const json& f : in.at("files")) {
    spec.files.push_back({f.at("path").get<std::string>(), f.at("sha256").get<std::string>(),
                          f.at("size_bytes").get<int64_t>()});
  }
  for (const json& d : in.at("datasets")) {
    spec.datasets.push_back({d.at("role").get<std::string>(), d.at("name").get<std::string>(),
                             d.at("sha256").get<std::string>(), d.at("path").get<std::string>()});
  }
  const json& limits = in.at("limits");
  limits.at("memory_bytes").get_to(spec.limits.memory_bytes);
  limits.at("cpu_seconds").get_to(spec.limits.cpu_seconds);
  limits.at("file_bytes").get_to(spec.limits.file_bytes);
  const json& checkpoints = in.at("checkpoints");
  checkpoints.at("folder").get_to(spec.checkpoints.folder);
  checkpoints.at("seconds").get_to(spec.checkpoints.seconds);
  checkpoints.at("resume").get_to(spec.checkpoints.resume);
  in.at("parent_pid").get_to(spec.parent_pid);
  in.at("ort_library").get_to(spec.ort_library);
  return spec;
}

}  // namespace

std::string EncodeJobSpec(const JobSpec& spec) {
  const json out = {{"kind", KindName(spec.kind)},
                    {"input_folder", spec.input_folder},
                    {"main_file", spec.main_file},
                    {"output_folder", spec.output_folder},
                    {"meta_folder", spec.meta_folder},
                    {"temp_folder", spec.temp_folder},
                    {"recipe_json", spec.recipe_json},
                    {"compared_folder", spec.compared_folder},
                    {"compared_main_file", spec.compared_main_file},
                    {"teacher_folder", spec.teacher_folder},
                    {"teacher_main_file", spec.teacher_main_file},
                    {"processor", spec.processor},
                    {"bindings", spec.bindings},
                    {"threads", spec.threads},
                    {"files", EncodeFiles(spec.files)},
                    {"datasets", EncodeDatasets(spec.datasets)},
                    {"limits",
                     {{"memory_bytes", spec.limits.memory_bytes},
                      {"cpu_seconds", spec.limits.cpu_seconds},
                      {"file_bytes", spec.limits.file_bytes}}},
                    {"checkpoints",
                     {{"folder", spec.checkpoints.folder},
                      {"seconds", spec.checkpoints.seconds},
                      {"resume", spec.checkpoints.resume}}},
                    {"parent_pid", spec.parent_pid},
                    {"ort_library", spec.ort_library}};
  // Names come from users: bytes that are not UTF-8 must not throw.
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<JobSpec> DecodeJobSpec(absl::string_view text) {
  try {
    return Decode(json::parse(text.begin(), text.end()));
  } catch (const json::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("job spec: ", e.what()));
  }
}

}  // namespace lathe::worker
