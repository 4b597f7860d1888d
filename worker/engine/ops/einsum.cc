// Einsum. Where a label of two operands or more is summed over, it counts as that many
// multiply-accumulates as all labels together have positions, once for each operand after the
// first.
#include <algorithm>
#include <map>

#include "absl/strings/str_split.h"
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

// "ij,jk->ik" over concrete shapes. Labels are letters; those that `...` stands for are numbered
// from the back and written as negative numbers, so that they broadcast.
class Equation {
 public:
  static std::optional<Equation> Parse(const OpContext& ctx) {
    std::string text = ctx.node().StringAttribute("equation", "");
    std::string compact;
    for (const char c : text) {
      if (c != ' ') compact += c;
    }
    const std::vector<std::string> sides = absl::StrSplit(compact, "->");
    if (sides.empty() || sides.size() > 2) return std::nullopt;
    const std::vector<std::string> terms = absl::StrSplit(sides[0], ',');
    if (terms.size() != ctx.input_count()) return std::nullopt;
    Equation equation;
    for (size_t i = 0; i < terms.size(); ++i) {
      if (!ctx.Ranked(i) || !equation.AddTerm(terms[i], ctx.Dims(i))) return std::nullopt;
    }
    if (sides.size() == 2 ? !equation.SetOutput(sides[1]) : !equation.ImplyOutput()) {
      return std::nullopt;
    }
    return equation;
  }

  Shape OutputDims() const {
    Shape dims;
    for (const int label : output_) dims.push_back(extent_.at(label));
    return dims;
  }

  int64_t Macs() const {
    bool contracts = false;
    int64_t positions = 1;
    for (const auto& [label, extent] : extent_) {
      positions = SaturatingMul(positions, extent);
      bool kept = false;
      for (const int out : output_) kept = kept || out == label;
      contracts = contracts || (!kept && terms_with_.at(label) > 1);
    }
    return contracts ? SaturatingMul(positions, terms_ - 1) : 0;
  }

 private:
  // Labels of one side's term; false when it is malformed. `ellipsis`: what `...` stands for.
  static bool Labels(const std::string& term, int64_t ellipsis, std::vector<int>* out) {
    for (size_t i = 0; i < term.size(); ++i) {
      if (term.compare(i, 3, "...") == 0) {
        for (int64_t k = ellipsis; k > 0; --k) out->push_back(static_cast<int>(-k));
        i += 2;
      } else if ((term[i] >= 'a' && term[i] <= 'z') || (term[i] >= 'A' && term[i] <= 'Z')) {
        out->push_back(term[i]);
      } else {
        return false;
      }
    }
    return true;
  }

  bool AddTerm(const std::string& term, const Shape& dims) {
    const bool dots = term.find("...") != std::string::npos;
    const auto letters = static_cast<int64_t>(term.size()) - (dots ? 3 : 0);
    const int64_t hidden = static_cast<int64_t>(dims.size()) - letters;
    if (hidden < 0 || (!dots && hidden != 0)) return false;
    ellipsis_ = std::max(ellipsis_, hidden);
    std::vector<int> labels;
    if (!Labels(term, hidden, &labels) || labels.size() != dims.size()) return false;
    std::map<int, bool> seen;
    for (size_t i = 0; i < labels.size(); ++i) {
      const auto [slot, fresh] = extent_.emplace(labels[i], dims[i]);
      if (!fresh && slot->second != dims[i]) {
        if (slot->second != 1 && dims[i] != 1) return false;
        slot->second = std::max(slot->second, dims[i]);
      }
      if (seen.emplace(labels[i], true).second) ++terms_with_[labels[i]];
      ++occurrences_[labels[i]];
    }
    ++terms_;
    return true;
  }

  bool SetOutput(const std::string& term) {
    if (!Labels(term, ellipsis_, &output_)) return false;
    for (const int label : output_) {
      if (extent_.count(label) == 0) return false;
    }
    return true;
  }

  // Without "->": what `...` stands for, then the labels that occur once, in alphabetical order.
  bool ImplyOutput() {
    for (int64_t k = ellipsis_; k > 0; --k) output_.push_back(static_cast<int>(-k));
    for (const auto& [label, count] : occurrences_) {
      if (label > 0 && count == 1) output_.push_back(label);
    }
    return true;
  }

  std::map<int, int64_t> extent_;
  std::map<int, int> terms_with_;
  std::map<int, int> occurrences_;
  std::vector<int> output_;
  int64_t ellipsis_ = 0;
  int64_t terms_ = 0;
};

}  // namespace

bool InferEinsum(OpContext& ctx) {
  const auto equation = Equation::Parse(ctx);
  if (!equation) return false;
  ctx.Set(0, ctx.In(0).dtype, equation->OutputDims());
  return true;
}

std::optional<MacCount> MacsEinsum(const OpContext& ctx) {
  const auto equation = Equation::Parse(ctx);
  if (!equation) return std::nullopt;
  return MacCount{equation->Macs(), ProductType(ctx, 0, ctx.input_count() > 1 ? 1 : 0)};
}

}  // namespace lathe::engine
