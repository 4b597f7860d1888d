// BlobService over a real channel: small blobs, streamed uploads and their resumption, ranges.
#include "common/digest.h"
#include "common/limits.h"
#include "tests/unit/server/rpc/rpc_test_util.h"

namespace lathe::server {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Stub = v1::BlobService::Stub;

class BlobRpcTest : public RpcTest {
 protected:
  static v1::UploadHeader Header(const std::string& bytes, int64_t offset = 0) {
    v1::UploadHeader header;
    header.set_digest(Sha256Hex(bytes));
    header.set_size_bytes(static_cast<int64_t>(bytes.size()));
    header.set_offset(offset);
    return header;
  }

  // One upload stream: its messages in order, then its end.
  class Upload {
   public:
    explicit Upload(Stub& stub) : writer_(stub.UploadBlob(&context_, &blob_)) {}
    explicit Upload(Stub& stub, const v1::UploadHeader& header) : Upload(stub) { Send(header); }
    void Send(const v1::UploadHeader& header) {
      v1::UploadBlobRequest message;
      *message.mutable_header() = header;
      writer_->Write(message);
    }
    void Send(const std::string& chunk) {
      v1::UploadBlobRequest message;
      message.set_chunk(chunk);
      writer_->Write(message);
    }
    grpc::Status Finish() {
      writer_->WritesDone();
      return writer_->Finish();
    }
    const v1::Blob& blob() const { return blob_; }

   private:
    grpc::ClientContext context_;
    v1::Blob blob_;
    std::unique_ptr<grpc::ClientWriter<v1::UploadBlobRequest>> writer_;
  };
  grpc::Status UploadAll(const v1::UploadHeader& header, const std::vector<std::string>& chunks) {
    Upload upload(*calls_.blobs, header);
    for (const std::string& chunk : chunks) upload.Send(chunk);
    return upload.Finish();
  }

  v1::QueryUploadResponse Query(const std::string& digest) {
    v1::QueryUploadRequest request;
    request.set_digest(digest);
    v1::QueryUploadResponse response;
    EXPECT_THAT(Call(*calls_.blobs, &Stub::QueryUpload, request, &response), IsOk());
    return response;
  }
  grpc::Status Get(const std::string& digest, std::string* data) {
    v1::GetBlobRequest request;
    request.set_digest(digest);
    v1::GetBlobResponse response;
    const grpc::Status status = Call(*calls_.blobs, &Stub::GetBlob, request, &response);
    *data = response.data();
    return status;
  }
  grpc::Status Download(const std::string& digest, int64_t offset, int64_t limit,
                        std::string* data) {
    v1::DownloadBlobRequest request;
    request.set_digest(digest);
    request.set_offset(offset);
    request.set_limit(limit);
    grpc::ClientContext context;
    grpc::Status status;
    data->clear();
    for (const auto& message : ReadAll(*calls_.blobs->DownloadBlob(&context, request), &status))
      *data += message.chunk();
    return status;
  }
};

TEST_F(BlobRpcTest, ASmallBlobGoesInAndOutInOneCallEach) {
  v1::PutBlobRequest request;
  request.set_data("bytes");
  request.set_digest(Sha256Hex("bytes"));
  v1::Blob blob;
  ASSERT_THAT(Call(*calls_.blobs, &Stub::PutBlob, request, &blob), IsOk());
  EXPECT_EQ(blob.digest(), Sha256Hex("bytes"));
  EXPECT_EQ(blob.size_bytes(), 5);
  std::string data;
  ASSERT_THAT(Get(blob.digest(), &data), IsOk());
  EXPECT_EQ(data, "bytes");
}

TEST_F(BlobRpcTest, AnEmptyBlobIsABlob) {
  const std::string digest = calls_.Put("");
  EXPECT_EQ(digest, Sha256Hex(""));
  EXPECT_TRUE(Query(digest).complete());
  std::string data = "something";
  EXPECT_THAT(Download(digest, 0, 0, &data), IsOk());
  EXPECT_EQ(data, "");
}

TEST_F(BlobRpcTest, PutRefusesAnotherDigestThanTheDataHave) {
  v1::PutBlobRequest request;
  request.set_data("bytes");
  request.set_digest(Sha256Hex("others"));
  EXPECT_THAT(Call(*calls_.blobs, &Stub::PutBlob, request),
              Refused(StatusCode::INVALID_ARGUMENT, "DIGEST_MISMATCH", ""));
  EXPECT_FALSE(Query(Sha256Hex("bytes")).complete());
  request.set_digest("no digest");
  EXPECT_THAT(Call(*calls_.blobs, &Stub::PutBlob, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "digest"));
}

TEST_F(BlobRpcTest, BothSmallWaysNameTheirLimitAndTheCallThatHasNone) {
  v1::PutBlobRequest request;
  request.set_data(std::string(static_cast<size_t>(limits::kMaxInlineBytes) + 1, 'x'));
  const grpc::Status put = Call(*calls_.blobs, &Stub::PutBlob, request);
  EXPECT_THAT(put, Refused(StatusCode::RESOURCE_EXHAUSTED, "BLOB_TOO_LARGE", ""));
  EXPECT_THAT(put.error_message(), HasSubstr("UploadBlob"));

  const std::string chunk(1 << 20, 'x');
  const auto count = static_cast<size_t>(limits::kMaxInlineBytes / (1 << 20)) + 1;
  std::string large;
  for (size_t i = 0; i < count; ++i) large += chunk;
  ASSERT_THAT(UploadAll(Header(large), std::vector<std::string>(count, chunk)), IsOk());
  std::string data;
  EXPECT_THAT(Get(Sha256Hex(large), &data),
              Refused(StatusCode::RESOURCE_EXHAUSTED, "BLOB_TOO_LARGE", ""));
}

TEST_F(BlobRpcTest, AMessagePastTheTransportsLimitIsRefused) {
  v1::PutBlobRequest request;
  request.set_data(std::string(static_cast<size_t>(limits::kMaxMessageBytes) + 1, 'x'));
  EXPECT_EQ(Call(*calls_.blobs, &Stub::PutBlob, request).error_code(),
            StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(calls_.Put("the server lives on"), ::testing::SizeIs(64));
}

TEST_F(BlobRpcTest, MissingBlobsAreListedOnceInTheRequestsOrder) {
  const std::string stored = calls_.Put("stored");
  v1::FindMissingBlobsRequest request;
  const std::string b = Sha256Hex("b"), a = Sha256Hex("a");
  for (const std::string& digest : {b, stored, a, b}) request.add_digests(digest);
  v1::FindMissingBlobsResponse response;
  ASSERT_THAT(Call(*calls_.blobs, &Stub::FindMissingBlobs, request, &response), IsOk());
  EXPECT_THAT(response.missing_digests(), ElementsAre(b, a));
}

TEST_F(BlobRpcTest, MissingBlobsRefusesBadDigestsByIndexAndTooMany) {
  v1::FindMissingBlobsRequest request;
  request.add_digests(Sha256Hex("a"));
  request.add_digests("UPPER");
  EXPECT_THAT(Call(*calls_.blobs, &Stub::FindMissingBlobs, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "digests[1]"));
  request.clear_digests();
  for (int i = 0; i < 4097; ++i) request.add_digests(Sha256Hex("a"));
  EXPECT_THAT(Call(*calls_.blobs, &Stub::FindMissingBlobs, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "digests"));
}

TEST_F(BlobRpcTest, AnUploadInChunksIsStoredUnderItsDigest) {
  Upload upload(*calls_.blobs, Header("one two three"));
  for (const char* chunk : {"one ", "two ", "three"}) upload.Send(std::string(chunk));
  ASSERT_THAT(upload.Finish(), IsOk());
  EXPECT_EQ(upload.blob().digest(), Sha256Hex("one two three"));
  EXPECT_EQ(upload.blob().size_bytes(), 13);
  std::string data;
  ASSERT_THAT(Get(upload.blob().digest(), &data), IsOk());
  EXPECT_EQ(data, "one two three");
}

TEST_F(BlobRpcTest, UploadHeadersAreChecked) {
  struct Case {
    const char* what;
    std::string digest;
    int64_t size_bytes, offset;
    const char* field;
  };
  const std::string good = Sha256Hex("x");
  for (const Case& c : std::vector<Case>{
           {"no digest", "", 1, 0, "header.digest"},
           {"negative size", good, -1, 0, "header.size_bytes"},
           {"past the largest blob", good, limits::kMaxBlobBytes + 1, 0, "header.size_bytes"},
           {"negative offset", good, 10, -1, "header.offset"},
           {"offset past the size", good, 10, 11, "header.offset"}}) {
    v1::UploadHeader header;
    header.set_digest(c.digest);
    header.set_size_bytes(c.size_bytes);
    header.set_offset(c.offset);
    EXPECT_THAT(UploadAll(header, {}),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", c.field))
        << c.what;
  }
}

TEST_F(BlobRpcTest, AnUploadBeginsWithItsHeaderAndHasOne) {
  Upload headless(*calls_.blobs);
  headless.Send(std::string("chunk"));
  EXPECT_THAT(headless.Finish(), Refused(StatusCode::INVALID_ARGUMENT, "NO_HEADER", ""));
  Upload empty(*calls_.blobs);
  EXPECT_THAT(empty.Finish(), Refused(StatusCode::INVALID_ARGUMENT, "NO_HEADER", ""));
  Upload twice(*calls_.blobs, Header("bytes"));
  twice.Send(Header("bytes"));
  EXPECT_THAT(twice.Finish(), Refused(StatusCode::INVALID_ARGUMENT, "SECOND_HEADER", ""));
}

TEST_F(BlobRpcTest, BytesThatAreNotWhatWasPromisedAreNotKept) {
  EXPECT_THAT(UploadAll(Header("right"), {"wrong"}),
              Refused(StatusCode::INVALID_ARGUMENT, "DIGEST_MISMATCH", ""));
  const v1::QueryUploadResponse after = Query(Sha256Hex("right"));
  EXPECT_EQ(after.committed_bytes(), 0);
  EXPECT_FALSE(after.complete());
  EXPECT_THAT(UploadAll(Header("right"), {"right", "more"}),
              Refused(StatusCode::INVALID_ARGUMENT, "SIZE_MISMATCH", ""));
}

TEST_F(BlobRpcTest, AnUploadThatStopsEarlyGoesOnFromWhatIsCommitted) {
  const std::string bytes = "one two three";
  EXPECT_THAT(UploadAll(Header(bytes), {"one "}),
              Refused(StatusCode::FAILED_PRECONDITION, "UPLOAD_INCOMPLETE", ""));
  EXPECT_EQ(Query(Sha256Hex(bytes)).committed_bytes(), 4);
  EXPECT_FALSE(Query(Sha256Hex(bytes)).complete());
  EXPECT_THAT(UploadAll(Header(bytes, 7), {"three"}),
              Refused(StatusCode::OUT_OF_RANGE, "WRONG_OFFSET", ""));
  ASSERT_THAT(UploadAll(Header(bytes, 4), {"two ", "three"}), IsOk());
  EXPECT_EQ(Query(Sha256Hex(bytes)).committed_bytes(), 13);
  EXPECT_TRUE(Query(Sha256Hex(bytes)).complete());
}

TEST_F(BlobRpcTest, AnOffsetThatWasNeverCommittedIsRefused) {
  EXPECT_THAT(UploadAll(Header("bytes", 3), {"es"}),
              Refused(StatusCode::OUT_OF_RANGE, "WRONG_OFFSET", ""));
}

TEST_F(BlobRpcTest, UploadingWhatIsStoredAlreadySucceedsWithoutTheBytes) {
  calls_.Put("bytes");
  EXPECT_THAT(UploadAll(Header("bytes"), {}), IsOk());
}

TEST_F(BlobRpcTest, ANewUploadOfADigestTakesOverFromOneThatHangs) {
  const std::string bytes = "one two three";
  Upload hangs(*calls_.blobs, Header(bytes));
  hangs.Send(std::string("one "));
  // The first is under way once its bytes are there; QueryUpload tells, without a sleep.
  while (Query(Sha256Hex(bytes)).committed_bytes() != 4) {
  }
  ASSERT_THAT(UploadAll(Header(bytes), {bytes}), IsOk());
  hangs.Send(std::string("two "));
  EXPECT_THAT(hangs.Finish(), Refused(StatusCode::ABORTED, "UPLOAD_TAKEN_OVER", ""));
  std::string data;
  ASSERT_THAT(Get(Sha256Hex(bytes), &data), IsOk());
  EXPECT_EQ(data, bytes);
}

TEST_F(BlobRpcTest, RangesOfABlobAreSentAsAsked) {
  const std::string digest = calls_.Put("0123456789");
  struct Case {
    int64_t offset, limit;
    const char* expected;
  };
  for (const Case& c : std::vector<Case>{{0, 0, "0123456789"},
                                         {3, 0, "3456789"},
                                         {0, 4, "0123"},
                                         {8, 100, "89"},
                                         {10, 0, ""},
                                         {10, 5, ""}}) {
    std::string data;
    ASSERT_THAT(Download(digest, c.offset, c.limit, &data), IsOk());
    EXPECT_EQ(data, c.expected) << c.offset << " " << c.limit;
  }
}

TEST_F(BlobRpcTest, RangesOutsideABlobAreRefused) {
  const std::string digest = calls_.Put("0123456789");
  std::string data;
  EXPECT_THAT(Download(digest, 11, 0, &data),
              Refused(StatusCode::OUT_OF_RANGE, "WRONG_OFFSET", ""));
  EXPECT_THAT(Download(digest, -1, 0, &data),
              Refused(StatusCode::OUT_OF_RANGE, "WRONG_OFFSET", ""));
  EXPECT_THAT(Download(digest, 0, -1, &data),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "limit"));
  EXPECT_THAT(data, IsEmpty());
}

TEST_F(BlobRpcTest, ALargeBlobComesInChunksThatFitTheTransport) {
  const std::string bytes(3 * (1 << 20) + 17, 'y');
  const std::string digest = calls_.Put(bytes);
  v1::DownloadBlobRequest request;
  request.set_digest(digest);
  grpc::ClientContext context;
  grpc::Status status;
  const auto messages = ReadAll(*calls_.blobs->DownloadBlob(&context, request), &status);
  ASSERT_THAT(status, IsOk());
  EXPECT_EQ(messages.size(), 4u);
  std::string data;
  for (const auto& message : messages) data += message.chunk();
  EXPECT_TRUE(data == bytes);
}

TEST_F(BlobRpcTest, UnknownAndMalformedDigestsAreToldApart) {
  std::string data;
  const std::string unknown = Sha256Hex("unknown");
  EXPECT_THAT(Get(unknown, &data), Refused(StatusCode::NOT_FOUND, "BLOB_NOT_FOUND", ""));
  EXPECT_THAT(Download(unknown, 0, 0, &data), Refused(StatusCode::NOT_FOUND, "BLOB_NOT_FOUND", ""));
  EXPECT_EQ(Query(unknown).committed_bytes(), 0);
  for (const char* bad : {"", "abc", "../../etc/passwd"}) {
    EXPECT_THAT(Get(bad, &data), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "digest"));
    EXPECT_THAT(Download(bad, 0, 0, &data),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "digest"));
    v1::QueryUploadRequest query;
    query.set_digest(bad);
    EXPECT_THAT(Call(*calls_.blobs, &Stub::QueryUpload, query),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "digest"));
  }
}

}  // namespace
}  // namespace lathe::server
