#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/report/bars.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr char kArrow[] = " <i>\xE2\x86\x92</i> ";

struct CardKind {
  const char* key;
  const char* label;
  std::string (*text)(double);
  const char* less;  // "3.91x smaller"
  const char* more;
  const char* unit;  // behind the exact number; nullptr when it says nothing more
};

constexpr CardKind kCards[] = {
    {"file_bytes", "File", Bytes, "smaller", "larger", "B"},
    {"gzip_bytes", "File, gzip", Bytes, "smaller", "larger", "B"},
    {"parameters", "Parameters", Short, "fewer", "more", ""},
    {"nonzero_parameters", "Non-zero parameters", Short, "fewer", "more", ""},
    {"macs", "MACs a run", Short, "fewer", "more", ""},
    {"bytes_moved", "Bytes moved a run", Bytes, "fewer", "more", "B"},
    {"energy_pj", "Energy a run, estimate", Energy, "less", "more", nullptr},
    {"peak_activation_bytes", "Peak activation memory", Bytes, "less", "more", "B"},
};

// "3.91x smaller", "1.20x larger", "unchanged"; "" where a ratio says nothing.
std::string Change(double before, double after, const char* less, const char* more) {
  if (before == after) return "unchanged";
  if (!(before > 0) || !(after > 0)) return "";
  const double ratio = before / after;
  // What rounds to 1.00x is told in per cent.
  if (ratio >= 1) {
    return ratio < 1.005 ? absl::StrCat(Percent(1 - after / before), " ", less)
                         : absl::StrCat(Ratio(ratio), " ", less);
  }
  return ratio > 1 / 1.005 ? absl::StrCat(Percent(after / before - 1), " ", more)
                           : absl::StrCat(Ratio(1 / ratio), " ", more);
}

// As the user wrote it: "0.01", not "0.0100".
std::string Shortest(double value) { return absl::StrFormat("%.4g", value); }

struct Card {
  std::string key;
  std::string label;
  std::optional<double> before, after;
  std::string (*text)(double);
  std::vector<std::string> more;  // lines below, plain text
  bool bars = true;
};

std::string CardHtml(const Card& card) {
  const auto side = [&card](const std::optional<double>& value) {
    return value ? Escape(card.text(*value)) : std::string("not known");
  };
  std::string out =
      absl::StrCat("<article class=\"card\" data-key=\"", card.key, "\"><h3>", Escape(card.label),
                   "</h3>\n<p class=\"figure\"><span class=\"old\">", side(card.before), "</span>",
                   kArrow, "<strong>", side(card.after), "</strong></p>\n");
  if (card.bars && card.before && card.after) {
    out += PairOfBars(std::max(*card.before, 0.0), std::max(*card.after, 0.0),
                      std::max(*card.before, *card.after));
  }
  for (const std::string& line : card.more)
    absl::StrAppend(&out, "<p class=\"more\">", Prose(line), "</p>\n");
  return absl::StrCat(out, "</article>\n");
}

std::string FigureCard(const CardKind& kind, const json& report) {
  Card card{kind.key,
            kind.label,
            Number(report, {"before", kind.key}),
            Number(report, {"after", kind.key}),
            kind.text,
            {},
            true};
  if (!card.before && !card.after) return "";
  if (card.before && card.after) {
    if (std::string change = Change(*card.before, *card.after, kind.less, kind.more);
        !change.empty()) {
      card.more.push_back(std::move(change));
    }
    if (kind.unit != nullptr && (kind.text(*card.before) != Grouped(*card.before) ||
                                 kind.text(*card.after) != Grouped(*card.after))) {
      card.more.push_back(absl::StrCat(Grouped(*card.before), " \xE2\x86\x92 ",
                                       Grouped(*card.after), *kind.unit ? " " : "", kind.unit));
    }
  }
  return CardHtml(card);
}

std::string LatencyCard(const json& report) {
  const json& latency = At(report, "latency");
  Card card{"latency_ms",
            "Latency",
            Number(latency, "before_ms"),
            Number(latency, "after_ms"),
            Milliseconds,
            {},
            true};
  if (!card.before && !card.after) return "";
  if (card.before && card.after) {
    if (std::string change = Change(*card.before, *card.after, "faster", "slower");
        !change.empty()) {
      card.more.push_back(std::move(change));
    }
  }
  std::vector<std::string> how;
  if (const auto threads = Number(latency, "threads")) {
    how.push_back(absl::StrCat(Grouped(*threads), *threads == 1 ? " thread" : " threads"));
  }
  if (const auto batch = Number(latency, "batch"))
    how.push_back(absl::StrCat("batch ", Grouped(*batch)));
  if (!how.empty()) card.more.push_back(absl::StrJoin(how, ", "));
  return CardHtml(card);
}

std::string MetricCard(const json& report) {
  const std::optional<MainMetric> metric = FindMainMetric(report);
  if (!metric) return "";
  Card card{"main_metric", metric->label, metric->before, metric->after, metric->text, {}, false};
  if (!metric->before_interval.empty() && !metric->after_interval.empty()) {
    card.more.push_back(
        absl::StrCat("95 % interval ", metric->before_interval, "; then ", metric->after_interval));
  }
  if (std::string text = Text(At(report, {"evaluation", "significance"})); !text.empty()) {
    card.more.push_back(std::move(text));
  }
  return CardHtml(card);
}

// The output that keeps least of the original's values.
std::string FidelityCard(const json& report) {
  const json& outputs = At(report, {"evaluation", "fidelity"});
  if (!outputs.is_object()) return "";
  std::optional<double> worst;
  std::string name;
  const json* worst_output = nullptr;
  for (const auto& [output, figures] : outputs.items()) {
    const std::optional<double> sqnr = Number(figures, "sqnr_db");
    if (!sqnr || (worst && *worst <= *sqnr)) continue;
    worst = sqnr;
    name = output;
    worst_output = &figures;
  }
  if (!worst) return "";
  std::string out = absl::StrCat(
      "<article class=\"card\" data-key=\"fidelity\"><h3>Outputs, SQNR</h3>\n<p "
      "class=\"figure\"><strong>",
      absl::StrFormat("%.1f dB", *worst), "</strong></p>\n<p class=\"more\">of ",
      Name(Shorten(name, 60)), outputs.size() > 1 ? ", the worst output" : "",
      ", against the original's</p>\n");
  if (const auto agreement = Number(*worst_output, "top1_agreement")) {
    absl::StrAppend(&out, "<p class=\"more\">same top-1 class in ", Percent(*agreement), "</p>\n");
  }
  return absl::StrCat(out, "</article>\n");
}

}  // namespace

std::string Verdict(const json& report) {
  std::vector<std::string> parts;
  const auto before = Number(report, {"before", "file_bytes"});
  const auto after = Number(report, {"after", "file_bytes"});
  if (before && after) {
    const std::string change = Change(*before, *after, "smaller", "larger");
    parts.push_back(absl::StrCat(
        "The file is ", change == "unchanged" || change.empty() ? "as large as before" : change,
        ": ", Bytes(*before), " before, ", Bytes(*after), " after."));
  }
  const std::optional<MainMetric> metric = FindMainMetric(report);
  if (metric && metric->before && metric->after) {
    parts.push_back(absl::StrCat(metric->label, " was ", metric->text(*metric->before), " and is ",
                                 metric->text(*metric->after), "."));
  } else if (const std::string why = Text(At(report, {"evaluation", "not_evaluated"}));
             !why.empty()) {
    parts.push_back(absl::StrCat("It was not evaluated: ", why, "."));
  }
  int missed = 0;
  for (const json& constraint : List(report, "constraints"))
    missed += At(constraint, "met") == json(false);
  if (missed > 0) {
    parts.push_back(
        absl::StrCat(missed, missed == 1 ? " constraint is" : " constraints are", " not met."));
  }
  return absl::StrJoin(parts, " ");
}

std::string SummaryCards(const json& report) {
  std::string cards = absl::StrCat(MetricCard(report), FidelityCard(report));
  for (const CardKind& kind : kCards) absl::StrAppend(&cards, FigureCard(kind, report));
  absl::StrAppend(&cards, LatencyCard(report));
  if (cards.empty()) return "";
  return absl::StrCat(PairLegend(), "<div class=\"cards\">\n", cards, "</div>\n");
}

std::string ConstraintsTable(const json& report) {
  Table table("constraints-table", "What the job asked for");
  table.AddColumn("Constraint");
  table.AddColumn("Limit", Table::kNumber);
  table.AddColumn("Value", Table::kNumber);
  table.AddColumn("Met");
  for (const json& constraint : List(report, "constraints")) {
    const std::string name = Text(constraint, "name");
    if (name.empty()) continue;
    const bool bytes = name.find("bytes") != std::string::npos;
    const json& met = At(constraint, "met");
    Cell verdict;
    if (met.is_boolean()) {
      verdict.html = met.get<bool>() ? "<span class=\"good\">met</span>"
                                     : "<span class=\"bad\">not met</span>";
    }
    table.AddRow({Cell::OfName(name),
                  Cell::Of(Number(constraint, "limit"), bytes ? Grouped : Shortest),
                  Cell::Of(Number(constraint, "value"), bytes ? Grouped : Shortest), verdict});
  }
  return table.Html();
}

std::string LatencyTable(const json& report) {
  const json& latency = At(report, "latency");
  Table table("latency-table", "Time of one run");
  table.AddColumn("Runtime");
  table.AddColumn("Before", Table::kNumber);
  table.AddColumn("10 to 90 %");
  table.AddColumn("After", Table::kNumber);
  table.AddColumn("10 to 90 %");
  const auto add = [&table](const std::string& name, const json& times) {
    if (!Number(times, "before_ms") && !Number(times, "after_ms")) return;
    const auto spread = [&times](const char* key) {
      const std::vector<double> range = Numbers(At(times, key));
      if (range.size() != 2) return Cell{};
      return Cell::Plain(absl::StrCat(Significant(range[0]), " to ", Milliseconds(range[1])));
    };
    table.AddRow({Cell::Plain(name), Cell::Of(Number(times, "before_ms"), Milliseconds),
                  spread("before_spread_ms"), Cell::Of(Number(times, "after_ms"), Milliseconds),
                  spread("after_spread_ms")});
  };
  add("Lathe's executor", latency);
  const json& runtime = At(latency, "onnxruntime");
  add(absl::StrCat("ONNX Runtime ", Text(runtime, "version")), runtime);
  std::string out = table.Html();
  if (out.empty()) return "";
  std::vector<std::string> how;
  if (const auto threads = Number(latency, "threads"))
    how.push_back(absl::StrCat("threads: ", Grouped(*threads)));
  if (const auto batch = Number(latency, "batch"))
    how.push_back(absl::StrCat("batch: ", Grouped(*batch)));
  if (std::string cpu = Text(latency, "cpu_model"); !cpu.empty())
    how.push_back(absl::StrCat("CPU: ", cpu));
  if (how.empty()) return out;
  return absl::StrCat(out, "<p class=\"hint\">",
                      Escape(absl::StrCat("Medians. ", absl::StrJoin(how, "; "), ".")), "</p>\n");
}

}  // namespace lathe::page
