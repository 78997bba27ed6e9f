#!/usr/bin/env bash
# What each aid of training brings: the Conv-LSTM, a quarter as wide, from volume labels alone and with one aid more each time.
# Usage: COHORT=folder-with-train-tune-test DATA="what it is" scripts/ablation.sh [FOLDER]; a run that was stopped goes on.
# EPOCHS of whole slices cost about as much as three times as many of crops, and that is what each gets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${COHORT:?must name a folder with train, tune and test, as emphysema-scanner simulate makes them}"
out="${1:-build/ablation}" epochs="${EPOCHS:-4}"
export OMP_NUM_THREADS=1
scanner=.venv/bin/emphysema-scanner

train() {
  local run="$out/models/$1"
  [[ -f $run/model.safetensors ]] && return
  mkdir -p "$run"
  echo "Training $1 (log: $run/train.log)"
  $scanner train "$COHORT"/{train,tune}/manifest.csv --out "$run" --patience 99 --batch-size 4 \
    --precision "${PRECISION:-auto}" "${@:2}" >> "$run/train.log" 2>&1 || { tail -n 1 "$run/train.log" >&2 && exit 1; }
}
fresh=(--width 8 --learning-rate 6e-4)
train 1-labels "${fresh[@]}" --epochs "$epochs"
train 2-long-memory "${fresh[@]}" --epochs "$epochs" --long-memory
train 3-lesion-maps "${fresh[@]}" --epochs "$epochs" --long-memory --lesion-weight 1
train 4-crops "${fresh[@]}" --epochs $((3 * epochs)) --long-memory --lesion-weight 1 --crop 64
train 5-then-whole --start "$out/models/4-crops/model.safetensors" --epochs 1 --learning-rate 2e-4 --lesion-weight 1

$scanner compare "$out/models" "$COHORT/test/manifest.csv" --out "$out/table" --data \
  "${DATA:-$COHORT}: Conv-LSTM of width 8, $epochs epochs of whole slices or $((3 * epochs)) of crops"
