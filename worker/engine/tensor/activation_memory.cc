#include "worker/engine/tensor/activation_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/engine/tensor/memory_plan.h"

namespace lathe::engine {
namespace {

// Runs of more allocations than this (long loops) are not planned.
constexpr size_t kMaxPlannedBlocks = 20000;
// Plans kept, and how often the data of one key may lead another way before it is planned no more.
constexpr size_t kMaxPlans = 8;
constexpr int kMaxMisses = 3;
constexpr int64_t kHugePageBytes = 2 << 20;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Few sizes, so that blocks find their like again: at most an eighth is wasted.
int64_t SizeClass(int64_t bytes) {
  int64_t unit = kBlockAlignment;
  while (bytes > 16 * unit) unit *= 2;
  return std::max(RoundUp(bytes, unit), kBlockAlignment);
}

}  // namespace

class ActivationCore : public std::enable_shared_from_this<ActivationCore> {
 public:
  explicit ActivationCore(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  ~ActivationCore() {
    FreeHeap();
    RetireArena();
    FreeRetired();
  }

  void BeginRun(const std::string& key) {
    ++run_;
    key_ = key;
    live_bytes_ = peak_bytes_ = 0;
    blocks_.clear();
    events_.clear();
    next_event_ = next_block_ = 0;
    plan_ = nullptr;
    recording_ = false;
    const auto found = plans_.find(key);
    if (found == plans_.end()) {
      recording_ = true;
    } else if (found->second.ready && ReserveArena(found->second.plan.bytes)) {
      plan_ = &found->second;
    }
    running_ = true;
  }

  void EndRun() {
    running_ = false;
    planned_ = plan_ != nullptr && next_event_ == plan_->events.size();
    if (plan_ != nullptr && !planned_) Miss();
    if (plan_ != nullptr) peak_bytes_ = plan_->plan.bytes;
    if (!recording_) return;
    if (plans_.size() >= kMaxPlans) plans_.clear();
    Planned& entry = plans_[key_];
    if (blocks_.size() > kMaxPlannedBlocks) return;
    entry.blocks = std::move(blocks_);
    entry.events = std::move(events_);
    for (Lifetime& block : entry.blocks) {
      if (block.end < 0) block.end = std::numeric_limits<int64_t>::max();
    }
    entry.plan = PlanMemory(entry.blocks);
    entry.ready = true;
    peak_bytes_ = entry.plan.bytes;
    // The next run of these shapes lies in the arena: what the recording took can go.
    FreeHeap();
  }

  absl::StatusOr<std::shared_ptr<Buffer>> Allocate(int64_t bytes) {
    if (bytes < 0 || bytes > limit_bytes_ - live_bytes_) {
      return absl::ResourceExhaustedError(absl::StrCat("activations would take more than ",
                                                       limit_bytes_, " bytes (", live_bytes_,
                                                       " alive, ", bytes, " more asked for)"));
    }
    if (plan_ != nullptr) {
      if (next_event_ < plan_->events.size() && plan_->events[next_event_] == next_block_ &&
          plan_->blocks[next_block_].bytes == bytes) {
        const int64_t index = next_block_++;
        ++next_event_;
        Count(bytes);
        ++arena_buffers_;
        return std::make_shared<Buffer>(shared_from_this(), arena_ + plan_->plan.offsets[index],
                                        bytes, run_, index, true);
      }
      Miss();
    }
    int64_t index = -1;
    if (recording_ && blocks_.size() <= kMaxPlannedBlocks) {
      index = static_cast<int64_t>(blocks_.size());
      blocks_.push_back({bytes, static_cast<int64_t>(events_.size()), -1});
      events_.push_back(index);
    }
    char* data = TakeHeap(SizeClass(bytes));
    if (data == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no memory for an activation of ", bytes, " bytes"));
    }
    Count(bytes);
    return std::make_shared<Buffer>(shared_from_this(), data, bytes, run_, index, false);
  }

  void Release(const Buffer& buffer) {
    const bool current = buffer.run_ == run_;
    if (current) live_bytes_ -= buffer.bytes_;
    if (buffer.in_arena_) {
      if (--arena_buffers_ == 0) FreeRetired();
    } else {
      free_[SizeClass(buffer.bytes_)].push_back(buffer.data_);
    }
    if (!current || !running_ || buffer.index_ < 0) return;
    if (recording_) {
      blocks_[buffer.index_].end = static_cast<int64_t>(events_.size());
      events_.push_back(~buffer.index_);
    } else if (plan_ != nullptr) {
      if (next_event_ < plan_->events.size() && plan_->events[next_event_] == ~buffer.index_) {
        ++next_event_;
      } else {
        Miss();
      }
    }
  }

  int64_t peak_bytes() const { return peak_bytes_; }
  bool planned() const { return planned_; }

 private:
  struct Planned {
    bool ready = false;
    int misses = 0;
    std::vector<Lifetime> blocks;
    std::vector<int64_t> events;  // k: block k is made; ~k: it is released
    MemoryPlan plan;
  };

  void Count(int64_t bytes) {
    live_bytes_ += bytes;
    peak_bytes_ = std::max(peak_bytes_, live_bytes_);
  }

  // The run has left its plan. The arena's blocks that are alive stay; all others come from the
  // heap.
  void Miss() {
    if (++plan_->misses >= kMaxMisses) plan_->ready = false;
    plan_ = nullptr;
  }

  bool ReserveArena(int64_t bytes) {
    if (bytes <= arena_bytes_) return true;
    RetireArena();
    if (arena_buffers_ == 0) FreeRetired();
    const int64_t rounded = RoundUp(std::max<int64_t>(bytes, 1), kHugePageBytes);
    void* mapped = mmap(nullptr, static_cast<size_t>(rounded), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return false;
    // Only a hint: without huge pages it is slower, not wrong.
    if (rounded > kHugePageBytes) (void)madvise(mapped, rounded, MADV_HUGEPAGE);
    arena_ = static_cast<char*>(mapped);
    arena_bytes_ = rounded;
    return true;
  }

  // Outputs of earlier runs that somebody still holds keep their memory mapped.
  void RetireArena() {
    if (arena_ != nullptr) retired_.emplace_back(arena_, arena_bytes_);
    arena_ = nullptr;
    arena_bytes_ = 0;
  }

  void FreeRetired() {
    for (const auto& [data, bytes] : retired_) munmap(data, static_cast<size_t>(bytes));
    retired_.clear();
  }

  char* TakeHeap(int64_t bytes) {
    std::vector<char*>& same = free_[bytes];
    if (!same.empty()) {
      char* data = same.back();
      same.pop_back();
      return data;
    }
    return static_cast<char*>(std::aligned_alloc(kBlockAlignment, static_cast<size_t>(bytes)));
  }

  void FreeHeap() {
    for (auto& [bytes, blocks] : free_) {
      for (char* data : blocks) std::free(data);
    }
    free_.clear();
  }

  const int64_t limit_bytes_;
  int64_t run_ = 0;
  std::string key_;
  bool running_ = false;
  bool recording_ = false;
  bool planned_ = false;
  int64_t live_bytes_ = 0;
  int64_t peak_bytes_ = 0;
  std::vector<Lifetime> blocks_;
  std::vector<int64_t> events_;
  Planned* plan_ = nullptr;  // followed, so far
  size_t next_event_ = 0;
  int64_t next_block_ = 0;
  std::map<std::string, Planned> plans_;
  std::unordered_map<int64_t, std::vector<char*>> free_;  // by size
  char* arena_ = nullptr;
  int64_t arena_bytes_ = 0;
  int64_t arena_buffers_ = 0;  // alive, of all runs
  std::vector<std::pair<char*, int64_t>> retired_;
};

Buffer::Buffer(std::shared_ptr<ActivationCore> core, char* data, int64_t bytes, int64_t run,
               int64_t index, bool in_arena)
    : core_(std::move(core)),
      data_(data),
      bytes_(bytes),
      run_(run),
      index_(index),
      in_arena_(in_arena) {}

Buffer::~Buffer() { core_->Release(*this); }

ActivationMemory::ActivationMemory(int64_t limit_bytes)
    : core_(std::make_shared<ActivationCore>(limit_bytes)) {}
ActivationMemory::~ActivationMemory() = default;

void ActivationMemory::BeginRun(const std::string& key) { core_->BeginRun(key); }
void ActivationMemory::EndRun() { core_->EndRun(); }
absl::StatusOr<std::shared_ptr<Buffer>> ActivationMemory::Allocate(int64_t bytes) {
  return core_->Allocate(bytes);
}
int64_t ActivationMemory::peak_bytes() const { return core_->peak_bytes(); }
bool ActivationMemory::planned() const { return core_->planned(); }

}  // namespace lathe::engine
