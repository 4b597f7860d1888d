#!/usr/bin/env bash
# Checks on how the code is written: format, include directions, names, the interface's comments.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$LATHE_ROOT"
say "format"
git ls-files '*.cc' '*.h' | xargs -r clang-format-14 --dry-run -Werror
say "include directions"
python3 scripts/check_includes.py
say "names"
python3 scripts/check_names.py
say "interface"
python3 scripts/check_protos.py
echo "scripts/check.sh: all checks passed"
