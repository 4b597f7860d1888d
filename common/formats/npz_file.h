// NumPy's .npz: a zip of .npy arrays.
#ifndef LATHE_COMMON_FORMATS_NPZ_FILE_H_
#define LATHE_COMMON_FORMATS_NPZ_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/formats/array_file.h"

namespace lathe {

// As ArrayFile::Open. Arrays in C order stream. One of several axes in Fortran order is read as a
// whole when first asked for and turned around in memory; past limits::kMaxFortranBytes it is
// refused.
absl::StatusOr<std::unique_ptr<ArrayFile>> OpenNpz(std::unique_ptr<ByteSource> source);

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_NPZ_FILE_H_
