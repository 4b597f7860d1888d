// How jobs come to be: definition, refusals, idempotency, the result cache.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include "tests/unit/server/jobs/job_test_util.h"

namespace lathe::server {
namespace {

using ::testing::HasSubstr;

class JobCreation : public JobServiceFixture {};

TEST_F(JobCreation, ANewJobIsPendingWithItsDefinitionAndDefaults) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.job.set_priority(3);
  (*args.job.mutable_labels())["who"] = "me";
  args.job.set_state(v1::JOB_STATE_SUCCEEDED);  // the server's fields are ignored
  args.job.set_attempt_count(99);
  const v1::Job job = Get(Submit(args));
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.attempt_count(), 0);
  EXPECT_EQ(job.max_attempts(), 3);
  EXPECT_EQ(job.priority(), 3);
  EXPECT_EQ(job.labels().at("who"), "me");
  EXPECT_EQ(job.event_sequence(), 1);
  EXPECT_EQ(job.create_time().seconds(), absl::ToUnixSeconds(clock_.Now()));
  EXPECT_EQ(observer_.Of("submitted"), 1);
}

// Event 1 is not stored; it has to say the same whenever it is asked for.
TEST_F(JobCreation, TheFirstEventIsTheJobAsItWasMadeWhateverBecameOfIt) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.job.set_priority(3);
  (*args.job.mutable_labels())["who"] = "me";
  const absl::StatusOr<v1::Job> created = jobs_->CreateJob(args);
  ASSERT_TRUE(created.ok()) << created.status();
  const auto first = [&]() -> v1::JobEvent {
    const absl::StatusOr<EventBatch> batch = jobs_->NextEvents(created->name(), 0, {});
    if (!batch.ok() || batch->events.empty()) return {};
    return batch->events[0];
  };
  const v1::JobEvent event = first();
  EXPECT_EQ(event.sequence(), 1);
  EXPECT_EQ(event.time().seconds(), created->create_time().seconds());
  EXPECT_EQ(event.state_change().SerializeAsString(), created->SerializeAsString());

  const v1::Attempt attempt = Lease();
  EXPECT_EQ(first().SerializeAsString(), event.SerializeAsString());
  ASSERT_TRUE(jobs_->CompleteAttempt(Success(attempt)).ok());
  ASSERT_EQ(Get(created->name()).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(first().SerializeAsString(), event.SerializeAsString());

  const absl::StatusOr<EventBatch> rest = jobs_->NextEvents(created->name(), 1, {});
  ASSERT_TRUE(rest.ok() && !rest->events.empty());
  EXPECT_EQ(rest->events[0].sequence(), 2);
}

TEST_F(JobCreation, MissingModelAndDatasetAreNamedWithTheirField) {
  auto job = jobs_->CreateJob(Args("models/none"));
  EXPECT_EQ(job.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(job.status()), "MODEL_NOT_FOUND");
  EXPECT_EQ(FieldOf(job.status()), "job.model");
  EXPECT_THAT(std::string(job.status().message()), HasSubstr("models/none"));

  CreateJobArgs args = Args(MakeModelNamed());
  args.job.add_datasets()->set_dataset("datasets/none");
  job = jobs_->CreateJob(args);
  EXPECT_EQ(ReasonOf(job.status()), "DATASET_NOT_FOUND");
  EXPECT_EQ(FieldOf(job.status()), "job.datasets[0].dataset");
}

TEST_F(JobCreation, ValidateOnlyChecksAndKeepsNothing) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.validate_only = true;
  args.request_id = "r";
  const auto job = jobs_->CreateJob(args);
  ASSERT_TRUE(job.ok());
  EXPECT_EQ(job->name(), "");
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 0);
  EXPECT_EQ(Sync("w1").start_size(), 0);
  args.job.set_model("models/none");
  EXPECT_EQ(ReasonOf(jobs_->CreateJob(args).status()), "MODEL_NOT_FOUND");
}

TEST_F(JobCreation, SixtyFourConcurrentDuplicatesMakeOneJob) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.request_id = "same";
  std::vector<std::string> names(64);
  std::vector<std::thread> threads;
  for (std::string& name : names) {
    threads.emplace_back([&, out = &name] {
      const auto job = jobs_->CreateJob(args);
      if (job.ok()) *out = job->name();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_NE(names[0], "");
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 1u);
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 1);
  EXPECT_EQ(Sync("w1", {}, 64).start_size(), 1);
  EXPECT_EQ(observer_.Of("submitted"), 1);
}

TEST_F(JobCreation, ARepeatedRequestGivesTheJobAlsoAfterARestartAndAfterItEnded) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.request_id = "r";
  const std::string name = Submit(args);
  ASSERT_TRUE(Complete(Success(Lease())).ok());
  Restart();
  const auto again = jobs_->CreateJob(args);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->name(), name);
  EXPECT_EQ(again->state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobCreation, ARequestIdWithAnotherBodyIsRefused) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.request_id = "r";
  Submit(args);
  args.job.set_priority(1);
  const auto job = jobs_->CreateJob(args);
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(job.status()), "REQUEST_ID_REUSED");
  EXPECT_EQ(FieldOf(job.status()), "request_id");
  // What the server sets is no part of the body.
  args.job.set_priority(0);
  args.job.set_attempt_count(7);
  EXPECT_TRUE(jobs_->CreateJob(args).ok());
  args.request_id = std::string(129, 'x');
  EXPECT_EQ(FieldOf(jobs_->CreateJob(args).status()), "request_id");
}

TEST_F(JobCreation, ARequestOfADeletedJobIsNotMadeAgain) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.request_id = "r";
  const std::string name = Submit(args);
  ASSERT_TRUE(jobs_->CancelJob(name).ok());
  ASSERT_TRUE(jobs_->DeleteJob(name).ok());
  const auto again = jobs_->CreateJob(args);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(again.status()), "REQUEST_RESOURCE_DELETED");
  // A week later the id is forgotten.
  AdvanceAndTick(absl::Hours(24 * 8));
  const auto anew = jobs_->CreateJob(args);
  EXPECT_TRUE(anew.ok()) << anew.status();
}

TEST_F(JobCreation, TheSameInputsAreAnsweredFromTheCache) {
  const std::string first = Submit(Args(MakeModelNamed("same")));
  ASSERT_TRUE(Complete(Success(Lease())).ok());
  // Another model resource with the same bytes.
  const v1::Job job = Get(Submit(Args(MakeModelNamed("same"))));
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_TRUE(job.result().from_cache());
  EXPECT_EQ(job.result().files(0).digest(), "result");
  EXPECT_FALSE(Get(first).result().from_cache());
  EXPECT_TRUE(library_->GetModel(job.result().model()).ok());
  EXPECT_EQ(jobs_->GetReport(job.name())->report_digest, "report");
  EXPECT_EQ(jobs_->GetReport(job.name())->text_digest, "text");
  EXPECT_EQ(Sync("w1").start_size(), 0);
  EXPECT_EQ(observer_.Of("hit"), 1);
  EXPECT_EQ(observer_.Of("miss"), 1);
  // And whoever watches it sees its end.
  const auto events = jobs_->NextEvents(job.name(), 0, {});
  ASSERT_TRUE(events.ok());
  EXPECT_TRUE(events->ended);
  ASSERT_EQ(events->events.size(), 1u);
  EXPECT_EQ(events->events[0].state_change().state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobCreation, TheCacheMissesWhenAnInputABuildOrABlobDiffers) {
  const auto cached = [&](const CreateJobArgs& args) {
    const v1::Job job = Get(Submit(args));
    if (job.state() == v1::JOB_STATE_SUCCEEDED) return true;
    EXPECT_TRUE(jobs_->CancelJob(job.name()).ok());
    return false;
  };
  const CreateJobArgs same = Args(MakeModelNamed("same"));
  Submit(same);
  ASSERT_TRUE(Complete(Success(Lease())).ok());
  ASSERT_TRUE(cached(same));

  CreateJobArgs other_recipe = same;
  other_recipe.recipe_json = R"({"seed":1,"steps":[{"fp16":{}}]})";
  EXPECT_FALSE(cached(other_recipe));
  CreateJobArgs bound = same;
  (*bound.job.mutable_bindings())["batch"] = 2;
  EXPECT_FALSE(cached(bound));
  EXPECT_FALSE(cached(Args(MakeModelNamed("other"))));

  options_.build_id = "newer build";
  Restart();
  EXPECT_FALSE(cached(same));
  options_.build_id = "build";
  Restart();
  EXPECT_TRUE(cached(same));

  blobs_.TakeAway("result");
  EXPECT_FALSE(cached(same));
  blobs_.PutBack("result");
  // Found broken once, the entry is gone for good.
  EXPECT_FALSE(cached(same));
}

TEST_F(JobCreation, AResultOfAnotherBuildThanTheServersIsNotTakenForItsOwn) {
  Submit(Args(MakeModelNamed("same")));
  v1::CompleteAttemptRequest success = Success(Lease());
  success.set_build_id("worker of another build");
  ASSERT_TRUE(Complete(success).ok());
  EXPECT_EQ(Get(Submit(Args(MakeModelNamed("same")))).state(), v1::JOB_STATE_PENDING);
}

TEST_F(JobCreation, RetryMakesANewJobThatNamesTheOldOneAndSkipsTheCache) {
  const std::string old = Submit(Args(MakeModelNamed("same")));
  const auto early = jobs_->RetryJob(old, "");
  EXPECT_EQ(ReasonOf(early.status()), "JOB_NOT_ENDED");
  ASSERT_TRUE(Complete(Success(Lease())).ok());
  const auto retry = jobs_->RetryJob(old, "r");
  ASSERT_TRUE(retry.ok()) << retry.status();
  EXPECT_NE(retry->name(), old);
  EXPECT_EQ(retry->retry_of(), old);
  EXPECT_EQ(retry->state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(retry->attempt_count(), 0);
  EXPECT_FALSE(retry->has_result());
  EXPECT_EQ(jobs_->RetryJob(old, "r")->name(), retry->name());
  EXPECT_EQ(Lease().recipe_json(), Args("").recipe_json);
  EXPECT_EQ(ReasonOf(jobs_->RetryJob("jobs/none", "").status()), "JOB_NOT_FOUND");
  EXPECT_EQ(Get(old).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobCreation, ListIsNewestFirstPagedAndFiltered) {
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) names.push_back(Submit());
  ASSERT_TRUE(jobs_->CancelJob(names[2]).ok());
  v1::ListJobsRequest request;
  request.set_page_size(2);
  std::vector<std::string> listed;
  do {
    const auto page = jobs_->ListJobs(request);
    ASSERT_TRUE(page.ok());
    for (const auto& job : page->jobs()) listed.push_back(job.name());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(listed, std::vector<std::string>(names.rbegin(), names.rend()));
  request.set_page_size(0);
  request.set_state(v1::JOB_STATE_CANCELLED);
  ASSERT_EQ(jobs_->ListJobs(request)->jobs_size(), 1);
  EXPECT_EQ(jobs_->ListJobs(request)->jobs(0).name(), names[2]);
}

TEST_F(JobCreation, DeletingNeedsAnEndedJobAndLeavesItsResult) {
  const std::string name = Submit();
  EXPECT_EQ(ReasonOf(jobs_->DeleteJob(name)), "JOB_NOT_ENDED");
  ASSERT_TRUE(Complete(Success(Lease())).ok());
  const std::string result = Get(name).result().model();
  ASSERT_TRUE(jobs_->DeleteJob(name).ok());
  EXPECT_EQ(ReasonOf(jobs_->GetJob(name).status()), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(jobs_->DeleteJob(name)), "JOB_NOT_FOUND");
  EXPECT_EQ(library_->GetModel(result)->source_job(), name);
}

TEST_F(JobCreation, AJobOutlivesTheDeletionOfItsModel) {
  const std::string model = MakeModelNamed("bytes");
  Submit(Args(model));
  ASSERT_TRUE(library_->DeleteModel(model).ok());
  EXPECT_TRUE(*jobs_->IsReferenced("digest-bytes"));
  const v1::Attempt attempt = Lease();
  EXPECT_EQ(attempt.files(0).digest(), "digest-bytes");
  ASSERT_TRUE(Complete(Success(attempt)).ok());
  EXPECT_FALSE(*jobs_->IsReferenced("digest-bytes"));
  EXPECT_TRUE(*jobs_->IsReferenced("result"));
  EXPECT_TRUE(*jobs_->IsReferenced("report"));
}

}  // namespace
}  // namespace lathe::server
