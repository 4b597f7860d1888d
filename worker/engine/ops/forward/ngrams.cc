#include "worker/engine/ops/forward/ngrams.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

constexpr int64_t kMaxOutputs = int64_t{1} << 26;
constexpr int64_t kMaxGram = 1024;
constexpr int64_t kMaxSkips = int64_t{1} << 30;
// Tokens looked at in one run.
constexpr double kMaxWork = 4e9;

// The node's attributes, made ready.
struct Vocabulary : NodeState {
  bool ready = false;
  bool text = false;
  std::map<std::string, int64_t> words;          // of pool_strings, by their own numbers
  std::map<std::vector<int64_t>, size_t> grams;  // by their place in the pool
  std::vector<int64_t> indexes;                  // output of each
  std::vector<float> weights;                    // of each; 1 where none are given
  int64_t shortest = 1;
  int64_t longest = 1;
  int64_t most_skips = 0;
  int64_t outputs = 0;
  bool cut = false;  // IDF: a count is 0 or 1
};

absl::Status ReadPool(const RunContext& ctx, Vocabulary& vocabulary) {
  const Node& node = ctx.node();
  std::vector<int64_t> pool;
  if (const Attribute* strings = node.FindAttribute("pool_strings")) {
    vocabulary.text = true;
    for (const std::string& word : strings->strings) {
      const auto number = static_cast<int64_t>(vocabulary.words.size());
      pool.push_back(vocabulary.words.emplace(word, number).first->second);
    }
  } else {
    pool = node.IntsAttribute("pool_int64s");
  }
  const auto size = static_cast<int64_t>(pool.size());
  const std::vector<int64_t> starts = node.IntsAttribute("ngram_counts");
  size_t number = 0;
  for (size_t n = 1; n <= starts.size(); ++n) {
    const int64_t begin = starts[n - 1];
    const int64_t end = n < starts.size() ? starts[n] : size;
    const auto length = static_cast<int64_t>(n);
    if (begin < 0 || begin > end || end > size || (end - begin) % length != 0) {
      return ctx.Error(absl::StrCat("ngram_counts do not cut the pool into ", n, "-grams"));
    }
    for (int64_t at = begin; at < end; at += length) {
      vocabulary.grams.emplace(std::vector<int64_t>(pool.begin() + at, pool.begin() + at + length),
                               number++);
    }
  }
  if (number > vocabulary.indexes.size()) {
    return ctx.Error(absl::StrCat("ngram_indexes must have ", number, " elements"));
  }
  return absl::OkStatus();
}

absl::Status Prepare(const RunContext& ctx, Vocabulary& vocabulary) {
  const Node& node = ctx.node();
  vocabulary.shortest = node.IntAttribute("min_gram_length", 1);
  vocabulary.longest = node.IntAttribute("max_gram_length", 1);
  vocabulary.most_skips = std::min(node.IntAttribute("max_skip_count", 0), kMaxSkips);
  if (vocabulary.shortest < 1 || vocabulary.longest < vocabulary.shortest ||
      vocabulary.longest > kMaxGram || vocabulary.most_skips < 0) {
    return ctx.Error("lengths of n-grams must be 1 or more, skips 0 or more");
  }
  const std::string mode = node.StringAttribute("mode", "");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF") {
    return ctx.Error(absl::StrCat("mode must be TF, IDF or TFIDF, not '", mode, "'"));
  }
  vocabulary.cut = mode == "IDF";
  vocabulary.indexes = node.IntsAttribute("ngram_indexes");
  for (const int64_t index : vocabulary.indexes) {
    if (index < 0 || index >= kMaxOutputs) return ctx.Error("an index is out of range");
    vocabulary.outputs = std::max(vocabulary.outputs, index + 1);
  }
  vocabulary.weights.assign(vocabulary.indexes.size(), 1);
  const Attribute* weights = node.FindAttribute("weights");
  if (mode != "TF" && weights != nullptr && !weights->floats.empty()) {
    if (weights->floats.size() != vocabulary.indexes.size()) {
      return ctx.Error("weights must be as many as ngram_indexes");
    }
    vocabulary.weights = weights->floats;
  }
  RETURN_IF_ERROR(ReadPool(ctx, vocabulary));
  vocabulary.ready = true;
  return absl::OkStatus();
}

// Adds the row's n-grams to `counts`, one a gram of the pool.
void CountGrams(const Vocabulary& vocabulary, const int64_t* row, int64_t length,
                std::vector<int64_t>& counts) {
  std::vector<int64_t> gram;
  for (int64_t n = vocabulary.shortest; n <= vocabulary.longest; ++n) {
    for (int64_t stride = 1; stride <= vocabulary.most_skips + 1; ++stride) {
      // A token alone skips nothing.
      if ((n == 1 && stride > 1) || (n - 1) * stride >= length) break;
      for (int64_t first = 0; first + (n - 1) * stride < length; ++first) {
        gram.clear();
        for (int64_t i = 0; i < n; ++i) gram.push_back(row[first + i * stride]);
        const auto found = vocabulary.grams.find(gram);
        if (found != vocabulary.grams.end()) ++counts[found->second];
      }
    }
  }
}

}  // namespace

absl::Status TfIdfVectorizer(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  auto& vocabulary = ctx.State<Vocabulary>();
  if (!vocabulary.ready) RETURN_IF_ERROR(Prepare(ctx, vocabulary));
  const Value& in = ctx.In(0);
  if (in.dims.empty() || in.dims.size() > 2) return ctx.Error("it takes tokens [C] or [N, C]");
  std::vector<int64_t> tokens;
  if (vocabulary.text) {
    if (in.dtype != DType::kString) return ctx.Error("its pool is of strings");
    for (const std::string& word : *in.strings) {
      const auto found = vocabulary.words.find(word);
      tokens.push_back(found == vocabulary.words.end() ? -1 : found->second);
    }
  } else {
    ASSIGN_OR_RETURN(tokens, ctx.Ints(0));
  }
  const int64_t length = in.dims.back();
  const int64_t rows = in.dims.size() == 2 ? in.dims[0] : 1;
  const auto strides = static_cast<double>(std::min(vocabulary.most_skips, length)) + 1;
  const auto lengths = static_cast<double>(vocabulary.longest - vocabulary.shortest + 1);
  const double work = static_cast<double>(tokens.size()) * strides * lengths *
                      static_cast<double>(std::min(vocabulary.longest, length));
  if (work > kMaxWork) {
    return absl::ResourceExhaustedError("TfIdfVectorizer: too many n-grams to be counted");
  }
  Shape dims = in.dims;
  dims.back() = vocabulary.outputs;
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, DType::kFloat, std::move(dims)));
  const auto to = out->Mutable<float>();
  std::fill(to.begin(), to.end(), 0.0F);
  if (to.empty()) return absl::OkStatus();
  std::vector<int64_t> counts(vocabulary.indexes.size());
  for (int64_t r = 0; r < rows; ++r) {
    std::fill(counts.begin(), counts.end(), 0);
    CountGrams(vocabulary, tokens.data() + r * length, length, counts);
    for (size_t i = 0; i < counts.size(); ++i) {
      const int64_t count = vocabulary.cut ? std::min<int64_t>(counts[i], 1) : counts[i];
      to[r * vocabulary.outputs + vocabulary.indexes[i]] +=
          static_cast<float>(count) * vocabulary.weights[i];
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
