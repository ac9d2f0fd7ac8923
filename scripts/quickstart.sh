#!/usr/bin/env bash
# From nothing to a distilled student: installs everything into .venv, then trains, tests, compares and exports in
# quickstart/.
#
#   bash scripts/quickstart.sh
#
# About 10 minutes on 2 CPU cores after installation. Nothing but Python packages is downloaded: the photographs come
# inside them. Safe to run again: what is done is skipped, and a training that was interrupted goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
bash scripts/setup_env.sh demo,export
bin="$(cd "${SRKD_VENV:-.venv}/bin" && pwd)"

# A BasicSR checkout to work in, as users have it: the basicsr/ folder, unmodified, beside options/ and datasets/.
mkdir -p quickstart/logs
cd quickstart
if [ ! -d basicsr ]; then
  cp -r "$("$bin/python" -c 'from importlib.util import find_spec; print(find_spec("basicsr").submodule_search_locations[0])')" \
    basicsr.unfinished
  mv basicsr.unfinished basicsr
fi
rm -rf options
cp -r "$root/options" options

step() { printf '\n== %s\n' "$*"; }
run() {
  printf '$ python %s\n' "$*" >&2
  "$bin/python" "$@"
}
# quietly LOG PATTERN COMMAND...: show the lines that matter, keep all of them in logs/LOG.txt
quietly() {
  local log="logs/$1.txt" pattern="$2"
  shift 2
  if ! run "$@" > >(tee -a "$log" | grep --line-buffered -E "^\\$|$pattern") 2>&1; then
    echo "failed; see quickstart/$log" >&2
    tail -n 5 "$log" >&2
    exit 1
  fi
}
# train NAME: train options/NAME.yml unless it is finished
train() {
  if [ -f "experiments/$1/models/net_g_latest.pth" ]; then
    echo "$1 is trained already"
    return
  fi
  quietly "train_$1" 'eta:|# psnr|Gradient norms|Teacher \[|Resuming|End of training' \
    basicsr/train.py -opt "options/$1.yml" --auto_resume
}
count() { find "$1" -name '*.png' 2>/dev/null | wc -l; }
# test_run NAME MODEL [OVERRIDES]: SR images of the held-out photographs
test_run() {
  local name="demo_test_$1" model="$2"
  shift 2
  if [ "$(count "results/$name/visualization/demo_test")" -eq "$(count datasets/demo/test/HR)" ]; then
    echo "$name is done already"
    return
  fi
  quietly "$name" '# (psnr|ssim)' basicsr/test.py -opt options/demo_test.yml --force_yml "name=$name" \
    "path:pretrain_network_g=experiments/$model/models/net_g_latest.pth" "$@"
}

step "data: photographs from scikit-image, scikit-learn and matplotlib, x2"
quietly data '^datasets' "$root/scripts/prepare_data.py" demo --out datasets/demo
step "teacher: EDSR 8x32"
train demo_teacher
step "student: EDSR 4x16, no distillation"
train demo_student
step "student: EDSR 4x16, contrastive distillation (L1)"
train demo_distill_cl_l1
step "test on held-out photographs"
test_run student demo_student
test_run distilled demo_distill_cl_l1
test_run teacher demo_teacher network_g:num_feat=32 network_g:num_block=8
step "result"
run "$root/scripts/compare_results.py" --gt datasets/demo/test/HR --lq datasets/demo/test/LR_bicubic/X2 --scale 2 \
  --system "student=results/demo_test_student/visualization/demo_test" \
  --system "distilled student=results/demo_test_distilled/visualization/demo_test" \
  --system "teacher=results/demo_test_teacher/visualization/demo_test" \
  --picture crops.png --html compare.html | sed '/^picture: /d; /^page: /d' | tee table.md
echo '![crops](crops.png)' >> table.md # beside it
echo "table:   quickstart/table.md"
echo "picture: quickstart/crops.png"
echo "page:    quickstart/compare.html"
step "export: the distilled student as ONNX, float32 and INT8"
TQDM_DISABLE=1 quietly export 'PSNR in dB|^error' -m srkd_plugin export -opt options/demo_distill_cl_l1.yml --out exported --force \
  --without ncnn --int8 --int8-crops 16 --calibrate datasets/demo/train_LR_x2_sub.lmdb --test datasets/demo/test
echo "files:   quickstart/exported"
