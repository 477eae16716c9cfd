# Sourced by the scripts beside it: makes .venv from requirements.lock, once.
# It is made again when the lock changes. PYTHON chooses the interpreter.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "tpu_lm needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2
  exit 2
fi
if ! cmp -s "$root/requirements.lock" "$root/.venv/installed.lock"; then
  echo "installing pinned dependencies into .venv (a minute or two) ..."
  rm -rf "$root/.venv"
  "$python" -m venv "$root/.venv"
  pip=("$root/.venv/bin/python" -m pip --disable-pip-version-check -q)
  "${pip[@]}" install --require-hashes -r "$root/requirements.lock"
  PYTHONWARNINGS=ignore \
    "${pip[@]}" install --no-deps --no-build-isolation -e "$root"
  cp "$root/requirements.lock" "$root/.venv/installed.lock"
fi
export PATH="$root/.venv/bin:$PATH"
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
# Huge pages for malloc: XLA on CPU takes fresh memory at every step, and page
# faults were a third of its time (LOG.md, 2026-11-20).
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
