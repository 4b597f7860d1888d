#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/report/bars.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/page.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe {
namespace page {
namespace {

using nlohmann::json;

constexpr size_t kMaxValues = 1000;

// Numbers, names of symbolic dimensions, "?" for unnamed ones.
std::string ValueDims(const json& dims) {
  if (!dims.is_array()) return "rank unknown";
  std::vector<std::string> parts;
  for (const json& dim : dims) {
    const std::string symbol = Text(dim);
    const auto size = Number(dim);
    parts.push_back(size             ? absl::StrFormat("%.0f", *size)
                    : symbol.empty() ? "?"
                                     : Shorten(symbol, 40));
  }
  return parts.empty() ? "scalar" : absl::StrJoin(parts, " \xC3\x97 ");
}

std::string Cards(const json& summary) {
  struct Card {
    const char* key;
    const char* label;
    std::string (*text)(double);
    bool exact;
  };
  constexpr Card kCards[] = {
      {"parameters", "Parameters", Short, true},
      {"weight_bytes", "Constants as stored", Bytes, true},
      {"macs", "MACs a run", Short, true},
      {"bytes_moved", "Bytes moved a run", Bytes, true},
      {"arithmetic_intensity", "Operations a byte", Significant, false},
      {"energy_pj", "Energy a run, estimate", Energy, false},
  };
  std::string out;
  for (const Card& card : kCards) {
    const auto value = Number(summary, card.key);
    if (!value) continue;
    const std::string shown = card.text(*value);
    absl::StrAppend(&out, "<article class=\"card\" data-key=\"", card.key, "\"><h3>", card.label,
                    "</h3>\n<p class=\"figure\"><strong>", Escape(shown), "</strong></p>\n");
    if (card.exact && shown != Grouped(*value)) {
      absl::StrAppend(&out, "<p class=\"more\">", Grouped(*value), card.text == Bytes ? " B" : "",
                      "</p>\n");
    }
    absl::StrAppend(&out, "</article>\n");
  }
  return out.empty() ? "" : absl::StrCat("<div class=\"cards\">\n", out, "</div>\n");
}

std::string Values(const json& summary) {
  Table table("values", "Inputs and outputs of the graph");
  table.AddColumn("Name");
  table.AddColumn("Kind");
  table.AddColumn("Type");
  table.AddColumn("Shape");
  for (const auto& [key, kind] : {std::pair("inputs", "input"), std::pair("outputs", "output")}) {
    for (const json& value : List(summary, key)) {
      if (!value.is_object() || table.size() >= kMaxValues) continue;
      table.AddRow({Cell::OfName(Text(value, "name")), Cell::Plain(kind),
                    Cell::Plain(Text(value, "dtype")), Cell::Plain(ValueDims(At(value, "dims")))});
    }
  }
  return table.Html();
}

std::string Operators(const json& summary) {
  const json& ops = At(summary, "ops");
  std::vector<Bar> bars;
  if (ops.is_object()) {
    for (const auto& [op, count] : ops.items()) {
      if (const auto number = Number(count)) bars.push_back({op, *number, std::nullopt});
    }
  }
  return BarChart(std::move(bars), "How often each operator occurs", Grouped);
}

std::string ByLayer(const json& summary, const char* key, const char* what) {
  std::vector<Bar> bars;
  for (const json& layer : List(summary, "layers")) {
    if (const auto value = Number(layer, key))
      bars.push_back({Text(layer, "name"), *value, std::nullopt});
  }
  return BarChart(std::move(bars), what, Short);
}

// "low_rank: it is a vector" a line each; the one reason where it holds for all methods.
std::string WhyNot(const json& layer) {
  if (const std::string blocked = Text(layer, "blocked_reason"); !blocked.empty())
    return Escape(blocked);
  const json& reasons = At(layer, "not_applicable");
  std::vector<std::string> lines;
  if (reasons.is_object()) {
    for (const auto& [method, reason] : reasons.items())
      lines.push_back(Escape(absl::StrCat(method, ": ", Text(reason))));
  }
  return absl::StrJoin(lines, "<br>");
}

std::string Layers(const json& summary) {
  Table table("layers", "Every layer with a weight, in the model's order");
  table.AddColumn("Layer");
  table.AddColumn("Op");
  table.AddColumn("Shape");
  table.AddColumn("Type");
  table.AddColumn("Parameters", Table::kNumber);
  table.AddColumn("MACs", Table::kNumber);
  table.AddColumn("Bytes moved", Table::kNumber, "By the layer's operator, its first use");
  table.AddColumn("Operations a byte", Table::kNumber, "2 MACs over the bytes moved");
  table.AddColumn("Uses", Table::kNumber, "Nodes that read the weight");
  table.AddColumn("Methods that apply");
  table.AddColumn("Why not");
  for (const json& layer : List(summary, "layers")) {
    if (!layer.is_object()) continue;
    const std::vector<std::string> methods = Texts(At(layer, "methods"));
    table.AddRow(
        {Cell::OfName(Text(layer, "name")), Cell::Plain(Text(layer, "op")),
         Cell::Plain(absl::StrJoin(
             Numbers(At(layer, "dims")), "\xC3\x97",
             [](std::string* out, double size) { absl::StrAppendFormat(out, "%.0f", size); })),
         Cell::Plain(Text(layer, "dtype")), Cell::Of(Number(layer, "parameters"), Grouped),
         Cell::Of(Number(layer, "macs"), Grouped), Cell::Of(Number(layer, "bytes_moved"), Grouped),
         Cell::Of(Number(layer, "arithmetic_intensity"), Significant),
         Cell::Of(Number(layer, "uses"), Grouped),
         Cell::Plain(methods.empty() ? "none" : absl::StrJoin(methods, ", ")),
         Cell{WhyNot(layer), std::nullopt}});
  }
  table.SetSortable();
  return table.Html();
}

std::string Versions(const json& summary) {
  std::vector<std::string> opsets;
  const json& imports = At(summary, "opset_imports");
  if (imports.is_object()) {
    for (const auto& [domain, version] : imports.items()) {
      if (const auto number = Number(version))
        opsets.push_back(absl::StrCat(domain, " ", Grouped(*number)));
    }
  }
  const auto ir = Number(summary, "ir_version");
  return Facts("The file",
               {{"files", Escape(absl::StrJoin(Texts(At(summary, "files")), ", "))},
                {"producer", Name(Text(summary, "producer"))},
                {"IR version", ir ? Grouped(*ir) : ""},
                {"opsets", Escape(absl::StrJoin(opsets, ", "))},
                {"functions", Escape(absl::StrJoin(Texts(At(summary, "functions")), ", "))}});
}

}  // namespace
}  // namespace page

std::string ModelPage(const nlohmann::json& summary) {
  using namespace page;
  std::string file = Text(summary, "main_file");
  if (file.empty()) file = "the model";
  const nlohmann::json& layers = List(summary, "layers");
  Document document;
  document.title = absl::StrCat(Shorten(file, 80), ": what is in the model");
  document.header = absl::StrCat("<p class=\"kind\">Lathe model summary</p>\n<h1>",
                                 Name(Shorten(file, 120)), "</h1>\n");
  if (const auto parameters = Number(summary, "parameters")) {
    absl::StrAppend(
        &document.header, "<p class=\"verdict\">", Short(*parameters), " parameters, ",
        layers.size(),
        layers.size() == 1 ? " layer with a weight.</p>\n" : " layers with weights.</p>\n");
  }
  document.sections = {
      {"summary", "At a glance", Cards(summary)},
      {"inputs", "Inputs and outputs", Values(summary)},
      {"ops", "Operators", absl::StrCat(Operators(summary), ModelOperatorCosts(summary))},
      {"layers-section", "Layers", Layers(summary)},
      {"parameters", "Parameters by layer", ByLayer(summary, "parameters", "Parameters by layer")},
      {"macs", "MACs by layer", ByLayer(summary, "macs", "MACs by layer")},
      {"notes", "Notes", Bullets(NoteLines(summary))},
      {"file", "File and build", absl::StrCat(Versions(summary), Provenance(summary))},
  };
  document.data = &summary;
  document.data_name = "model.json";
  document.footer =
      "<p>Sizes: 1 kB is 1,000 bytes. Keys and figures are described in Lathe's "
      "docs/report.md.</p>\n";
  return Render(document);
}

}  // namespace lathe
