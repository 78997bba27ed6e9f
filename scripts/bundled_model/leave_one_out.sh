#!/usr/bin/env bash
# How the bundled model's way spreads over people: each training chest is left out once and then read by a model that the
# others taught. Usage: as make.sh, whose variables it takes: TRAIN="ct ct ..." TUNE="ct ct ..." leave_one_out.sh [FOLDER].
# In each model unit 4 and the dense layer learn first, alone, then units 2 to 4 together with the dense layer; unit 1 stays
# START's. Options of make.py may follow FOLDER: with --together 0 unit 4 and the dense layer are all that learns.
# START itself must not have learned from a chest that is left out, or the figures of that chest flatter.
# FOLDER/without-CHEST/ holds each model and, in held-out/, its figures on simulated cases of CHEST (PAIRS of them).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${TRAIN:?must name CTs without emphysema}" "${TUNE:?must name other CTs without emphysema}"
out="${1:-build/leave-one-out}"
read -ra train <<< "$TRAIN"

for held in "${train[@]}"; do
  chest="$(basename "${held%%.*}")"
  folder="$out/without-$chest" others=()
  for ct in "${train[@]}"; do [[ "$ct" == "$held" ]] || others+=("$ct"); done
  echo "Without $chest: unit 4 and the dense layer learn, then units 2 to 4 together (unless --together 0); unit 1 is START's."
  TRAIN="${others[*]}" scripts/bundled_model/make.sh "$folder" "${@:2}"
  .venv/bin/emphysema-scanner simulate "$held" --out "$folder/simulated-held-out" --split test --pairs "${PAIRS:-20}" --seed 203 --mix to-destroyed
  .venv/bin/emphysema-scanner evaluate "$folder/model.safetensors" "$folder/simulated-held-out/manifest.csv" \
    --data "simulated cases of $chest, which the model has not learned from" --out "$folder/held-out"
done
