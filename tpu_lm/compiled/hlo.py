"""The text of a compiled program, read into computations and instructions.

`jax.stages.Compiled.as_text()` gives a program as the compiler left it, in
HLO: named computations, each a list of lines such as

    %sum.3 = f32[8,64]{1,0} add(%a, %b), metadata={...}, backend_config={...}

`parse` reads it in one pass over its lines. `Module.trips` finds how often a
while loop runs, which XLA's own `cost_analysis` leaves out of its sums.
"""

import dataclasses
import functools
import math
import re

_COMPUTATION = re.compile(r'(ENTRY )?%(\S+) \(')
_INSTRUCTION = re.compile(r'  (ROOT )?%(\S+) = (.*?) ([a-z][\w\-]*)\(')
_OPERANDS_END = re.compile(r'\)(?:,|$)')
_NAME = re.compile(r'%([\w.\-]+)')
_ARRAY = re.compile(r'\b([a-z]\w*)\[([\d,<=]*)\]')
_BITS = re.compile(r'\d+')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
# What hands its (first) operand on unchanged.
_SAME = {'copy', 'bitcast', 'convert', 'reshape', 'copy-start', 'copy-done'}
_INLINE = {'fusion', 'call'}
_FLIPPED = {'LT': 'GT', 'LE': 'GE', 'GT': 'LT', 'GE': 'LE'}


@dataclasses.dataclass(slots=True)
class Instruction:
  """One instruction.

  Attributes:
    name: without the leading '%'.
    shape: its type as written, layouts included; a tuple's in parentheses.
    opcode: such as 'fusion' or 'all-gather'.
    rest: what follows the parenthesis that opens its operands.
  """

  name: str
  shape: str
  opcode: str
  rest: str

  @property
  def operands(self) -> list[str]:
    """Names of its operands, in order."""
    return _NAME.findall(self.rest, 0, self._operands_end())

  @property
  def literal(self) -> str:
    """What stands where operands would: a constant, a parameter's number."""
    return self.rest[: self._operands_end()]

  def attribute(self, name: str) -> str | None:
    """The value of `name=` up to the next comma outside of braces, or None."""
    start = self.rest.find(f', {name}=', self._operands_end())
    if start < 0:
      return None
    start += len(name) + 3
    depth = 0
    for end in range(start, len(self.rest)):
      letter = self.rest[end]
      depth += (letter == '{') - (letter == '}')
      if letter == ',' and depth == 0:
        return self.rest[start:end]
    return self.rest[start:]

  def called(self, *names: str) -> list[str]:
    """The computations that the attributes of these names call."""
    values = (self.attribute(name) for name in names)
    return [name for value in values if value for name in _NAME.findall(value)]

  def _operands_end(self) -> int:
    found = _OPERANDS_END.search(self.rest)
    return found.start() if found else len(self.rest)


@dataclasses.dataclass(slots=True)
class Computation:
  """One computation: its instructions by name, in the order of the text."""

  name: str
  instructions: dict[str, Instruction] = dataclasses.field(default_factory=dict)
  root: str = ''


@dataclasses.dataclass
class Module:
  """A program: its computations by name, and the name of the entry."""

  computations: dict[str, Computation]
  entry: str

  @functools.cached_property
  def callers(self) -> dict[str, tuple[Computation, Instruction]]:
    """The loop, fusion or call that a computation belongs to."""
    found = {}
    for computation in self.computations.values():
      for instruction in computation.instructions.values():
        if instruction.opcode == 'while':
          called = instruction.called('body', 'condition')
        elif instruction.opcode in _INLINE:
          called = instruction.called('calls', 'to_apply')
        else:
          continue
        found.update(dict.fromkeys(called, (computation, instruction)))
    return found

  def trips(self, computation: Computation, loop: Instruction) -> int | None:
    """How often a while loop runs its body.

    Taken from `known_trip_count` where the compiler wrote it (CPU and GPU).
    TPU programs lack it: there it follows from the condition's comparison of
    a counter with a constant, the counter's first value and its step. Loops
    whose first iteration was peeled off start at 1. A first value that is not
    a constant is taken for 0, an unrecognised step for 1.

    Args:
      computation: where the loop stands.
      loop: its `while` instruction.

    Returns:
      The count, or None where the condition is of another form.
    """
    known = _TRIPS.search(loop.rest)
    if known:
      return int(known.group(1))
    condition = self.computations[loop.called('condition')[0]]
    where, test, _ = self._origin(condition, condition.root, inside=True)
    if test.opcode != 'compare':
      return None
    direction = test.attribute('direction')
    sides = test.operands
    counter = self._element(where, sides[0], condition)
    if counter is None or self._invariant(loop, counter):
      sides, direction = sides[::-1], _FLIPPED.get(direction, direction)
      counter = self._element(where, sides[0], condition)
    if counter is None:
      return None
    bound = self._integer(where, sides[1])
    if bound is None:
      return None
    first = self._integer(computation, loop.operands[0], counter) or 0
    step = self._step(loop, counter) or 1
    distance = bound - first
    if direction in ('GT', 'GE'):
      distance, step = -distance, -step
    if step <= 0 or direction == 'EQ':
      return None
    distance += direction in ('LE', 'GE')
    return max(0, -(-distance // step))

  def _origin(
    self,
    where: Computation,
    name: str,
    index: int | None = None,
    inside: bool = False,
  ) -> tuple[Computation, Instruction, int | None]:
    """Follows a value back through copies, tuples, fusions and loops.

    Args:
      where: the computation of the instruction.
      name: the instruction.
      index: which element of its tuple is meant, if one is.
      inside: stop at the parameter of the loop that `where` belongs to.

    Returns:
      The instruction that makes it, where that stands, and the element.
    """
    while True:
      found = where.instructions[name]
      opcode = found.opcode
      if opcode in _SAME:
        name = found.operands[0]
      elif opcode == 'tuple' and index is not None:
        name, index = found.operands[index], None
      elif opcode == 'get-tuple-element' and index is None:
        name, index = found.operands[0], int(found.attribute('index'))
      elif opcode in _INLINE:
        where = self.computations[found.called('calls', 'to_apply')[0]]
        name = where.root
      elif opcode == 'while' and self._invariant(found, index):
        name = found.operands[0]
      elif opcode == 'parameter' and where.name in self.callers:
        outer, caller = self.callers[where.name]
        if caller.opcode in _INLINE:
          where, name = outer, caller.operands[int(found.literal)]
        elif not inside and self._invariant(caller, index):
          where, name = outer, caller.operands[0]
        else:
          return where, found, index
      else:
        return where, found, index

  def _element(
    self, where: Computation, name: str, loop_part: Computation
  ) -> int | None:
    """Which element of the loop's state a value is, or None."""
    where, found, index = self._origin(where, name, inside=True)
    own = found.opcode == 'parameter' and where.name == loop_part.name
    return index if own else None

  def _body(self, loop: Instruction) -> Computation:
    return self.computations[loop.called('body')[0]]

  def _invariant(self, loop: Instruction, index: int | None) -> bool:
    """Whether a loop hands an element of its state on as it was."""
    body = self._body(loop)
    root = body.instructions[body.root]
    if index is None or root.opcode != 'tuple':
      return False
    return self._element(body, root.operands[index], body) == index

  def _integer(
    self, where: Computation, name: str, index: int | None = None
  ) -> int | None:
    """The integer that a value is, or None where it is not a constant."""
    where, found, index = self._origin(where, name, index)
    if found.opcode == 'constant' and index is None:
      literal = found.literal
      return int(literal) if re.fullmatch(r'-?\d+', literal) else None
    if found.opcode == 'add':
      parts = [self._integer(where, operand) for operand in found.operands]
      return None if None in parts else sum(parts)
    return None

  def _step(self, loop: Instruction, counter: int) -> int | None:
    """What a loop adds to its counter in one round, or None."""
    body = self._body(loop)
    root = body.instructions[body.root]
    if root.opcode != 'tuple':
      return None
    where, found, _ = self._origin(body, root.operands[counter], inside=True)
    if found.opcode != 'add':
      return None
    for counted, step in (found.operands, found.operands[::-1]):
      if self._element(where, counted, body) == counter:
        return self._integer(where, step)
    return None


def parse(text: str) -> Module:
  """Reads a program.

  Args:
    text: as `compiled.as_text()` gives it.

  Returns:
    Its computations.

  Raises:
    ValueError: the text has no entry computation.
  """
  computations, entry = {}, None
  current = last = None
  for line in text.splitlines():
    if current is None:
      header = line.endswith('{') and _COMPUTATION.match(line)
      if header:
        current = Computation(header.group(2))
        computations[current.name] = current
        entry = current.name if header.group(1) else entry
    elif line == '}' or line.startswith('}, '):
      current = last = None
    elif match := _INSTRUCTION.match(line):
      root, name, shape, opcode = match.groups()
      last = Instruction(name, shape, opcode, line[match.end() :])
      current.instructions[name] = last
      current.root = name if root else current.root
    elif last is not None:
      # A kernel's metadata are written over several lines.
      last.rest += line
  if entry is None:
    raise ValueError('not the text of a compiled program: it has no ENTRY')
  return Module(computations, entry)


def arrays(shape: str) -> list[tuple[str, tuple[int, ...]]]:
  """Element type and dimensions of each array in a type, tuples flattened."""
  return [
    (kind, tuple(int(size.lstrip('<=')) for size in sizes.split(',') if size))
    for kind, sizes in _ARRAY.findall(shape)
  ]


def byte_count(shape: str) -> int:
  """Bytes of all arrays of a type, without the padding of layouts."""
  total = 0
  for kind, sizes in arrays(shape):
    bits = _BITS.search(kind)
    width = int(bits.group()) if bits else 8 * (kind == 'pred')
    total += -(-math.prod(sizes) * width // 8)
  return total
