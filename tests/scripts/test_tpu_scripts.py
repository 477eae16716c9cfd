"""scripts/tpu against a stub of gcloud whose workers are folders here.

The stub writes down its arguments, answers `describe` from a list, and runs
what it is given for ssh with a shell whose HOME is the node's folder.
"""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ('create', 'sync', 'run', 'tail', 'status', 'stop', 'delete')
MADE = ['--name=pod', '--zone=z1', '--type=v5p-16']

STUB = """\
import json, os, pathlib, shutil, signal, subprocess, sys
stub = pathlib.Path(os.environ['STUB'])
arguments = sys.argv[1:]
with (stub / 'calls').open('a') as file:
  file.write(json.dumps(arguments) + '\\n')
group, verb, name = arguments[2:5]
given = dict(a.split('=', 1) for a in arguments if '=' in a)
def home(node):
  return stub / 'workers' / node
if verb == 'describe':
  states = (stub / 'states').read_text().split()
  if len(states) > 1:
    (stub / 'states').write_text(' '.join(states[1:]))
  if states[0] == 'NOT_FOUND':
    shutil.rmtree(home(name))
    sys.exit('ERROR: (gcloud...describe) NOT_FOUND: Resource was not found')
  print(states[0])
elif verb == 'create':
  home(name).mkdir(parents=True)
elif verb == 'delete':
  try:
    os.killpg(int((home(name) / 'tpu_lm.pid').read_text()), signal.SIGKILL)
  except (FileNotFoundError, ProcessLookupError):
    pass
  shutil.rmtree(home(name), ignore_errors=True)
elif verb == 'scp':
  node, path = arguments[5].split(':')
  shutil.copy(name, home(node) / path)
elif 'tail -n' not in given['--command']:
  env = dict(os.environ, HOME=str(home(name)))
  env['PATH'] = str(stub / 'worker_bin') + ':' + env['PATH']
  shell = (os.environ['STUB_SHELL'], '-c', given['--command'])
  sys.exit(subprocess.run(shell, env=env, cwd='/').returncode)
"""
# A python that makes a venv of itself and otherwise writes down its arguments.
PYTHON = """\
#!/bin/sh
echo "$*" >>"$STUB/python"
[ "$1 $2" = '-m venv' ] || exit 0
mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
"""
# Ends with the codes in $STUB/codes, one a start; `-` stays until a signal.
COMMAND = """\
#!/bin/sh
echo "$*" >>"$STUB/ran"
code=$(sed -n "$(wc -l <"$STUB/ran")p" "$STUB/codes")
[ "$code" = - ] || exit "$code"
trap 'exit 75' TERM
while :; do sleep 0.05; done
"""


def write_program(path, text):
  path.parent.mkdir(exist_ok=True)
  path.write_text(text)
  path.chmod(0o755)


def wait_for(condition):
  end = time.monotonic() + 10
  while not condition():
    assert time.monotonic() < end, 'waited 10 s'
    time.sleep(0.02)


class Cloud:
  def __init__(self, folder, monkeypatch):
    self.folder, self.stub, self.root = folder, folder / 'stub', ROOT
    self.options = folder / 'home' / '.tpu_lm' / 'tpu' / 'pod.options'
    self.worker = self.stub / 'workers' / 'pod'
    self.worker.mkdir(parents=True)
    stub = f'#!{sys.executable} -SE\n{STUB}'
    write_program(folder / 'bin' / 'gcloud', stub)
    write_program(self.stub / 'worker_bin' / 'python3.11', PYTHON)
    write_program(self.stub / 'command', COMMAND)
    monkeypatch.setenv('STUB', str(self.stub))
    monkeypatch.setenv('STUB_SHELL', 'bash')
    monkeypatch.setenv('HOME', str(folder / 'home'))
    path = f'{folder / "bin"}:{os.environ["PATH"]}'
    monkeypatch.setenv('PATH', path)
    self.states('READY')
    self.codes('0')

  def use_small_tree(self):
    self.root = self.folder / 'tree'
    shutil.copytree(ROOT / 'scripts' / 'tpu', self.root / 'scripts' / 'tpu')
    shutil.copy(ROOT / 'scripts' / 'environment.sh', self.root / 'scripts')
    (self.root / 'requirements.lock').write_text('jax==1.2.3 \\\n  --hash=0\n')
    (self.root / 'two words').write_text('kept')
    subprocess.run(['git', 'init', '-q'], cwd=self.root, check=True)
    subprocess.run(['git', 'add', '-A'], cwd=self.root, check=True)

  def states(self, *states):
    (self.stub / 'states').write_text(' '.join(states))

  def codes(self, *codes):
    (self.stub / 'codes').write_text('\n'.join(codes) + '\n')

  def command(self, script, *arguments):
    return [self.root / 'scripts' / 'tpu' / script, *map(str, arguments)]

  def run(self, script, *arguments, code=0, **more):
    done = subprocess.run(
      self.command(script, *arguments),
      capture_output=True,
      text=True,
      timeout=15,
      **more,
    )
    assert done.returncode == code, done
    return done

  def create(self):
    shutil.rmtree(self.worker)
    self.run('create', *MADE)
    (self.worker / 'tpu_lm' / '.venv' / 'bin').mkdir(parents=True)
    self.calls()

  def watch(self, *arguments, code=0):
    watch = ('--restart_on_preemption', '--poll=0.1', *arguments)
    command = ('--', self.stub / 'command', 'the same', '$command')
    return self.run('run', '--name=pod', *watch, *command, code=code)

  def calls(self):
    """The arguments of the calls since the last look."""
    path = self.stub / 'calls'
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]

  def ran(self):
    path = self.stub / 'ran'
    return path.read_text().splitlines() if path.exists() else []

  def group(self):
    return int((self.worker / 'tpu_lm.pid').read_text())

  def alive(self):
    """Whether a process of the command's group lives (zombies do not)."""
    text = f'ps -o stat= -g {self.group()} | grep -qv Z'
    return subprocess.run(text, shell=True).returncode == 0


@pytest.fixture
def cloud(tmp_path, monkeypatch):
  cloud = Cloud(tmp_path, monkeypatch)
  yield cloud
  for path in cloud.stub.glob('workers/*/tpu_lm.pid'):
    with contextlib.suppress(ProcessLookupError):
      os.killpg(int(path.read_text()), signal.SIGKILL)


def verbs(calls):
  return [f'{call[2]} {call[3]}' for call in calls]


@pytest.mark.parametrize('name', NAMES)
def test_help_says_what_options_and_an_example(cloud, name):
  text = cloud.run(name, '--help').stdout
  assert all(word in text for word in ('--name=', '--dry_run', 'Example:'))
  assert cloud.calls() == []


@pytest.mark.parametrize(
  'line, told',
  [
    ('create --name=pod --zone=z', '--type is missing'),
    ('create --name=pod --type=v4-8', '--zone is missing'),
    ('create --zone=z --type=v4-8', '--name is missing'),
    ('create --name=Pod --zone=z --type=v4-8', 'lower case'),
    ('create --name=pod --zone=z --type=v5e-8', 'v5litepod-8'),
    ('create --name=pod --zone=z --type=tpu7x-8', 'GKE'),
    ('create --name=pod --zone=z --type=x-8', '--version'),
    ('create --name=pod --zone=z --type=v4-8 --slices=2', 'needs --queued'),
    ('create --name=pod --zone=z --type=v4-8 --wait', 'needs --queued'),
    ('create --name=pod --zone=z --type=v4-8 --spot --reserved', 'exclude'),
    ('create --name=pod --zone=z --type=v4-8 --queued --slices=x', 'x'),
    ('create --name=pod --again', 'pod.options is missing'),
    ('create --name=pod --again --zone=z', 'stored already'),
    ('sync --name=pod', '--zone is missing'),
    ('sync --name=pod --zone=z --python', 'needs a value'),
    ('run --name=pod --zone=z', 'command is missing'),
    ('run --name=pod --zone=z true', 'unknown option true'),
    ('run --name=pod --zone=z --poll=1 -- true', 'restart_on_preemption'),
    ('run --name=pod --zone=z --restart_on_preemption -- x', 'is missing'),
    ('tail --name=pod --zone=z --slice=1', 'has 1'),
    ('status --name=pod --zone=', 'is empty'),
    ('stop --name=pod --zone=z --grace=soon', 'not a number'),
    ('stop --name=pod --zone=z -- x', 'unexpected'),
    ('delete --name=pod --zone=z --force', 'queued'),
    ('delete --name=pod --zone=z --yes=1', 'takes no value'),
    ('delete --name=pod --zone=z --nonsense', 'unknown option --nonsense'),
  ],
)
def test_a_mistake_is_one_line_and_calls_nothing(cloud, line, told):
  script, *arguments = line.split()
  done = cloud.run(script, *arguments, code=2)
  assert told in done.stderr and done.stderr.count('\n') == 1
  assert done.stdout == '' and cloud.calls() == []


@pytest.mark.parametrize(
  'line',
  [
    'create --name=new --zone=z --type=v6e-8 --spot -- --tags="a b"',
    'create --name=new --zone=z --type=v5p-8 --queued --wait --reserved',
    'create --name=new --zone=z --type=v4-8 --queued --slices=3',
    'sync --name=pod --zone=z --project=p --setup=\'echo "it $HOME" >two\'',
    'run --name=pod --zone=z -- true "a  b" "it\'s" \'"$HOME"\' ""',
    'tail --name=pod --zone=z --worker=2',
    'status --name=pod --zone=z',
    'stop --name=pod --zone=z --grace=7',
    'delete --name=pod --zone=z --yes',
    'delete --name=pod --zone=z --yes --queued --force',
  ],
)
def test_a_dry_run_prints_what_is_then_called(cloud, line):
  cloud.use_small_tree()
  (cloud.worker / 'tpu_lm' / '.venv').mkdir(parents=True)
  cloud.states('ACTIVE' if '--wait' in line else 'READY')
  script, *arguments = shlex.split(line)
  before, _, after = ' '.join(map(shlex.quote, arguments)).partition(' -- ')
  dry = shlex.split(f'{before} --dry_run' + (after and f' -- {after}'))
  printed = cloud.run(script, *dry).stdout
  assert cloud.calls() == [] and not cloud.options.parent.exists()
  pasted = subprocess.run(
    ['bash', '-e'], input=printed, text=True, capture_output=True
  )
  assert pasted.returncode == 0, pasted
  expected = cloud.calls()
  shutil.rmtree(cloud.stub / 'workers' / 'new', ignore_errors=True)
  if script == 'run':
    wait_for((cloud.worker / 'tpu_lm.exit').exists)
  cloud.run(script, *arguments)
  assert cloud.calls() == expected and expected


def test_create_names_gclouds_options_and_again_repeats_them(cloud):
  made = ('--name=new', '--zone=z', '--type=v5p-8', '--spot')
  cloud.run('create', *made, '--queued', '--slices=2', '--', '--x=y', '-z')
  (call,) = cloud.calls()
  assert ' '.join(call) == (
    'compute tpus queued-resources create new --zone=z --accelerator-type=v5p-8'
    ' --runtime-version=v2-alpha-tpuv5 --node-count=2 --node-prefix=new --spot'
    ' --x=y -z'
  )
  shutil.rmtree(cloud.stub / 'workers' / 'new')
  cloud.run('create', '--name=new', '--again')
  assert cloud.calls() == [call]
  done = cloud.run('status', '--name=new', '--zone=other', code=2)
  assert 'is elsewhere' in done.stderr and cloud.calls() == []


@pytest.mark.parametrize('last, code', [('ACTIVE', 0), ('FAILED', 1)])
def test_create_waits_for_the_queue(cloud, last, code):
  cloud.states('ACCEPTED', 'WAITING_FOR_RESOURCES', 'PROVISIONING', last)
  shutil.rmtree(cloud.worker)
  wait = ('--queued', '--wait', '--poll=0.01')
  told = cloud.run('create', *MADE, *wait, code=code).stderr
  assert 'is PROVISIONING' in told and f'is {last}' in told
  assert verbs(cloud.calls()).count('queued-resources describe') == 4


def test_sync_copies_what_is_tracked_and_installs(cloud):
  cloud.use_small_tree()
  cloud.create()
  setup = 'cd\necho "it\'s $HOME" >mounted'
  new = cloud.root / 'new.py'
  new.write_text('')
  told = cloud.run('sync', '--name=pod', f'--setup={setup}').stderr
  assert '1 files unknown to git' in told
  tree = cloud.worker / 'tpu_lm'
  assert (tree / 'two words').read_text() == 'kept'
  assert not (tree / 'new.py').exists()
  told = (cloud.worker / 'mounted').read_text()
  assert told == f"it's {cloud.worker}\n"
  installed = (cloud.stub / 'python').read_text()
  assert 'install --require-hashes -r' in installed
  assert 'install --no-deps' in installed
  assert installed.endswith('install jax[tpu]==1.2.3\n')
  # A file that git knows no more goes; what a run left there stays.
  (tree / 'runs').mkdir()
  (cloud.root / 'two words').unlink()
  (cloud.worker / 'mounted').unlink()
  cloud.run('sync', '--name=pod')
  assert not (tree / 'two words').exists() and (tree / 'runs').exists()
  assert (cloud.worker / 'mounted').exists(), 'the setup is remembered'
  again = (cloud.stub / 'python').read_text().removeprefix(installed)
  assert 'install jax[tpu]==1.2.3' in again and '-r' not in again


@pytest.mark.parametrize('shell', ['bash', 'sh'])
def test_a_command_runs_detached_with_its_own_arguments(
  cloud, monkeypatch, shell
):
  monkeypatch.setenv('STUB_SHELL', shell)
  cloud.create()
  odd = ['a  b', "it's", '"$HOME"', '`id`', '', 'two\nlines', '\\', '*', 'é']
  text = 'import json, sys; print(json.dumps(sys.argv[1:])); sys.exit(9)'
  python = (sys.executable, '-c', text)
  cloud.run('run', '--name=pod', '--', *python, *odd)
  wait_for((cloud.worker / 'tpu_lm.exit').exists)
  assert (cloud.worker / 'tpu_lm.exit').read_text() == '9\n'
  assert json.dumps(odd) in (cloud.worker / 'tpu_lm.log').read_text()
  assert ': exited 9' in cloud.run('status', '--name=pod').stdout


@pytest.mark.parametrize('shell', ['bash', 'sh'])
def test_stop_lets_the_command_save_or_kills_it(cloud, monkeypatch, shell):
  monkeypatch.setenv('STUB_SHELL', shell)
  cloud.create()
  cloud.codes('-', '-')
  start = ('run', '--name=pod', '--', cloud.stub / 'command')
  cloud.run(*start)
  wait_for(cloud.ran)
  for again in (start, ('sync', '--name=pod')):
    assert 'running' in cloud.run(*again, code=1).stderr
  told = cloud.run('status', '--name=pod').stdout
  assert f': running {cloud.group()}' in told
  assert ': stopped 75' in cloud.run('stop', '--name=pod').stdout
  assert not cloud.alive() and len(cloud.ran()) == 1
  deaf = 'trap "" TERM; sleep 60 & echo up >"$STUB/ran"; wait; wait'
  (cloud.stub / 'ran').unlink()
  cloud.run('run', '--name=pod', '--', 'sh', '-c', deaf)
  wait_for(cloud.ran)
  assert cloud.alive()
  told = cloud.run('stop', '--name=pod', '--grace=0').stdout
  assert 'killed after 0' in told
  wait_for(lambda: not cloud.alive())
  assert 'nothing runs' in cloud.run('stop', '--name=pod').stdout


def test_a_preempted_tpu_is_made_again_and_runs_the_same(cloud):
  cloud.use_small_tree()
  shutil.rmtree(cloud.worker)
  cloud.run('create', *MADE, '--spot')
  cloud.run('sync', '--name=pod', '--setup=echo mounted')
  (created, *_) = cloud.calls()
  cloud.codes('-', '0')
  cloud.states('READY', 'READY', 'PREEMPTED', 'READY')
  cloud.watch()
  calls = cloud.calls()
  starts = [call for call in calls if 'setsid' in call[-1]]
  assert len(starts) == 2 and starts[0] == starts[1]
  assert cloud.ran() == ['the same $command'] * 2
  made = verbs(calls).index('tpu-vm delete')
  assert calls[made + 1] == created
  assert verbs(calls)[made + 2 : made + 4] == ['tpu-vm describe', 'tpu-vm scp']
  assert any(call[-1] == '--command=echo mounted' for call in calls[made:])


@pytest.mark.parametrize(
  'codes, end', [(['75', '75', '0'], 0), (['75', '1'], 1), (['3'], 3)]
)
def test_code_75_restarts_and_others_end(cloud, codes, end):
  cloud.create()
  cloud.codes(*codes)
  cloud.watch(code=end)
  assert len(cloud.ran()) == len(codes)
  kinds = set(verbs(cloud.calls()))
  assert kinds == {'tpu-vm describe', 'tpu-vm ssh'}


def test_restarts_are_counted(cloud):
  cloud.create()
  cloud.codes(*['75'] * 9)
  told = cloud.watch('--max_restarts=2', code=1).stderr
  assert 'restarted 2 times' in told and len(cloud.ran()) == 3


def test_a_failure_before_the_preemption_shows_is_no_end(cloud):
  cloud.use_small_tree()
  cloud.create()
  cloud.codes('134', '0')
  command = (cloud.stub / 'command', 'the same', '$command')
  cloud.run('run', '--name=pod', '--', *command)
  wait_for((cloud.worker / 'tpu_lm.exit').exists)
  cloud.states('READY', 'NOT_FOUND', 'READY')
  cloud.watch('--attach')
  assert cloud.ran() == ['the same $command'] * 2
  assert 'tpu-vm delete' not in verbs(cloud.calls())


def test_a_reboot_restarts_and_stop_ends_the_watch(cloud):
  cloud.create()
  cloud.codes('-', '-')
  watch = cloud.command('run', '--name=pod', '--restart_on_preemption')
  command = ['--poll=0.1', '--', cloud.stub / 'command']
  with subprocess.Popen([*watch, *command]) as process:
    wait_for(lambda: len(cloud.ran()) == 1)
    group = cloud.group()
    (cloud.worker / 'tpu_lm.boot').write_text('another\n')
    os.killpg(group, signal.SIGKILL)
    wait_for(lambda: len(cloud.ran()) == 2)
    wait_for(lambda: cloud.group() != group)
    cloud.run('stop', '--name=pod')
    assert process.wait(timeout=15) == 75
  assert len(cloud.ran()) == 2


def test_every_slice_is_asked_and_a_lost_command_ends(cloud):
  line = '--name=pod --zone=z --type=v5p-8 --queued --slices=2'
  shutil.rmtree(cloud.worker)
  cloud.run('create', *line.split())
  for number in (0, 1):
    home = cloud.stub / 'workers' / f'pod-{number}'
    (home / 'tpu_lm' / '.venv').mkdir(parents=True)
  cloud.codes('-', '-')
  cloud.run('run', '--name=pod', '--', cloud.stub / 'command')
  wait_for(lambda: len(cloud.ran()) == 2)
  cloud.states('ACTIVE', 'READY', 'READY')
  told = cloud.run('status', '--name=pod').stdout
  assert told.count(': running') == 2 and 'queued resource pod: ACTIVE' in told
  assert cloud.run('stop', '--name=pod').stdout.count(': stopped 75') == 2
  # Killed without a trace, and its number given to nobody else.
  (home / 'tpu_lm.exit').unlink()
  with subprocess.Popen(['true']) as gone:
    (home / 'tpu_lm.pid').write_text(f'{gone.pid}\n')
  (home.parent / 'pod-0' / 'tpu_lm.stop').unlink()
  cloud.states('ACTIVE', *['READY'] * 2, 'ACTIVE', *['READY'] * 2)
  cloud.watch('--attach', code=137)


@pytest.mark.parametrize('answer, code', [('y\n', 0), ('n\n', 1), ('', 1)])
def test_delete_asks(cloud, answer, code):
  cloud.run('delete', '--name=pod', '--zone=z', code=code, input=answer)
  assert len(cloud.calls()) == 1 - code
