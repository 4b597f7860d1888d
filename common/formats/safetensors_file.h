// Hugging Face's .safetensors.
#ifndef LATHE_COMMON_FORMATS_SAFETENSORS_FILE_H_
#define LATHE_COMMON_FORMATS_SAFETENSORS_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/formats/array_file.h"

namespace lathe {

// As ArrayFile::Open. Types F64, F32, F16, BF16, I8 to I64, U8 to U64, BOOL. The arrays must fill
// the bytes behind the header without gap or overlap, as the format demands.
absl::StatusOr<std::unique_ptr<ArrayFile>> OpenSafetensors(std::unique_ptr<ByteSource> source);

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_SAFETENSORS_FILE_H_
