#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/report/advice.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/page.h"
#include "common/report/sections.h"

namespace lathe {

using nlohmann::json;

std::string ReportPage(const json& report) {
  using namespace page;
  const std::string file = ModelFile(report);
  const std::vector<std::string> steps = StepNames(report);
  const std::vector<std::string> warnings = Texts(At(report, "warnings"));
  std::vector<std::string> advice = Texts(At(report, "advice"));
  // Reports of earlier builds have none.
  if (!At(report, "advice").is_array()) advice = NextSteps(report);

  Document document;
  document.title = absl::StrCat(Shorten(file, 80), ": compression report");
  document.header = absl::StrCat("<p class=\"kind\">Lathe compression report</p>\n<h1>",
                                 Name(Shorten(file, 120)), "</h1>\n");
  if (!steps.empty()) {
    absl::StrAppend(&document.header, "<p class=\"done\">", Escape(absl::StrJoin(steps, ", then ")),
                    "</p>\n");
  }
  if (const std::string verdict = Verdict(report); !verdict.empty()) {
    absl::StrAppend(&document.header, "<p class=\"verdict\">", Prose(verdict), "</p>\n");
  }
  if (!warnings.empty()) {
    absl::StrAppend(&document.header, "<div class=\"warnings\"><h2>",
                    warnings.size() == 1 ? "Warning" : "Warnings", "</h2>", Bullets(warnings),
                    "</div>\n");
  }
  document.sections = {
      {"summary", "Before and after", SummaryCards(report)},
      {"constraints", "Constraints", ConstraintsTable(report)},
      {"next", "What to try next", Bullets(advice)},
      {"size", "Size by layer", SizeByLayer(report)},
      {"error", "Error by layer", ErrorByLayer(report)},
      {"evaluation", "Evaluation", EvaluationTables(report)},
      {"confusion", "Confusion matrices", ConfusionMatrices(report)},
      {"tradeoff", TradeoffTitle(report), QualityAgainstSize(report)},
      {"training", "Training", TrainingCurves(report)},
      {"weights", "Weights", WeightHistograms(report)},
      {"activations", "Activations", ActivationHistograms(report)},
      {"latency", "Latency", LatencyTable(report)},
      {"cost", "Cost in detail",
       absl::StrCat(CostTable(report), OperatorCosts(report), LayerCosts(report))},
      {"recipe", "Recipe", absl::StrCat(RecipeBlock(report), StepsTable(report))},
      {"notes", "Notes", Bullets(NoteLines(report))},
      {"inputs", "Inputs and build", Provenance(report)},
  };
  document.data = &report;
  document.data_name = "report.json";
  document.footer =
      "<p>Sizes: 1 kB is 1,000 bytes. Keys and figures are described in Lathe's "
      "docs/report.md.</p>\n";
  return Render(document);
}

}  // namespace lathe
