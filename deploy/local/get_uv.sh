#!/usr/bin/env bash
# Installs uv from PyPI into the folder $1, a virtual environment of its own: Debian's pip refuses
# to install beside the system's packages (PEP 668).
set -euo pipefail
folder=$1

fail() {
    rm -rf "$folder"
    echo "Hostler needs $1" >&2
    exit 1
}

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer as python3:  apt-get install python3 python3-venv"
mkdir -p "$(dirname "$folder")"
python3 -m venv "$folder" >/dev/null 2>&1 ||
    fail "Python's venv module, or uv on the PATH:  apt-get install python3-venv"
echo "fetching uv from PyPI into $folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check uv ||
    fail "PyPI to be within reach, to fetch uv"
