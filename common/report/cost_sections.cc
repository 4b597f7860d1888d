// What a run costs: in all, by operator and by layer.
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr size_t kMaxOperators = 300;
constexpr char kIntensityHint[] =
    "Two operations a multiply-accumulate, over the bytes moved: where it is low, memory is what a "
    "run waits for";

// Figures of one operator in one model.
struct OperatorFigures {
  std::optional<double> macs;
  std::optional<double> bytes;
  std::optional<double> intensity;
  std::optional<double> energy;
};

OperatorFigures FiguresOf(const json& model, const std::string& op) {
  OperatorFigures figures;
  const auto of = [&](const char* key) { return Number(At(At(model, key), op.c_str())); };
  figures.macs = of("macs_by_op");
  figures.bytes = of("bytes_moved_by_op");
  if (figures.bytes && *figures.bytes > 0) {
    figures.intensity = 2 * figures.macs.value_or(0) / *figures.bytes;
  }
  const json& energy = At(At(model, "energy_by_op"), op.c_str());
  const auto compute = Number(energy, "compute_pj");
  const auto memory = Number(energy, "memory_pj");
  if (compute && memory) figures.energy = *compute + *memory;
  return figures;
}

// Operators of one model or two that cost something, by name.
std::set<std::string> OperatorsOf(std::initializer_list<const json*> models) {
  std::set<std::string> ops;
  for (const json* model : models) {
    for (const char* key : {"bytes_moved_by_op", "energy_by_op"}) {
      const json& by_op = At(*model, key);
      if (!by_op.is_object()) continue;
      for (const auto& [op, value] : by_op.items()) {
        if (ops.size() < kMaxOperators) ops.insert(op);
      }
    }
  }
  return ops;
}

}  // namespace

std::string CostTable(const json& report) {
  struct Row {
    const char* label;
    const char* key;
    const char* part;  // of the object under the key; nullptr when that is a number
    std::string (*text)(double);
  };
  static constexpr Row kRows[] = {
      {"file, bytes", "file_bytes", nullptr, Grouped},
      {"file after gzip, bytes", "gzip_bytes", nullptr, Grouped},
      {"constants as stored, bytes", "weight_bytes", nullptr, Grouped},
      {"parameters", "parameters", nullptr, Grouped},
      {"non-zero parameters", "nonzero_parameters", nullptr, Grouped},
      {"MACs", "macs", nullptr, Grouped},
      {"MACs in float32", "macs_by_type", "float32", Grouped},
      {"MACs in float16", "macs_by_type", "float16", Grouped},
      {"MACs in int8", "macs_by_type", "int8", Grouped},
      {"bytes moved", "bytes_moved", nullptr, Grouped},
      {"activations read, bytes", "bytes_moved_by_kind", "activations_read", Grouped},
      {"activations written, bytes", "bytes_moved_by_kind", "activations_written", Grouped},
      {"constants read, bytes", "bytes_moved_by_kind", "constants_read", Grouped},
      {"constants read, as stored, bytes", "constant_bytes_read", nullptr, Grouped},
      {"operations a byte", "arithmetic_intensity", nullptr, Significant},
      {"peak activation memory, bytes", "peak_activation_bytes", nullptr, Grouped},
      {"energy", "energy_pj", nullptr, Energy},
      {"energy of arithmetic", "energy", "arithmetic_pj", Energy},
      {"energy of reading constants", "energy", "weights_pj", Energy},
      {"energy of activations", "energy", "activations_pj", Energy},
      {"opset", "opset", nullptr, Grouped},
      {"IR version", "ir_version", nullptr, Grouped},
  };
  Table table("cost-table", "Cost of one run and of storage");
  table.AddColumn("Figure");
  table.AddColumn("Before", Table::kNumber);
  table.AddColumn("After", Table::kNumber);
  table.AddColumn("Before / after", Table::kNumber);
  for (const Row& row : kRows) {
    const auto figure = [&](const char* side) {
      const json& value = At(report, {side, row.key});
      return Number(row.part == nullptr ? value : At(value, row.part));
    };
    const auto before = figure("before");
    const auto after = figure("after");
    if (!before && !after) continue;
    if (before == 0.0 && after == 0.0) continue;
    Cell ratio = Cell::Of(std::nullopt, Ratio);
    const bool version =
        row.label == std::string("opset") || row.label == std::string("IR version");
    if (before && after && *before > 0 && *after > 0 && !version)
      ratio = Cell::Of(*before / *after, Ratio);
    table.AddRow(
        {Cell::Plain(row.label), Cell::Of(before, row.text), Cell::Of(after, row.text), ratio});
  }
  return table.Html();
}

std::string OperatorCosts(const json& report) {
  const json& before = At(report, "before");
  const json& after = At(report, "after");
  const bool two = after.is_object();
  Table table("operator-costs", "Cost of one run by operator");
  table.AddColumn("Operator");
  const auto add = [&table, two](const std::string& what, const char* hint) {
    if (!two) return table.AddColumn(what, Table::kNumber, hint);
    table.AddColumn(what + " before", Table::kNumber, hint);
    table.AddColumn(what + " after", Table::kNumber, hint);
  };
  add("MACs", "Multiply-accumulates");
  add("Bytes moved", "Every input read once, every output written once");
  add("Operations a byte", kIntensityHint);
  add("Energy", "An estimate: arithmetic and memory");
  for (const std::string& op : OperatorsOf({&before, &after})) {
    const OperatorFigures was = FiguresOf(before, op);
    const OperatorFigures is = FiguresOf(after, op);
    std::vector<Cell> row = {Cell::OfName(op)};
    const auto pair = [&row, two](const std::optional<double>& first,
                                  const std::optional<double>& second,
                                  std::string (*text)(double)) {
      row.push_back(Cell::Of(first, text));
      if (two) row.push_back(Cell::Of(second, text));
    };
    pair(was.macs, is.macs, Short);
    pair(was.bytes, is.bytes, Bytes);
    pair(was.intensity, is.intensity, Significant);
    pair(was.energy, is.energy, Energy);
    table.AddRow(std::move(row));
  }
  table.SetSortable();
  return table.Html();
}

std::string LayerCosts(const json& report) {
  Table table("layer-costs", "Cost of one run by layer");
  table.AddColumn("Layer");
  table.AddColumn("Op");
  table.AddColumn("MACs before", Table::kNumber, "Multiply-accumulates");
  table.AddColumn("MACs after", Table::kNumber, "Multiply-accumulates");
  table.AddColumn("Bytes moved before", Table::kNumber);
  table.AddColumn("Bytes moved after", Table::kNumber);
  table.AddColumn("Operations a byte before", Table::kNumber, kIntensityHint);
  table.AddColumn("Operations a byte after", Table::kNumber, kIntensityHint);
  for (const json& layer : List(report, "layers")) {
    if (!Number(layer, "bytes_moved") && !Number(layer, "bytes_moved_after")) continue;
    table.AddRow({Cell::OfName(Text(layer, "name")), Cell::Plain(Text(layer, "op")),
                  Cell::Of(Number(layer, "macs"), Short),
                  Cell::Of(Number(layer, "macs_after"), Short),
                  Cell::Of(Number(layer, "bytes_moved"), Bytes),
                  Cell::Of(Number(layer, "bytes_moved_after"), Bytes),
                  Cell::Of(Number(layer, "arithmetic_intensity"), Significant),
                  Cell::Of(Number(layer, "arithmetic_intensity_after"), Significant)});
  }
  table.SetSortable();
  return table.Html();
}

std::string ModelOperatorCosts(const json& summary) {
  Table table("operator-costs", "Operators, and what their nodes cost in one run");
  table.AddColumn("Operator");
  table.AddColumn("Nodes", Table::kNumber);
  table.AddColumn("MACs", Table::kNumber, "Multiply-accumulates");
  table.AddColumn("Bytes moved", Table::kNumber,
                  "Every input read once, every output written once");
  table.AddColumn("Operations a byte", Table::kNumber, kIntensityHint);
  table.AddColumn("Energy", Table::kNumber, "An estimate: arithmetic and memory");
  std::set<std::string> ops = OperatorsOf({&summary});
  if (ops.empty()) return "";
  const json& counts = At(summary, "ops");
  for (const std::string& op : ops) {
    const OperatorFigures figures = FiguresOf(summary, op);
    table.AddRow({Cell::OfName(op), Cell::Of(Number(At(counts, op.c_str())), Grouped),
                  Cell::Of(figures.macs, Short), Cell::Of(figures.bytes, Bytes),
                  Cell::Of(figures.intensity, Significant), Cell::Of(figures.energy, Energy)});
  }
  table.SetSortable();
  return table.Html();
}

}  // namespace lathe::page
