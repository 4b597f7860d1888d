#!/usr/bin/env bash
# Builds the fuzz targets with clang 14 and address sanitizer, and runs each on its corpus for SECONDS (default 60).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$LATHE_ROOT"
seconds=${1:-60}
install_packages build test
say "building (build/fuzz)"
build fuzz fuzz_model_reader fuzz_recipe fuzz_array_file
for target in model_reader recipe array_file; do
  say "fuzzing $target for $seconds s"
  found=build/fuzz/found/$target
  mkdir -p "$found" build/fuzz/crashes
  # Leaks are not looked for: libprotobuf and spdlog keep globals. One input may take 1 GiB and 10 s.
  build/fuzz/bin/fuzz_$target -max_total_time="$seconds" -rss_limit_mb=1024 -malloc_limit_mb=512 -timeout=10 -max_len=65536 \
    -detect_leaks=0 -artifact_prefix=build/fuzz/crashes/ -print_final_stats=1 "$found" "tests/fuzz/corpus/$target" \
    >"build/fuzz/$target.log" 2>&1 || { tail -40 "build/fuzz/$target.log" >&2; die "fuzz_$target failed; the input is in build/fuzz/crashes"; }
  grep -E 'stat::number_of_executed_units' "build/fuzz/$target.log"
done
echo "scripts/fuzz.sh: no failures"
