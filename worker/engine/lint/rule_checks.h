// The checks of the linter's rules, by the file they live in. rules.cc puts names, severities and
// fixes to them.
#ifndef LATHE_WORKER_ENGINE_LINT_RULE_CHECKS_H_
#define LATHE_WORKER_ENGINE_LINT_RULE_CHECKS_H_

#include "worker/engine/lint/rule.h"

namespace lathe::engine {

// bias.cc
void CheckFloatBias(const LintContext& lint, Findings& findings);
void CheckBiasOverflow(const LintContext& lint, Findings& findings);
void CheckBiasScale(const LintContext& lint, Findings& findings);
// weight_form.cc
void CheckWeightAxis(const LintContext& lint, Findings& findings);
void CheckFloatWeight(const LintContext& lint, Findings& findings);
void CheckGemmForm(const LintContext& lint, Findings& findings);
void CheckTransposedConv(const LintContext& lint, Findings& findings);
// group_output.cc
void CheckActivation(const LintContext& lint, Findings& findings);
void CheckFloatReader(const LintContext& lint, Findings& findings);
void CheckMissingQuantize(const LintContext& lint, Findings& findings);
// saturation.cc
void CheckSaturation(const LintContext& lint, Findings& findings);
// weight_only.cc
void CheckWeightOnly(const LintContext& lint, Findings& findings);
void CheckDequantizedTable(const LintContext& lint, Findings& findings);
// parameters.cc
void CheckScales(const LintContext& lint, Findings& findings);
void CheckComputedParameters(const LintContext& lint, Findings& findings);
void CheckSoftmaxScale(const LintContext& lint, Findings& findings);
void CheckWideActivations(const LintContext& lint, Findings& findings);
void CheckNpuScheme(const LintContext& lint, Findings& findings);
// pairs.cc
void CheckSameScale(const LintContext& lint, Findings& findings);
void CheckMixedTypes(const LintContext& lint, Findings& findings);
void CheckHalfQuantized(const LintContext& lint, Findings& findings);
void CheckUnfusedOp(const LintContext& lint, Findings& findings);
void CheckDecomposed(const LintContext& lint, Findings& findings);
// integer_ops.cc
void CheckSignedActivations(const LintContext& lint, Findings& findings);
void CheckUnsignedWeights(const LintContext& lint, Findings& findings);
void CheckDynamicConv(const LintContext& lint, Findings& findings);
// blockwise.cc
void CheckAccuracyLevel(const LintContext& lint, Findings& findings);
void CheckFloatZeroPoints(const LintContext& lint, Findings& findings);
void CheckGroupIndex(const LintContext& lint, Findings& findings);
// versions.cc
void CheckOpset(const LintContext& lint, Findings& findings);
void CheckIrVersion(const LintContext& lint, Findings& findings);
// constants.cc
void CheckHalfPrecision(const LintContext& lint, Findings& findings);
void CheckDuplicateWeights(const LintContext& lint, Findings& findings);
void CheckUnusedConstants(const LintContext& lint, Findings& findings);
void CheckChannelCount(const LintContext& lint, Findings& findings);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINT_RULE_CHECKS_H_
