#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

using nlohmann::json;

std::string Seconds(double seconds) { return absl::StrFormat("%.2f s", seconds); }

// The parameter that tells most about a step, in words.
std::string Chief(const json& params) {
  for (const char* key : {"bits", "sparsity", "rank", "energy", "ratio"}) {
    if (const auto value = Number(params, key)) return absl::StrCat(" (", key, " ", *value, ")");
  }
  return "";
}

std::string WholeBindings(const json& bindings) {
  if (!bindings.is_object()) return "";
  std::vector<std::string> sizes;
  for (const auto& [name, size] : bindings.items()) {
    if (const auto number = Number(size))
      sizes.push_back(absl::StrCat(name, "=", Grouped(*number)));
  }
  return absl::StrJoin(sizes, ", ");
}

std::string Digest(const json& file) {
  const std::string digest = Text(file, "sha256");
  return digest.empty() ? "" : absl::StrCat("<code>", Escape(digest), "</code>");
}

std::string Files(const json& json_report) {
  Table table("inputs-table", "Files that went in");
  table.AddColumn("File");
  table.AddColumn("Role");
  table.AddColumn("Bytes", Table::kNumber);
  table.AddColumn("SHA-256");
  for (const json& file : List(At(json_report, "inputs"), "files")) {
    table.AddRow({Cell::OfName(Text(file, "path")), Cell::Plain("model"),
                  Cell::Of(Number(file, "size_bytes"), Grouped), Cell{Digest(file), std::nullopt}});
  }
  for (const json& data : List(At(json_report, "inputs"), "datasets")) {
    const std::string role = Text(data, "role");
    const bool unused = At(data, "used") == json(false);
    table.AddRow({Cell::OfName(Text(data, "name")),
                  Cell::Plain(absl::StrCat(role.empty() ? "data" : "data: " + role,
                                           unused ? ", not used" : "")),
                  Cell::Of(std::nullopt, Grouped), Cell{Digest(data), std::nullopt}});
  }
  return table.Html();
}

std::string Timings(const json& report) {
  std::vector<std::string> parts;
  for (const char* phase :
       {"read", "measure", "write", "check", "evaluate_steps", "evaluate", "total"}) {
    if (const auto seconds = Number(report, {"timings", phase})) {
      parts.push_back(absl::StrCat(phase, " ", Seconds(*seconds)));
    }
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace

std::string ModelFile(const json& report) {
  const json& files = List(At(report, "inputs"), "files");
  for (const json& file : files) {
    if (std::string path = Text(file, "path"); !path.empty()) return path;
  }
  return "the model";
}

std::vector<std::string> StepNames(const json& report) {
  std::vector<std::string> names;
  for (const json& step : List(report, "steps")) {
    const std::string method = Text(step, "method");
    if (!method.empty()) names.push_back(absl::StrCat(method, Chief(At(step, "params"))));
  }
  return names;
}

std::string RecipeBlock(const json& report) {
  const std::string yaml = RecipeYaml(At(report, "recipe"));
  if (yaml.empty()) return "";
  return absl::StrCat(
      "<p class=\"hint\">Every parameter, defaults filled in. Save it as <code>recipe.yaml</code> "
      "and run it again with <code>lathe compress MODEL.onnx -o OUT.onnx --recipe "
      "recipe.yaml</code>.</p>\n<div class=\"code\"><button type=\"button\" class=\"copy\" "
      "data-from=\"recipe-text\" hidden>Copy</button>\n"
      "<pre id=\"recipe-text\" tabindex=\"0\">",
      Escape(yaml), "</pre></div>\n");
}

std::string StepsTable(const json& report) {
  Table table("steps-table", "Steps of the recipe, in their order");
  table.AddColumn("Step");
  table.AddColumn("Layers changed", Table::kNumber);
  table.AddColumn("Layers left", Table::kNumber);
  table.AddColumn("Time", Table::kNumber);
  table.AddColumn("Notes");
  const std::vector<double> seconds = Numbers(At(report, {"timings", "steps"}));
  const json& steps = List(report, "steps");
  for (size_t i = 0; i < steps.size(); ++i) {
    const json& step = steps[i];
    std::optional<double> time;
    if (i < seconds.size()) time = seconds[i];
    table.AddRow({Cell::OfName(absl::StrCat(Text(step, "method"), Chief(At(step, "params")))),
                  Cell::Of(Number(step, "layers_done"), Grouped),
                  Cell::Of(Number(step, "layers_skipped"), Grouped), Cell::Of(time, Seconds),
                  Cell{Bullets(Texts(At(step, "notes"))), std::nullopt}});
  }
  return table.Html();
}

std::vector<std::string> NoteLines(const json& report) {
  std::vector<std::string> notes = Texts(At(report, "notes"));
  const std::string bindings = WholeBindings(At(report, "bindings"));
  if (!bindings.empty()) {
    const std::vector<std::string> assumed = Texts(At(report, "assumed_bindings"));
    notes.push_back(absl::StrCat(
        "MACs and energy hold for ", bindings,
        assumed.empty()
            ? ""
            : absl::StrCat("; not given, and so taken to be 1: ", absl::StrJoin(assumed, ", "),
                           " (--bind NAME=SIZE gives others)")));
  }
  for (const std::string& name : Texts(At(report, "unused_bindings"))) {
    notes.push_back(absl::StrCat("the binding of '", name, "' matches no dimension"));
  }
  const json& inner = At(report, "before");  // a report has two models, a summary one
  const auto incomplete = Texts(At(inner.is_object() ? inner : report, "macs_incomplete"));
  if (!incomplete.empty()) {
    notes.push_back(absl::StrCat(
        "MACs of ", incomplete.size(), incomplete.size() == 1 ? " node" : " nodes",
        " are not known and not counted: ", incomplete[0], incomplete.size() > 1 ? ", ..." : ""));
  }
  const auto unknown = Texts(At(report, "shape_unknown"));
  if (!unknown.empty()) {
    notes.push_back(absl::StrCat(
        "the shape that ", unknown.size(), unknown.size() == 1 ? " node gives" : " nodes give",
        " could not be told: ", unknown[0], unknown.size() > 1 ? ", ..." : ""));
  }
  for (const std::string& assumption : Texts(At(report, "assumptions"))) {
    notes.push_back(absl::StrCat("assumed: ", assumption));
  }
  for (const char* side : {"before", "after"}) {
    if (At(report, {side, "gzip_sampled"}) == json(true)) {
      notes.push_back("gzip bytes of large files are estimated from a sample");
      break;
    }
  }
  return notes;
}

std::string Provenance(const json& report) {
  const json& seed = At(report, "seed");
  const std::string energy = Text(report, "energy_source");
  return absl::StrCat(
      Files(report),
      Facts(
          "What ran",
          {{"build", Name(Text(report, "build_id"))},
           {"seed", seed.is_number_integer() ? seed.dump() : ""},
           {"time", Escape(Timings(report))},
           {"energy", energy.empty() ? "" : absl::StrCat("an estimate, after ", Escape(energy))}}));
}

}  // namespace lathe::page
