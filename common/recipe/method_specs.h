// Parts of the catalogue that have files of their own (internal to common/recipe/catalogue.h).
#ifndef LATHE_COMMON_RECIPE_METHOD_SPECS_H_
#define LATHE_COMMON_RECIPE_METHOD_SPECS_H_

#include "common/recipe/catalogue.h"

namespace lathe {

// What every method takes.
ParamSpec Targets();
ParamSpec Skip();

MethodSpec QuantizeWeights();
MethodSpec QuantizeActivations();

// training_specs.cc
MethodSpec FineTune();
MethodSpec Distill();

}  // namespace lathe

#endif  // LATHE_COMMON_RECIPE_METHOD_SPECS_H_
