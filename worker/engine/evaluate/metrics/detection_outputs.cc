#include "worker/engine/evaluate/metrics/detection_outputs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/box.h"

namespace lathe::engine {
namespace {

constexpr size_t kRowNumbers = 6;
// Candidates of one image that suppression looks at, those of the highest scores: with it the cost
// of an image is bounded by this times max_boxes.
constexpr size_t kMaxCandidates = 30000;

Box ToCorners(const float* v, BoxFormat format) {
  const double a = v[0], b = v[1], c = v[2], d = v[3];
  switch (format) {
    case BoxFormat::kYxYx:
      return {b, a, d, c};
    case BoxFormat::kXyWh:
      return {a, b, a + c, b + d};
    case BoxFormat::kCxCyWh:
      return {a - c / 2, b - d / 2, a + c / 2, b + d / 2};
    case BoxFormat::kAuto:
    case BoxFormat::kXyXy:
      break;
  }
  return {a, b, c, d};
}

void Append(const Box& box, std::vector<float>* out) {
  for (const double v : {box.x1, box.y1, box.x2, box.y2}) out->push_back(static_cast<float>(v));
}

// The first output whose lower-case name holds one of `words`; "" when there is none.
std::string NamedLike(const OutputBatch& outputs, std::initializer_list<const char*> words) {
  for (const NamedArray& output : outputs.outputs) {
    const std::string name = absl::AsciiStrToLower(output.name);
    for (const char* word : words) {
      if (absl::StrContains(name, word)) return output.name;
    }
  }
  return "";
}

// With an axis of examples in front where there is only one example and the axis is missing.
NamedArray WithExamples(NamedArray array, size_t rank, int64_t examples) {
  if (array.array.dims.size() + 1 == rank && examples == 1) {
    array.array.dims.insert(array.array.dims.begin(), 1);
  }
  return array;
}

struct Candidate {
  float score;
  int64_t cls;
  int64_t place;
};

// Highest score first; of equal ones the lower class, then the lower place.
bool Before(const Candidate& a, const Candidate& b) {
  if (a.score != b.score) return a.score > b.score;
  if (a.cls != b.cls) return a.cls < b.cls;
  return a.place < b.place;
}

// What suppression leaves of one image's raw outputs [4 + classes, places].
std::vector<std::pair<Candidate, Box>> Suppress(const float* raw, int64_t classes, int64_t places,
                                                BoxFormat format, const DetectionOptions& options) {
  std::vector<Candidate> candidates;
  for (int64_t c = 0; c < classes; ++c) {
    const float* scores = raw + (4 + c) * places;
    for (int64_t p = 0; p < places; ++p) {
      // NaN is at least nothing.
      if (static_cast<double>(scores[p]) >= options.min_score) {
        candidates.push_back({scores[p], c, p});
      }
    }
    // Kept short as classes come: their number times that of places may be large.
    if (candidates.size() > 4 * kMaxCandidates) {
      std::nth_element(candidates.begin(), candidates.begin() + kMaxCandidates, candidates.end(),
                       Before);
      candidates.resize(kMaxCandidates);
    }
  }
  std::sort(candidates.begin(), candidates.end(), Before);
  if (candidates.size() > kMaxCandidates) candidates.resize(kMaxCandidates);
  std::vector<std::pair<Candidate, Box>> kept;
  for (const Candidate& candidate : candidates) {
    if (static_cast<int64_t>(kept.size()) >= options.max_boxes) break;
    float numbers[4];
    for (int64_t k = 0; k < 4; ++k) numbers[k] = raw[k * places + candidate.place];
    const Box box = ToCorners(numbers, format);
    const bool hidden = std::any_of(kept.begin(), kept.end(), [&](const auto& taken) {
      return taken.first.cls == candidate.cls && Overlap(taken.second, box) > options.max_overlap;
    });
    if (!hidden) kept.emplace_back(candidate, box);
  }
  return kept;
}

absl::Status CheckPlaces(const NamedArray& array, int64_t places) {
  if (places <= limits::kMaxDetectionBoxes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("output '", array.name, "' ", DimsText(array.array.dims), " has ", places,
                   " boxes an image; at most ", limits::kMaxDetectionBoxes));
}

}  // namespace

absl::Status DetectedBoxes::Read(const OutputBatch& outputs, const DetectionOptions& options,
                                 int64_t examples) {
  DetectionForm form = options.form;
  if (form == DetectionForm::kSeparate || !options.scores_output.empty() ||
      !options.classes_output.empty()) {
    return ReadSeparate(outputs, options, examples);
  }
  const std::string& name = options.boxes_output.empty() ? options.output : options.boxes_output;
  ASSIGN_OR_RETURN(NamedArray array, FindOutput(outputs, name));
  const std::string given = DimsText(array.array.dims);
  array = WithExamples(std::move(array), 3, examples);
  const Shape& dims = array.array.dims;
  if (form == DetectionForm::kAuto) {
    const bool three = outputs.outputs.size() >= 3;
    if (dims.size() == 3 ? dims[2] == 4 : three) {
      return ReadSeparate(outputs, options, examples);
    }
    form = dims.size() == 3 && dims[2] == kRowNumbers ? DetectionForm::kRows : DetectionForm::kRaw;
  }
  const bool fits =
      dims.size() == 3 && (form == DetectionForm::kRows ? dims[2] == kRowNumbers : dims[1] > 4);
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        "output '", array.name, "' is ", given, "; expected ",
        form == DetectionForm::kRows ? "" : "[n, 4 + classes, boxes] before suppression, or ",
        "[n, boxes, 6] of x1, y1, x2, y2, score, class; name three outputs with boxes_output, "
        "scores_output and classes_output where they are apart"));
  }
  RETURN_IF_ERROR(CheckPlaces(array, form == DetectionForm::kRows ? dims[1] : dims[2]));
  if (form == DetectionForm::kRows) return ReadRows(array, options.box_format);
  return ReadRaw(array, options);
}

absl::Status DetectedBoxes::ReadSeparate(const OutputBatch& outputs,
                                         const DetectionOptions& options, int64_t examples) {
  struct Part {
    NamedArray* found;
    std::string name;
    std::initializer_list<const char*> words;
    const char* what;
    size_t rank;
  };
  Part parts[] = {{&found_.boxes, options.boxes_output, {"box"}, "boxes", 3},
                  {&found_.scores, options.scores_output, {"score", "conf"}, "scores", 2},
                  {&found_.classes, options.classes_output, {"class", "label"}, "classes", 2}};
  const bool told = outputs.outputs.size() >= 3 && [&] {
    std::vector<std::string> names;
    for (const Part& part : parts) names.push_back(NamedLike(outputs, part.words));
    // Names that do not tell the three apart say nothing.
    return !names[0].empty() && !names[1].empty() && !names[2].empty() && names[0] != names[1] &&
           names[0] != names[2] && names[1] != names[2];
  }();
  for (size_t i = 0; i < 3; ++i) {
    Part& part = parts[i];
    if (part.name.empty() && told) part.name = NamedLike(outputs, part.words);
    if (part.name.empty()) {
      if (i >= outputs.outputs.size()) {
        return absl::NotFoundError(absl::StrCat(
            "the model has ", outputs.outputs.size(), " outputs; detection wants the ", part.what,
            " as output ", i + 1, ", or the name of the output that holds them"));
      }
      part.name = outputs.outputs[i].name;
    }
    ASSIGN_OR_RETURN(*part.found, FindOutput(outputs, part.name));
    *part.found = WithExamples(std::move(*part.found), part.rank, examples);
  }
  const BoxFormat format = options.box_format;
  if (format == BoxFormat::kAuto || format == BoxFormat::kXyXy) return absl::OkStatus();
  const std::span<const float> values = found_.boxes.array.values;
  for (size_t i = 0; i + 4 <= values.size(); i += 4) {
    Append(ToCorners(values.data() + i, format), &boxes_);
  }
  found_.boxes.array.values = boxes_;
  return absl::OkStatus();
}

absl::Status DetectedBoxes::ReadRows(const NamedArray& rows, BoxFormat format) {
  const std::span<const float> values = rows.array.values;
  for (size_t i = 0; i + kRowNumbers <= values.size(); i += kRowNumbers) {
    Append(ToCorners(values.data() + i, format), &boxes_);
    scores_.push_back(values[i + 4]);
    classes_.push_back(values[i + 5]);
  }
  Show(rows.name, rows.array.dims[0], rows.array.dims[1]);
  return absl::OkStatus();
}

absl::Status DetectedBoxes::ReadRaw(const NamedArray& raw, const DetectionOptions& options) {
  const int64_t images = raw.array.dims[0];
  const int64_t classes = raw.array.dims[1] - 4;
  const int64_t places = raw.array.dims[2];
  const BoxFormat format =
      options.box_format == BoxFormat::kAuto ? BoxFormat::kCxCyWh : options.box_format;
  std::vector<std::vector<std::pair<Candidate, Box>>> kept;
  size_t most = 0;
  for (int64_t e = 0; e < images; ++e) {
    kept.push_back(Suppress(raw.array.values.data() + e * (4 + classes) * places, classes, places,
                            format, options));
    most = std::max(most, kept.back().size());
  }
  for (const auto& image : kept) {
    for (const auto& [candidate, box] : image) {
      Append(box, &boxes_);
      scores_.push_back(candidate.score);
      classes_.push_back(static_cast<float>(candidate.cls));
    }
    boxes_.resize(boxes_.size() + 4 * (most - image.size()), 0);
    scores_.resize(scores_.size() + most - image.size(), 0);
    classes_.resize(classes_.size() + most - image.size(), -1);
  }
  Show(raw.name, images, static_cast<int64_t>(most));
  return absl::OkStatus();
}

void DetectedBoxes::Show(const std::string& name, int64_t images, int64_t boxes) {
  found_.boxes = {name, {{images, boxes, 4}, boxes_}};
  found_.scores = {name, {{images, boxes}, scores_}};
  found_.classes = {name, {{images, boxes}, classes_}};
}

}  // namespace lathe::engine
