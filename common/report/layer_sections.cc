#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/report/bars.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/plots.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr size_t kMaxHistograms = 30;
constexpr size_t kHistogramsAtOnce = 12;  // the others unfold

std::string Decibels(double value) { return absl::StrFormat("%.1f", value); }
std::string PercentOfZeros(double share) { return Percent(share, 1); }

std::string Dims(const json& layer) {
  std::vector<std::string> parts;
  for (const double size : Numbers(At(layer, "dims")))
    parts.push_back(absl::StrFormat("%.0f", size));
  return absl::StrJoin(parts, "\xC3\x97");
}

// What a layer is judged by: of its outputs where they were measured, otherwise of its weights.
std::optional<double> Judged(const json& layer) {
  for (const char* key : {"isolated_sqnr_db", "output_sqnr_db", "sqnr_db"}) {
    if (const auto sqnr = Number(layer, key)) return sqnr;
  }
  return std::nullopt;
}

// Worst first; layers without a figure after those that have one, in the model's order.
std::vector<const json*> WorstFirst(const json& report) {
  std::vector<const json*> layers;
  for (const json& layer : List(report, "layers")) {
    if (layer.is_object()) layers.push_back(&layer);
  }
  std::stable_sort(layers.begin(), layers.end(), [](const json* a, const json* b) {
    constexpr double kLast = std::numeric_limits<double>::max();
    return Judged(*a).value_or(kLast) < Judged(*b).value_or(kLast);
  });
  return layers;
}

bool Any(const json& report, const char* key) {
  for (const json& layer : List(report, "layers")) {
    if (Number(layer, key)) return true;
  }
  return false;
}

// Its SQNR as a number; "exact" where nothing was lost.
Cell WeightSqnr(const json& layer) {
  if (const auto sqnr = Number(layer, "sqnr_db")) return Cell::Of(sqnr, Decibels);
  if (Number(layer, "relative_error") == 0.0) return {"exact", 1e9};
  return Cell::Of(std::nullopt, Decibels);
}

std::string LayerTable(const json& report) {
  Table table("layers", "Every layer, the one that lost most first");
  table.AddColumn("Layer");
  table.AddColumn("Op");
  table.AddColumn("Shape");
  table.AddColumn("What was done");
  table.AddColumn("Bits", Table::kLow, "Bits that a weight is stored in");
  table.AddColumn("Zeros", Table::kNumber);
  table.AddColumn("Rank", Table::kNumber);
  table.AddColumn("SQNR weights, dB", Table::kLow,
                  "Signal to noise of the weights as written; higher is better");
  table.AddColumn("SQNR outputs, dB", Table::kLow,
                  "Of the layer's outputs with every layer before it compressed as well");
  table.AddColumn("SQNR alone, dB", Table::kLow,
                  "Of the layer's outputs with this layer alone compressed");
  table.AddColumn("Bytes before", Table::kNumber);
  table.AddColumn("Bytes after", Table::kNumber);
  table.AddColumn("Left as it was because");
  constexpr size_t kWeights = 7;
  constexpr size_t kOutputs = 8;
  constexpr size_t kAlone = 9;
  for (const json* layer : WorstFirst(report)) {
    std::string reason = Text(*layer, "skipped_reason");
    if (reason.empty()) reason = Text(*layer, "not_measured");
    const json& requested = At(*layer, "requested_bits");
    Cell bits = Cell::Of(Number(*layer, "bits"), Grouped);
    if (const auto asked = Number(requested); asked && asked != bits.value) {
      absl::StrAppend(&bits.html, " <span class=\"sub\">(", Grouped(*asked), " used)</span>");
    }
    table.AddRow({Cell::OfName(Text(*layer, "name")), Cell::Plain(Text(*layer, "op")),
                  Cell::Plain(Dims(*layer)), Cell::Plain(Text(*layer, "scheme")), bits,
                  Cell::Of(Number(*layer, "sparsity"), PercentOfZeros),
                  Cell::Of(Number(*layer, "rank"), Grouped), WeightSqnr(*layer),
                  Cell::Of(Number(*layer, "output_sqnr_db"), Decibels),
                  Cell::Of(Number(*layer, "isolated_sqnr_db"), Decibels),
                  Cell::Of(Number(*layer, "bytes_before"), Grouped),
                  Cell::Of(Number(*layer, "bytes_after"), Grouped), Cell::Plain(reason)});
  }
  table.SetSortable();
  table.SetSorted(Any(report, "isolated_sqnr_db") ? kAlone
                  : Any(report, "output_sqnr_db") ? kOutputs
                                                  : kWeights);
  return table.Html();
}

std::string Depth(const json& report) {
  const bool outputs = Any(report, "output_sqnr_db");
  const bool alone = Any(report, "isolated_sqnr_db");
  std::vector<DepthPoint> points;
  for (const json& layer : List(report, "layers")) {
    DepthPoint point;
    point.name = Text(layer, "name");
    point.first = Number(layer, outputs || alone ? "output_sqnr_db" : "sqnr_db");
    if (alone) point.second = Number(layer, "isolated_sqnr_db");
    if (point.first || point.second) points.push_back(std::move(point));
  }
  return DepthPlot(points, outputs || alone ? "outputs, all layers compressed" : "weights",
                   "outputs, this layer alone compressed");
}

// A grid of plots, the first ones shown, further ones unfold.
std::string Grid(const std::vector<std::string>& plots, size_t left_out) {
  if (plots.empty()) return "";
  std::string out = absl::StrCat(
      PairLegend(),
      "<p class=\"hint\">Heights are square roots of densities, so that a spike hides nothing.");
  if (left_out > 0) {
    absl::StrAppend(&out, " ", plots.size(), " of ", plots.size() + left_out, " are shown.");
  }
  out += "</p>\n<div class=\"histograms\">\n";
  const size_t first = std::min(plots.size(), kHistogramsAtOnce);
  for (size_t i = 0; i < first; ++i) out += plots[i];
  out += "</div>\n";
  if (first == plots.size()) return out;
  absl::StrAppend(&out, "<details><summary>", plots.size() - first,
                  " more</summary><div class=\"histograms\">\n");
  for (size_t i = first; i < plots.size(); ++i) out += plots[i];
  return absl::StrCat(out, "</div></details>\n");
}

}  // namespace

std::string SizeByLayer(const json& report) {
  std::vector<Bar> bars;
  for (const json& layer : List(report, "layers")) {
    const auto before = Number(layer, "bytes_before");
    if (!before) continue;
    bars.push_back({Text(layer, "name"), *before, Number(layer, "bytes_after").value_or(*before)});
  }
  return BarChart(std::move(bars), "Bytes by layer, before and after", Bytes);
}

std::string ErrorByLayer(const json& report) {
  const std::string table = LayerTable(report);
  if (table.empty()) return "";
  const std::string depth = Depth(report);
  return absl::StrCat(
      "<p class=\"hint\">SQNR is signal to quantization noise: 20 dB is an error of a tenth, 6 dB "
      "of a half. Higher is better.</p>\n",
      depth, table);
}

std::string WeightHistograms(const json& report) {
  std::vector<std::string> plots;
  size_t left_out = 0;
  for (const json* layer : WorstFirst(report)) {
    const json& pair = At(*layer, "histogram");
    if (!pair.is_object()) continue;
    if (plots.size() >= kMaxHistograms) {
      ++left_out;
      continue;
    }
    if (std::string plot = HistogramPlot(Text(*layer, "name"), pair); !plot.empty()) {
      plots.push_back(std::move(plot));
    }
  }
  return Grid(plots, left_out);
}

std::string ActivationHistograms(const json& report) {
  std::vector<std::string> plots;
  size_t left_out = 0;
  for (const json& activation : List(report, "activations")) {
    if (plots.size() >= kMaxHistograms) {
      ++left_out;
      continue;
    }
    if (std::string plot = HistogramPlot(Text(activation, "name"), activation); !plot.empty()) {
      plots.push_back(std::move(plot));
    }
  }
  return Grid(plots, left_out);
}

}  // namespace lathe::page
