// ModelService and DatasetService over a real channel.
#include <functional>

#include "common/digest.h"
#include "common/limits.h"
#include "tests/unit/server/rpc/rpc_test_util.h"

namespace lathe::server {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Models = v1::ModelService::Stub;
using Datasets = v1::DatasetService::Stub;

class LibraryRpcTest : public RpcTest {
 protected:
  static v1::ModelFile* AddFile(v1::CreateModelRequest& request, const std::string& path,
                                const std::string& content) {
    v1::ModelFile* file = request.mutable_model()->add_files();
    file->set_path(path);
    file->set_content(content);
    return file;
  }
  static v1::CreateModelRequest ModelOf(const std::string& content) {
    v1::CreateModelRequest request;
    AddFile(request, "net.onnx", content);
    return request;
  }
  grpc::Status Create(const v1::CreateModelRequest& request, v1::Model* model = nullptr) {
    v1::Model ignored;
    return Call(*calls_.models, &Models::CreateModel, request, model ? model : &ignored);
  }
  v1::CreateDatasetRequest DatasetOf(const std::string& display_name, const std::string& content) {
    v1::CreateDatasetRequest request;
    request.mutable_dataset()->set_display_name(display_name);
    request.mutable_dataset()->set_digest(calls_.Put(content));
    return request;
  }
};

TEST_F(LibraryRpcTest, AModelOfInlineFilesIsStoredSortedAndSized) {
  v1::CreateModelRequest request;
  AddFile(request, "weights/w.bin", "ww");
  AddFile(request, "net.onnx", "graph");
  request.mutable_model()->set_name("models/chosen-by-the-caller");
  v1::Model model;
  ASSERT_THAT(Create(request, &model), IsOk());
  EXPECT_THAT(model.name(), ::testing::StartsWith("models/id"));
  EXPECT_EQ(model.display_name(), "net.onnx");
  EXPECT_EQ(model.main_file(), "net.onnx");
  EXPECT_EQ(model.total_bytes(), 7);
  ASSERT_EQ(model.files_size(), 2);
  EXPECT_EQ(model.files(0).path(), "net.onnx");
  EXPECT_EQ(model.files(0).digest(), Sha256Hex("graph"));
  EXPECT_EQ(model.files(1).size_bytes(), 2);
  v1::Model again;
  ASSERT_THAT(
      Call(*calls_.models, &Models::GetModel, Named<v1::GetModelRequest>(model.name()), &again),
      IsOk());
  EXPECT_EQ(again.SerializeAsString(), model.SerializeAsString());
}

TEST_F(LibraryRpcTest, MissingBlobsAreNamedAsPreconditions) {
  v1::CreateModelRequest request;
  const std::string absent = Sha256Hex("absent");
  v1::ModelFile* file = request.mutable_model()->add_files();
  file->set_path("net.onnx");
  file->set_digest(absent);
  const grpc::Status model = Create(request);
  EXPECT_THAT(model, Refused(StatusCode::FAILED_PRECONDITION, "BLOB_MISSING", ""));
  EXPECT_THAT(RefusalOf(model).preconditions, ElementsAre(Pair("BLOB_MISSING", absent)));

  v1::CreateDatasetRequest dataset;
  dataset.mutable_dataset()->set_display_name("d.npz");
  dataset.mutable_dataset()->set_digest(absent);
  const grpc::Status refused = Call(*calls_.datasets, &Datasets::CreateDataset, dataset);
  EXPECT_THAT(refused, Refused(StatusCode::FAILED_PRECONDITION, "BLOB_MISSING", ""));
  EXPECT_THAT(RefusalOf(refused).preconditions, ElementsAre(Pair("BLOB_MISSING", absent)));
}

TEST_F(LibraryRpcTest, BadModelsAreRefusedWithTheField) {
  const auto files = [](v1::CreateModelRequest& r) -> v1::ModelFile* {
    return r.mutable_model()->mutable_files(0);
  };
  struct Case {
    const char* what;
    std::function<void(v1::CreateModelRequest&)> spoil;
    const char* field;
  };
  const std::vector<Case> cases = {
      {"no files", [](auto& r) { r.mutable_model()->clear_files(); }, "model.files"},
      {"no path", [&](auto& r) { files(r)->set_path(""); }, "model.files[0].path"},
      {"parent path", [&](auto& r) { files(r)->set_path("a/../b.onnx"); }, "model.files[0].path"},
      {"absolute path", [&](auto& r) { files(r)->set_path("/net.onnx"); }, "model.files[0].path"},
      {"backslash", [&](auto& r) { files(r)->set_path("a\\b.onnx"); }, "model.files[0].path"},
      {"control character", [&](auto& r) { files(r)->set_path("a\nb"); }, "model.files[0].path"},
      {"long path", [&](auto& r) { files(r)->set_path(std::string(1025, 'a')); },
       "model.files[0].path"},
      {"long part", [&](auto& r) { files(r)->set_path(std::string(256, 'a')); },
       "model.files[0].path"},
      {"path twice", [&](auto& r) { AddFile(r, "net.onnx", "x"); }, "model.files[1].path"},
      {"file and folder", [&](auto& r) { AddFile(r, "net.onnx/w", "x"); }, "model.files"},
      {"no source", [&](auto& r) { files(r)->clear_content(); }, "model.files[0]"},
      {"bad digest", [&](auto& r) { files(r)->set_digest("x"); }, "model.files[0].digest"},
      {"two models", [&](auto& r) { AddFile(r, "b.onnx", "x"); }, "model.main_file"},
      {"main file absent", [](auto& r) { r.mutable_model()->set_main_file("no.onnx"); },
       "model.main_file"},
      {"long display name",
       [](auto& r) { r.mutable_model()->set_display_name(std::string(257, 'n')); },
       "model.display_name"},
      {"long request id", [](auto& r) { r.set_request_id(std::string(129, 'r')); }, "request_id"},
      {"too much content",
       [&](auto& r) {
         files(r)->set_content(std::string(static_cast<size_t>(limits::kMaxInlineBytes) + 1, 'x'));
       },
       "model.files"},
      {"too many files",
       [](auto& r) {
         for (int i = 0; i < limits::kMaxModelFiles; ++i) r.mutable_model()->add_files();
       },
       "model.files"},
  };
  for (const Case& c : cases) {
    v1::CreateModelRequest request = ModelOf("graph");
    c.spoil(request);
    EXPECT_THAT(Create(request), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", c.field))
        << c.what;
  }
}

TEST_F(LibraryRpcTest, EveryViolationOfARequestIsToldAtOnce) {
  v1::CreateModelRequest request = ModelOf("graph");
  request.mutable_model()->mutable_files(0)->set_path("../net.onnx");
  request.mutable_model()->set_main_file("other.onnx");
  request.set_request_id(std::string(200, 'r'));
  std::vector<std::string> fields;
  for (const auto& [field, _] : RefusalOf(Create(request)).fields) fields.push_back(field);
  EXPECT_THAT(fields, ElementsAre("request_id", "model.files[0].path", "model.main_file"));
}

TEST_F(LibraryRpcTest, ARequestIdMakesOneModelAndRefusesAnotherBody) {
  v1::CreateModelRequest request = ModelOf("graph");
  request.set_request_id("once");
  v1::Model first, second;
  ASSERT_THAT(Create(request, &first), IsOk());
  ASSERT_THAT(Create(request, &second), IsOk());
  EXPECT_EQ(first.name(), second.name());
  request.mutable_model()->set_display_name("another");
  EXPECT_THAT(Create(request),
              Refused(StatusCode::INVALID_ARGUMENT, "REQUEST_ID_REUSED", "request_id"));
  ASSERT_THAT(
      Call(*calls_.models, &Models::DeleteModel, Named<v1::DeleteModelRequest>(first.name())),
      IsOk());
  request.mutable_model()->clear_display_name();
  EXPECT_THAT(Create(request), Refused(StatusCode::NOT_FOUND, "REQUEST_RESOURCE_DELETED", ""));
}

TEST_F(LibraryRpcTest, ModelsAreListedNewestFirstPageByPage) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i) made.insert(made.begin(), calls_.MakeModel(std::string(1, 'a' + i)));
  std::vector<std::string> listed;
  v1::ListModelsRequest request;
  request.set_page_size(2);
  int pages = 0;
  do {
    v1::ListModelsResponse page;
    ASSERT_THAT(Call(*calls_.models, &Models::ListModels, request, &page), IsOk());
    EXPECT_LE(page.models_size(), 2);
    for (const v1::Model& model : page.models()) listed.push_back(model.name());
    request.set_page_token(page.next_page_token());
    ++pages;
  } while (!request.page_token().empty() && pages < 10);
  EXPECT_EQ(listed, made);
  EXPECT_EQ(pages, 3);
}

TEST_F(LibraryRpcTest, BadPagesAreRefused) {
  for (const int size : {-1, limits::kMaxPageSize + 1}) {
    v1::ListModelsRequest models;
    models.set_page_size(size);
    EXPECT_THAT(Call(*calls_.models, &Models::ListModels, models),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "page_size"));
    v1::ListDatasetsRequest datasets;
    datasets.set_page_size(size);
    EXPECT_THAT(Call(*calls_.datasets, &Datasets::ListDatasets, datasets),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "page_size"));
  }
  calls_.MakeModel("a");
  calls_.MakeModel("b");
  v1::ListModelsRequest models;
  models.set_page_size(1);
  v1::ListModelsResponse page;
  ASSERT_THAT(Call(*calls_.models, &Models::ListModels, models, &page), IsOk());
  v1::ListDatasetsRequest datasets;  // a token of another list
  datasets.set_page_token(page.next_page_token());
  EXPECT_THAT(Call(*calls_.datasets, &Datasets::ListDatasets, datasets),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_PAGE_TOKEN", "page_token"));
  models.set_page_token("forged");
  EXPECT_THAT(Call(*calls_.models, &Models::ListModels, models),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_PAGE_TOKEN", "page_token"));
}

TEST_F(LibraryRpcTest, NamesAreCheckedBeforeTheyAreLookedUp) {
  for (const char* bad : {"", "m", "jobs/m", "models/", "models/UPPER", "models/a/b"}) {
    EXPECT_THAT(Call(*calls_.models, &Models::GetModel, Named<v1::GetModelRequest>(bad)),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "name"))
        << bad;
  }
  EXPECT_THAT(Call(*calls_.models, &Models::DeleteModel, Named<v1::DeleteModelRequest>("m")),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "name"));
  EXPECT_THAT(Call(*calls_.models, &Models::InspectModel, Named<v1::InspectModelRequest>("m")),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "name"));
  EXPECT_THAT(Call(*calls_.models, &Models::GetModel, Named<v1::GetModelRequest>("models/no")),
              Refused(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND", ""));
  EXPECT_THAT(
      Call(*calls_.models, &Models::DeleteModel, Named<v1::DeleteModelRequest>("models/no")),
      Refused(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND", ""));
  EXPECT_THAT(
      Call(*calls_.models, &Models::InspectModel, Named<v1::InspectModelRequest>("models/no")),
      Refused(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND", ""));
  EXPECT_THAT(
      Call(*calls_.datasets, &Datasets::GetDataset, Named<v1::GetDatasetRequest>("datasets/no")),
      Refused(StatusCode::NOT_FOUND, "DATASET_NOT_FOUND", ""));
  EXPECT_THAT(Call(*calls_.datasets, &Datasets::DeleteDataset,
                   Named<v1::DeleteDatasetRequest>("models/no")),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "name"));
}

TEST_F(LibraryRpcTest, InspectionIsAnsweredFromWhatAWorkerFoundAndKept) {
  const std::string model = calls_.MakeModel();
  v1::InspectModelRequest request = Named<v1::InspectModelRequest>(model);
  (*request.mutable_bindings())["batch"] = 8;
  // Nobody has read it yet: the caller's deadline ends the wait, and the job goes on.
  {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(300)));
    v1::InspectModelResponse response;
    EXPECT_EQ(calls_.models->InspectModel(&context, request, &response).error_code(),
              StatusCode::DEADLINE_EXCEEDED);
  }
  const v1::Attempt attempt = calls_.Lease();
  EXPECT_EQ(attempt.kind(), v1::ATTEMPT_KIND_INSPECT);
  EXPECT_EQ(attempt.bindings().at("batch"), 8);
  ASSERT_THAT(calls_.Complete(calls_.SuccessOf(attempt)), IsOk());
  v1::InspectModelResponse response;
  ASSERT_THAT(Call(*calls_.models, &Models::InspectModel, request, &response), IsOk());
  EXPECT_EQ(response.summary().fields().at("seed").number_value(), 7);
  EXPECT_EQ(response.text(), "a table\n");
  (*request.mutable_bindings())["batch"] = 0;
  EXPECT_THAT(Call(*calls_.models, &Models::InspectModel, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "bindings[batch]"));
}

TEST_F(LibraryRpcTest, DatasetsAreMadeListedAndDeleted) {
  v1::Dataset dataset;
  ASSERT_THAT(
      Call(*calls_.datasets, &Datasets::CreateDataset, DatasetOf("d.npz", "data"), &dataset),
      IsOk());
  EXPECT_EQ(dataset.format(), v1::DATASET_FORMAT_NPZ);
  EXPECT_EQ(dataset.size_bytes(), 4);
  v1::ListDatasetsResponse list;
  ASSERT_THAT(Call(*calls_.datasets, &Datasets::ListDatasets, v1::ListDatasetsRequest(), &list),
              IsOk());
  ASSERT_EQ(list.datasets_size(), 1);
  EXPECT_EQ(list.datasets(0).name(), dataset.name());
  ASSERT_THAT(Call(*calls_.datasets, &Datasets::DeleteDataset,
                   Named<v1::DeleteDatasetRequest>(dataset.name())),
              IsOk());
  EXPECT_THAT(
      Call(*calls_.datasets, &Datasets::GetDataset, Named<v1::GetDatasetRequest>(dataset.name())),
      Refused(StatusCode::NOT_FOUND, "DATASET_NOT_FOUND", ""));
}

TEST_F(LibraryRpcTest, BadDatasetsAreRefusedWithTheField) {
  v1::CreateDatasetRequest request = DatasetOf("d.npz", "data");
  request.mutable_dataset()->set_digest("x");
  EXPECT_THAT(Call(*calls_.datasets, &Datasets::CreateDataset, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "dataset.digest"));
  request = DatasetOf("d.csv", "data");
  const grpc::Status unknown = Call(*calls_.datasets, &Datasets::CreateDataset, request);
  EXPECT_THAT(unknown, Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "dataset.format"));
  EXPECT_THAT(unknown.error_message(), HasSubstr(".safetensors"));
  request = DatasetOf("d.npz", "data");
  request.mutable_dataset()->set_format(static_cast<v1::DatasetFormat>(77));
  EXPECT_THAT(Call(*calls_.datasets, &Datasets::CreateDataset, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "dataset.format"));
}

}  // namespace
}  // namespace lathe::server
