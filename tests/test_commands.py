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


def test_a_runner_that_beam_does_not_know(capsys, folder):
  pytest.importorskip('apache_beam', reason='needs Apache Beam')
  arguments = command('cache', folder, '--beam', '--', '--runner=Nope')
  assert 'Unexpected pipeline runner: Nope' in fails(capsys, arguments)


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
    ('cache', ('mime',), 'Did you mean: mine?'),
    ('data', ('--contamination=none.jsonl',), '--contamination=none.jsonl'),
    ('data', ('--contamination=s4://a/b.jsonl:c',), 's4://a/b.jsonl: '),
    ('data', ('--output=.',), '--output=.: is a folder'),
    ('tokenizer train', ('--output=s4://a/x.model',), 's4://a/x.model: '),
    ('tokenizer train', ('--output=x.model', 'mime'), "'mime' is neither"),
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


def test_evaluation_sets_of_one_name_are_told_apart(capsys, folder):
  arguments = command('data', folder, '--rows=0')
  for name in ('one', 'two'):
    items = folder.parent / name / 'test.jsonl'
    items.parent.mkdir()
    items.write_text(json.dumps({'text': f'{name} ' * 20 + TEXT}))
    arguments.append(f'--contamination={items}')
  assert main(arguments) == 0
  out = capsys.readouterr().out
  assert 'test_2' in out


def test_a_vocabulary_that_can_not_be_written(capsys, folder):
  output = folder / 'a.jsonl' / 'x.model'  # below a file
  more = f'--output={output}', '--size=300', '--kind=bpe'
  line = fails(capsys, command('tokenizer train', folder, *more))
  assert f'{output}: can not be written' in line


def test_bindings_may_hold_spaces(capsys, folder):
  spaced = folder.rename(folder.parent / 'my texts')
  assert main(command('cache', spaced, '--split=train')) == 0
  assert 'mine/train' in capsys.readouterr().out


def test_data_says_why_nothing_is_held_out(capsys, folder):
  more = "--gin.Files.validation_path='nowhere.jsonl'", '--rows=0'
  assert main(command('data', folder, *more)) == 0
  out = ' '.join(capsys.readouterr().out.split())
  assert 'mine has no validation split' in out and 'nowhere.jsonl' in out


def test_another_field_is_named_on_the_command_line(capsys, folder):
  (folder / 'a.jsonl').write_text('{"body": "a longer one"}\n' * 99)
  arguments = command('cache', folder, '--split=train')
  assert "(it has 'body'); Text.field" in fails(capsys, arguments)
  assert main([*arguments, "--gin.Text.field='body'"]) == 0


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
