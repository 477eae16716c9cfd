# Sourced by the scripts beside it: options, the dry run, stored options,
# gcloud.
#
# The names of gcloud's options follow its own help (`gcloud compute tpus ...
# --help`, SDK 528); the states are those of the TPU API v2. None of this was
# run against a cloud: see docs/pods_launch.md.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
exec 3>&1 # the dry run prints here, also where stdout is captured
rest=()   # what follows `--`

say() { echo "${0##*/}: $*" >&2; }

# A mistake of the user: one line, exit code 2.
mistake() {
  say "$*"
  exit 2
}

# parse_options 'name= spot ...' "$@": sets option_NAME for every option that
# was given (1 where it takes no value) and `rest`. Only --NAME=VALUE is taken.
parse_options() {
  local known=" ${1//$'\n'/ } name= state_dir= dry_run " text key
  shift
  while (($#)); do
    text="$1"
    shift
    case "$text" in
      --help | -h)
        usage
        exit 0
        ;;
      --)
        rest=("$@")
        break
        ;;
      --*=*)
        key="${text%%=*}"
        key="${key#--}"
        case "$known" in
          *" $key= "*) ;;
          *" $key "*) mistake "--$key takes no value" ;;
          *) mistake "unknown option --$key; see --help" ;;
        esac
        [[ -n "${text#*=}" ]] || mistake "--$key: the value is empty"
        [[ "$text" != *$'\n'* || "$key" == setup ]] ||
          mistake "--$key: holds a line break"
        printf -v "option_$key" '%s' "${text#*=}"
        ;;
      *)
        key="${text#--}"
        case "$known" in
          *" $key= "*) mistake "--$key needs a value: --$key=VALUE" ;;
          *" $key "*) printf -v "option_$key" 1 ;;
          *) mistake "unknown option $text; see --help" ;;
        esac
        ;;
    esac
  done
  name="${option_name:-}"
  [[ -n "$name" ]] || mistake '--name is missing'
  # It is part of a path, and of the names that the cloud takes.
  [[ "$name" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
    mistake "--name=$name: lower case letters, digits and hyphens only"
  state_dir="${option_state_dir:-$HOME/.tpu_lm/tpu}"
}

no_rest() {
  ((${#rest[@]} == 0)) || mistake "unexpected arguments: ${rest[*]}"
}

check_number() { # check_number OPTION VALUE PATTERN
  [[ "$2" =~ ^$3$ ]] || mistake "--$1=$2: is not a number that fits"
}

# Runs a command, or prints it with the quotes that bash needs to run it.
call() {
  local line
  if [[ -n "${option_dry_run:-}" ]]; then
    printf -v line '%q ' "$@"
    printf '%s\n' "${line% }" >&3
  else
    "$@" 3>&-
  fi
}

# read_stored FILE: sets option_KEY of each line KEY=VALUE that the command
# line has not set, and appends the values of `extra` to `rest`.
read_stored() {
  local line key variable
  while IFS= read -r line; do
    key="${line%%=*}"
    case "$key" in
      extra) rest+=("${line#*=}") ;;
      zone | project | type | version | queued | slices | spot | reserved)
        variable="option_$key"
        [[ -n "${!variable:-}" ]] || printf -v "$variable" '%s' "${line#*=}"
        ;;
      *) mistake "$1: unknown line: $line" ;;
    esac
  done <"$1"
}

# What `create` stored about this TPU, and from it: place, nodes, kind.
find_tpu() {
  local file="$state_dir/$name.options" zone="${option_zone:-}"
  local project="${option_project:-}" number kept=(${rest[@]+"${rest[@]}"})
  if [[ -f "$file" ]]; then
    read_stored "$file"
    rest=(${kept[@]+"${kept[@]}"})
    if grep -q '^zone=' "$file" && [[ -n "$zone" ]] &&
      ! grep -qxF "zone=$zone" "$file"; then
      mistake "--zone=$zone: $name is elsewhere, says $file"
    fi
    if grep -q '^project=' "$file" && [[ -n "$project" ]] &&
      ! grep -qxF "project=$project" "$file"; then
      mistake "--project=$project: $name is elsewhere, says $file"
    fi
  fi
  [[ -n "${option_zone:-}" ]] ||
    mistake "--zone is missing, and $file does not know it"
  set_place
  nodes=("$name")
  if ((${option_slices:-1} > 1)); then
    nodes=() # the API names them PREFIX-0, PREFIX-1, ...
    for ((number = 0; number < option_slices; number++)); do
      nodes+=("$name-$number")
    done
  fi
}

set_place() {
  place=("--zone=$option_zone")
  [[ -z "${option_project:-}" ]] || place+=("--project=$option_project")
}

# tpu_ssh NODE WORKERS COMMAND: exits with the code of the first worker, by
# number, that failed.
tpu_ssh() {
  call gcloud compute tpus tpu-vm ssh "$1" "${place[@]}" \
    "--worker=$2" "--command=$3" </dev/null
}

# on_nodes FUNCTION ARGUMENT...: FUNCTION NODE ARGUMENT... for all at once;
# returns the first code that is not 0. One after another in a dry run.
on_nodes() {
  local action="$1" node pid pids=() result=0 code
  shift
  if [[ -n "${option_dry_run:-}" || ${#nodes[@]} -eq 1 ]]; then
    for node in "${nodes[@]}"; do
      "$action" "$node" "$@" || return
    done
    return 0
  fi
  for node in "${nodes[@]}"; do
    "$action" "$node" "$@" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    code=0
    wait "$pid" || code=$?
    ((result)) || result=$code
  done
  return "$result"
}

on_workers() { tpu_ssh "$1" all "$2"; } # for on_nodes

# The state of the queued resource, else of the TPU VM; NOT_FOUND; or nothing,
# where gcloud failed for another reason (it says why).
queue_state() {
  describe queued-resources "$name" 'value(state.state)'
}
node_state() { describe tpu-vm "$1" 'value(state)'; }

describe() { # describe KIND NAME FORMAT
  local errors="$state_dir/$2.errors" text
  [[ -n "${option_dry_run:-}" ]] || mkdir -p "$state_dir"
  [[ -z "${option_dry_run:-}" ]] || errors=/dev/null
  if text="$(call gcloud compute tpus "$1" describe "$2" "${place[@]}" \
    "--format=$3" </dev/null 2>"$errors")"; then
    echo "$text"
  elif grep -qiE 'NOT_FOUND|not found' "$errors"; then
    echo NOT_FOUND
  else
    cat "$errors" >&2
  fi
  rm -f "$state_dir/$2.errors"
}

# One word for all: that of the queued resource unless it is ACTIVE, then that
# of the first node which is not READY, else READY.
resource_state() {
  local state node
  if [[ -n "${option_queued:-}" ]]; then
    state="$(queue_state)"
    if [[ "$state" != ACTIVE && -z "${option_dry_run:-}" ]]; then
      echo "$state"
      return
    fi
  fi
  for node in "${nodes[@]}"; do
    state="$(node_state "$node")"
    # A node that an ACTIVE queued resource has lost may be under repair.
    [[ -z "${option_queued:-}" || "$state" != NOT_FOUND ]] || state=REPAIRING
    [[ "$state" == READY || -n "${option_dry_run:-}" ]] || break
  done
  echo "$state"
}
