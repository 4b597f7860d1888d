#include "common/report/recipe_advice.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/report/json_access.h"

namespace lathe {
namespace {

using nlohmann::json;
using page::Number;
using page::Text;

// A layer that loses so much more than the middle one keeps 8 bits.
constexpr double kSensitiveDb = 3;
// Layers named one by one; the rest of a longer list is too small to matter.
constexpr size_t kMaxNamed = 64;
// Share of the model's multiply-accumulates from which a layer is worth two factors.
constexpr double kHeavyShare = 0.02;
// Bytes a parameter takes: 4-bit groups of 32 with a half-precision scale; 8 bits with scales for
// blocks of 64.
constexpr double kBytesAt4 = 0.5 + 2.0 / 32;
constexpr double kBytesAt8 = 1 + 2.0 / 64;

struct Layer {
  std::string name;
  std::string op;
  double parameters = 0;
  double macs = 0;
  std::set<std::string> methods;
  std::optional<double> sqnr4;

  bool Takes(const char* method) const { return methods.count(method) != 0; }
};

struct Facts {
  std::vector<Layer> layers;
  double weight_bytes = 0;
  double macs = 0;
  double quantizable = 0;  // parameters
  double in_matrices = 0;  // those of them in MatMul, Gemm and Gather
  double float_macs = 0;
};

Facts Read(const json& summary) {
  Facts facts;
  facts.weight_bytes = Number(summary, "weight_bytes").value_or(0);
  facts.macs = Number(summary, "macs").value_or(0);
  for (const json& item : page::List(summary, "layers")) {
    Layer layer;
    layer.name = Text(item, "name");
    layer.op = Text(item, "op");
    layer.parameters = Number(item, "parameters").value_or(0);
    layer.macs = Number(item, "macs").value_or(0);
    for (const std::string& method : page::Texts(page::At(item, "methods"))) {
      layer.methods.insert(method);
    }
    layer.sqnr4 = Number(item, {"rounding_sqnr_db", "4"});
    if (layer.Takes("quantize_weights")) {
      facts.quantizable += layer.parameters;
      if (layer.op == "MatMul" || layer.op == "Gemm" || layer.op == "Gather") {
        facts.in_matrices += layer.parameters;
      }
    }
    facts.layers.push_back(std::move(layer));
  }
  return facts;
}

// A name as a glob that matches it: characters with a meaning stand for any one.
std::string AsGlob(std::string name) {
  for (char& c : name) {
    if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\') c = '?';
  }
  return name;
}

std::string NameList(const std::vector<const Layer*>& layers) {
  json names = json::array();
  for (const Layer* layer : layers) names.push_back(AsGlob(layer->name));
  return names.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string Megabytes(double bytes) {
  return bytes >= 1e6 ? absl::StrFormat("%.1f MB", bytes / 1e6)
                      : absl::StrFormat("%.0f KB", bytes / 1e3);
}

std::string Percent(double share) { return absl::StrFormat("%.0f %%", 100 * share); }

class Adviser {
 public:
  explicit Adviser(const Facts& facts) : facts_(facts) {}

  void Storage() {
    if (!(facts_.quantizable > 0)) return;
    const std::vector<const Layer*> sensitive = Sensitive();
    if (facts_.in_matrices < 0.6 * facts_.quantizable) {
      Quantize8("most weights are in convolutions, which 4 bits hurt soonest");
      return;
    }
    double kept = 0;
    for (const Layer* layer : sensitive) kept += layer->parameters;
    const double rest = facts_.quantizable - kept;
    Reason(
        absl::StrCat(Percent(facts_.in_matrices / facts_.quantizable),
                     " of the weights are in matrices and embeddings, which take 4 bits in groups "
                     "of 32: about ",
                     Megabytes(4 * rest), " of floats become ", Megabytes(kBytesAt4 * rest)));
    std::string step = "quantize_weights: {bits: 4, granularity: group, group_size: 32";
    if (!sensitive.empty()) absl::StrAppend(&step, ", skip: ", NameList(sensitive));
    steps_.push_back(step + "}");
    if (sensitive.empty()) return;
    Reason(absl::StrCat(sensitive.size(), sensitive.size() == 1 ? " layer loses" : " layers lose",
                        " at least ", kSensitiveDb, " dB more at 4 bits than the middle one (",
                        sensitive.front()->name, ": ",
                        absl::StrFormat("%.1f", *sensitive.front()->sqnr4), " against ",
                        absl::StrFormat("%.1f", median_), " dB) and keep 8 bits: +",
                        Megabytes((kBytesAt8 - kBytesAt4) * kept)));
    steps_.push_back(absl::StrCat(
        "quantize_weights: {bits: 8, keep_small: 0, targets: ", NameList(sensitive), "}"));
  }

  void Memory() {
    std::vector<const Layer*> tables;
    for (const Layer& layer : facts_.layers) {
      if (layer.op == "Gather" && layer.Takes("quantize_weights")) tables.push_back(&layer);
    }
    LowRank("factors stay small in memory, where weights of few bits are decoded at load");
    double bytes = 0;
    for (const Layer* table : tables) bytes += 4 * table->parameters;
    if (!tables.empty()) {
      Reason(absl::StrCat("embeddings stay integers in memory: ", Megabytes(bytes),
                          " become about ", Megabytes(bytes * kBytesAt8 / 4)));
    }
    Quantize8("the file shrinks with it");
  }

  void Compute() {
    LowRank("fewer multiply-accumulates are the only thing here that makes a float model faster");
    Quantize8("weights of 8 bits make the file smaller, not the run faster");
  }

  void Energy() {
    LowRank("every multiply-accumulate that is not done costs nothing");
    Quantize8(
        "weights read from memory dominate the estimate: a quarter of the bytes, about a "
        "quarter of that part");
  }

  RecipeAdvice Done(const std::string& limit) const {
    RecipeAdvice advice;
    advice.limit = limit;
    advice.reasons = reasons_;
    absl::StrAppend(&advice.yaml, "# To try first where ", limit, " is scarce.\n");
    for (const std::string& reason : reasons_) {
      std::string line = reason;
      std::replace(line.begin(), line.end(), '\n', ' ');
      absl::StrAppend(&advice.yaml, "# - ", line, "\n");
    }
    absl::StrAppend(&advice.yaml, "steps:\n");
    for (const std::string& step : steps_) absl::StrAppend(&advice.yaml, "  - ", step, "\n");
    return advice;
  }

  bool empty() const { return steps_.empty(); }

 private:
  void Reason(std::string reason) { reasons_.push_back(std::move(reason)); }

  void Quantize8(const std::string& why) {
    if (!(facts_.quantizable > 0)) return;
    Reason(absl::StrCat("8 bits per channel: about ", Megabytes(4 * facts_.quantizable),
                        " of floats become ", Megabytes(kBytesAt8 * facts_.quantizable), "; ",
                        why));
    steps_.push_back("quantize_weights: {bits: 8}");
  }

  void LowRank(const std::string& why) {
    std::vector<const Layer*> heavy;
    double share = 0;
    for (const Layer& layer : facts_.layers) {
      if (!layer.Takes("low_rank") || !(facts_.macs > 0)) continue;
      if (layer.macs < kHeavyShare * facts_.macs) continue;
      heavy.push_back(&layer);
      share += layer.macs / facts_.macs;
    }
    std::stable_sort(heavy.begin(), heavy.end(),
                     [](const Layer* a, const Layer* b) { return a->macs > b->macs; });
    if (heavy.size() > kMaxNamed) heavy.resize(kMaxNamed);
    if (heavy.empty()) {
      Reason(
          "no layer with 2 % of the multiply-accumulates can be factorized: low_rank takes "
          "Gemm, MatMul and 1x1 convolutions");
      return;
    }
    Reason(absl::StrCat("low rank where it costs less, on ", heavy.size(),
                        heavy.size() == 1 ? " layer" : " layers", " with ", Percent(share),
                        " of the multiply-accumulates: ", why));
    steps_.push_back(absl::StrCat("low_rank: {energy: 0.98, targets: ", NameList(heavy), "}"));
  }

  // Those that lose most at 4 bits, worst first.
  std::vector<const Layer*> Sensitive() {
    std::vector<double> all;
    for (const Layer& layer : facts_.layers) {
      if (layer.Takes("quantize_weights") && layer.sqnr4) all.push_back(*layer.sqnr4);
    }
    if (all.empty()) return {};
    std::sort(all.begin(), all.end());
    median_ = all[all.size() / 2];
    std::vector<const Layer*> worst;
    for (const Layer& layer : facts_.layers) {
      if (!layer.Takes("quantize_weights") || !layer.sqnr4) continue;
      if (*layer.sqnr4 <= median_ - kSensitiveDb) worst.push_back(&layer);
    }
    std::stable_sort(worst.begin(), worst.end(),
                     [](const Layer* a, const Layer* b) { return *a->sqnr4 < *b->sqnr4; });
    if (worst.size() > kMaxNamed) worst.resize(kMaxNamed);
    return worst;
  }

  const Facts& facts_;
  double median_ = 0;
  std::vector<std::string> steps_;
  std::vector<std::string> reasons_;
};

absl::Status CheckName(const char* what, const std::string& given,
                       const std::vector<std::string>& names) {
  if (given.empty() || std::count(names.begin(), names.end(), given) != 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no ", what, " '", given, "'; there are: ", absl::StrJoin(names, ", ")));
}

}  // namespace

const std::vector<std::string>& AdviceTargets() {
  static const auto* const names =
      new std::vector<std::string>{"mobile", "embedded", "edge", "cloud"};
  return *names;
}

const std::vector<std::string>& AdviceLimits() {
  static const auto* const names =
      new std::vector<std::string>{"storage", "memory", "compute", "energy"};
  return *names;
}

absl::StatusOr<RecipeAdvice> AdviseRecipe(const json& summary, const std::string& target,
                                          const std::string& limit) {
  if (const absl::Status named = CheckName("target", target, AdviceTargets()); !named.ok()) {
    return named;
  }
  if (const absl::Status named = CheckName("limit", limit, AdviceLimits()); !named.ok()) {
    return named;
  }
  static const auto* const usual = new std::map<std::string, std::string>{{"", "storage"},
                                                                          {"mobile", "storage"},
                                                                          {"embedded", "memory"},
                                                                          {"edge", "compute"},
                                                                          {"cloud", "compute"}};
  const std::string chosen = limit.empty() ? usual->at(target) : limit;
  const Facts facts = Read(summary);
  Adviser adviser(facts);
  if (chosen == "storage") adviser.Storage();
  if (chosen == "memory") adviser.Memory();
  if (chosen == "compute") adviser.Compute();
  if (chosen == "energy") adviser.Energy();
  if (adviser.empty()) {
    return absl::FailedPreconditionError(
        "no method applies to a layer of this model; `lathe inspect` says why");
  }
  return adviser.Done(chosen);
}

}  // namespace lathe
