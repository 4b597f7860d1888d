// The methods that train.
#include "common/recipe/method_specs.h"

namespace lathe {
namespace {

void Append(std::vector<ParamSpec> more, std::vector<ParamSpec>* params) {
  for (ParamSpec& spec : more) params->push_back(std::move(spec));
}

// How long and how fast.
std::vector<ParamSpec> OptimizerParams(int64_t epochs) {
  return {{.name = "epochs",
           .type = ParamType::kInt,
           .description = "Times that every training example is seen.",
           .minimum = 1,
           .maximum = 10'000,
           .default_value = epochs},
          {.name = "steps",
           .type = ParamType::kInt,
           .description = "Instead of epochs: batches to train on.",
           .minimum = 1,
           .maximum = 10'000'000},
          {.name = "batch_size",
           .type = ParamType::kInt,
           .description = "Examples a step.",
           .minimum = 1,
           .maximum = 65'536,
           .default_value = int64_t{64}},
          {.name = "optimizer",
           .type = ParamType::kString,
           .description = "What turns gradients into steps; sgd has Nesterov momentum.",
           .choices = {"adam", "adamw", "sgd"},
           .default_value = std::string("adam")},
          {.name = "learning_rate",
           .type = ParamType::kDouble,
           .description = "Greatest learning rate; without it one that fits the optimizer and the "
                          "kind of model.",
           .minimum = 0,
           .maximum = 10,
           .minimum_open = true},
          {.name = "schedule",
           .type = ParamType::kString,
           .description = "How the learning rate changes; step: to a tenth twice.",
           .choices = {"cosine", "linear", "step", "constant"},
           .default_value = std::string("cosine")},
          {.name = "warmup",
           .type = ParamType::kDouble,
           .description = "Share of the steps in which the learning rate rises.",
           .minimum = 0,
           .maximum = 1,
           .maximum_open = true,
           .default_value = 0.05},
          {.name = "momentum",
           .type = ParamType::kDouble,
           .description = "Share of the mean gradient that is kept from step to step.",
           .minimum = 0,
           .maximum = 1,
           .maximum_open = true,
           .default_value = 0.9},
          {.name = "weight_decay",
           .type = ParamType::kDouble,
           .description = "Pull of matrices and kernels towards zero; not of norms and biases.",
           .minimum = 0,
           .maximum = 1,
           .default_value = 0.0},
          {.name = "clip_norm",
           .type = ParamType::kDouble,
           .description = "Greatest norm of all gradients together; 0: any.",
           .minimum = 0,
           .maximum = 1e6,
           .default_value = 1.0}};
}

// What is trained, on what, and when it ends early.
std::vector<ParamSpec> TrainingParams() {
  return {
      {.name = "batch_norm",
       .type = ParamType::kString,
       .description = "BatchNormalization: frozen uses the stored statistics; update the "
                      "batch's, and keeps running ones; auto: update unless layers are "
                      "quantized.",
       .choices = {"auto", "frozen", "update"},
       .default_value = std::string("auto")},
      {.name = "quantized",
       .type = ParamType::kString,
       .description = "Weights stored as integers: lsq trains them and their scales, ste them "
                      "alone, frozen leaves them.",
       .choices = {"lsq", "ste", "frozen"},
       .default_value = std::string("lsq")},
      {.name = "validation",
       .type = ParamType::kDouble,
       .description = "Share of the training examples kept back; the values of the epoch that "
                      "does best on them are kept.",
       .minimum = 0,
       .maximum = 0.5,
       .default_value = 0.0},
      {.name = "patience",
       .type = ParamType::kInt,
       .description = "Epochs without a better validation loss after which training ends; 0: none.",
       .unit = "epochs",
       .minimum = 0,
       .maximum = 10'000,
       .default_value = int64_t{0}},
      {.name = "flip",
       .type = ParamType::kBool,
       .description = "Images [N, C, H, W]: left for right, every second time.",
       .default_value = false},
      {.name = "shift",
       .type = ParamType::kInt,
       .description = "Images: moved by up to so many pixels.",
       .unit = "pixels",
       .minimum = 0,
       .maximum = 1024,
       .default_value = int64_t{0}},
      {.name = "noise",
       .type = ParamType::kDouble,
       .description = "Images: standard deviation of noise that is added.",
       .minimum = 0,
       .maximum = 1e6,
       .default_value = 0.0},
      {.name = "mixup",
       .type = ParamType::kDouble,
       .description = "Images: pairs are mixed by a share drawn from Beta(a, a); 0: not.",
       .minimum = 0,
       .maximum = 10,
       .default_value = 0.0},
      {.name = "memory_mb",
       .type = ParamType::kInt,
       .description = "Most memory of activations and gradients; batches are cut to fit.",
       .unit = "MiB",
       .minimum = 1,
       .maximum = 1'048'576},
      Targets(),
      Skip()};
}

ParamSpec LabelSmoothing() {
  return {.name = "label_smoothing",
          .type = ParamType::kDouble,
          .description = "Share of each label that is spread over all classes.",
          .minimum = 0,
          .maximum = 1,
          .maximum_open = true,
          .default_value = 0.0};
}

ParamSpec Temperature() {
  return {.name = "temperature",
          .type = ParamType::kDouble,
          .description = "Scores of teacher and student are divided by it when they are compared.",
          .minimum = 0,
          .maximum = 100,
          .minimum_open = true,
          .default_value = 4.0};
}

}  // namespace

MethodSpec FineTune() {
  MethodSpec spec;
  spec.name = "fine_tune";
  spec.description =
      "Trains the model as it is after the steps before: pruned weights stay zero, integers stay "
      "integers.";
  spec.params = OptimizerParams(3);
  Append({{.name = "loss",
           .type = ParamType::kString,
           .description = "auto: by the labels, and without labels distill: the outputs of the "
                          "model as it was before the recipe.",
           .choices = {"auto", "cross_entropy", "mse", "ctc", "distill"},
           .default_value = std::string("auto")},
          LabelSmoothing()},
         &spec.params);
  Append(TrainingParams(), &spec.params);
  spec.exclusive = {{.names = {"epochs", "steps"}, .required = false}};
  return spec;
}

MethodSpec Distill() {
  MethodSpec spec;
  spec.name = "distill";
  spec.description =
      "Trains the model to give the outputs of a teacher: the one given with the job, or the model "
      "as it was before the recipe.";
  spec.params = OptimizerParams(3);
  Append({{.name = "loss",
           .type = ParamType::kString,
           .description = "kl and dkd compare class scores, feature and mse outputs of any kind; "
                          "auto: kl where the model gives class scores.",
           .choices = {"auto", "kl", "dkd", "mse", "feature"},
           .default_value = std::string("auto")},
          Temperature(),
          {.name = "alpha",
           .type = ParamType::kDouble,
           .description = "The teacher's share of the loss; the rest is the labels'.",
           .minimum = 0,
           .maximum = 1,
           .default_value = 0.9},
          LabelSmoothing()},
         &spec.params);
  Append(TrainingParams(), &spec.params);
  spec.exclusive = {{.names = {"epochs", "steps"}, .required = false}};
  return spec;
}

bool TakesTrain(absl::string_view method) {
  return method == "quantize_weights" || method == "quantize_activations";
}

bool TrainsOnData(const Step& step) {
  return step.method == "fine_tune" || step.method == "distill";
}

}  // namespace lathe
