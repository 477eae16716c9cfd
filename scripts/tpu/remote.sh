# Sourced by the scripts beside it: what they run on the workers, as text.
#
# The text is POSIX sh, because ssh hands it to whatever login shell the user
# has. On a worker, in the home folder:
#   tpu_lm/       the tree, with .venv
#   tpu_lm.log    output of all commands started so far
#   tpu_lm.pid    process group of the last one; tpu_lm.boot: in which boot
#   tpu_lm.exit   its exit code, once it has ended
#   tpu_lm.stop   exists if `stop` was asked to end it
RUNNING_CODE=73 # something runs there already
NO_TREE_CODE=72 # nothing was synced there

# Arguments as POSIX sh needs them, with blanks between.
remote_quote() {
  local text quote="'\\''" separator=''
  for text in "$@"; do
    printf "%s'%s'" "$separator" "${text//\'/$quote}"
    separator=' '
  done
}

# `state` prints idle, running GROUP, exited CODE, stopped CODE, rebooted (the
# machine restarted under the command) or lost (it was killed).
# `kill -s 0 --` and not `kill -0 --`: dash does not know the latter.
read -r -d '' REMOTE_STATE <<'SH' || true
boot() { cat /proc/sys/kernel/random/boot_id; }
cd "$HOME" || exit 1
state() {
  if [ ! -s tpu_lm.pid ]; then
    echo idle
  elif [ -s tpu_lm.exit ] && [ -e tpu_lm.stop ]; then
    echo "stopped $(cat tpu_lm.exit)"
  elif [ -s tpu_lm.exit ]; then
    echo "exited $(cat tpu_lm.exit)"
  elif [ "$(cat tpu_lm.boot)" != "$(boot)" ]; then
    echo rebooted
  elif kill -s 0 -- "-$(cat tpu_lm.pid)" 2>/dev/null; then
    echo "running $(cat tpu_lm.pid)"
  else
    echo lost
  fi
}
SH

remote_status() {
  echo "$REMOTE_STATE"
  echo 'echo "worker $(hostname): $(state)"'
}

# Fails where something runs: asked of all workers before one is changed.
remote_idle() {
  echo "$REMOTE_STATE"
  cat <<SH
case "\$(state)" in
  running*) echo "\$(hostname): a command is running there" >&2
    exit $RUNNING_CODE ;;
esac
SH
}

# remote_start COMMAND ARGUMENT...: in a process group of its own, so that it
# outlives ssh and `stop` reaches its children. The wrapper outlives SIGTERM
# to write the exit code down.
remote_start() {
  local wrapper
  read -r -d '' wrapper <<'SH' || true
trap : TERM INT
echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) $*"
"$@"
code=$?
echo "== exit code $code"
echo "$code" >"$HOME/tpu_lm.exit.new"
mv "$HOME/tpu_lm.exit.new" "$HOME/tpu_lm.exit"
SH
  remote_idle
  cat <<SH
if [ ! -d tpu_lm/.venv ]; then
  echo "\$(hostname): ~/tpu_lm/.venv is missing: sync first" >&2
  exit $NO_TREE_CODE
fi
rm -f tpu_lm.pid tpu_lm.exit tpu_lm.stop
boot >tpu_lm.boot
cd tpu_lm || exit 1
PATH="\$HOME/tpu_lm/.venv/bin:\$PATH" PYTHONUNBUFFERED=1
export PATH PYTHONUNBUFFERED
setsid nohup sh -c $(remote_quote "$wrapper" tpu_lm "$@") \\
  >>"\$HOME/tpu_lm.log" 2>&1 </dev/null &
echo \$! >"\$HOME/tpu_lm.pid"
echo "worker \$(hostname): started"
SH
}

# remote_stop SECONDS
remote_stop() {
  echo "$REMOTE_STATE"
  echo "grace=$1"
  cat <<'SH'
case "$(state)" in
  running*) ;;
  *) echo "worker $(hostname): nothing runs ($(state))"
    exit 0 ;;
esac
group="$(cat tpu_lm.pid)"
: >tpu_lm.stop
kill -s TERM -- "-$group"
last=$(($(date +%s) + grace))
while [ ! -s tpu_lm.exit ] && kill -s 0 -- "-$group" 2>/dev/null; do
  if [ "$(date +%s)" -ge "$last" ]; then
    kill -s KILL -- "-$group"
    echo 137 >tpu_lm.exit
    echo "worker $(hostname): killed after $grace seconds"
    exit 0
  fi
  sleep 0.2
done
echo "worker $(hostname): $(state)"
SH
}

# Puts the tree in place. Files that were copied before and are tracked no
# more go; everything else in the folder (.venv, runs) stays.
remote_unpack() {
  remote_idle
  cat <<'SH'
set -e
mkdir -p tpu_lm
tar -tzf tpu_lm.tar.gz | LC_ALL=C sort >tpu_lm.files.new
if [ -f tpu_lm.files ]; then
  LC_ALL=C comm -23 tpu_lm.files tpu_lm.files.new |
    while IFS= read -r file; do rm -f "tpu_lm/$file"; done
fi
tar -xzf tpu_lm.tar.gz -C tpu_lm
mv tpu_lm.files.new tpu_lm.files
SH
}

# remote_install PYTHON JAX_VERSION: scripts/environment.sh makes .venv from
# requirements.lock with --require-hashes, and installs the tree with --no-deps;
# it does nothing if the lock is the same as the last time. libtpu is not in
# the lock (its version is chosen by jax's own `tpu` extra).
#
# The runtime images are Ubuntu 22.04, whose Python is 3.10. Its archive has
# python3.11; that the images can reach it by apt could not be checked.
remote_install() {
  echo "python=$(remote_quote "$1") jax=$(remote_quote "$2")"
  cat <<'SH'
set -e
cd "$HOME/tpu_lm"
if ! command -v "$python" >/dev/null ||
  ! "$python" -c 'import ensurepip' 2>/dev/null; then
  case "$python" in
    */*) echo "$(hostname): $python does not run, or has no venv" >&2
      exit 1 ;;
  esac
  # A new machine may be updating itself: wait for its lock.
  sudo apt-get -o DPkg::Lock::Timeout=600 -q update
  sudo apt-get -o DPkg::Lock::Timeout=600 -q -y install \
    "$python" "$python-venv"
fi
PYTHON="$python" bash -c '. scripts/environment.sh'
.venv/bin/python -m pip --disable-pip-version-check -q install "jax[tpu]==$jax"
echo "worker $(hostname): installed"
SH
}
