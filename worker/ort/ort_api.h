// The part of ONNX Runtime's C interface that is used here.
//
// A library gives a table of function pointers whose positions never change: later versions append.
// Positions, argument types and numbers are facts of the public header,
//   github.com/microsoft/onnxruntime, include/onnxruntime/core/session/onnxruntime_c_api.h
//   (commit 0017800f6539412b364502d8b59c11463a6411e6),
// and agree with the bounds that core/session/onnxruntime_c_api.cc asserts: the first version ends
// at position 101, the second at 118, the fifth at 149. tests/conformance/test_onnxruntime.py calls
// every one of them in a real library.
#ifndef LATHE_WORKER_ORT_ORT_API_H_
#define LATHE_WORKER_ORT_ORT_API_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"

namespace lathe::ort {

// Known by pointer alone.
struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtValue;
struct OrtMemoryInfo;
struct OrtAllocator;
struct OrtTensorTypeAndShapeInfo;

// What the library's one exported function, OrtGetApiBase, returns.
struct ApiBase {
  const void* const* (*get_api)(uint32_t version);  // null: the library is older
  const char* (*get_version_string)();
};

// The least version of the table with all that stands below: ONNX Runtime 1.5.
inline constexpr uint32_t kApiVersion = 5;

// A function of the table, by its position.
template <typename Function>
struct Entry {
  size_t position;
};

inline constexpr Entry<int(const OrtStatus*)> kGetErrorCode{1};
inline constexpr Entry<const char*(const OrtStatus*)> kGetErrorMessage{2};
inline constexpr Entry<OrtStatus*(int, const char*, OrtEnv**)> kCreateEnv{3};
inline constexpr Entry<OrtStatus*(const OrtEnv*)> kDisableTelemetryEvents{6};
inline constexpr Entry<OrtStatus*(const OrtEnv*, const char*, const OrtSessionOptions*,
                                  OrtSession**)>
    kCreateSession{7};
inline constexpr Entry<OrtStatus*(OrtSession*, const OrtRunOptions*, const char* const*,
                                  const OrtValue* const*, size_t, const char* const*, size_t,
                                  OrtValue**)>
    kRun{9};
inline constexpr Entry<OrtStatus*(OrtSessionOptions**)> kCreateSessionOptions{10};
inline constexpr Entry<OrtStatus*(OrtSessionOptions*, const char*)> kSetOptimizedModelFilePath{11};
inline constexpr Entry<OrtStatus*(OrtSessionOptions*, int)> kSetSessionLogSeverityLevel{22};
inline constexpr Entry<OrtStatus*(OrtSessionOptions*, int)> kSetSessionGraphOptimizationLevel{23};
inline constexpr Entry<OrtStatus*(OrtSessionOptions*, int)> kSetIntraOpNumThreads{24};
inline constexpr Entry<OrtStatus*(OrtSessionOptions*, int)> kSetInterOpNumThreads{25};
inline constexpr Entry<OrtStatus*(const OrtSession*, size_t*)> kSessionGetInputCount{30};
inline constexpr Entry<OrtStatus*(const OrtSession*, size_t*)> kSessionGetOutputCount{31};
inline constexpr Entry<OrtStatus*(const OrtSession*, size_t, OrtAllocator*, char**)>
    kSessionGetInputName{36};
inline constexpr Entry<OrtStatus*(const OrtSession*, size_t, OrtAllocator*, char**)>
    kSessionGetOutputName{37};
inline constexpr Entry<OrtStatus*(OrtAllocator*, const int64_t*, size_t, int, OrtValue**)>
    kCreateTensorAsOrtValue{48};
inline constexpr Entry<OrtStatus*(const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t, int,
                                  OrtValue**)>
    kCreateTensorWithDataAsOrtValue{49};
inline constexpr Entry<OrtStatus*(OrtValue*, void**)> kGetTensorMutableData{51};
inline constexpr Entry<OrtStatus*(OrtValue*, const char* const*, size_t)> kFillStringTensor{52};
inline constexpr Entry<OrtStatus*(const OrtValue*, size_t*)> kGetStringTensorDataLength{53};
inline constexpr Entry<OrtStatus*(const OrtValue*, void*, size_t, size_t*, size_t)>
    kGetStringTensorContent{54};
inline constexpr Entry<OrtStatus*(const OrtTensorTypeAndShapeInfo*, int*)> kGetTensorElementType{
    60};
inline constexpr Entry<OrtStatus*(const OrtTensorTypeAndShapeInfo*, size_t*)> kGetDimensionsCount{
    61};
inline constexpr Entry<OrtStatus*(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)>
    kGetDimensions{62};
inline constexpr Entry<OrtStatus*(const OrtValue*, OrtTensorTypeAndShapeInfo**)>
    kGetTensorTypeAndShape{65};
inline constexpr Entry<OrtStatus*(const OrtValue*, int*)> kGetValueType{67};
inline constexpr Entry<OrtStatus*(int, int, OrtMemoryInfo**)> kCreateCpuMemoryInfo{69};
inline constexpr Entry<OrtStatus*(OrtAllocator*, void*)> kAllocatorFree{76};
inline constexpr Entry<OrtStatus*(OrtAllocator**)> kGetAllocatorWithDefaultOptions{78};
inline constexpr Entry<void(OrtEnv*)> kReleaseEnv{92};
inline constexpr Entry<void(OrtStatus*)> kReleaseStatus{93};
inline constexpr Entry<void(OrtMemoryInfo*)> kReleaseMemoryInfo{94};
inline constexpr Entry<void(OrtSession*)> kReleaseSession{95};
inline constexpr Entry<void(OrtValue*)> kReleaseValue{96};
inline constexpr Entry<void(OrtTensorTypeAndShapeInfo*)> kReleaseTensorTypeAndShapeInfo{99};
inline constexpr Entry<void(OrtSessionOptions*)> kReleaseSessionOptions{100};
inline constexpr Entry<OrtStatus*(OrtSessionOptions*, const char*, const char*)>
    kAddSessionConfigEntry{130};

// Values of its enumerations.
inline constexpr int kLogError = 3;         // OrtLoggingLevel
inline constexpr int kOptimizeNone = 0;     // GraphOptimizationLevel
inline constexpr int kOptimizeBasic = 1;    // GraphOptimizationLevel
inline constexpr int kOptimizeAll = 99;     // GraphOptimizationLevel
inline constexpr int kTensorValue = 1;      // ONNXType
inline constexpr int kDeviceAllocator = 0;  // OrtAllocatorType
inline constexpr int kDefaultMemory = 0;    // OrtMemType
inline constexpr int kNoSuchFile = 3;       // OrtErrorCode, and so on
inline constexpr int kInvalidArgument = 2;
inline constexpr int kInvalidProtobuf = 7;
inline constexpr int kNotImplemented = 9;
inline constexpr int kInvalidGraph = 10;

// A library's table. Copies are as good as the original.
class Api {
 public:
  explicit Api(const void* const* table) : table_(table) {}

  // Calls a function: api(kCreateEnv, level, "name", &env).
  template <typename Result, typename... Parameters, typename... Arguments>
  Result operator()(Entry<Result(Parameters...)> entry, Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Parameters...)>(const_cast<void*>(table_[entry.position]))(
        arguments...);
  }

  // Releases `status`; null is OK. The message is the library's.
  absl::Status Take(OrtStatus* status) const;

  // Calls a function that may fail.
  template <typename... Parameters, typename... Arguments>
  absl::Status Try(Entry<OrtStatus*(Parameters...)> entry, Arguments... arguments) const {
    return Take((*this)(entry, arguments...));
  }

 private:
  const void* const* table_;
};

// Owns an object of the library's.
template <typename T>
struct Releaser {
  Api api;
  Entry<void(T*)> release;
  void operator()(T* object) const { api(release, object); }
};
template <typename T>
using Owned = std::unique_ptr<T, Releaser<T>>;

template <typename T>
Owned<T> Own(const Api& api, Entry<void(T*)> release, T* object) {
  return Owned<T>(object, Releaser<T>{api, release});
}

}  // namespace lathe::ort

#endif  // LATHE_WORKER_ORT_ORT_API_H_
