// JobService's unary calls over a real channel: creation and its refusals, lists, ends, reports.
#include <functional>

#include "tests/unit/server/rpc/rpc_test_util.h"

namespace lathe::server {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Stub = v1::JobService::Stub;

class JobRpcTest : public RpcTest {
 protected:
  grpc::Status Create(const v1::CreateJobRequest& request, v1::Job* job = nullptr) {
    v1::Job ignored;
    return Call(*calls_.jobs, &Stub::CreateJob, request, job ? job : &ignored);
  }
  std::vector<std::string> List(v1::ListJobsRequest request) {
    v1::ListJobsResponse response;
    EXPECT_THAT(Call(*calls_.jobs, &Stub::ListJobs, request, &response), IsOk());
    std::vector<std::string> names;
    for (const v1::Job& job : response.jobs()) names.push_back(job.name());
    return names;
  }
};

TEST_F(JobRpcTest, AJobIsCreatedPendingAndFoundAgain) {
  v1::CreateJobRequest request = TestCalls::JobOn(calls_.MakeModel());
  request.mutable_job()->set_priority(5);
  (*request.mutable_job()->mutable_labels())["team"] = "vision";
  v1::Job job;
  ASSERT_THAT(Create(request, &job), IsOk());
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(calls_.Get(job.name()).labels().at("team"), "vision");
  EXPECT_EQ(calls_.Get(job.name()).priority(), 5);
}

TEST_F(JobRpcTest, BadJobsAreRefusedWithTheField) {
  struct Case {
    const char* what;
    std::function<void(v1::Job&)> spoil;
    const char* field;
  };
  const std::vector<Case> cases = {
      {"no model", [](v1::Job& j) { j.clear_model(); }, "job.model"},
      {"another collection", [](v1::Job& j) { j.set_model("jobs/x"); }, "job.model"},
      {"an unknown kind", [](v1::Job& j) { j.set_kind(static_cast<v1::JobKind>(9)); }, "job.kind"},
      {"a comparison that is no evaluation", [](v1::Job& j) { j.set_compared_model("models/x"); },
       "job.compared_model"},
      {"an evaluation without data",
       [](v1::Job& j) {
         j.set_kind(v1::JOB_KIND_EVALUATE);
         j.clear_recipe();
       },
       "job.datasets"},
      {"an evaluation with steps",
       [](v1::Job& j) {
         j.set_kind(v1::JOB_KIND_EVALUATE);
         j.add_datasets()->set_dataset("datasets/x");
       },
       "job.recipe.steps"},
      {"no steps", [](v1::Job& j) { j.mutable_recipe()->clear_steps(); }, "job.recipe.steps"},
      {"an empty step", [](v1::Job& j) { j.mutable_recipe()->add_steps(); }, "job.recipe.steps[1]"},
      {"bits out of range",
       [](v1::Job& j) { j.mutable_recipe()->add_steps()->mutable_quantize_weights()->set_bits(9); },
       "job.recipe.steps[1].quantize_weights.bits"},
      {"sparsity of one",
       [](v1::Job& j) {
         j.mutable_recipe()->add_steps()->mutable_prune_weights()->set_sparsity(1);
       },
       "job.recipe.steps[1].prune_weights.sparsity"},
      {"unknown choice",
       [](v1::Job& j) {
         j.mutable_recipe()->add_steps()->mutable_quantize_weights()->set_clip("msee");
       },
       "job.recipe.steps[1].quantize_weights.clip"},
      {"dataset name", [](v1::Job& j) { j.add_datasets()->set_dataset("x"); },
       "job.datasets[0].dataset"},
      {"dataset role",
       [](v1::Job& j) {
         j.add_datasets()->set_dataset("datasets/x");
         j.mutable_datasets(0)->set_role("tset");
       },
       "job.datasets[0].role"},
      {"17 datasets",
       [](v1::Job& j) {
         for (int i = 0; i < 17; ++i) j.add_datasets()->set_dataset("datasets/x");
       },
       "job.datasets"},
      {"binding of zero", [](v1::Job& j) { (*j.mutable_bindings())["n"] = 0; }, "job.bindings[n]"},
      {"binding past 2^31", [](v1::Job& j) { (*j.mutable_bindings())["n"] = int64_t{1} << 31; },
       "job.bindings[n]"},
      {"priority", [](v1::Job& j) { j.set_priority(101); }, "job.priority"},
      {"low priority", [](v1::Job& j) { j.set_priority(-101); }, "job.priority"},
      {"no time to run", [](v1::Job& j) { j.mutable_max_run_duration(); }, "job.max_run_duration"},
      {"more than a week",
       [](v1::Job& j) { j.mutable_max_run_duration()->set_seconds(7 * 86400 + 1); },
       "job.max_run_duration"},
      {"negative wait", [](v1::Job& j) { j.mutable_max_pending_duration()->set_seconds(-1); },
       "job.max_pending_duration"},
      {"long label key", [](v1::Job& j) { (*j.mutable_labels())[std::string(64, 'k')] = ""; },
       "job.labels[kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk]"},
      {"long label value", [](v1::Job& j) { (*j.mutable_labels())["k"] = std::string(256, 'v'); },
       "job.labels[k]"},
      {"65 labels",
       [](v1::Job& j) {
         for (int i = 0; i < 65; ++i) (*j.mutable_labels())[absl::StrCat("k", i)] = "";
       },
       "job.labels"},
  };
  const std::string model = calls_.MakeModel();
  for (const Case& c : cases) {
    v1::CreateJobRequest request = TestCalls::JobOn(model);
    c.spoil(*request.mutable_job());
    EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", c.field))
        << c.what;
  }
  EXPECT_THAT(List({}), IsEmpty());
}

TEST_F(JobRpcTest, ARefusedRecipeNamesTheBoundTheValueAndTheNearestName) {
  v1::CreateJobRequest request = TestCalls::JobOn(calls_.MakeModel());
  auto* step = request.mutable_job()->mutable_recipe()->add_steps()->mutable_quantize_weights();
  step->set_bits(9);
  step->set_granularity("chanel");
  const grpc::Status status = Create(request);
  EXPECT_THAT(status.error_message(), HasSubstr("[2, 8]"));
  EXPECT_THAT(status.error_message(), HasSubstr("got 9"));
  EXPECT_THAT(status.error_message(), HasSubstr("\"channel\""));
  EXPECT_EQ(RefusalOf(status).fields.size(), 2u);
}

TEST_F(JobRpcTest, AStepThatNeedsExamplesIsRefusedWithoutAny) {
  struct Case {
    const char* what;
    std::function<void(v1::Step&)> step;
    const char* field;  // "": taken
  };
  const std::vector<Case> cases = {
      {"gptq", [](v1::Step& s) { s.mutable_quantize_weights()->set_algorithm("gptq"); },
       "quantize_weights.algorithm"},
      {"awq", [](v1::Step& s) { s.mutable_quantize_weights()->set_algorithm("awq"); },
       "quantize_weights.algorithm"},
      {"adaround", [](v1::Step& s) { s.mutable_quantize_weights()->set_algorithm("adaround"); },
       "quantize_weights.algorithm"},
      {"output clip", [](v1::Step& s) { s.mutable_quantize_weights()->set_clip("output"); },
       "quantize_weights.clip"},
      {"static ranges", [](v1::Step& s) { s.mutable_quantize_activations()->set_mode("static"); },
       "quantize_activations.mode"},
      {"hqq", [](v1::Step& s) { s.mutable_quantize_weights()->set_algorithm("hqq"); }, ""},
      {"dynamic ranges", [](v1::Step& s) { s.mutable_quantize_activations()->set_mode("dynamic"); },
       ""},
      {"defaults", [](v1::Step& s) { s.mutable_quantize_activations(); }, ""},
  };
  const std::string model = calls_.MakeModel();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    v1::CreateJobRequest request = TestCalls::JobOn(model);
    request.set_validate_only(true);
    c.step(*request.mutable_job()->mutable_recipe()->add_steps());
    if (c.field[0] == '\0') {
      EXPECT_THAT(Create(request), IsOk());
      continue;
    }
    const std::string field = absl::StrCat("job.recipe.steps[1].", c.field);
    const grpc::Status bare = Create(request);
    EXPECT_THAT(bare, Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", field));
    EXPECT_THAT(bare.error_message(), HasSubstr("add --data calibration=F.npz"));
    // Test data are not to be fitted to; any other dataset gets the request past this check.
    v1::JobDataset& dataset = *request.mutable_job()->add_datasets();
    dataset.set_dataset("datasets/none");
    dataset.set_role("test");
    EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", field));
    for (const char* role : {"", "train", "calibration"}) {
      dataset.set_role(role);
      EXPECT_THAT(Create(request),
                  Refused(StatusCode::FAILED_PRECONDITION, "DATASET_NOT_FOUND", ""));
    }
  }
}

TEST_F(JobRpcTest, AStepThatTrainsIsRefusedWithoutExamplesToTrainOn) {
  v1::CreateJobRequest request = TestCalls::JobOn(calls_.MakeModel());
  v1::Recipe& recipe = *request.mutable_job()->mutable_recipe();
  const std::string step = absl::StrCat("job.recipe.steps[", recipe.steps_size(), "].");
  recipe.add_steps()->mutable_quantize_weights()->mutable_train();
  const std::string field = step + "quantize_weights.train";
  EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", field));
  v1::JobDataset& dataset = *request.mutable_job()->add_datasets();
  dataset.set_dataset("datasets/none");
  for (const char* role : {"test", "calibration"}) {
    dataset.set_role(role);
    EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", field));
  }
  for (const char* role : {"", "train"}) {
    dataset.set_role(role);
    EXPECT_THAT(Create(request), Refused(StatusCode::FAILED_PRECONDITION, "DATASET_NOT_FOUND", ""));
  }
}

TEST_F(JobRpcTest, ATeacherIsForStepsThatDistil) {
  const std::string model = calls_.MakeModel();
  v1::CreateJobRequest request = TestCalls::JobOn(model);
  request.mutable_job()->set_teacher_model(model);
  const std::string field = "job.teacher_model";
  EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", field));
  request.mutable_job()->mutable_recipe()->add_steps()->mutable_distill();
  request.mutable_job()->add_datasets()->set_dataset("datasets/none");
  EXPECT_THAT(Create(request), Refused(StatusCode::FAILED_PRECONDITION, "DATASET_NOT_FOUND", ""));
  request.mutable_job()->set_teacher_model("models/none");
  EXPECT_THAT(Create(request), Refused(StatusCode::FAILED_PRECONDITION, "MODEL_NOT_FOUND", ""));
  request.mutable_job()->set_teacher_model("none");
  EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", field));
}

TEST_F(JobRpcTest, WhatAJobNamesMustExist) {
  v1::CreateJobRequest request = TestCalls::JobOn("models/none");
  const grpc::Status model = Create(request);
  EXPECT_THAT(model, Refused(StatusCode::FAILED_PRECONDITION, "MODEL_NOT_FOUND", ""));
  EXPECT_THAT(model.error_message(), HasSubstr("job.model: there is no model models/none"));
  request = TestCalls::JobOn(calls_.MakeModel());
  request.mutable_job()->add_datasets()->set_dataset("datasets/none");
  EXPECT_THAT(Create(request), Refused(StatusCode::FAILED_PRECONDITION, "DATASET_NOT_FOUND", ""));
}

TEST_F(JobRpcTest, ValidateOnlyChecksEverythingAndQueuesNothing) {
  v1::CreateJobRequest request = TestCalls::JobOn(calls_.MakeModel());
  request.set_validate_only(true);
  request.set_request_id("v");
  v1::Job job;
  ASSERT_THAT(Create(request, &job), IsOk());
  EXPECT_EQ(job.name(), "");
  EXPECT_THAT(List({}), IsEmpty());
  request.mutable_job()->set_model("models/none");
  EXPECT_THAT(Create(request), Refused(StatusCode::FAILED_PRECONDITION, "MODEL_NOT_FOUND", ""));
  request.mutable_job()->mutable_recipe()->clear_steps();
  EXPECT_THAT(Create(request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "job.recipe.steps"));
}

TEST_F(JobRpcTest, ARequestIdMakesOneJobAndRefusesAnotherBody) {
  v1::CreateJobRequest request = TestCalls::JobOn(calls_.MakeModel());
  request.set_request_id("once");
  v1::Job first, second;
  ASSERT_THAT(Create(request, &first), IsOk());
  ASSERT_THAT(Create(request, &second), IsOk());
  EXPECT_EQ(first.name(), second.name());
  EXPECT_THAT(List({}), ElementsAre(first.name()));
  request.mutable_job()->set_priority(1);
  EXPECT_THAT(Create(request),
              Refused(StatusCode::INVALID_ARGUMENT, "REQUEST_ID_REUSED", "request_id"));
  request.set_request_id(std::string(129, 'r'));
  EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "request_id"));
}

TEST_F(JobRpcTest, JobsAreListedNewestFirstByPageStateAndModel) {
  const std::string a = calls_.MakeModel("a"), b = calls_.MakeModel("b");
  const std::string one = calls_.Submit(a), two = calls_.Submit(b), three = calls_.Submit(a);
  Call(*calls_.jobs, &Stub::CancelJob, Named<v1::CancelJobRequest>(two));
  EXPECT_THAT(List({}), ElementsAre(three, two, one));
  v1::ListJobsRequest request;
  request.set_state(v1::JOB_STATE_PENDING);
  EXPECT_THAT(List(request), ElementsAre(three, one));
  request.clear_state();
  request.set_model(b);
  EXPECT_THAT(List(request), ElementsAre(two));
  request.set_model(a);
  request.set_page_size(1);
  v1::ListJobsResponse page;
  ASSERT_THAT(Call(*calls_.jobs, &Stub::ListJobs, request, &page), IsOk());
  EXPECT_EQ(page.jobs(0).name(), three);
  request.set_page_token(page.next_page_token());
  EXPECT_THAT(List(request), ElementsAre(one));
  request.set_model(b);  // the token belongs to another filter
  EXPECT_THAT(Call(*calls_.jobs, &Stub::ListJobs, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_PAGE_TOKEN", "page_token"));
}

TEST_F(JobRpcTest, BadFiltersAreRefused) {
  v1::ListJobsRequest request;
  request.set_page_size(1001);
  EXPECT_THAT(Call(*calls_.jobs, &Stub::ListJobs, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "page_size"));
  request = {};
  request.set_state(static_cast<v1::JobState>(42));
  EXPECT_THAT(Call(*calls_.jobs, &Stub::ListJobs, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "state"));
  request = {};
  request.set_model("digits");
  EXPECT_THAT(Call(*calls_.jobs, &Stub::ListJobs, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "model"));
}

TEST_F(JobRpcTest, CancellingEndsAPendingJobAndLeavesAFinishedOne) {
  const std::string pending = calls_.Submit();
  v1::Job job;
  ASSERT_THAT(Call(*calls_.jobs, &Stub::CancelJob, Named<v1::CancelJobRequest>(pending), &job),
              IsOk());
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLED);
  const std::string done = calls_.Finished();
  ASSERT_THAT(Call(*calls_.jobs, &Stub::CancelJob, Named<v1::CancelJobRequest>(done), &job),
              IsOk());
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobRpcTest, RetryingMakesANewJobOnceTheOldOneHasEnded) {
  const std::string old = calls_.Submit();
  v1::RetryJobRequest request = Named<v1::RetryJobRequest>(old);
  EXPECT_THAT(Call(*calls_.jobs, &Stub::RetryJob, request),
              Refused(StatusCode::FAILED_PRECONDITION, "JOB_NOT_ENDED", ""));
  Call(*calls_.jobs, &Stub::CancelJob, Named<v1::CancelJobRequest>(old));
  request.set_request_id("retry");
  v1::Job first, second;
  ASSERT_THAT(Call(*calls_.jobs, &Stub::RetryJob, request, &first), IsOk());
  ASSERT_THAT(Call(*calls_.jobs, &Stub::RetryJob, request, &second), IsOk());
  EXPECT_EQ(first.retry_of(), old);
  EXPECT_EQ(first.name(), second.name());
  request.set_request_id(std::string(129, 'r'));
  EXPECT_THAT(Call(*calls_.jobs, &Stub::RetryJob, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "request_id"));
}

TEST_F(JobRpcTest, OnlyAFinishedJobIsDeleted) {
  const std::string job = calls_.Submit();
  const auto request = Named<v1::DeleteJobRequest>(job);
  EXPECT_THAT(Call(*calls_.jobs, &Stub::DeleteJob, request),
              Refused(StatusCode::FAILED_PRECONDITION, "JOB_NOT_ENDED", ""));
  Call(*calls_.jobs, &Stub::CancelJob, Named<v1::CancelJobRequest>(job));
  EXPECT_THAT(Call(*calls_.jobs, &Stub::DeleteJob, request), IsOk());
  EXPECT_THAT(Call(*calls_.jobs, &Stub::GetJob, Named<v1::GetJobRequest>(job)),
              Refused(StatusCode::NOT_FOUND, "JOB_NOT_FOUND", ""));
}

TEST_F(JobRpcTest, AReportIsThereOnceTheJobHasSucceeded) {
  const std::string job = calls_.Submit();
  const auto request = Named<v1::GetReportRequest>(job);
  EXPECT_THAT(Call(*calls_.jobs, &Stub::GetReport, request),
              Refused(StatusCode::FAILED_PRECONDITION, "NO_REPORT", ""));
  ASSERT_THAT(calls_.Complete(calls_.SuccessOf(calls_.Lease())), IsOk());
  v1::GetReportResponse report;
  ASSERT_THAT(Call(*calls_.jobs, &Stub::GetReport, request, &report), IsOk());
  EXPECT_EQ(report.report().fields().at("seed").number_value(), 7);
  EXPECT_EQ(report.text(), "a table\n");
}

TEST_F(JobRpcTest, NamesAreCheckedBeforeTheyAreLookedUp) {
  const auto each = [&](const std::string& name) {
    return std::vector<grpc::Status>{
        Call(*calls_.jobs, &Stub::GetJob, Named<v1::GetJobRequest>(name)),
        Call(*calls_.jobs, &Stub::CancelJob, Named<v1::CancelJobRequest>(name)),
        Call(*calls_.jobs, &Stub::RetryJob, Named<v1::RetryJobRequest>(name)),
        Call(*calls_.jobs, &Stub::DeleteJob, Named<v1::DeleteJobRequest>(name)),
        Call(*calls_.jobs, &Stub::WaitJob, Named<v1::WaitJobRequest>(name)),
        Call(*calls_.jobs, &Stub::GetReport, Named<v1::GetReportRequest>(name))};
  };
  EXPECT_THAT(each("models/x"),
              ::testing::Each(Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "name")));
  EXPECT_THAT(each("jobs/x"), ::testing::Each(Refused(StatusCode::NOT_FOUND, "JOB_NOT_FOUND", "")));
}

}  // namespace
}  // namespace lathe::server
