#include "common/ids.h"

#include <openssl/rand.h>

#include <cstdint>
#include <cstdlib>

#include "absl/time/clock.h"

namespace lathe {
namespace {

constexpr char kAlphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";

}  // namespace

std::string RandomIdGenerator::NewId() {
  std::string id(20, '0');
  uint64_t millis = static_cast<uint64_t>(absl::ToUnixMillis(absl::Now()));
  for (int i = 8; i >= 0; --i) {  // 36^9 ms reach past the year 5000
    id[i] = kAlphabet[millis % 36];
    millis /= 36;
  }
  unsigned char random[11];
  if (RAND_bytes(random, sizeof(random)) != 1) std::abort();
  for (int i = 0; i < 11; ++i) id[9 + i] = kAlphabet[random[i] % 36];
  return id;
}

}  // namespace lathe
