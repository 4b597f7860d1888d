// From "which layers run in integers" to a whole plan: which operators between them do, and the
// range of every value.
#ifndef LATHE_WORKER_ENGINE_METHODS_INTEGER_PLANNER_H_
#define LATHE_WORKER_ENGINE_METHODS_INTEGER_PLANNER_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "worker/engine/calibrate/collect.h"
#include "worker/engine/calibrate/value_range.h"
#include "worker/engine/methods/integer_cost.h"
#include "worker/engine/passes/emit_integers.h"

namespace lathe::engine {

struct IntegerOptions {
  RangeRule range;
  IntegerWeightRule weights;
  bool powers_of_two = false;  // scales of activations
};

class IntegerPlanner {
 public:
  // All must outlive it. `seen`: statistics of every input and result of the units.
  IntegerPlanner(const std::vector<IntegerUnit>& units, const Collected& seen,
                 const IntegerCost& cost, const IntegerOptions& options);

  // Why a unit cannot have ranges: its own reason, or values that were not finite or not seen.
  const std::string& WhyNotStatic(size_t unit) const { return why_not_[unit]; }

  // Forms of all units, given those of the linear ones: an operator between integer units becomes
  // one where all that it reads are integers and an integer unit reads its result, unless it is
  // `barred`.
  std::vector<UnitForm> Spread(std::vector<UnitForm> linear, const std::vector<bool>& barred) const;

  // `forms` as they are, with the ranges they need.
  IntegerPlan Plan(const std::vector<UnitForm>& forms) const;

 private:
  const std::vector<IntegerUnit>& units_;
  const IntegerCost& cost_;
  const IntegerOptions& options_;
  std::vector<std::string> why_not_;
  std::map<std::string, IntegerRange> ranges_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_INTEGER_PLANNER_H_
