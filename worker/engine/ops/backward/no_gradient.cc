// Operators through which no gradient passes: their outputs are integers, truth values or shapes,
// or steps of their inputs, or do not depend on the elements of their inputs at all. Their
// gradients are zero, which is not the same as having no rule: a value that only they read is
// trained by nothing, and nobody is told that its gradient was lost.
#include "worker/engine/ops/backward/backward.h"

namespace lathe::engine {
namespace {

constexpr OpBackward Zero(const char* op) { return {"", op, nullptr}; }

constexpr OpBackward kTable[] = {
    Zero("And"),
    Zero("ArgMax"),
    Zero("ArgMin"),
    Zero("Bernoulli"),
    Zero("BitCast"),
    Zero("BitShift"),
    Zero("BitwiseAnd"),
    Zero("BitwiseNot"),
    Zero("BitwiseOr"),
    Zero("BitwiseXor"),
    Zero("BlackmanWindow"),
    Zero("Ceil"),
    Zero("Constant"),
    Zero("ConstantOfShape"),
    Zero("Equal"),
    Zero("EyeLike"),
    Zero("Floor"),
    Zero("Greater"),
    Zero("GreaterOrEqual"),
    Zero("HammingWindow"),
    Zero("HannWindow"),
    Zero("Hardmax"),
    Zero("IsInf"),
    Zero("IsNaN"),
    Zero("Less"),
    Zero("LessOrEqual"),
    Zero("Multinomial"),
    Zero("NonMaxSuppression"),
    Zero("NonZero"),
    Zero("Not"),
    Zero("Or"),
    Zero("RandomNormal"),
    Zero("RandomNormalLike"),
    Zero("RandomUniform"),
    Zero("RandomUniformLike"),
    Zero("Round"),
    Zero("Shape"),
    Zero("Sign"),
    Zero("Size"),
    Zero("Xor"),
};

}  // namespace

std::span<const OpBackward> NoGradientBackwards() { return kTable; }

}  // namespace lathe::engine
