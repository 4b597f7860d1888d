// A real SQLite file in a folder of its own, and records to fill it with.
#ifndef LATHE_TESTS_UNIT_SERVER_STORE_STORE_TEST_UTIL_H_
#define LATHE_TESTS_UNIT_SERVER_STORE_STORE_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/clock.h"
#include "server/store/sqlite_store.h"
#include "server/store/store.h"
#include "tests/support/temp_folder.h"

namespace lathe::server {

using lathe::testing::TempFolder;

inline std::unique_ptr<SqliteStore> OpenOrDie(SqliteStoreOptions options,
                                              const Clock* clock = nullptr) {
  static const RealClock* real_clock = new RealClock;
  if (clock == nullptr) clock = real_clock;
  absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(std::move(options), clock);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

inline std::unique_ptr<SqliteStore> OpenOrDie(const std::string& path,
                                              const Clock* clock = nullptr) {
  SqliteStoreOptions options;
  options.path = path;
  return OpenOrDie(std::move(options), clock);
}

// 64 characters, as digests have.
inline std::string DigestOf(char c) { return std::string(64, c); }

inline v1::Model MakeModel(absl::string_view name, char digest) {
  v1::Model model;
  model.set_name(std::string(name));
  model.set_display_name("net.onnx");
  model.set_main_file("net.onnx");
  v1::ModelFile* file = model.add_files();
  file->set_path("net.onnx");
  file->set_digest(DigestOf(digest));
  file->set_size_bytes(100);
  return model;
}

inline JobRecord MakeJob(absl::string_view name, char digest = 'a') {
  JobRecord record;
  record.job.set_name(std::string(name));
  record.job.set_model("models/m");
  record.job.set_state(v1::JOB_STATE_PENDING);
  record.attempt.set_kind(v1::ATTEMPT_KIND_COMPRESS);
  v1::ModelFile* file = record.attempt.add_files();
  file->set_path("net.onnx");
  file->set_digest(DigestOf(digest));
  return record;
}

inline absl::Status InsertJob(Store& store, JobRecord record) {
  return store.Write([&](WriteTransaction& tx) {
    JobRecord copy = record;
    return tx.InsertJob(&copy);
  });
}

inline bool HasJob(Store& store, absl::string_view name) {
  return store.Read([&](ReadTransaction& tx) { return tx.GetJob(name).status(); }).ok();
}

}  // namespace lathe::server

#endif  // LATHE_TESTS_UNIT_SERVER_STORE_STORE_TEST_UTIL_H_
