#include "worker/engine/methods/layer_calibration.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/products.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {
namespace {

constexpr int64_t kFewestRows = 32768;
constexpr int64_t kRowsALength = 16;
// Times the median of the rows that are read together; longer ones are shortened to it.
constexpr double kLongestRow = 8;
// Rows that are read and summed at a time.
constexpr int64_t kChunkElements = int64_t{4} << 20;

struct Tap {
  const WeightUse* use = nullptr;
  InputUse how;
};

// What two taps must have in common to see the same rows.
std::string KeyOf(const Tap& tap) {
  const Node& node = *tap.use->node;
  std::string key = absl::StrCat(reinterpret_cast<uintptr_t>(tap.use->graph), "|",
                                 node.inputs[static_cast<size_t>(tap.how.input)], "|",
                                 static_cast<int>(tap.how.form), "|", tap.how.length);
  if (tap.how.form == InputForm::kPatches) {
    const Shape kernel(tap.use->dims.begin() + 2, tap.use->dims.end());
    absl::StrAppend(&key, "|", tap.how.parts, "|", absl::StrJoin(kernel, ","));
    for (const char* name : {"strides", "pads", "dilations"}) {
      absl::StrAppend(&key, "|", absl::StrJoin(node.IntsAttribute(name), ","));
    }
    absl::StrAppend(&key, "|", node.StringAttribute("auto_pad", "NOTSET"));
  }
  return key;
}

// Streaming sums of one source.
struct Sums {
  int64_t rows = 0;
  int64_t calls = 0;
  bool unfit = false;            // an input that is not float32 or has another shape
  std::vector<float> hessian;    // [parts, K, K], 2 X X^T / rows
  std::vector<double> absolute;  // [parts, K], sums of |x|
  std::vector<double> lookups;   // [V]
};

void CountLookups(const Value& ids, Sums* sums) {
  const auto rows = static_cast<int64_t>(sums->lookups.size());
  const auto count = [&](auto id) {
    const int64_t at = id < 0 ? static_cast<int64_t>(id) + rows : static_cast<int64_t>(id);
    if (at >= 0 && at < rows) ++sums->lookups[static_cast<size_t>(at)];
  };
  if (ids.dtype == DType::kInt64) {
    for (const int64_t id : ids.As<int64_t>()) count(id);
  } else if (ids.dtype == DType::kInt32) {
    for (const int32_t id : ids.As<int32_t>()) count(id);
  }
}

// Rows many times as long as most would decide alone what the weight is fitted to.
void ShortenOutliers(int64_t count, int64_t n, float* rows) {
  std::vector<double> norms(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < n; ++k) {
      const double value = rows[i * n + k];
      sum += value * value;
    }
    norms[static_cast<size_t>(i)] = std::sqrt(sum);
  }
  std::vector<double> sorted = norms;
  std::nth_element(sorted.begin(), sorted.begin() + count / 2, sorted.end());
  const double longest = kLongestRow * sorted[static_cast<size_t>(count / 2)];
  if (!(longest > 0)) return;  // most are zero: which of the others are outliers cannot be told
  for (int64_t i = 0; i < count; ++i) {
    const double norm = norms[static_cast<size_t>(i)];
    if (!(norm > longest) || !std::isfinite(norm)) continue;
    const auto times = static_cast<float>(longest / norm);
    for (int64_t k = 0; k < n; ++k) rows[i * n + k] *= times;
  }
}

void AddRows(const InputUse& how, std::vector<float> rows, int64_t count, Sums* sums,
             Parallel& parallel) {
  const int64_t n = how.length;
  for (int64_t part = 0; part < how.parts; ++part) {
    ShortenOutliers(count, n, rows.data() + part * count * n);
  }
  const int64_t after = sums->rows + count;
  const auto alpha = static_cast<float>(2.0 / static_cast<double>(after));
  const auto beta =
      static_cast<float>(static_cast<double>(sums->rows) / static_cast<double>(after));
  if (how.parts == 1) {
    AddGram(count, n, alpha, rows.data(), beta, sums->hessian.data(), parallel);
  } else {
    parallel.Run(how.parts, [&](int64_t part) {
      const std::unique_ptr<Parallel> serial = MakeSerial();
      AddGram(count, n, alpha, rows.data() + part * count * n, beta,
              sums->hessian.data() + part * n * n, *serial);
    });
  }
  for (int64_t part = 0; part < how.parts; ++part) {
    for (int64_t i = 0; i < count; ++i) {
      const float* const row = rows.data() + (part * count + i) * n;
      double* const to = sums->absolute.data() + part * n;
      for (int64_t k = 0; k < n; ++k) to[k] += static_cast<double>(std::abs(row[k]));
    }
  }
  sums->rows = after;
}

// What one node was given.
void AddInput(const Tap& tap, std::span<const Value> inputs, std::span<const Value> outputs,
              int64_t examples, int64_t rows_an_example, Sums* sums, Parallel& parallel) {
  const auto input = static_cast<size_t>(tap.how.input);
  if (input >= inputs.size() || !inputs[input].IsTensor() || outputs.empty()) return;
  const Value& x = inputs[input];
  if (tap.how.form == InputForm::kIndices) return CountLookups(x, sums);
  if (x.dtype != DType::kFloat) {
    sums->unfit = true;
    return;
  }
  const int64_t all = CountInputRows(tap.how, x, outputs[0].dims);
  if (all == 0) return;
  const int64_t wanted = std::max<int64_t>(1, rows_an_example * examples);
  const int64_t step = (all + wanted - 1) / wanted;
  const int64_t row_elements = std::max<int64_t>(1, tap.how.length * tap.how.parts);
  const int64_t chunk = std::max<int64_t>(1, kChunkElements / row_elements);
  for (int64_t first = sums->calls++ % step; first < all; first += chunk * step) {
    std::vector<float> rows =
        ReadInputRows(*tap.use, tap.how, x, outputs[0].dims, first, step, chunk);
    if (rows.empty()) {
      sums->unfit = true;
      return;
    }
    const int64_t count = static_cast<int64_t>(rows.size()) / row_elements;
    AddRows(tap.how, std::move(rows), count, sums, parallel);
  }
}

}  // namespace

struct LayerCalibration::Source {
  std::vector<Tap> taps;
  size_t layers = 0;  // that have not been asked for
  bool collected = false;
  Sums sums;
  LayerInputs found;  // once collected

  int64_t bytes() const {
    const InputUse& how = taps[0].how;
    return how.form == InputForm::kIndices ? how.length * 8
                                           : how.parts * how.length * how.length * 4;
  }
  void Start() {
    const InputUse& how = taps[0].how;
    if (how.form == InputForm::kIndices) {
      sums.lookups.assign(static_cast<size_t>(how.length), 0);
      return;
    }
    sums.hessian.assign(static_cast<size_t>(how.parts * how.length * how.length), 0.0F);
    sums.absolute.assign(static_cast<size_t>(how.parts * how.length), 0);
  }
  void Finish() {
    collected = true;
    const InputUse& how = taps[0].how;
    if (how.form == InputForm::kIndices) {
      found.lookups = std::make_shared<const std::vector<double>>(std::move(sums.lookups));
      return;
    }
    if (sums.unfit || sums.rows == 0) {
      found.why_not = sums.unfit ? "its input is not float32 in the shape of its weight"
                                 : "no calibration example reaches it";
      sums = {};
      return;
    }
    auto moments = std::make_shared<InputMoments>();
    moments->length = how.length;
    moments->parts = how.parts;
    moments->hessian = std::move(sums.hessian);
    bool finite = true;
    for (int64_t part = 0; part < how.parts; ++part) {
      MirrorUpper(how.length, moments->hessian.data() + part * how.length * how.length);
    }
    for (const double sum : sums.absolute) {
      moments->mean_abs.push_back(static_cast<float>(sum / static_cast<double>(sums.rows)));
    }
    for (const float h : moments->hessian) finite = finite && std::isfinite(h);
    if (finite) {
      found.moments = std::move(moments);
    } else {
      found.why_not = "calibration examples give it inputs too large to square";
    }
    sums = {};
  }
};

LayerCalibration::LayerCalibration(const Model* model, const std::vector<Weight>* weights,
                                   const std::vector<bool>& wanted, const CalibrationData* data,
                                   std::function<bool()> cancelled, Parallel* parallel)
    : model_(model),
      weights_(weights),
      data_(data),
      cancelled_(std::move(cancelled)),
      parallel_(parallel),
      source_of_(weights->size(), SIZE_MAX),
      why_not_(weights->size()) {
  lapack::UseOneBlasThread();
  std::unordered_map<std::string, size_t> known;
  for (size_t i = 0; i < weights->size(); ++i) {
    if (!wanted[i]) continue;
    std::vector<Tap> linear;
    std::vector<Tap> lookups;
    bool unknown = false;
    for (const WeightUse& use : (*weights)[i].uses) {
      const Tap tap{&use, InputUseOf(use)};
      if (tap.how.form == InputForm::kIndices) {
        lookups.push_back(tap);
      } else {
        // Rows of a weight that is seen turned are those of the source only where it has two axes.
        unknown |=
            tap.how.form == InputForm::kNone ||
            (!use.permutation.empty() && use.dims.size() != 2) ||
            (!linear.empty() &&
             (use.source_reduction_axis != linear[0].use->source_reduction_axis ||
              tap.how.length != linear[0].how.length || tap.how.parts != linear[0].how.parts));
        linear.push_back(tap);
      }
    }
    if (unknown) {
      why_not_[i] = "how its inputs meet its weight is not known for all its operators";
      continue;
    }
    const std::vector<Tap>& taps = linear.empty() ? lookups : linear;
    if (taps.empty()) continue;
    if (!linear.empty() && taps[0].how.length > kMostInputs) {
      why_not_[i] = absl::StrCat("it has ", taps[0].how.length,
                                 " inputs, and a Hessian is made of ", kMostInputs, " at most");
      continue;
    }
    std::string key = absl::StrCat("only ", i);
    if (taps.size() == 1) key = KeyOf(taps[0]);
    const auto [at, fresh] = known.emplace(key, sources_.size());
    if (fresh) {
      sources_.push_back(std::make_unique<Source>());
      sources_.back()->taps = taps;
      sources_.back()->found.source = at->second;
    }
    source_of_[i] = at->second;
    ++sources_[at->second]->layers;
  }
  const auto count = static_cast<int64_t>(sources_.size());
  a_pass_ = std::max<int64_t>(1, (count + kMostPasses - 1) / kMostPasses);
}

LayerCalibration::~LayerCalibration() = default;

absl::StatusOr<LayerInputs> LayerCalibration::Of(size_t index) {
  LayerInputs none;
  none.why_not = why_not_[index];
  if (source_of_[index] == SIZE_MAX) return none;
  Source& source = *sources_[source_of_[index]];
  if (!source.collected) RETURN_IF_ERROR(Collect(source_of_[index]));
  LayerInputs found = source.found;
  if (--source.layers == 0) source.found = {};
  return found;
}

absl::Status LayerCalibration::Collect(size_t first_source) {
  struct Watched {
    Source* source = nullptr;
    Tap tap;
  };
  std::unordered_map<const Node*, std::vector<Watched>> watched;
  std::vector<Source*> block;
  int64_t bytes = 0;
  bool all_in_main = true;
  for (size_t s = first_source; s < sources_.size(); ++s) {
    Source& source = *sources_[s];
    if (source.collected) continue;
    if (static_cast<int64_t>(block.size()) == a_pass_) break;
    if (!block.empty() && bytes + source.bytes() > kBlockBytes) break;
    bytes += source.bytes();
    block.push_back(&source);
    source.Start();
    for (const Tap& tap : source.taps) {
      watched[tap.use->node].push_back({&source, tap});
      all_in_main = all_in_main && tap.use->graph == model_->graph.get();
    }
  }
  int64_t examples = 0;  // of the batch that runs
  std::unordered_set<const Node*> seen;
  bool enough = false;
  ExecutorOptions options;
  options.optimize = false;
  options.cancelled = cancelled_;
  options.observe = [&](const Node& node, std::span<const Value> inputs,
                        std::span<const Value> outputs) {
    const auto found = watched.find(&node);
    if (found == watched.end()) return absl::OkStatus();
    for (const Watched& w : found->second) {
      const int64_t most = std::max(kFewestRows, kRowsALength * w.tap.how.length);
      AddInput(w.tap, inputs, outputs, examples,
               std::max<int64_t>(1, most / std::max<int64_t>(1, data_->examples())),
               &w.source->sums, *parallel_);
    }
    seen.insert(&node);
    enough = all_in_main && seen.size() == watched.size();
    return enough ? absl::CancelledError("all layers of the pass were seen") : absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Make(*model_, options));
  ASSIGN_OR_RETURN(const CalibrationData::Next next, data_->Read(CalibrationData::Part::kAll));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<CalibrationBatch> batch, next());
    if (!batch) break;
    examples = batch->examples;
    seen.clear();
    enough = false;
    const absl::Status status = executor->Run(batch->inputs).status();
    if (!status.ok() && !enough) return status;
  }
  for (Source* source : block) source->Finish();
  ++passes_;
  return absl::OkStatus();
}

}  // namespace lathe::engine
