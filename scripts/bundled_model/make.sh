#!/usr/bin/env bash
# The bundled model again, from CTs on: simulated twins of the training chests, simulated cases of the tuning chests, then make.py.
# Usage: TRAIN="ct ct ..." TUNE="ct ct ..." scripts/bundled_model/make.sh [FOLDER]; repeat the command to go on where it stopped.
# Chests without emphysema, each for one purpose; PAIRS simulated of each training chest (20), START a model whose units 1 to 3
# are kept (the bundled one). Hours on one core: half of them for the simulation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${TRAIN:?must name CTs without emphysema}" "${TUNE:?must name other CTs without emphysema}"
out="${1:-build/bundled-model}" pairs="${PAIRS:-20}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
read -ra train <<< "$TRAIN"; read -ra tune <<< "$TUNE"

.venv/bin/emphysema-scanner simulate "${train[@]}" --out "$out/simulated-train" --pairs $((pairs * ${#train[@]})) --seed 201 \
  --twins --full --mix to-destroyed
.venv/bin/emphysema-scanner simulate "${tune[@]}" --out "$out/simulated-tune" --split tune --pairs $((17 * ${#tune[@]})) --seed 202 \
  --full --mix to-destroyed
.venv/bin/python scripts/bundled_model/make.py "$out" \
  --start "${START:-EmphysemaScanner/Resources/Models/demonstration-conv-lstm.safetensors}" \
  --train "$out/simulated-train/manifest-full.csv" --chests "${train[@]}" \
  --tune "$out/simulated-tune/manifest-full.csv" --tune-chests "${tune[@]}" --card docs/demonstration-model.card.json "${@:2}"
.venv/bin/emphysema-scanner disease-map "$out/model.safetensors" "$out"/simulated-{train,tune}/manifest-full.csv \
  --data "simulated cases of $TRAIN" --out "$out/with-map.safetensors"
