#!/usr/bin/env bash
# The bundled model again, from CTs on: simulated twins of the training chests, cases of the tuning chests, then make.py.
# Usage: TRAIN="ct ct ..." TUNE="ct ct ..." scripts/bundled_model/make.sh [FOLDER [options of make.py]]; repeat to go on.
# Chests without emphysema, each for one purpose; PAIRS simulated of each training chest (20), TUNE_PAIRS of each tuning
# chest (17), START a model whose unit 1 is kept and whose units 2 and 3 go on (the bundled one of revision b7dcbf2, from the
# repository's history). Hours on one core, most of them for --together, the steps in which units 2 to 4 learn.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${TRAIN:?must name CTs without emphysema}" "${TUNE:?must name other CTs without emphysema}"
out="${1:-build/bundled-model}" pairs="${PAIRS:-20}" tune_pairs="${TUNE_PAIRS:-17}"
start="${START:-$out/start.safetensors}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
read -ra train <<< "$TRAIN"; read -ra tune <<< "$TUNE"

mkdir -p "$out"
if [[ -z "${START:-}" && ! -e "$start" ]]; then
  git show b7dcbf2:EmphysemaScanner/Resources/Models/demonstration-conv-lstm.safetensors > "$out/start.part" ||
    { echo "START must name a model: this copy of the repository has no revision b7dcbf2." >&2; exit 1; }
  mv "$out/start.part" "$start"
fi
.venv/bin/emphysema-scanner simulate "${train[@]}" --out "$out/simulated-train" --pairs $((pairs * ${#train[@]})) --seed 201 \
  --twins --full --mix to-destroyed
.venv/bin/emphysema-scanner simulate "${tune[@]}" --out "$out/simulated-tune" --split tune --pairs $((tune_pairs * ${#tune[@]})) --seed 202 \
  --full --mix to-destroyed
.venv/bin/python scripts/bundled_model/make.py "$out" \
  --start "$start" \
  --train "$out/simulated-train/manifest-full.csv" --chests "${train[@]}" \
  --tune "$out/simulated-tune/manifest-full.csv" --tune-chests "${tune[@]}" --card docs/demonstration-model.card.json "${@:2}"
[[ -e "$out/with-map.safetensors" ]] || .venv/bin/emphysema-scanner disease-map "$out/model.safetensors" "$out"/simulated-{train,tune}/manifest-full.csv \
  --data "simulated cases of $TRAIN" --out "$out/with-map.safetensors"
