#include "worker/engine/methods/integer_search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"

namespace lathe::engine {
namespace {

// A layer must gain this share of its own time, or it stays float: estimates are not that good.
constexpr double kLeastGain = 0.03;
// Ranges of each run are worth this share of a product's float time.
constexpr double kDynamicWorth = 0.06;
// The model as a whole must gain this much.
constexpr double kLeastSpeedup = 1.03;
// The noise on other examples may be this much more, and more yet when few were measured.
constexpr double kMarginDb = 1.0;
constexpr double kMarginOfFewDb = 4.0;  // over the root of their number
// Work of measuring layers one by one, in multiply-accumulates.
constexpr double kMeasuringMacs = 1.2e12;
constexpr int kMostRounds = 16;
// How much noise a round leaves when accuracy is what counts: nobody knows how much it bears.
constexpr double kTowardsAccuracy = 0.5;
// Third step: noise that is worth so much of the time.
constexpr double kCheapTime = 0.004;
constexpr double kCheapTimeInAll = 0.015;
constexpr double kNoticeable = 0.04;

std::string Db(double db) { return absl::StrFormat("%.1f dB", db); }

// What is decided at once: the units of one weight, or an operator without weights.
struct Item {
  std::vector<size_t> units;
  bool linear = true;
  bool can_static = false;
  bool can_dynamic = false;
  UnitForm form = UnitForm::kFloat;  // of linear ones
  bool barred = false;               // of the others
  std::vector<double> noise_static;  // an output; empty: not measured
  std::vector<double> noise_dynamic;
};

class Search {
 public:
  explicit Search(const SearchRequest& request) : r_(request), units_(*request.units) {}

  absl::StatusOr<SearchResult> Run() {
    result_.reasons.assign(units_.size(), "");
    result_.alone_db.assign(units_.size(), std::nullopt);
    FindItems();
    float_time_ = r_.cost->Nanoseconds(std::vector<UnitForm>(units_.size(), UnitForm::kFloat));
    ChooseFastest();
    if (r_.prefer_speed && !WorthIt()) return AllFloat("integers would not be faster here");
    Tell(0, "measuring with all layers in integers");
    ASSIGN_OR_RETURN(std::vector<double> whole, MeasureWhole());
    const double margin =
        kMarginDb +
        kMarginOfFewDb / std::sqrt(static_cast<double>(std::max<int64_t>(1, r_.noise->examples())));
    const double allowed = std::pow(10.0, -(r_.min_sqnr_db + margin) / 10);
    if (r_.keep_in_bounds && (!InBounds(whole, allowed) || WorthMeasuring())) {
      RETURN_IF_ERROR(MeasureItems());
      RETURN_IF_ERROR(KeepInBounds(allowed, &whole));
      if (r_.prefer_speed && !WorthIt()) {
        return AllFloat("too few layers are left that integers make faster without too much error");
      }
      if (!InBounds(whole, allowed)) {
        if (r_.most_float == INT64_MAX) return AllFloat("no choice of layers is close enough");
        NoteBudget(whole);
      }
      const bool kept = InBounds(whole, allowed);
      const std::optional<double> accuracy = accuracy_;
      DropWhatIsCheap(&whole);
      ASSIGN_OR_RETURN(std::vector<double> cheaper, MeasureWhole());
      if (Worst(cheaper) < Worst(measured_) && InBounds(cheaper, allowed) >= kept) {
        whole = std::move(cheaper);
      } else {
        items_ = before_cheap_;
        whole = measured_;
        accuracy_ = accuracy;
      }
    }
    result_.sqnr_db = WorstDb(whole);
    result_.accuracy = accuracy_;
    return Finish();
  }

 private:
  static double Worst(const std::vector<double>& ratios) {
    double worst = 0;
    for (const double ratio : ratios) worst = std::max(worst, ratio);
    return worst;
  }

  // `whole` and accuracy_ are of the same candidate.
  bool InBounds(const std::vector<double>& whole, double allowed) const {
    return accuracy_ ? *accuracy_ >= r_.min_accuracy : Worst(whole) <= allowed;
  }
  std::string Measured(const std::vector<double>& whole) const {
    const std::string db = absl::StrCat("SQNR ", Db(WorstDb(whole)));
    if (!accuracy_) return absl::StrCat(db, ", wanted ", Db(r_.min_sqnr_db));
    return absl::StrFormat("%s, accuracy %.2f %%, wanted %.2f %%", db, 100 * *accuracy_,
                           100 * r_.min_accuracy);
  }
  void NoteBudget(const std::vector<double>& whole) {
    result_.notes.push_back(
        absl::StrCat("as many layers stay float for their error as may, and more would have to: ",
                     Measured(whole)));
  }

  void Tell(double fraction, const std::string& message) const {
    if (r_.progress) r_.progress(fraction, message);
  }

  bool WorthMeasuring() const { return r_.noise->comparable(); }

  void FindItems() {
    std::map<int, size_t> by_weight;
    for (size_t u = 0; u < units_.size(); ++u) {
      const IntegerUnit& unit = units_[u];
      const std::string& why = r_.planner->WhyNotStatic(u);
      const bool fixed = r_.fixed_float[u];
      if (!unit.Linear()) {
        if (!why.empty() || fixed) continue;
        Item item;
        item.units = {u};
        item.linear = false;
        item.can_static = true;
        items_.push_back(std::move(item));
        continue;
      }
      const auto [at, fresh] = by_weight.emplace(unit.weight, items_.size());
      if (fresh) {
        items_.emplace_back();
        items_.back().can_static = r_.allow_static;
        items_.back().can_dynamic = r_.allow_dynamic;
      }
      Item& item = items_[at->second];
      item.units.push_back(u);
      item.can_static = item.can_static && why.empty() && !fixed;
      // A product with ranges of each run needs no more than a plain weight.
      item.can_dynamic = item.can_dynamic && unit.not_dynamic.empty() && !fixed;
      if (fixed) {
        result_.reasons[u] = "named in keep_float";
      } else if (!why.empty()) {
        result_.reasons[u] = why;
      } else if (!item.can_static && !item.can_dynamic) {
        result_.reasons[u] = "no integer form of it is allowed";
      }
    }
  }

  std::vector<UnitForm> Forms(const std::vector<Item>& items) const {
    std::vector<UnitForm> linear(units_.size(), UnitForm::kFloat);
    std::vector<bool> barred(units_.size(), false);
    for (const Item& item : items) {
      for (const size_t u : item.units) {
        if (item.linear) {
          linear[u] = item.form;
        } else {
          barred[u] = item.barred;
        }
      }
    }
    return r_.planner->Spread(std::move(linear), barred);
  }
  double Time() const { return r_.cost->Nanoseconds(Forms(items_)); }
  bool WorthIt() const {
    const bool any = std::any_of(items_.begin(), items_.end(), [](const Item& item) {
      return item.linear && item.form != UnitForm::kFloat;
    });
    return any && float_time_ / Time() >= kLeastSpeedup;
  }

  double MacsOf(const Item& item) const {
    double macs = 0;
    for (const size_t u : item.units) macs += r_.cost->Macs(u);
    return macs;
  }

  // Step 1. Small layers are tried first: where they go back to float, their neighbours see it.
  void ChooseFastest() {
    for (Item& item : items_) {
      if (!item.linear) continue;
      item.form = item.can_static    ? UnitForm::kStatic
                  : item.can_dynamic ? UnitForm::kDynamic
                                     : UnitForm::kFloat;
    }
    std::vector<size_t> order;
    for (size_t i = 0; i < items_.size(); ++i) {
      if (items_[i].linear && items_[i].form != UnitForm::kFloat) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return MacsOf(items_[a]) < MacsOf(items_[b]); });
    for (int round = 0; round < 2; ++round) {
      for (const size_t i : order) {
        Item& item = items_[i];
        // Ranges of each run are more exact than any from calibration, and cost next to nothing
        // where the values are not integers anyway.
        if (item.form == UnitForm::kStatic && item.can_dynamic) {
          const double with_static = Time();
          item.form = UnitForm::kDynamic;
          if (Time() > with_static + kDynamicWorth * MacsOf(item) / 46)
            item.form = UnitForm::kStatic;
        }
        if (!r_.prefer_speed || item.form == UnitForm::kFloat) continue;
        const double with_it = Time();
        const UnitForm form = item.form;
        item.form = UnitForm::kFloat;
        if (Time() > with_it + kLeastGain * MacsOf(item) / 46) {
          item.form = form;
        } else {
          for (const size_t u : item.units) {
            result_.reasons[u] = "float is as fast here";
          }
        }
      }
    }
  }

  absl::StatusOr<std::vector<double>> MeasureWhole() {
    RETURN_IF_ERROR(CheckCancelled());
    ASSIGN_OR_RETURN(const Model candidate, r_.build(r_.planner->Plan(Forms(items_))));
    if (r_.accuracy) {
      ASSIGN_OR_RETURN(accuracy_, r_.accuracy(candidate));
    }
    return r_.noise->Ratios(candidate, r_.noise->batches());
  }

  absl::Status CheckCancelled() const {
    if (r_.cancelled && r_.cancelled()) return absl::CancelledError("the job was cancelled");
    return absl::OkStatus();
  }

  // One unit group alone in the given form.
  absl::StatusOr<std::vector<double>> MeasureAlone(const Item& item, UnitForm form,
                                                   int64_t batches) const {
    std::vector<UnitForm> forms(units_.size(), UnitForm::kFloat);
    for (const size_t u : item.units) forms[u] = form;
    Model model = CloneModel(*r_.model);
    const std::unique_ptr<Parallel> serial = MakeSerial();
    RETURN_IF_ERROR(EmitIntegers(model, units_, r_.planner->Plan(forms), *serial).status());
    return r_.noise->Ratios(model, batches);
  }

  absl::Status MeasureItems() {
    struct Task {
      size_t item;
      UnitForm form;
    };
    std::vector<Task> tasks;
    const std::vector<UnitForm> forms = Forms(items_);
    double macs = 0;
    for (size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      macs += MacsOf(item);
      if (item.linear && item.form == UnitForm::kFloat) continue;
      if (!item.linear && (forms[item.units[0]] != UnitForm::kStatic ||
                           units_[item.units[0]].kind == UnitKind::kMove)) {
        continue;
      }
      tasks.push_back({i, item.linear ? item.form : UnitForm::kStatic});
      if (item.linear && item.form == UnitForm::kStatic && item.can_dynamic) {
        tasks.push_back({i, UnitForm::kDynamic});
      }
    }
    const double examples =
        kMeasuringMacs / std::max(1.0, macs * static_cast<double>(tasks.size()));
    const double an_example = static_cast<double>(r_.noise->examples()) /
                              static_cast<double>(std::max<int64_t>(1, r_.noise->batches()));
    const int64_t batches =
        std::clamp(static_cast<int64_t>(examples / an_example), int64_t{1}, r_.noise->batches());
    std::vector<absl::Status> statuses(tasks.size());
    int64_t done = 0;
    const int64_t threads = OutputNoise::CandidatesAtOnce(*r_.model, r_.parallel->threads());
    // In waves, so that progress and cancellation are seen to.
    while (done < static_cast<int64_t>(tasks.size())) {
      RETURN_IF_ERROR(CheckCancelled());
      const int64_t wave = std::min<int64_t>(threads, static_cast<int64_t>(tasks.size()) - done);
      r_.parallel->Run(wave, [&](int64_t k) {
        const auto t = static_cast<size_t>(done + k);
        Item& item = items_[tasks[t].item];
        absl::StatusOr<std::vector<double>> ratios = MeasureAlone(item, tasks[t].form, batches);
        if (!ratios.ok()) {
          statuses[t] = ratios.status();
          return;
        }
        (tasks[t].form == UnitForm::kDynamic ? item.noise_dynamic : item.noise_static) =
            *std::move(ratios);
      });
      done += wave;
      Tell(0.1 + 0.6 * static_cast<double>(done) / static_cast<double>(tasks.size()),
           absl::StrCat("measuring layers one by one (", done, " of ", tasks.size(), ")"));
    }
    for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
    for (const Item& item : items_) {
      const std::vector<double>& noise =
          item.noise_static.empty() ? item.noise_dynamic : item.noise_static;
      if (noise.empty()) continue;
      for (const size_t u : item.units) result_.alone_db[u] = WorstDb(noise);
    }
    return absl::OkStatus();
  }

  static const std::vector<double>& NoiseOf(const Item& item, UnitForm form) {
    return form == UnitForm::kDynamic ? item.noise_dynamic : item.noise_static;
  }

  // The sum of shares, an output.
  std::vector<double> Predict(const std::vector<Item>& items) const {
    std::vector<double> sum(r_.noise->outputs().size(), 0.0);
    const std::vector<UnitForm> forms = Forms(items);
    for (const Item& item : items) {
      const UnitForm form = forms[item.units[0]];
      if (form == UnitForm::kFloat) continue;
      const std::vector<double>& noise = NoiseOf(item, form);
      for (size_t o = 0; o < noise.size(); ++o) sum[o] += noise[o];
    }
    return sum;
  }

  // A step towards less noise.
  struct Move {
    size_t item = 0;
    UnitForm form = UnitForm::kFloat;
    double gain = 0;  // noise of the worst output
    double time = 0;
  };

  std::vector<Move> Moves() const {
    const std::vector<double> now = Predict(items_);
    const double time_now = Time();
    const std::vector<UnitForm> forms = Forms(items_);
    size_t worst = 0;
    for (size_t o = 0; o < now.size(); ++o) {
      if (now[o] > now[worst]) worst = o;
    }
    std::vector<Move> moves;
    for (size_t i = 0; i < items_.size(); ++i) {
      const UnitForm form = forms[items_[i].units[0]];
      if (form == UnitForm::kFloat || NoiseOf(items_[i], form).empty()) continue;
      std::vector<UnitForm> choices;
      if (!items_[i].linear || kept_float_ < r_.most_float) choices.push_back(UnitForm::kFloat);
      if (form == UnitForm::kStatic && !items_[i].noise_dynamic.empty()) {
        choices.push_back(UnitForm::kDynamic);
      }
      for (const UnitForm choice : choices) {
        std::vector<Item> tried = items_;
        Apply(tried[i], choice);
        const std::vector<double> then = Predict(tried);
        const double gain = now[worst] - then[worst];
        if (!(gain > 0)) continue;
        moves.push_back({i, choice, gain, r_.cost->Nanoseconds(Forms(tried)) - time_now});
      }
    }
    return moves;
  }

  static void Apply(Item& item, UnitForm form) {
    if (item.linear) {
      item.form = form;
    } else {
      item.barred = form == UnitForm::kFloat;
    }
  }

  void Take(const Move& move) {
    Item& item = items_[move.item];
    Apply(item, move.form);
    if (move.form != UnitForm::kFloat) return;
    kept_float_ += item.linear ? 1 : 0;
    for (const size_t u : item.units) {
      const std::optional<double>& alone = result_.alone_db[u];
      result_.reasons[u] = absl::StrCat("in integers it alone leaves the outputs at ",
                                        alone ? Db(*alone) : "?", " SQNR");
    }
  }

  // Step 2.
  absl::Status KeepInBounds(double allowed, std::vector<double>* whole) {
    double factor = 1;  // what the sum of shares is wrong by
    const double predicted_first = Worst(Predict(items_));
    // Far past the bound errors do not add up any more: the first guess is the sum itself.
    if (Worst(*whole) < 0.3 && predicted_first > 0) factor = Worst(*whole) / predicted_first;
    for (int round = 0; round < kMostRounds && !InBounds(*whole, allowed); ++round) {
      Tell(0.7 + 0.25 * round / kMostRounds, Measured(*whole));
      if (accuracy_) allowed = kTowardsAccuracy * Worst(*whole);
      bool moved = false;
      while (!moved || Worst(Predict(items_)) * factor > allowed) {
        const std::vector<Move> moves = Moves();
        if (moves.empty()) break;
        // The least time for the noise; what costs none goes first.
        const Move* best = &moves[0];
        const auto rank = [&](const Move& move) {
          // Where layers are counted, each is to do the most.
          if (r_.most_float != INT64_MAX) return move.gain;
          return move.gain / std::max(move.time, 0.0005 * float_time_);
        };
        for (const Move& move : moves) {
          if (rank(move) > rank(*best)) best = &move;
        }
        Take(*best);
        moved = true;
      }
      if (!moved) break;
      ASSIGN_OR_RETURN(*whole, MeasureWhole());
      const double predicted = Worst(Predict(items_));
      if (predicted > 0) factor = std::max(factor, Worst(*whole) / predicted);
    }
    measured_ = *whole;
    return absl::OkStatus();
  }

  // Step 3.
  void DropWhatIsCheap(std::vector<double>* whole) {
    before_cheap_ = items_;
    measured_ = *whole;
    double spent = 0;
    const double time = Time();
    for (;;) {
      const double noise = Worst(Predict(items_));
      const Move* best = nullptr;
      const std::vector<Move> moves = Moves();
      for (const Move& move : moves) {
        if (move.time > kCheapTime * time || spent + move.time > kCheapTimeInAll * time ||
            move.gain < kNoticeable * noise) {
          continue;
        }
        if (best == nullptr || move.gain > best->gain) best = &move;
      }
      if (best == nullptr) return;
      spent += std::max(0.0, best->time);
      Take(*best);
    }
  }

  absl::StatusOr<SearchResult> AllFloat(const std::string& why) {
    for (size_t u = 0; u < units_.size(); ++u) {
      if (units_[u].Linear() && result_.reasons[u].empty()) result_.reasons[u] = why;
    }
    for (Item& item : items_) Apply(item, UnitForm::kFloat);
    result_.notes.push_back(absl::StrCat("no layer runs in integers: ", why));
    result_.sqnr_db = 200;
    return Finish();
  }

  SearchResult Finish() {
    result_.forms = Forms(items_);
    const double time = Time();
    result_.speedup = time > 0 ? float_time_ / time : 1;
    for (size_t u = 0; u < units_.size(); ++u) {
      if (result_.forms[u] != UnitForm::kFloat) result_.reasons[u].clear();
    }
    return std::move(result_);
  }

  const SearchRequest& r_;
  const std::vector<IntegerUnit>& units_;
  std::vector<Item> items_;
  std::vector<Item> before_cheap_;
  std::vector<double> measured_;
  double float_time_ = 0;
  int64_t kept_float_ = 0;          // layers, for their error
  std::optional<double> accuracy_;  // of the candidate measured last
  SearchResult result_;
};

}  // namespace

absl::StatusOr<SearchResult> SearchIntegers(const SearchRequest& request) {
  return Search(request).Run();
}

}  // namespace lathe::engine
