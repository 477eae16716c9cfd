"""The commands about data: cache, data and tokenizer, as a person uses them."""

import json
import pathlib

import pytest

from tpu_lm.cli import EXIT_MISTAKE, main

ROOT = pathlib.Path(__file__).parents[1]
FRAGMENT = ROOT / 'gin_configs' / 'data' / 'files.gin'
RUN = ROOT / 'gin_configs' / 'runs' / 'files.gin'
TEXT = 'What is packed here is shown there, ünd möre. '


@pytest.fixture
def folder(tmp_path):
  texts = tmp_path / 'texts'
  texts.mkdir()
  lines = [
    json.dumps({'text': f'{n}: {TEXT * (n % 5 + 1)}'}) for n in range(99)
  ]
  (texts / 'a.jsonl').write_text('\n'.join(lines))
  return texts


def command(name, folder, *more, file=FRAGMENT):
  return [
    *name.split(),
    f'--gin_file={file}',
    f"--gin.Files.path='{folder}'",
    f'--store_dir={folder.parent / "stores"}',
    *map(str, more),
  ]


def fails(capsys, arguments):
  assert main(arguments) == EXIT_MISTAKE
  [line] = [
    line
    for line in capsys.readouterr().err.splitlines()
    if line.startswith('tpu-lm: ')
  ]
  return line


def content(stores):
  return {
    path.relative_to(stores): path.read_bytes()
    for path in sorted(stores.rglob('*.bin'))
  }


def test_cache_builds_both_splits_once(capsys, folder):
  stores = folder.parent / 'stores'
  assert main(command('cache', folder)) == 0
  first = capsys.readouterr()
  assert 'mine/train: ' in first.out and 'mine/validation: ' in first.out
  assert 'building' in first.err
  made = content(stores)
  assert made
  assert main(command('cache', folder, 'mine', '--processes=2')) == 0
  again = capsys.readouterr()
  assert again.out == first.out and 'building' not in again.err
  assert content(stores) == made


def test_cache_of_a_run_and_of_one_split(capsys, folder):
  assert main(command('cache', folder, '--split=train', file=RUN)) == 0
  out = capsys.readouterr().out
  assert 'mine/train' in out and 'mine/validation' not in out


def test_cache_through_beam_gives_the_same_bytes(capsys, folder):
  pytest.importorskip('apache_beam', reason='needs Apache Beam')
  stores = folder.parent / 'stores'
  assert main(command('cache', folder)) == 0
  made = content(stores)
  stores.rename(folder.parent / 'other')
  options = ('--beam', '--', '--runner=DirectRunner')
  assert main(command('cache', folder, *options)) == 0
  assert content(stores) == made


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['cache', 'mine'], '--gin_file=F or by --module=M'),
    (['cache', 'prose', '--module=no.such.module'], 'no.such.module'),
    (['data', '--module=data_tasks.installed_text'], 'which data?'),
    (['data', 'prose', '--module=x', '--rows=-1'], '--rows=-1'),
  ],
)
def test_mistakes_without_files(capsys, arguments, message):
  assert message in fails(capsys, arguments)


@pytest.mark.parametrize(
  ('name', 'more', 'message'),
  [
    ('cache', ('nine',), "'nine'"),
    ('cache', ('--processes=0',), 'processes = 0'),
    ('cache', ('--', '--runner=X'), 'are for --beam'),
    ('cache', ('--split=trian',), "'trian'"),
    ('data', ('--contamination=none.jsonl',), '--contamination=none.jsonl'),
    ('tokenizer train', ('--output=x.modal',), 'must end in .model'),
    ('tokenizer train', ('--output=x.model', '--size=-5'), '--size=-5'),
  ],
)
def test_mistakes(capsys, folder, name, more, message):
  assert message in fails(capsys, command(name, folder, *more))
  assert not list(folder.parent.rglob('manifest.json'))


def test_data_shows_sources_rows_and_overlap(capsys, folder):
  lines = [
    {'question': TEXT * 3, 'answer': 'w'},
    {'question': 'x ' * 20, 'answer': 'y'},
  ]
  items = folder.parent / 'items.jsonl'
  items.write_text('\n'.join(map(json.dumps, lines)))
  page = folder.parent / 'page.html'
  arguments = command(
    'data',
    folder,
    f'--contamination={items}:question,answer',
    f'--output={page}',
    file=RUN,
  )
  assert main(arguments) == 0
  out = capsys.readouterr().out
  assert 'mine' in out and 'epochs' in out
  assert 'packed here is shown' in out  # a row
  assert 'items' in out and '50' in out  # of two items one is in the corpus
  assert '<html' in page.read_text()


def test_data_of_an_edited_sequence_length(capsys, folder):
  arguments = command('data', folder, '--sequence_length=33', '--rows=1')
  assert main(arguments) == 0
  assert '33 positions' in capsys.readouterr().out


def test_tokenizer_trains_what_a_corpus_can_use(capsys, folder):
  model = folder.parent / 'small.model'
  arguments = command(
    'tokenizer train', folder, f'--output={model}', '--size=300', '--kind=bpe'
  )
  # It has its own place to be, which the corpus may name before it exists.
  del arguments[arguments.index(next(a for a in arguments if 'store_dir' in a))]
  assert main(arguments) == 0
  assert str(model) in capsys.readouterr().out
  gin = folder.parent / 'with_model.gin'
  gin.write_text(
    FRAGMENT.read_text().replace(
      'phase.Run.corpus',
      'from tpu_lm.data.vocabularies import sentence_piece\n'
      'corpus.Corpus.vocabulary = @sentence_piece.SentencePiece()\n'
      f"sentence_piece.SentencePiece.path = '{model}'\n"
      'phase.Run.corpus',
      1,
    )
  )
  assert main(command('cache', folder, file=gin)) == 0
  manifests = list((folder.parent / 'stores').rglob('manifest.json'))
  sizes = {json.loads(m.read_text())['vocabulary_size'] for m in manifests}
  assert sizes == {300}
