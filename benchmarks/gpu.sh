#!/usr/bin/env bash
# All that a GPU machine should say of this package, in one run that ends within MINUTES.
#
#   benchmarks/gpu.sh OUT [WHEELS]
#
# OUT: a folder for logs, tables, parts.txt and left_out.txt (what there was no time for).
# WHEELS: a folder of wheels, for a machine that reaches no index; the package itself is not installed.
# MINUTES=9 in all, WORKERS=6 test processes. DEVICE=cpu runs the same script without a GPU (a
# rehearsal: the tests run on the pretend device, as torch's default one, the claims once and small).
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "$1" && cd "$1" && pwd)
device=${DEVICE:-cuda}
end=$((SECONDS + 60 * ${MINUTES:-9}))
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
: >"$out/left_out.txt"

if [ -n "${2:-}" ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --target "$out/../site" "$2"/*.whl || exit 1
  export PYTHONPATH=$PYTHONPATH:$(cd "$out/../site" && pwd)
fi
python3 -c "import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())" \
  | tee "$out/machine.txt"

# part NAME LEAST MOST COMMAND...: run it for at most MOST seconds, if there are LEAST left or more
failed=0
TIMEFORMAT="%0R s, %0U s of processors"
part() {
  local name=$1 least=$2 most=$3 left=$((end - SECONDS)) code=0 used
  shift 3
  if [ "$left" -lt "$least" ]; then
    echo "$name: $left s left, needs $least" | tee -a "$out/left_out.txt"
    return
  fi
  [ "$most" -lt "$left" ] || most=$left
  used=$({ time timeout "$most" "$@" >"$out/$name.log" 2>&1; } 2>&1) || code=$?
  [ "$code" = 124 ] && echo "$name: stopped after $most s" >>"$out/left_out.txt"
  [ "$code" = 0 ] || failed=1
  echo "$name: exit $code after $used; $(tr "\r" "\n" <"$out/$name.log" | tail -1)" | tee -a "$out/parts.txt"
}

# warnings are told and no errors: CUDA has some of its own, such as that of cuBLAS in a first backward
tests=(python3 -m pytest -q -p no:cacheprovider -m "not slow" -W default)
# side by side where pytest-xdist is among the wheels
python3 -c "import xdist" 2>/dev/null && tests+=(-n "${WORKERS:-6}")
whole=$((end - SECONDS))
share() { echo $((whole * $1 / 100)); } # seconds that are so many percent of the whole
if [ "$device" = cuda ]; then
  part cuda_tests 20 "$(share 20)" "${tests[@]}" tests/cuda
  claims=(--device cuda --minutes 2.5)
  where=cuda
else
  where=pretend
  part cuda_tests 20 "$(share 35)" "${tests[@]}" tests/test_devices.py tests/test_devices_of_faces.py
  claims=(--device cpu --network resnet18 --size 64 --batch 2 --rounds 2 --minutes 4)
fi
part claims 60 "$(share 45)" python3 benchmarks/claims.py "${claims[@]}"
grep -B2 "^left out" "$out/claims.log" | sed -n "s/^## /claim: /p" >>"$out/left_out.txt"
part audit 30 "$(share 12)" python3 -m captum_cnn_ext audit --device "$device" --quick --out "$out/audit.html"
# a file at a time, so that the last one alone is left out where time ends
for file in contract replay backward_rules occlusion; do
  TEST_DEVICE=$where part "$file" 15 "$whole" "${tests[@]}" "tests/test_$file.py"
done
mkdir -p "$out/results" # of this device alone
find benchmarks/results -name "claims--*" -newer "$out/machine.txt" -exec cp {} "$out/results" \;
echo "left out:"; cat "$out/left_out.txt"
exit "$failed"
