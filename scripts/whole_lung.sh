#!/usr/bin/env bash
# A model of the lungs' box that reads the whole lung: cases are simulated, the bundled model learns from them with the aids for the
# whole lung, and the test cases measure it. Repeat the same command to go on where it stopped.
# Usage: TRAIN="ct ct ..." TUNE="ct ..." TEST="ct ..." scripts/whole_lung.sh [FOLDER]. Chests without emphysema, each for one purpose;
# PAIRS a training chest (50), EPOCHS (20), PROCESSES (1), TRAIN_OPTIONS, such as "--in-memory --precision bf16-mixed".
# On a machine with a GPU: simulate elsewhere, carry FOLDER there, and repeat the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${TRAIN:?must name CTs without emphysema}" "${TUNE:?must name other CTs}" "${TEST:?must name other CTs again}"
out="${1:-build/whole-lung}" pairs="${PAIRS:-50}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
scanner=.venv/bin/emphysema-scanner

simulate() { # split, seed, pairs a chest, CTs
  local cts=("${@:4}")
  $scanner simulate "${cts[@]}" --out "$out/$1" --split "$1" --seed "$2" --pairs $(($3 * ${#cts[@]})) --full --mix to-destroyed \
    --processes "${PROCESSES:-1}"
}
read -ra train <<< "$TRAIN"; read -ra tune <<< "$TUNE"; read -ra test <<< "$TEST"
simulate train 101 "$pairs" "${train[@]}"
simulate tune 102 $((pairs / 2)) "${tune[@]}"
simulate test 103 $((2 * pairs)) "${test[@]}"

export EMPHYSEMA_SCANNER_CACHE="$out/cache" # is carried along
model="$out/run/model.safetensors"
if [[ ! -f $model ]]; then
  read -ra options <<< "${TRAIN_OPTIONS:---precision bf16-mixed}"
  start="$(ls EmphysemaScanner/Resources/Models/*.safetensors | tail -n 1)"
  $scanner train "$out"/{train,tune}/manifest-full.csv --out "$out/run" --start "$start" --field lungs --margin 5 --outside 0 \
    --aids whole-lung --crop 64 --lesion-weight 1 --learning-rate 3e-4 --epochs "${EPOCHS:-20}" --patience 99 "${options[@]}"
fi
$scanner evaluate "$model" "$out/test/manifest-full.csv" --data "simulated cases of chests that were never learned from: $TEST"
