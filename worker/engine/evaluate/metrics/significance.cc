#include "worker/engine/evaluate/metrics/significance.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lathe::engine {
namespace {

std::string Verdict(absl::string_view amount, double change, int64_t examples, double p_value) {
  const std::string on = absl::StrCat(" on ", examples, examples == 1 ? " example" : " examples");
  const std::string p = p_value < 0.0001 ? "p < 0.0001" : absl::StrFormat("p = %.2g", p_value);
  return absl::StrCat(amount, change < 0 ? " lower" : " higher", on, ": ",
                      p_value < kSignificanceLevel ? "a real change" : "within noise", " (", p,
                      ")");
}

std::string NoChange(int64_t examples) {
  return absl::StrCat("no change on ", examples, examples == 1 ? " example" : " examples");
}

}  // namespace

std::string ShareSentence(double change, int64_t examples, double p_value) {
  if (change == 0) return NoChange(examples);
  const double points = std::abs(change) * 100;
  const std::string amount =
      points < 0.05 ? absl::StrFormat("%.2g %%", points) : absl::StrFormat("%.1f %%", points);
  return Verdict(amount, change, examples, p_value);
}

std::string FigureSentence(absl::string_view figure, double change, int64_t examples,
                           double p_value) {
  if (change == 0) return absl::StrCat(figure, ": ", NoChange(examples));
  return Verdict(absl::StrFormat("%s %.3g", figure, std::abs(change)), change, examples, p_value);
}

}  // namespace lathe::engine
