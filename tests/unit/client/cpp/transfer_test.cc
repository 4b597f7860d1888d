// Uploads and downloads over streams that are cut: resumed, checked, never trusted with paths.
#include <filesystem>

#include "common/digest.h"
#include "common/limits.h"
#include "tests/unit/client/cpp/client_test_util.h"

namespace lathe::client {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class TransferTest : public ClientTest {
 protected:
  static std::string Bytes(int64_t count) {
    std::string out(static_cast<size_t>(count), '\0');
    uint32_t state = 1;
    for (char& c : out) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return out;
  }
  void CutStreams(int cuts, int after, grpc::StatusCode code = grpc::StatusCode::UNAVAILABLE) {
    Faults faults;
    faults.cuts = cuts;
    faults.cut_after = after;
    faults.failure = grpc::Status(code, "injected");
    server_.SetFaults(faults);
  }
  // An "ONNX file" that names an external data file, as protobuf encodes it.
  std::string ModelNaming(const std::string& location) {
    return folder_.Write("m.onnx", absl::StrCat("graph \x0a\x08location\x12",
                                                std::string(1, static_cast<char>(location.size())),
                                                location, " rest"));
  }
  // Files left in the folder, by name.
  std::vector<std::string> Left() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      out.push_back(entry.path().filename().string());
    return out;
  }

  static constexpr int64_t kChunk = limits::kUploadChunkBytes;
};

TEST_F(TransferTest, AnUploadThatIsCutGoesOnFromWhatIsCommitted) {
  const std::string bytes = Bytes(4 * kChunk + 5);
  CutStreams(/*cuts=*/2, /*after=*/1);
  int64_t last = -1;
  const auto blob =
      client().UploadFile(folder_.Write("f", bytes), [&](int64_t done, int64_t) { last = done; });
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->digest(), Sha256Hex(bytes));
  EXPECT_EQ(last, 4 * kChunk + 5);
  EXPECT_THAT(server_.starts(), ElementsAre(0, kChunk, 2 * kChunk));
  EXPECT_EQ(server_.chunks(), 5);  // none was sent twice
  EXPECT_EQ(*server_.inner().blobs().BlobSize(Sha256Hex(bytes)), 4 * kChunk + 5);
}

TEST_F(TransferTest, WhatIsStoredAlreadyIsNotSent) {
  server_.real().Put("bytes");
  ASSERT_TRUE(client().UploadFile(folder_.Write("f", "bytes")).ok());
  EXPECT_EQ(server_.CallsOf("UploadBlob"), 0);
}

TEST_F(TransferTest, AnUploadThatAnotherTookOverGoesOnFromTheirs) {
  CutStreams(1, 0, grpc::StatusCode::ABORTED);
  EXPECT_TRUE(client().UploadFile(folder_.Write("f", "bytes")).ok());
  CutStreams(1, 0, grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_TRUE(client().UploadFile(folder_.Write("g", "others")).ok());
}

TEST_F(TransferTest, AnUploadThatIsRefusedIsNotRepeated) {
  CutStreams(1, 0, grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(client().UploadFile(folder_.Write("f", "bytes")).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server_.CallsOf("UploadBlob"), 1);
}

TEST_F(TransferTest, AnEmptyFileIsUploaded) {
  const auto blob = client().UploadFile(folder_.Write("empty", ""));
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->digest(), Sha256Hex(""));
}

TEST_F(TransferTest, AModelIsUploadedWithTheExternalDataItNames) {
  folder_.Write("w.bin", "weights");
  const auto model = client().UploadModel(ModelNaming("w.bin"), {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->main_file(), "m.onnx");
  ASSERT_EQ(model->files_size(), 2);
  EXPECT_EQ(model->files(1).path(), "w.bin");
  EXPECT_EQ(model->files(1).digest(), Sha256Hex("weights"));
}

TEST_F(TransferTest, MissingExternalDataIsNamed) {
  const absl::Status status = client().UploadModel(ModelNaming("gone.bin"), {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gone.bin"));
}

TEST_F(TransferTest, ExternalDataOutsideTheFolderIsRefusedWhetherItExistsOrNot) {
  for (const char* path : {"../w.bin", "a/../../w.bin", "/etc/passwd", "/no/such/file"}) {
    const absl::Status status = client().UploadModel(ModelNaming(path), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
  EXPECT_EQ(server_.CallsOf("UploadBlob"), 0);
}

TEST_F(TransferTest, ADownloadThatIsCutGoesOnFromWhatArrived) {
  const std::string bytes = Bytes(3 * kChunk + 5);
  const std::string digest = server_.real().Put(bytes);
  CutStreams(/*cuts=*/2, /*after=*/1);
  ASSERT_TRUE(client().DownloadBlob(digest, folder_.File("out")).ok());
  EXPECT_TRUE(ReadFile(folder_.File("out")) == bytes);
  EXPECT_THAT(server_.starts(), ElementsAre(0, kChunk, 2 * kChunk));
  EXPECT_THAT(Left(), ElementsAre("out"));
}

TEST_F(TransferTest, ADownloadGoesOnFromWhatAnEarlierProgramLeft) {
  const std::string bytes = Bytes(2 * kChunk);
  const std::string digest = server_.real().Put(bytes);
  const std::string part = absl::StrCat("out.", digest.substr(0, 12), ".part");
  folder_.Write(part, bytes.substr(0, 100));
  ASSERT_TRUE(client().DownloadBlob(digest, folder_.File("out")).ok());
  EXPECT_TRUE(ReadFile(folder_.File("out")) == bytes);
  EXPECT_THAT(server_.starts(), ElementsAre(100));
}

TEST_F(TransferTest, BytesOfAnotherDigestNeverAppear) {
  const std::string digest = server_.real().Put("right");
  folder_.Write(absl::StrCat("out.", digest.substr(0, 12), ".part"), "wr");  // somebody's rubbish
  const absl::Status status = client().DownloadBlob(digest, folder_.File("out"));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Left(), IsEmpty());
  EXPECT_TRUE(client().DownloadBlob(digest, folder_.File("out")).ok());  // as the message says
}

TEST_F(TransferTest, AFileThatIsThereIsKeptWhenAsked) {
  const std::string digest = server_.real().Put("new");
  folder_.Write("out", "old");
  DownloadOptions options;
  options.overwrite = false;
  EXPECT_EQ(client().DownloadBlob(digest, folder_.File("out"), options).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(folder_.File("out")), "old");
  EXPECT_TRUE(client().DownloadBlob(digest, folder_.File("out")).ok());
  EXPECT_EQ(ReadFile(folder_.File("out")), "new");
}

TEST_F(TransferTest, AnUnknownBlobLeavesNothingBehind) {
  EXPECT_EQ(client().DownloadBlob(Sha256Hex("unknown"), folder_.File("out")).code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(TransferTest, AFolderThatCannotBeWrittenIsNoMatterOfCredentials) {
  const std::string digest = server_.real().Put("bytes");
  const absl::Status status = client().DownloadBlob(digest, folder_.File("none/out"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(folder_.File("none/out")));
}

TEST_F(TransferTest, AModelIsSavedUnderTheNameAskedForWithItsFilesBesideIt) {
  folder_.Write("w.bin", "weights");
  const std::string source = ModelNaming("w.bin");
  const auto model = client().UploadModel(source, {});
  ASSERT_TRUE(model.ok());
  const auto paths = client().DownloadModel(model->name(), folder_.File("into/small.onnx"));
  ASSERT_TRUE(paths.ok()) << paths.status();
  EXPECT_THAT(*paths, ElementsAre(folder_.File("into/small.onnx"), folder_.File("into/w.bin")));
  EXPECT_EQ(ReadFile(folder_.File("into/small.onnx")), ReadFile(source));
  EXPECT_EQ(ReadFile(folder_.File("into/w.bin")), "weights");
  const auto in_folder = client().DownloadModel(model->name(), folder_.File("into"));
  ASSERT_TRUE(in_folder.ok());
  EXPECT_EQ(in_folder->front(), folder_.File("into/m.onnx"));
}

}  // namespace
}  // namespace lathe::client
