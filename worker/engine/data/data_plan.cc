#include "worker/engine/data/data_plan.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"

namespace lathe::engine {

// Who uses which file.
class DataPlanner {
 public:
  DataPlanner(const std::vector<DataFile>& files, const Recipe& recipe, const Model& model,
              const DataNeeds& needs)
      : files_(files), recipe_(recipe), model_(model), needs_(needs) {}

  absl::StatusOr<DataPlan> Plan() {
    RETURN_IF_ERROR(Open());
    const Step split = SectionOf(recipe_, "split");
    const double test = GetDouble(split, "test");
    const bool shared = Any("");
    // Files without a role are split where they serve test and something that learns from them.
    const bool fits_shared = (needs_.train && !Any("train")) ||
                             (needs_.calibration && !Any("calibration") && !Any("train"));
    const bool meet = shared && needs_.test && !Any("test") && fits_shared;
    if (needs_.test) {
      ASSIGN_OR_RETURN(plan_.test, Of("test", "test", 0, meet ? test : 1));
    }
    if (needs_.train) {
      ASSIGN_OR_RETURN(plan_.train, Of("train", "train", meet ? test : 0, 1));
    }
    if (needs_.calibration) {
      const char* const from = !Any("calibration") && Any("train") ? "train" : "calibration";
      ASSIGN_OR_RETURN(plan_.calibration, Of("calibration", from, meet ? test : 0, 1));
    }
    if (plan_.calibration) {
      plan_.calibration = plan_.calibration->Take(GetInt(split, "calibration"));
    }
    if (plan_.test) {
      plan_.test = plan_.test->Take(GetInt(SectionOf(recipe_, "evaluate"), "max_examples"));
    }
    WarnOfSameContent();
    return std::move(plan_);
  }

 private:
  static std::string RoleOf(const DataFile& file) { return file.role == "all" ? "" : file.role; }

  bool Any(const std::string& role) const {
    for (const DataFile& file : files_) {
      if (RoleOf(file) == role) return true;
    }
    return false;
  }

  absl::Status Open() {
    const Preprocess preprocess = Preprocess::FromRecipe(recipe_);
    for (const DataFile& file : files_) {
      const std::vector<std::string> roles = {"calibration", "train", "test", "all"};
      const std::string role = RoleOf(file);
      if (!role.empty() && role != "calibration" && role != "train" && role != "test") {
        const std::string nearest = NearestName(role, roles);
        return absl::InvalidArgumentError(
            absl::StrCat(file.name, ": no role '", role.substr(0, 40),
                         "'; expected calibration, train, test or all",
                         nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
      }
      absl::StatusOr<std::unique_ptr<ArrayFile>> arrays = ArrayFile::Open(file.path);
      if (!arrays.ok()) {
        return absl::Status(arrays.status().code(),
                            absl::StrCat(file.name, ": ", arrays.status().message()));
      }
      ASSIGN_OR_RETURN(std::unique_ptr<ExampleFile> opened,
                       ExampleFile::Open(file.name, *std::move(arrays), preprocess, model_));
      for (const std::string& warning : opened->warnings()) plan_.warnings.push_back(warning);
      opened_.push_back(std::move(opened));
    }
    return absl::OkStatus();
  }

  // `role` from the files given for `files`, or from the part [from, to) of those without a role;
  // nullopt without either.
  absl::StatusOr<std::optional<DataSplit>> Of(const std::string& role, const std::string& files,
                                              double from, double to) {
    const bool own = Any(files);
    if (!own && !Any("")) return std::nullopt;
    DataSplit split;
    split.role_ = role;
    for (size_t i = 0; i < files_.size(); ++i) {
      if (RoleOf(files_[i]) != (own ? files : "")) continue;
      const int64_t size = opened_[i]->size();
      const auto bound = [&](double fraction) {
        return static_cast<int64_t>(std::floor(fraction * static_cast<double>(size) + 0.5));
      };
      RETURN_IF_ERROR(split.AddPart({.file = opened_[i],
                                     .order = Permutation(size, recipe_.seed),
                                     .begin = own ? 0 : bound(from),
                                     .end = own ? size : bound(to)}));
    }
    if (split.size() == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(split.files(), ": no examples are left for ", role, " when split.test is ",
                       GetDouble(SectionOf(recipe_, "split"), "test"),
                       "; change it, give more examples, or give files by role"));
    }
    return split;
  }

  void WarnOfSameContent() {
    for (size_t i = 0; i < files_.size(); ++i) {
      for (size_t j = i + 1; j < files_.size(); ++j) {
        const bool same = files_[i].path == files_[j].path ||
                          (!files_[i].sha256.empty() && files_[i].sha256 == files_[j].sha256);
        if (!same || (files_[i].role == "test") == (files_[j].role == "test")) continue;
        plan_.warnings.push_back(
            absl::StrCat(files_[i].name, " and ", files_[j].name,
                         " are the same: the test uses examples that the model was fitted to"));
      }
    }
  }

  const std::vector<DataFile>& files_;
  const Recipe& recipe_;
  const Model& model_;
  const DataNeeds& needs_;
  std::vector<std::shared_ptr<ExampleFile>> opened_;
  DataPlan plan_;
};

absl::StatusOr<DataPlan> OpenData(const std::vector<DataFile>& files, const Recipe& recipe,
                                  const Model& model, const DataNeeds& needs) {
  return DataPlanner(files, recipe, model, needs).Plan();
}

}  // namespace lathe::engine
