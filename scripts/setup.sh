#!/usr/bin/env bash
# Installs what is missing to build, run and try Lathe on Debian 12. With --test: also what the tests need; with --deploy: that, and
# podman for the container tests.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
case "${1:-}" in
  '') install_packages build run example; install_python ;;
  --test | --deploy)
    install_packages build run example test
    install_python
    install_grpcurl
    [ "$1" = --test ] || install_container_engine ;;
  *) die "unknown argument $1: use --test, --deploy, or none" ;;
esac
