import pytest

from tpu_lm.data import progress
from tpu_lm.data.progress import Progress, clock


class Clock:
  """Time that passes when it is told to."""

  def __init__(self, monkeypatch):
    self.now = 1000.0
    monkeypatch.setattr(progress.time, 'monotonic', lambda: self.now)


@pytest.fixture
def time(monkeypatch):
  return Clock(monkeypatch)


def test_lines_where_there_is_no_terminal(capsys, time):
  sizes = {2: 30_000_000, 3: 10_000_000}
  with Progress('prose/train', sizes, done=2) as shown:
    time.now += 5
    shown.seen(1, 400_000, 2_000_000)
    assert capsys.readouterr().err == ''
    time.now += 5
    shown.seen(1234, 1_200_000, 8_000_000)
    shown.seen(1, 1, 1)
  assert capsys.readouterr().err == (
    'prose/train: 2 of 4 shards, 10 of 40 MB, 1.0 MB/s, 1,235 documents,'
    ' 1.6 M tokens, 0:30 left\n'
  )


def test_a_compressed_shard_teaches_how_much_text_is_in_a_byte(time):
  shown = Progress('x', {0: 10_000_000, 1: 10_000_000})
  time.now += 10
  shown.seen(100, 100, 40_000_000)  # more text than bytes stored
  shown.shard_done(0, 40_000_000)
  assert shown.seconds_left() == pytest.approx(10)
  shown.seen(50, 50, 20_000_000)  # so this is half of the second shard
  time.now += 5
  assert shown.seconds_left() == pytest.approx(5)


def test_of_unknown_sizes_the_shards_are_counted(capsys, time):
  with Progress('x', {0: 0, 1: 0, 2: 0, 3: 0}) as shown:
    time.now += 20
    shown.seen(7, 100, 500)
    assert shown.seconds_left() is None
    time.now += 10
    shown.shard_done(0, 500)
  assert capsys.readouterr().err.splitlines() == [
    'x: 0 of 4 shards, 7 documents, 0.0 M tokens',
    'x: 1 of 4 shards, 7 documents, 0.0 M tokens, 1:30 left',
  ]


def test_a_bar_in_a_terminal(capsys, monkeypatch):
  monkeypatch.setenv('FORCE_COLOR', '1')
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '150')
  with Progress('prose/train', {0: 5_000_000}) as shown:
    shown.seen(3, 2_000_000, 2_500_000)
  told = capsys.readouterr().err
  assert '━' in told
  assert '2 of 5 MB' in told
  assert 'left' in told


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [(0, '0:00'), (59.6, '1:00'), (754, '12:34'), (10921, '3:02:01')],
)
def test_a_duration_is_written_as_a_clock_shows_it(seconds, text):
  assert clock(seconds) == text
