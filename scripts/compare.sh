#!/usr/bin/env bash
# Trains every model of the paper's Table 1, and three beyond it, small, on a simulated cohort, and measures them.
# Usage: scripts/compare.sh [FOLDER]; 28 minutes on two cores that had other work too. A run that was stopped goes on.
# PAIRS="train tune test", EPOCHS and SIZE (rows and columns of the networks' grid) make it larger. COHORT, a folder with
# train, tune and test, is used instead of a new one, and DATA says what it is; PRECISION=bf16-mixed is faster.
# FIELD="lungs --margin 5 --outside 0" lets the networks read what the bundled model reads, and not the whole CT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${1:-build/compare}"
read -r -a pairs <<< "${PAIRS:-70 20 50}"
epochs="${EPOCHS:-24}" size="${SIZE:-32}" field="${FIELD:-whole}" cores="$(getconf _NPROCESSORS_ONLN)"
export OMP_NUM_THREADS=1 # small networks train fastest side by side
scanner=.venv/bin/emphysema-scanner
cohort="${COHORT:-$out/cohort}" precision="${PRECISION:-auto}"
data="${DATA:-simulated emphysema in one real chest (LIDC-IDRI-0001), deformed anew for each pair of cases and shared by all splits}"

if [[ -z ${COHORT:-} ]]; then
  ct="$(.venv/bin/python -c 'from EmphysemaScannerLib.commands.demo import demo_ct_path; print(demo_ct_path())')"
  for seed in 1 2 3; do
    split="$(cut -d ' ' -f "$seed" <<< 'train tune test')" count="${pairs[seed - 1]}"
    echo "Simulating $count pairs of cases for the split $split"
    $scanner simulate "$ct" --out "$cohort/$split" --split "$split" --pairs "$count" --seed "$seed" --processes "$cores"
  done
fi

train() {
  local model="${1%:*}" run="$out/models/${1%:*}" network=()
  [[ $1 == *:* ]] && read -r -a network <<< "--width ${1#*:} --image-size $size --field $field"
  [[ -f $run/model.safetensors ]] && return
  mkdir -p "$run"
  echo "Training $model (log: $run/train.log)"
  $scanner train "$cohort"/{train,tune}/manifest.csv --out "$run" --architecture "$model" ${network[@]+"${network[@]}"} \
    --window -1000 -700 --epochs "$epochs" --patience "$epochs" --batch-size 8 \
    --learning-rate 1e-3 --precision "$precision" >> "$run/train.log" 2>&1 || { tail -n 1 "$run/train.log" >&2 && return 1; }
}
export -f train
export out size field epochs scanner cohort precision
# A quarter of the paper's widths.
printf '%s\n' cnn3d:9 mil_max:16 mil_mean:16 mil_product:16 mil_attention:16 conv_lstm:8 laa950_logistic \
  perc15_logistic | xargs -P "${JOBS:-$cores}" -I {} bash -euo pipefail -c 'train {}'

cases="$(($(wc -l < "$cohort/train/manifest.csv") - 1))"
$scanner compare "$out/models" "$cohort/test/manifest.csv" --out "$out/table" --data \
  "$data: networks of a quarter of the published width on a grid of 35 x $size x $size, $epochs epochs of $cases cases. \
It says how the models tell this simulated disease apart, and nothing about patients."
echo "$out/table/comparison.html"
