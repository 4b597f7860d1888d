// Rounding weights against the memory bandwidth of the machine, measured in the same run.
//
//   bench_quantize [MEGABYTES [THREADS]]     256 MB of float32 weights by default, one and two
//   threads
//
// Both read float32 weights from memory and write integers to memory, rounds of all cases
// interleaved; the best of each counts. "Streaming" does no arithmetic to speak of but moves the
// same bytes: it reads every weight and writes as many bytes as the case does. Reach: 90 %.
#include "worker/engine/kernels/quantize.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "worker/engine/tensor/parallel.h"

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define LATHE_BENCH_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define LATHE_BENCH_CLONES
#endif

namespace lathe::engine {
namespace {

constexpr int64_t kRow = 4096;  // weights of a channel
constexpr int64_t kGroup = 32;  // weights that share a scale at 4 bits
constexpr int kRounds = 15;

// Reads `count` words and writes one word for each `ratio` of them: what the wires can do.
LATHE_BENCH_CLONES void Stream8(const uint32_t* in, int64_t count, uint32_t* out) {
  for (int64_t i = 0; i < count / 4; i += 8) {
    for (int64_t l = 0; l < 8; ++l) {
      out[i + l] = in[4 * i + l] ^ in[4 * i + 8 + l] ^ in[4 * i + 16 + l] ^ in[4 * i + 24 + l];
    }
  }
}

LATHE_BENCH_CLONES void Stream4(const uint32_t* in, int64_t count, uint32_t* out) {
  for (int64_t i = 0; i < count / 8; i += 8) {
    for (int64_t l = 0; l < 8; ++l) {
      uint32_t sum = 0;
      for (int64_t k = 0; k < 8; ++k) sum ^= in[8 * i + 8 * k + l];
      out[i + l] = sum;
    }
  }
}

LATHE_BENCH_CLONES uint32_t ReadAll(const uint32_t* in, int64_t count) {
  uint32_t sums[32] = {};
  for (int64_t i = 0; i < count; i += 32) {
    for (int64_t l = 0; l < 32; ++l) sums[l] ^= in[i + l];
  }
  uint32_t sum = 0;
  for (const uint32_t s : sums) sum ^= s;
  return sum;
}

struct Buffers {
  std::vector<float> w;
  std::vector<int8_t> q;
  std::vector<float> scales;
  std::vector<uint32_t> sink;
};

struct Case {
  std::string name;
  std::function<void(Buffers&, int64_t row, int64_t count)> work;  // rows of kRow weights
  double bytes_per_weight = 0;                                     // read and written
  double best = 1e30;
};

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Round8(Buffers& b, int64_t row, int64_t count) {
  RoundSets(b.w.data() + row * kRow, count * kRow, kRow, 8, /*nibbles=*/false,
            reinterpret_cast<uint8_t*>(b.q.data()) + row * kRow, b.scales.data() + row);
}

void Round4(Buffers& b, int64_t row, int64_t count) {
  RoundSets(b.w.data() + row * kRow, count * kRow, kGroup, 4, /*nibbles=*/true,
            reinterpret_cast<uint8_t*>(b.q.data()) + row * kRow / 2,
            b.scales.data() + row * (kRow / kGroup));
}

void Clip(Buffers& b, int64_t row, int64_t rows, int64_t set, int bits) {
  const RoundingRule rule{bits, true, true};
  for (int64_t at = row * kRow; at < (row + rows) * kRow; at += set) {
    const SetScale s = FindScale(b.w.data() + at, set, rule);
    RoundSet(b.w.data() + at, set, rule, s, b.q.data() + at);
  }
}

void Run(int64_t megabytes, int threads) {
  Buffers b;
  const int64_t rows = std::max<int64_t>(1, megabytes * 1000 * 1000 / 4 / kRow);
  b.w.resize(static_cast<size_t>(rows * kRow));
  uint64_t state = 1;
  for (float& w : b.w) {  // the sum of two uniform numbers is spread enough
    state = state * 6364136223846793005u + 1442695040888963407u;
    w = static_cast<float>(static_cast<int32_t>(state >> 32)) * 2e-11f +
        static_cast<float>(static_cast<int32_t>(state)) * 1e-11f;
  }
  b.q.assign(b.w.size(), 0);
  b.scales.assign(static_cast<size_t>(rows * (kRow / kGroup)), 0);
  b.sink.assign(static_cast<size_t>(rows), 0);
  const auto words = [](Buffers& x, int64_t row) {
    return reinterpret_cast<const uint32_t*>(x.w.data()) + row * kRow;
  };
  std::vector<Case> cases = {
      {"read",
       [&](Buffers& x, int64_t r, int64_t n) {
         x.sink[static_cast<size_t>(r)] = ReadAll(words(x, r), n * kRow);
       },
       4},
      {"streaming, 4 bytes in, 1 out",
       [&](Buffers& x, int64_t r, int64_t n) {
         Stream8(words(x, r), n * kRow, reinterpret_cast<uint32_t*>(x.q.data()) + r * kRow / 4);
       },
       5},
      {"streaming, 4 bytes in, 1/2 out",
       [&](Buffers& x, int64_t r, int64_t n) {
         Stream4(words(x, r), n * kRow, reinterpret_cast<uint32_t*>(x.q.data()) + r * kRow / 8);
       },
       4.5},
      {"int8 per channel", Round8, 5},
      {"int4 in groups of 32", Round4, 4.5 + 4.0 / kGroup},
  };
  const int64_t piece = 16;  // rows
  const std::unique_ptr<Parallel> parallel = MakeThreadPool(threads);
  const auto pass = [&](const Case& c, int64_t count) {
    return Seconds([&] {
      parallel->Run((count + piece - 1) / piece,
                    [&](int64_t p) { c.work(b, p * piece, std::min(piece, count - p * piece)); });
    });
  };
  for (int round = 0; round <= kRounds; ++round) {
    for (Case& c : cases) {
      const double seconds = pass(c, rows);
      if (round > 0) c.best = std::min(c.best, seconds);  // the first touches the pages
    }
  }
  std::printf("%d thread%s, %lld MB of weights\n", threads, threads == 1 ? "" : "s",
              static_cast<long long>(megabytes));
  const double weights = static_cast<double>(rows * kRow);
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    std::printf("  %-32s %6.2f GB/s  %6.2f G weights/s/core", c.name.c_str(),
                weights * c.bytes_per_weight / c.best * 1e-9, weights / c.best * 1e-9 / threads);
    if (i >= 3)
      std::printf("  %5.1f %% of streaming",
                  100 * (c.bytes_per_weight / c.best) /
                      (cases[i - 2].bytes_per_weight / cases[i - 2].best));
    std::printf("\n");
  }
  // The search for the best clip is bound by arithmetic: some of the weights will do.
  for (const auto& [name, set, bits] :
       {std::tuple<const char*, int64_t, int>{"mse clip, 8 bits, per channel", kRow, 8},
        {"mse clip, 4 bits, groups of 32", kGroup, 4}}) {
    const int64_t length = set;
    const int width = bits;
    Case c{name,
           [length, width](Buffers& x, int64_t r, int64_t n) { Clip(x, r, n, length, width); }, 0};
    const int64_t some = std::max<int64_t>(1, rows / 64);
    double best = 1e30;  // seconds of processor time
    for (int round = 0; round < kRounds; ++round) {
      const std::clock_t start = std::clock();
      pass(c, some);
      best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    std::printf("  %-32s              %6.2f G weights/s/core\n", name,
                static_cast<double>(some * kRow) / best * 1e-9);
  }
}

}  // namespace
}  // namespace lathe::engine

int main(int argc, char** argv) {
  const int64_t megabytes = argc > 1 ? std::max(1, std::atoi(argv[1])) : 256;
  if (argc > 2) {
    lathe::engine::Run(megabytes, std::max(1, std::atoi(argv[2])));
    return 0;
  }
  lathe::engine::Run(megabytes, 1);
  lathe::engine::Run(megabytes, 2);
  return 0;
}
