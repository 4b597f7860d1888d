// Identifiers for resources.
#ifndef LATHE_COMMON_IDS_H_
#define LATHE_COMMON_IDS_H_

#include <string>

namespace lathe {

// Thread-safe source of unique ids; tests hand in a counting one.
class IdGenerator {
 public:
  virtual ~IdGenerator() = default;
  // 20 characters of [0-9a-z]; sorts by time of creation to the millisecond, the rest is random.
  virtual std::string NewId() = 0;
};

class RandomIdGenerator : public IdGenerator {
 public:
  std::string NewId() override;
};

}  // namespace lathe

#endif  // LATHE_COMMON_IDS_H_
