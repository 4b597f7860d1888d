// Which blobs may not be collected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/status_macros.h"
#include "server/store/sqlite_store.h"
#include "tests/unit/server/store/store_test_util.h"

namespace lathe::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class BlobReferences : public ::testing::Test {
 protected:
  std::vector<std::string> Referenced() {
    std::vector<std::string> digests;
    EXPECT_TRUE(store_
                    ->Read([&](ReadTransaction& tx) -> absl::Status {
                      ASSIGN_OR_RETURN(digests, tx.ReferencedDigests());
                      for (const std::string& digest : digests) {
                        ASSIGN_OR_RETURN(const bool referenced, tx.IsReferenced(digest));
                        EXPECT_TRUE(referenced);
                      }
                      return absl::OkStatus();
                    })
                    .ok());
    return digests;
  }
  void Do(const std::function<absl::Status(WriteTransaction&)>& work) {
    const absl::Status status = store_->Write(work);
    ASSERT_TRUE(status.ok()) << status;
  }

  TempFolder folder_;
  std::unique_ptr<SqliteStore> store_ = OpenOrDie(folder_.File("db"));
};

TEST_F(BlobReferences, ModelsAndDatasetsHoldTheirBlobsUntilDeleted) {
  Do([](WriteTransaction& tx) { return tx.InsertModel(MakeModel("models/m", 'a')); });
  Do([](WriteTransaction& tx) { return tx.InsertModel(MakeModel("models/same", 'a')); });
  v1::Dataset dataset;
  dataset.set_name("datasets/d");
  dataset.set_digest(DigestOf('d'));
  Do([&](WriteTransaction& tx) { return tx.InsertDataset(dataset); });
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('a'), DigestOf('d')));
  Do([](WriteTransaction& tx) { return tx.DeleteModel("models/m"); });
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('a'), DigestOf('d')));
  Do([](WriteTransaction& tx) { return tx.DeleteModel("models/same"); });
  Do([](WriteTransaction& tx) { return tx.DeleteDataset("datasets/d"); });
  EXPECT_THAT(Referenced(), IsEmpty());
}

TEST_F(BlobReferences, AnUnfinishedJobKeepsTheBlobsOfADeletedModelAndDatasetUntilItEnds) {
  Do([](WriteTransaction& tx) { return tx.InsertModel(MakeModel("models/m", 'a')); });
  v1::Dataset dataset;
  dataset.set_name("datasets/d");
  dataset.set_digest(DigestOf('d'));
  Do([&](WriteTransaction& tx) { return tx.InsertDataset(dataset); });
  JobRecord job = MakeJob("jobs/1", 'a');
  job.attempt.add_datasets()->set_digest(DigestOf('d'));
  job.attempt.add_teacher_files()->set_digest(DigestOf('t'));
  Do([](WriteTransaction& tx) { return tx.InsertModel(MakeModel("models/teacher", 't')); });
  Do([&](WriteTransaction& tx) { return tx.InsertJob(&job); });
  Do([](WriteTransaction& tx) { return tx.DeleteModel("models/m"); });
  Do([](WriteTransaction& tx) { return tx.DeleteModel("models/teacher"); });
  Do([](WriteTransaction& tx) { return tx.DeleteDataset("datasets/d"); });
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('a'), DigestOf('d'), DigestOf('t')));
  job.job.set_state(v1::JOB_STATE_FAILED);
  Do([&](WriteTransaction& tx) { return tx.UpdateJob(job); });
  EXPECT_THAT(Referenced(), IsEmpty());
}

TEST_F(BlobReferences, AnEndedJobHoldsItsReportsUntilDeleted) {
  JobRecord job = MakeJob("jobs/1", 'a');
  Do([&](WriteTransaction& tx) { return tx.InsertJob(&job); });
  job.job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.job.mutable_result()->set_report_digest(DigestOf('r'));
  job.report_text_digest = DigestOf('t');
  Do([&](WriteTransaction& tx) { return tx.UpdateJob(job); });
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('r'), DigestOf('t')));
  Do([](WriteTransaction& tx) { return tx.DeleteJob("jobs/1"); });
  EXPECT_THAT(Referenced(), IsEmpty());
}

TEST_F(BlobReferences, AJobHoldsItsCheckpointUntilTheNextItsEndOrItsDeletion) {
  for (const char* name : {"jobs/1", "jobs/2"}) {
    JobRecord job = MakeJob(name, 'a');
    Do([&](WriteTransaction& tx) { return tx.InsertJob(&job); });
  }
  const auto put = [this](const char* job, char digest, int64_t token) {
    Do([=](WriteTransaction& tx) {
      return tx.PutCheckpoint(job, {DigestOf(digest), 1000, token});
    });
  };
  put("jobs/1", 'c', 7);
  put("jobs/2", 'c', 8);
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('c')));
  put("jobs/1", 'd', 9);
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('c'), DigestOf('d')));
  Do([](WriteTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const auto found, tx.FindCheckpoint("jobs/1"));
    EXPECT_EQ(found->digest, DigestOf('d'));
    EXPECT_EQ(found->size_bytes, 1000);
    EXPECT_EQ(found->lease_token, 9);
    return tx.DeleteCheckpoint("jobs/1");
  });
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('c')));
  Do([](WriteTransaction& tx) { return tx.DeleteJob("jobs/2"); });
  EXPECT_THAT(Referenced(), IsEmpty());
  Do([](WriteTransaction& tx) -> absl::Status {
    for (const char* job : {"jobs/1", "jobs/2", "jobs/none"}) {
      ASSIGN_OR_RETURN(const auto found, tx.FindCheckpoint(job));
      EXPECT_FALSE(found.has_value()) << job;
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsNotFound(store_->Write([](WriteTransaction& tx) {
    return tx.PutCheckpoint("jobs/none", {DigestOf('c'), 1, 1});
  })));
}

TEST_F(BlobReferences, InspectionsHoldTheirSummariesUntilTheyOrTheModelGo) {
  Do([](WriteTransaction& tx) { return tx.InsertModel(MakeModel("models/m", 'a')); });
  Do([](WriteTransaction& tx) {
    return tx.PutInspect("models/m", "k1", {DigestOf('s'), DigestOf('t')});
  });
  Do([](WriteTransaction& tx) {
    return tx.PutInspect("models/m", "k2", {DigestOf('u'), DigestOf('t')});
  });
  Do([](WriteTransaction& tx) { return tx.DeleteInspect("models/m", "k1"); });
  // The text is the other inspection's, too.
  EXPECT_THAT(Referenced(), ElementsAre(DigestOf('a'), DigestOf('t'), DigestOf('u')));
  Do([](WriteTransaction& tx) { return tx.DeleteModel("models/m"); });
  EXPECT_THAT(Referenced(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(store_->Write([](WriteTransaction& tx) {
    return tx.PutInspect("models/m", "k", {DigestOf('s'), ""});
  })));
}

TEST_F(BlobReferences, InternalJobsLeaveNothingBehind) {
  JobRecord job = MakeJob("jobs/inspect", 'a');
  job.kind = v1::ATTEMPT_KIND_INSPECT;
  job.job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.job.mutable_result()->set_report_digest(DigestOf('r'));
  Do([&](WriteTransaction& tx) { return tx.InsertJob(&job); });
  JobRecord users = MakeJob("jobs/users", 'a');
  Do([&](WriteTransaction& tx) { return tx.InsertJob(&users); });
  Do([](WriteTransaction& tx) { return tx.DeleteInternalJobs(); });
  EXPECT_THAT(Referenced(), IsEmpty());
  EXPECT_FALSE(HasJob(*store_, "jobs/inspect"));
  EXPECT_TRUE(HasJob(*store_, "jobs/users"));
}

}  // namespace
}  // namespace lathe::server
