#!/usr/bin/env bash
# Builds everything and runs every test through ctest. Arguments go to ctest: `scripts/test.sh -L unit`, `-R recipe`, `-LE slow`.
# Labels: unit, conformance, fuzz-smoke, e2e, deploy. The deploy tests build and run containers with podman; LATHE_SKIP_DEPLOY=1 leaves
# them out where none can run.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$LATHE_ROOT"
install_packages build run example test
install_python
install_grpcurl
case " ${*:-deploy} " in
  *" -LE deploy "*) ;;
  *deploy*) [ "${LATHE_SKIP_DEPLOY:-}" = 1 ] || install_container_engine ;;
esac
say "building (build/release)"
build release
say "testing"
if ctest --test-dir build/release --output-on-failure -j "$(nproc)" "$@"; then
  echo "scripts/test.sh: all tests passed"
else
  echo "scripts/test.sh: FAILED; run one again with: scripts/test.sh -R NAME" >&2
  exit 1
fi
