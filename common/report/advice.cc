#include "common/report/advice.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"

namespace lathe {
namespace {

using nlohmann::json;
using page::At;
using page::Bytes;
using page::Grouped;
using page::List;
using page::Number;
using page::Text;

constexpr size_t kMaxSentences = 8;
constexpr size_t kMaxWeakLayers = 3;
// A layer is weak when its SQNR is this much below the median of the layers in as many bits, a
// bit's worth.
constexpr double kWeakDb = 6;
// Gains below this share of the file are not worth a sentence.
constexpr double kWorthwhile = 0.02;

struct Layer {
  std::string name;
  std::string op;
  std::string skipped_reason;
  double parameters = 0;
  double stored = 0;  // elements after: of factors, both
  double bytes_before = 0;
  double bytes_after = 0;
  double sparsity = 0;
  std::optional<double> bits;
  std::optional<double> requested_bits;
  std::optional<double> sqnr_db;
};

std::string Quoted(const std::string& name) {
  return absl::StrCat("layer '", page::Shorten(name, 60), "'");
}

std::string Db(double value) { return absl::StrFormat("%.1f dB", value); }

class Advisor {
 public:
  explicit Advisor(const json& report) : report_(report) {
    for (const json& value : List(report, "layers")) {
      Layer layer;
      layer.name = Text(value, "name");
      layer.op = Text(value, "op");
      layer.skipped_reason = Text(value, "skipped_reason");
      layer.parameters = Number(value, "parameters").value_or(0);
      layer.stored = Number(value, "parameters_after").value_or(layer.parameters);
      layer.bytes_before = Number(value, "bytes_before").value_or(0);
      layer.bytes_after = Number(value, "bytes_after").value_or(0);
      layer.sparsity = Number(value, "sparsity").value_or(0);
      layer.bits = Number(value, "bits");
      layer.requested_bits = Number(value, "requested_bits");
      layer.sqnr_db = Number(value, "sqnr_db");
      if (!layer.name.empty()) layers_.push_back(std::move(layer));
    }
    file_before_ = Number(report, {"before", "file_bytes"}).value_or(0);
    file_after_ = Number(report, {"after", "file_bytes"}).value_or(0);
  }

  std::vector<std::string> Run() {
    NothingDone();
    MissedConstraints();
    WeakLayers();
    UnusedBits();
    FloatLeft();
    DenseZeros();
    SlowerThanBefore();
    RoomForFewerBits();
    if (out_.size() > kMaxSentences) out_.resize(kMaxSentences);
    return std::move(out_);
  }

 private:
  template <typename... Parts>
  void Say(const Parts&... parts) {
    out_.push_back(absl::StrCat(parts...));
  }

  bool IsFloat(const Layer& layer) const {
    return !layer.bits && layer.stored > 0 && layer.bytes_after >= 4 * layer.stored;
  }

  bool Quantizes() const {
    for (const json& step : List(report_, "steps")) {
      if (Text(step, "method") == "quantize_weights") return true;
    }
    return false;
  }

  void NothingDone() {
    if (layers_.empty()) return;
    for (const Layer& layer : layers_) {
      if (layer.skipped_reason.empty()) return;
    }
    Say("No step changed any layer, of ", layers_.size(),
        ": the table of layers tells why, and `lathe inspect` which methods apply.");
  }

  void MissedConstraints() {
    for (const json& constraint : List(report_, "constraints")) {
      const auto limit = Number(constraint, "limit");
      const auto value = Number(constraint, "value");
      const std::string name = Text(constraint, "name");
      if (At(constraint, "met") != json(false) || !limit || !value || name.empty()) continue;
      if (name == "max_file_bytes") {
        Say("The file is ", Bytes(*value - *limit),
            " over max_file_bytes: ", Percent(*limit, *value), " of its bytes must go.");
      } else {
        Say(page::Shorten(name, 60), " is ", page::Significant(*value), ", past its limit of ",
            page::Significant(*limit), ".");
      }
    }
  }

  static std::string Percent(double limit, double value) {
    return page::Percent(value > 0 ? std::max(0.0, 1 - limit / value) : 0, 1);
  }

  // Layers in fewer than 8 bits that lose far more than others in as many bits.
  void WeakLayers() {
    std::vector<std::pair<double, std::string>> found;  // SQNR, sentence
    for (const Layer& layer : layers_) {
      if (!layer.bits || *layer.bits >= 8 || *layer.bits < 1 || !layer.sqnr_db) continue;
      const std::optional<double> median = MedianSqnr(*layer.bits);
      if (!median || *layer.sqnr_db > *median - kWeakDb) continue;
      const double extra = layer.stored * (8 - *layer.bits) / 8;
      found.emplace_back(
          *layer.sqnr_db,
          absl::StrCat(Quoted(layer.name), " keeps only ", Db(*layer.sqnr_db), " at ",
                       Grouped(*layer.bits), " bits, where half of those at as many keep ",
                       Db(*median), " or more: keep it at 8 bits: +", Bytes(extra),
                       ShareOfFile(extra), "."));
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 0; i < std::min(found.size(), kMaxWeakLayers); ++i) {
      found[i].second[0] = 'L';
      out_.push_back(found[i].second);
    }
  }

  std::optional<double> MedianSqnr(double bits) const {
    std::vector<double> values;
    for (const Layer& layer : layers_) {
      if (layer.bits == bits && layer.sqnr_db) values.push_back(*layer.sqnr_db);
    }
    if (values.size() < 3) return std::nullopt;
    std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
  }

  std::string ShareOfFile(double bytes) const {
    return file_after_ > 0
               ? absl::StrCat(" (", page::Percent(bytes / file_after_, 1), " of the file)")
               : "";
  }

  // 5 bits in an 8-bit container cost what 8 do.
  void UnusedBits() {
    size_t count = 0;
    double requested = 0;
    double stored = 0;
    for (const Layer& layer : layers_) {
      if (!layer.bits || !layer.requested_bits || *layer.requested_bits >= *layer.bits) continue;
      if (count == 0) {
        requested = *layer.requested_bits;
        stored = *layer.bits;
      }
      if (*layer.requested_bits == requested && *layer.bits == stored) ++count;
    }
    if (count == 0) return;
    Say(count, count == 1 ? " layer uses " : " layers use ", Grouped(requested), " of the ",
        Grouped(stored), " bits that are stored: ", Grouped(stored),
        " bits would take the same bytes before gzip and lose less.");
  }

  // What stayed in float32 although a step could have taken it.
  void FloatLeft() {
    if (!Quantizes()) return AllFloat();
    const Layer* largest = nullptr;
    for (const Layer& layer : layers_) {
      if (!IsFloat(layer) || !ByChoice(layer.skipped_reason)) continue;
      if (largest == nullptr || layer.bytes_after > largest->bytes_after) largest = &layer;
    }
    if (largest == nullptr) return;
    const double saved = largest->bytes_after - largest->stored;
    if (saved < kWorthwhile * file_after_) return;
    Say("The largest layer left in float32 is '", page::Shorten(largest->name, 60), "' with ",
        Bytes(largest->bytes_after), " (", page::Shorten(largest->skipped_reason, 100),
        "): 8 bits would save about ", Bytes(saved), ShareOfFile(saved), ".");
  }

  // A recipe without quantize_weights: what it would save on the layers that steps did change.
  void AllFloat() {
    double saved = 0;
    size_t count = 0;
    for (const Layer& layer : layers_) {
      if (!IsFloat(layer) || !layer.skipped_reason.empty()) continue;
      saved += layer.bytes_after - layer.stored;
      ++count;
    }
    if (count == 0 || saved < kWorthwhile * file_after_) return;
    Say(count, count == 1 ? " layer is" : " layers are",
        " in float32: quantize_weights at 8 bits would save about ", Bytes(saved),
        ShareOfFile(saved), ".");
  }

  // Left alone because the recipe says so, and not because it cannot be done.
  static bool ByChoice(const std::string& reason) {
    for (const char* words : {"(keep_small)", "named in skip", "not in targets"}) {
      if (reason.find(words) != std::string::npos) return true;
    }
    return false;
  }

  void DenseZeros() {
    double zeros = 0;
    double elements = 0;
    for (const Layer& layer : layers_) {
      // Factors hold fewer elements than the weight did; their zeros are another matter.
      if (!layer.skipped_reason.empty()) continue;
      zeros += layer.sparsity * layer.parameters;
      elements += layer.parameters;
    }
    if (elements <= 0 || zeros < 0.2 * elements) return;
    for (const Layer& layer : layers_) {
      if (layer.bytes_after < layer.bytes_before) return;  // something else made it smaller
    }
    const auto gzip_before = Number(report_, {"before", "gzip_bytes"});
    const auto gzip_after = Number(report_, {"after", "gzip_bytes"});
    if (file_after_ < (1 - kWorthwhile) * file_before_ || !gzip_before || !gzip_after) return;
    Say(page::Percent(zeros / elements, 1),
        " of the weights are zero, but stored densely they save ", "nothing: the file went from ",
        Bytes(file_before_), " to ", Bytes(file_after_), ", gzip from ", Bytes(*gzip_before),
        " to ", Bytes(*gzip_after), "; ship it compressed, or add quantize_weights.");
  }

  void SlowerThanBefore() {
    auto before = Number(report_, {"latency", "onnxruntime", "before_ms"});
    auto after = Number(report_, {"latency", "onnxruntime", "after_ms"});
    if (!before || !after) {
      // Lathe's executor computes integer layers in float, one operator after the other.
      for (const json& step : page::List(report_, "steps")) {
        if (page::Text(step, "method") == "quantize_activations") return;
      }
      before = Number(report_, {"latency", "before_ms"});
      after = Number(report_, {"latency", "after_ms"});
    }
    if (!before || !after || !(*before > 0) || *after < 1.05 * *before) return;
    Say("A run takes ", page::Milliseconds(*after), " where it took ", page::Milliseconds(*before),
        ": what was gained is storage, not time.");
  }

  // All at 8 bits, and accuracy has not changed by more than chance: 4 bits in blocks of 32 take
  // half a byte a weight and a float scale a block.
  void RoomForFewerBits() {
    const auto p = Number(report_, {"evaluation", "p_value"});
    if (!p || *p < 0.05) return;
    double bytes = 0;
    double smaller = 0;
    for (const Layer& layer : layers_) {
      if (!layer.skipped_reason.empty()) continue;
      if (layer.bits != 8.0) return;
      bytes += layer.bytes_after;
      smaller += layer.stored * (0.5 + 4.0 / 32);
    }
    if (bytes - smaller < kWorthwhile * file_after_) return;
    Say("At 8 bits the change in accuracy is within chance (p = ", page::Significant(*p),
        "): 4 bits in groups of 32 would save about ", Bytes(bytes - smaller), " more",
        ShareOfFile(bytes - smaller), ".");
  }

  const json& report_;
  std::vector<Layer> layers_;
  double file_before_ = 0;
  double file_after_ = 0;
  std::vector<std::string> out_;
};

}  // namespace

std::vector<std::string> NextSteps(const json& report) { return Advisor(report).Run(); }

}  // namespace lathe
