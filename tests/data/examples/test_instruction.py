import json
import pathlib
import re

import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.document import BadRecord
from tpu_lm.data.examples.instruction import Instruction

INSTRUCT = pathlib.Path(__file__).parents[4] / 'shared' / 'data' / 'instruct'
needs_data = pytest.mark.skipif(
  not INSTRUCT.is_dir(), reason=f'needs {INSTRUCT}'
)
READ = '### Instruction:\nAdd.\n\n'
WRITE = '### Response:\n'


@pytest.mark.parametrize('no_input', [{}, {'input': ''}, {'input': None}])
def test_the_first_prompt_that_can_be_filled_is_used(no_input):
  record = {'instruction': 'Add.', 'output': 'Three.'}
  assert Instruction().pieces({**record, 'input': '1, 2'}) == [
    (READ + '### Input:\n1, 2\n\n' + WRITE, False),
    ('Three.', True),
  ]
  assert Instruction().pieces({**record, **no_input}) == [
    (READ + WRITE, False),
    ('Three.', True),
  ]


def test_a_template_may_hold_braces_and_fields_of_fields():
  example = Instruction(('{{{q.0.text}}} ',), answer='<{a}>')
  assert example.fields == ('q', 'a')
  assert example.pieces({'q': [{'text': 'why?'}], 'a': 'so'}) == [
    ('{why?} ', False),
    ('<so>', True),
  ]


def test_what_is_missing_is_told():
  message = 'a prompt needs {instruction, input} or {instruction}: missing'
  with pytest.raises(BadRecord, match=re.escape(message)):
    Instruction().pieces({'output': 'x', 'instruction': ''})
  with pytest.raises(BadRecord, match="no field 'output'"):
    Instruction().pieces({'instruction': 'x'})


@pytest.mark.parametrize(
  'bad, key, why',
  [
    ({'prompts': '{q}'}, 'prompts', 'must be a tuple'),
    ({'prompts': ()}, 'prompts', 'must be a tuple'),
    ({'prompts': ('no field',)}, 'prompts', 'must hold a field'),
    ({'prompts': ('{q',)}, 'prompts', "expected '}'"),
    ({'prompts': ('{q!r}',)}, 'prompts', "'q' is no plain name"),
    ({'prompts': ('{q[0]}',)}, 'prompts', 'no plain name'),
    ({'prompts': ('{}',)}, 'prompts', "'' is no plain name"),
    ({'answer': '{a:>9}'}, 'answer', "'a' is no plain name"),
    ({'answer': 3}, 'answer', 'must be a string'),
  ],
)
def test_wrong_templates_name_their_key(bad, key, why):
  with pytest.raises(
    UserError, match=rf'(?s)Instruction\.{key} = .*{re.escape(why)}'
  ):
    Instruction(**bad)


@needs_data
@pytest.mark.parametrize(
  'file, example',
  [
    (
      'dolly_hhrlhf_small.jsonl',
      Instruction(prompts=('{prompt}',), answer='{response}'),
    ),
    (
      'self_instruct_seed_tasks.jsonl',
      Instruction(
        prompts=(
          '{instruction}\n{instances.0.input}\n',
          '{instruction}\n',
        ),
        answer='{instances.0.output}',
      ),
    ),
  ],
)
def test_real_instructions(file, example):
  lines = (INSTRUCT / file).read_text().rstrip('\n').split('\n')
  predicted = 0
  for record in map(json.loads, lines):
    pieces = example.pieces(record)
    if pieces:
      assert [flag for _, flag in pieces] == [False, True]
      predicted += len(pieces[1][0]) > 0
  assert predicted > 0.9 * len(lines)
