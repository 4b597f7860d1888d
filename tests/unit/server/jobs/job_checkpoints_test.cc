// The state of a running job's training: whose it is, who gets it, when it goes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/limits.h"
#include "tests/unit/server/jobs/job_test_util.h"

namespace lathe::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class JobCheckpoints : public JobServiceFixture {
 protected:
  JobCheckpoints() {
    options_.discard_blob = [this](const std::string& digest) { discarded_.push_back(digest); };
    Restart();
  }

  absl::Status Save(const v1::Attempt& attempt, const std::string& digest) {
    v1::SaveCheckpointRequest request;
    request.set_job(attempt.job());
    request.set_lease_token(attempt.lease_token());
    request.set_digest(digest);
    return jobs_->SaveCheckpoint(request).status();
  }
  // Its worker falls silent, and the job may run again.
  void Lose() {
    AdvanceAndTick(absl::Seconds(16));
    AdvanceAndTick(absl::Minutes(1));
  }
  bool Referenced(const std::string& digest) {
    const auto referenced = jobs_->IsReferenced(digest);
    EXPECT_TRUE(referenced.ok()) << referenced.status();
    return referenced.ok() && *referenced;
  }

  std::vector<std::string> discarded_;
};

TEST_F(JobCheckpoints, TheNextAttemptGetsTheLastOneAlsoFromARestartedServer) {
  const std::string name = Submit();
  const v1::Attempt first = Lease();
  EXPECT_FALSE(first.has_checkpoint());
  EXPECT_FALSE(Get(name).has_checkpoint_time());
  ASSERT_TRUE(Save(first, "one").ok());
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(Save(first, "two").ok());
  ASSERT_TRUE(Save(first, "two").ok());  // a lost answer, repeated
  EXPECT_THAT(discarded_, ElementsAre("one"));
  EXPECT_TRUE(Referenced("two"));
  EXPECT_TRUE(Get(name).has_checkpoint_time());
  Restart();
  Lose();
  const v1::Attempt second = Lease("w2");
  EXPECT_EQ(second.job(), name);
  EXPECT_EQ(second.checkpoint().digest(), "two");
  EXPECT_EQ(second.checkpoint().size_bytes(), 1000);
  EXPECT_EQ(second.checkpoint().lease_token(), first.lease_token());
  ASSERT_TRUE(Save(second, "three").ok());
  Lose();
  EXPECT_EQ(Lease("w3").checkpoint().lease_token(), second.lease_token());
}

TEST_F(JobCheckpoints, ALostLeaseSavesNothing) {
  const std::string name = Submit();
  const v1::Attempt lost = Lease();
  ASSERT_TRUE(Save(lost, "mine").ok());
  Lose();
  v1::Attempt nobody = lost;
  nobody.set_lease_token(0);  // what a job without a lease has
  for (const v1::Attempt& attempt : {lost, nobody}) {
    const absl::Status refused = Save(attempt, "stale");
    EXPECT_EQ(refused.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(ReasonOf(refused), "STALE_LEASE");
  }
  const v1::Attempt current = Lease("w2");
  EXPECT_EQ(Save(lost, "stale").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(current.checkpoint().digest(), "mine");
  EXPECT_FALSE(Referenced("stale"));
  v1::Attempt unknown = current;
  unknown.set_job("jobs/none");
  EXPECT_EQ(Save(unknown, "stale").code(), absl::StatusCode::kAborted);
}

TEST_F(JobCheckpoints, OneThatIsNotStoredIsRefused) {
  Submit();
  const v1::Attempt attempt = Lease();
  blobs_.TakeAway("state");
  const absl::Status refused = Save(attempt, "state");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), "BLOB_MISSING");
  blobs_.PutBack("state");
  EXPECT_TRUE(Save(attempt, "state").ok());
}

TEST_F(JobCheckpoints, OneThatIsTooLargeIsRefused) {
  Submit();
  const v1::Attempt attempt = Lease();
  blobs_.SetSize("state", limits::kMaxCheckpointBytes + 1);
  const absl::Status refused = Save(attempt, "state");
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(refused), "digest");
  blobs_.SetSize("state", limits::kMaxCheckpointBytes);
  EXPECT_TRUE(Save(attempt, "state").ok());
}

TEST_F(JobCheckpoints, ItGoesWhenTheJobEnds) {
  const std::string done = Submit();
  const v1::Attempt attempt = Lease();
  ASSERT_TRUE(Save(attempt, "state").ok());
  ASSERT_TRUE(Complete(Success(attempt)).ok());
  EXPECT_FALSE(Get(done).has_checkpoint_time());
  EXPECT_FALSE(Referenced("state"));
  EXPECT_THAT(discarded_, ElementsAre("state"));
  // A failure that another attempt follows keeps it; the last one does not.
  discarded_.clear();
  const std::string failing = Submit();
  for (int i = 0; i < options_.max_attempts; ++i) {
    const v1::Attempt next = Lease();
    EXPECT_EQ(next.has_checkpoint(), i > 0);
    EXPECT_THAT(discarded_, IsEmpty());
    ASSERT_TRUE(Save(next, "state").ok());
    ASSERT_TRUE(Complete(Failure(next, v1::JOB_ERROR_REASON_WORKER_CRASHED, true)).ok());
    AdvanceAndTick(absl::Minutes(5));
  }
  EXPECT_EQ(Get(failing).state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(discarded_, ElementsAre("state"));
}

TEST_F(JobCheckpoints, OneThatAnotherJobNamesTooIsNotDiscarded) {
  Submit();
  Submit();
  const v1::Attempt one = Lease("w1");
  const v1::Attempt other = Lease("w2");
  ASSERT_TRUE(Save(one, "same").ok());
  ASSERT_TRUE(Save(other, "same").ok());
  ASSERT_TRUE(Save(one, "newer").ok());
  EXPECT_THAT(discarded_, IsEmpty());
  EXPECT_TRUE(Referenced("same"));
}

TEST_F(JobCheckpoints, AJobThatTeachesHandsItsTeacherOut) {
  CreateJobArgs args = Args(MakeModelNamed("student"));
  args.job.set_teacher_model(MakeModelNamed("teacher"));
  const std::string name = Submit(args);
  EXPECT_EQ(Get(name).teacher_model(), args.job.teacher_model());
  // Its files stay, although the model goes.
  ASSERT_TRUE(library_->DeleteModel(args.job.teacher_model()).ok());
  EXPECT_TRUE(Referenced("digest-teacher"));
  const v1::Attempt attempt = Lease();
  ASSERT_EQ(attempt.teacher_files_size(), 1);
  EXPECT_EQ(attempt.teacher_files(0).digest(), "digest-teacher");
  EXPECT_EQ(attempt.teacher_main_file(), "net.onnx");
  ASSERT_TRUE(Complete(Success(attempt)).ok());
  EXPECT_FALSE(Referenced("digest-teacher"));

  args.job.set_teacher_model("models/none");
  const absl::Status refused = jobs_->CreateJob(args).status();
  EXPECT_EQ(ReasonOf(refused), "MODEL_NOT_FOUND");
  EXPECT_EQ(FieldOf(refused), "job.teacher_model");
}

}  // namespace
}  // namespace lathe::server
