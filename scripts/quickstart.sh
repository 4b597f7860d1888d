#!/usr/bin/env bash
# From nothing to a first compressed model: installs what is missing, builds, starts a server with one worker on a free
# loopback port, trains a small digits classifier, compresses it in three steps, and shows what it cost. Leaves the model and
# the report in ./out/. Everything it starts ends with it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$LATHE_ROOT"
started=$(date +%s)

install_packages build run example
install_python
say "building (build/release)"
build release lathed lathe-worker lathe-job lathe
bin=$LATHE_ROOT/build/release/bin
python=$LATHE_VENV/bin/python

mkdir -p out
if [ ! -f out/digits.onnx ] || [ ! -f out/digits.test.npz ] || [ examples/train_digits.py -nt out/digits.onnx ]; then
  say "training a digits classifier (64-256-256-10) with scikit-learn"
  "$python" examples/train_digits.py --output out/digits.onnx --data out/digits.test.npz
fi

say "starting lathed"
data=$(mktemp -d)
"$bin/lathed" --data-dir "$data" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --port-file "$data/ports.json" \
  --local-workers 1 >"$data/lathed.log" 2>&1 &
server=$!
cleanup() { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$data"; }
trap cleanup EXIT
for _ in $(seq 200); do
  [ -s "$data/ports.json" ] && break
  kill -0 "$server" 2>/dev/null || { tail -5 "$data/lathed.log" >&2; die "lathed did not start"; }
  sleep 0.05
done
LATHE_SERVER=$("$python" -c 'import json,sys; print(json.load(open(sys.argv[1]))["listen"])' "$data/ports.json")
export LATHE_SERVER
echo "lathed serves at $LATHE_SERVER"

say "one job, three steps: prune, low-rank, quantize"
cat examples/digits.recipe.yaml
model=$("$bin/lathe" upload out/digits.onnx)
job=$("$bin/lathe" submit "$model" --recipe examples/digits.recipe.yaml --data test=out/digits.test.npz --watch)
"$bin/lathe" download "$job" -o out/digits.small.onnx >/dev/null
"$bin/lathe" report "$job" --json --html out/report.html > out/report.json
say "report, with what the engine measured on the 360 test digits that training never saw"
"$bin/lathe" report "$job"

say "the same in ONNX Runtime"
"$python" examples/compare_accuracy.py out/digits.onnx out/digits.small.onnx --report out/report.json
echo
echo "done in $(( $(date +%s) - started )) s: out/digits.small.onnx, out/report.json, out/report.html"
