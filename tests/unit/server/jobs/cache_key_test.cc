#include "server/jobs/cache_key.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "lathe/v1/jobs.pb.h"

namespace lathe::server {
namespace {

v1::Attempt Base() {
  v1::Attempt attempt;
  attempt.set_kind(v1::ATTEMPT_KIND_COMPRESS);
  attempt.set_main_file("a.onnx");
  for (const char* path : {"a.onnx", "b.bin"}) {
    v1::ModelFile* file = attempt.add_files();
    file->set_path(path);
    file->set_digest(std::string(64, *path));
  }
  attempt.set_recipe_json(R"({"seed":1,"steps":[{"fp16":{}}]})");
  (*attempt.mutable_bindings())["batch"] = 4;
  v1::AttemptDataset* dataset = attempt.add_datasets();
  dataset->set_role("calibration");
  dataset->set_display_name("d.npz");
  dataset->set_digest(std::string(64, 'd'));
  return attempt;
}

// Every input that can change the bytes of a result, changed one at a time.
TEST(ResultCacheKey, AnyChangedInputChangesTheKey) {
  const std::pair<const char*, std::function<void(v1::Attempt&)>> changes[] = {
      {"kind", [](v1::Attempt& a) { a.set_kind(v1::ATTEMPT_KIND_INSPECT); }},
      {"a file's digest", [](v1::Attempt& a) { a.mutable_files(0)->set_digest("x"); }},
      {"a file's path", [](v1::Attempt& a) { a.mutable_files(1)->set_path("c.bin"); }},
      {"a file more", [](v1::Attempt& a) { a.add_files()->set_path("d"); }},
      {"a file less", [](v1::Attempt& a) { a.mutable_files()->RemoveLast(); }},
      {"two files' digests swapped",
       [](v1::Attempt& a) {
         a.mutable_files(0)->mutable_digest()->swap(*a.mutable_files(1)->mutable_digest());
       }},
      {"the main file", [](v1::Attempt& a) { a.set_main_file("b.bin"); }},
      {"the seed",
       [](v1::Attempt& a) { a.set_recipe_json(R"({"seed":2,"steps":[{"fp16":{}}]})"); }},
      {"the recipe", [](v1::Attempt& a) { a.set_recipe_json(R"({"seed":1,"steps":[]})"); }},
      {"a binding's size", [](v1::Attempt& a) { (*a.mutable_bindings())["batch"] = 5; }},
      {"a binding's name",
       [](v1::Attempt& a) {
         a.clear_bindings();
         (*a.mutable_bindings())["Batch"] = 4;
       }},
      {"a binding more", [](v1::Attempt& a) { (*a.mutable_bindings())["seq"] = 1; }},
      {"a dataset's digest", [](v1::Attempt& a) { a.mutable_datasets(0)->set_digest("x"); }},
      {"a dataset's role", [](v1::Attempt& a) { a.mutable_datasets(0)->set_role("test"); }},
      {"a dataset's format",
       [](v1::Attempt& a) { a.mutable_datasets(0)->set_display_name("d.safetensors"); }},
      {"a dataset less", [](v1::Attempt& a) { a.clear_datasets(); }},
      {"a teacher", [](v1::Attempt& a) { a.add_teacher_files()->set_digest("x"); }},
      {"another teacher", [](v1::Attempt& a) { a.add_teacher_files()->set_digest("y"); }},
      {"a model to compare with", [](v1::Attempt& a) { a.add_compared_files()->set_digest("x"); }},
      {"another model to compare with",
       [](v1::Attempt& a) { a.add_compared_files()->set_digest("y"); }},
      {"its main file",
       [](v1::Attempt& a) {
         a.add_compared_files()->set_digest("x");
         a.set_compared_main_file("b.onnx");
       }},
  };
  std::set<std::string> keys = {ResultCacheKey(Base(), "build")};
  EXPECT_TRUE(keys.insert(ResultCacheKey(Base(), "other build")).second);
  for (const auto& change : changes) {
    v1::Attempt attempt = Base();
    change.second(attempt);
    EXPECT_TRUE(keys.insert(ResultCacheKey(attempt, "build")).second) << change.first;
  }
}

TEST(ResultCacheKey, WhatCannotChangeTheResultDoesNotChangeTheKey) {
  v1::Attempt attempt = Base();
  attempt.set_job("jobs/other");
  attempt.set_lease_token(9);
  attempt.set_attempt_number(3);
  attempt.mutable_max_run_duration()->set_seconds(7);
  attempt.mutable_files()->SwapElements(0, 1);
  EXPECT_EQ(ResultCacheKey(attempt, "build"), ResultCacheKey(Base(), "build"));
}

TEST(ResultCacheKey, FieldsCannotRunIntoEachOther) {
  v1::Attempt one;
  one.set_recipe_json("ab");
  one.set_main_file("c");
  v1::Attempt other;
  other.set_recipe_json("a");
  other.set_main_file("bc");
  EXPECT_NE(ResultCacheKey(one, ""), ResultCacheKey(other, ""));
}

TEST(Fingerprint, IsTheSameForMapsFilledInAnyOrder) {
  v1::Job one;
  v1::Job other;
  for (int i = 0; i < 20; ++i) (*one.mutable_labels())["k" + std::to_string(i)] = "v";
  for (int i = 19; i >= 0; --i) (*other.mutable_labels())["k" + std::to_string(i)] = "v";
  EXPECT_EQ(Fingerprint(one), Fingerprint(other));
  (*other.mutable_labels())["k3"] = "w";
  EXPECT_NE(Fingerprint(one), Fingerprint(other));
}

}  // namespace
}  // namespace lathe::server
