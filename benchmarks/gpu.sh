#!/usr/bin/env bash
# All that a GPU machine should say of this package, in one run that ends within MINUTES.
#
#   benchmarks/gpu.sh OUT [WHEELS]
#
# OUT: a folder for logs, tables and left_out.txt (what there was no time for).
# WHEELS: a folder of wheels, for a machine that reaches no index; the package itself is not installed.
# MINUTES=9 in all. DEVICE=cpu runs the same script without a GPU (a rehearsal: the tests run on the
# pretend device, the claims once and small).
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

# part NAME LEAST COMMAND...: run it in what is left of the time, if that is LEAST seconds or more
failed=0
part() {
  local name=$1 least=$2 left=$((end - SECONDS))
  shift 2
  if [ "$left" -lt "$least" ]; then
    echo "$name: $left s left, needs $least" | tee -a "$out/left_out.txt"
    return
  fi
  local begun=$SECONDS code=0
  timeout "$left" "$@" >"$out/$name.log" 2>&1 || code=$?
  [ "$code" = 124 ] && echo "$name: stopped after $left s" >>"$out/left_out.txt"
  [ "$code" = 0 ] || failed=1
  echo "$name: exit $code after $((SECONDS - begun)) s; $(tr "\r" "\n" <"$out/$name.log" | tail -1)"
}

if [ "$device" = cuda ]; then
  part cuda_tests 20 python3 -m pytest -q -p no:cacheprovider tests/cuda
  claims=(--device cuda --minutes 3)
else
  part cuda_tests 20 python3 -m pytest -q -p no:cacheprovider tests/test_devices.py -m "not slow"
  claims=(--device cpu --network resnet18 --size 64 --batch 2 --rounds 2 --minutes 1)
fi
part claims 60 python3 benchmarks/claims.py "${claims[@]}"
part audit 40 python3 -m captum_cnn_ext audit --device "$device" --quick --out "$out/audit.html"
TEST_DEVICE=$device part contract 60 python3 -m pytest -q -p no:cacheprovider -x \
  tests/test_contract.py tests/test_replay.py tests/test_backward_rules.py tests/test_occlusion.py -m "not slow"
cp -r benchmarks/results "$out/results"
echo "left out:"; cat "$out/left_out.txt"
exit "$failed"
