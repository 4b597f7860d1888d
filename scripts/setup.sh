#!/usr/bin/env bash
# Installs what is missing to build, run and try Lathe on Debian 12. With --test: also what the tests need.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
if [ "${1:-}" = --test ]; then
  install_packages build run example test
  install_python
  install_grpcurl
else
  install_packages build run example
  install_python
fi
