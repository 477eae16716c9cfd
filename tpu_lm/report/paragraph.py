"""One paragraph of what happened, each clause computed from the numbers.

Nothing is known in advance of which arm should win: a sentence is chosen by
comparing values, and is left out where there is nothing to compare. Losses
closer than `TOLERANCE` are called about equal.
"""

from collections.abc import Sequence

from tpu_lm.report.measures import Arm, Gap
from tpu_lm.report.record import RunRecord
from tpu_lm.report.words import count, listed, loss, several

TOLERANCE = 0.01  # nats a token
FEW = 4  # sources or stages that a sentence goes through one by one


def paragraph(record: RunRecord, arms: Sequence[Arm]) -> str:
  """What happened in a run, in plain words."""
  sentences = [_opening(record, arms), _pending(record)]
  if len(arms) == 1:
    sentences += [_course(arms[0]), _since_own_stage(arms[0])]
  else:
    sentences += [_ranking(arms), _forgetting(arms), _replay(arms)]
  sentences += [_noise(record), _gap(arms), _bad_steps(record)]
  sentences.append(_seed(record, arms))
  return ' '.join(sentence for sentence in sentences if sentence)


def _opening(record: RunRecord, arms: Sequence[Arm]) -> str:
  """Size, phases, and what was read in which order."""
  size = record.facts.get('parameters')
  model = f'a model of {count(size)} parameters' if size else 'a model'
  phases = list(record.phases.values())
  if len(phases) == 1:
    steps = f'{several(phases[0].steps, "step")} of {phases[0].name}'
    text = f'This run trained {model} for {steps}'
  else:
    text = f'This run trained {model} in {several(len(phases), "phase")}'
    if len(arms) > 1:
      text += f', which form {several(len(arms), "arm")}'
  origins = {arm.phases[0].origin for arm in arms} - {None}
  if origins:
    text += f', starting from {listed(sorted(origins))} of another run'
  orders = {tuple(phase.sources for phase in arm.phases) for arm in arms}
  if len(orders) > 1:
    return f'{text}; the arms read different sources or in different order.'
  stages: list[str] = []
  for sources in next(iter(orders)):
    if sources and listed(sources) not in stages[-1:]:
      stages.append(listed(sources))
  if not stages:
    return f'{text}.'
  who = 'each arm' if len(arms) > 1 else 'it'
  if len(stages) > FEW:
    ends = f'{stages[0]} first and {stages[-1]} last'
    return f'{text}; {who} read {ends}, in {len(stages)} stages.'
  return f'{text}; {who} read {", then ".join(stages)}.'


def _pending(record: RunRecord) -> str:
  """Says so while something is still to come."""
  running = [p.name for p in record.phases.values() if not p.done]
  if not running:
    return ''
  have = 'phase has' if len(running) == 1 else 'phases have'
  return (
    f'{len(running)} {have} not ended yet ({listed(running)}): the numbers '
    'are those of the last evaluation so far.'
  )


def _bad_steps(record: RunRecord) -> str:
  """How often nothing was kept."""
  found = {p.name: p.bad_steps for p in record.phases.values() if p.bad_steps}
  if not found:
    return ''
  number = sum(map(len, found.values()))
  rows = sum(bad.rows for steps in found.values() for bad in steps)
  return (
    f'{several(number, "step")} of {listed(list(found))} had bad numbers and'
    f' left nothing behind; {several(rows, "row")} were skipped.'
  )


def _course(arm: Arm) -> str:
  """One arm: from where to where each source went."""
  base, since = arm.losses[0], f'the end of {arm.rows[0]}'
  if arm.phases[0].origin or len(arm.rows) == 1:
    since = 'the start'
    base = {source: arm.phases[0].entry(source) for source in arm.own}
  pairs = {s: (base[s], arm.final[s]) for s in arm.own}
  pairs = {
    s: pair
    for s, pair in pairs.items()
    if None not in pair and arm.phases[0].noise(s) == arm.ships[-1].noise(s)
  }
  if not pairs:
    return ''
  if len(pairs) > FEW:
    order = sorted(pairs, key=lambda s: pairs[s][1] - pairs[s][0])
    pairs = {s: pairs[s] for s in (order[0], order[-1])}
    since += ', at the extremes'
  parts = [_change(s, *pair) for s, pair in pairs.items()]
  return f'From {since}, the loss {listed(parts)}.'


def _noise(record: RunRecord) -> str:
  """Says so where a phase has other noise than its parent."""
  changed = [
    phase.name
    for phase in record.phases.values()
    if phase.parent
    and any(
      phase.noise(s) != record.phases[phase.parent].noise(s)
      for s in record.evaluated
    )
  ]
  if not changed:
    return ''
  return (
    f'The objective changed with {listed(changed)}: losses before and after are'
    ' no measure of each other, and forgetting is measured from the entry.'
  )


def _change(source: str, first: float, last: float) -> str:
  if abs(last - first) < TOLERANCE:
    return f'on {source} stayed about equal at {loss(last)} nats'
  verb = 'fell' if last < first else 'rose'
  return f'on {source} {verb} from {loss(first)} to {loss(last)} nats'


def _since_own_stage(arm: Arm) -> str:
  """One arm: forgetting, source by source or its mean."""
  stage = 'the loss after its own stage'
  if not arm.forgetting:
    return ''
  if len(arm.forgetting) > FEW:
    worst = max(arm.forgetting, key=arm.forgetting.get)
    return (
      f'On average over the earlier sources, the final loss '
      f'{_against(-arm.backward)} {stage}; highest is {worst}, which '
      f'{_against(arm.forgetting[worst])} it.'
    )
  parts = [f'on {s} {_against(value)}' for s, value in arm.forgetting.items()]
  return f'In the end the loss {listed(parts)} {stage}.'


def _against(value: float) -> str:
  if abs(value) < TOLERANCE:
    return 'was about equal to'
  return f'was {loss(abs(value))} nats {"above" if value > 0 else "below"}'


def _ranking(arms: Sequence[Arm]) -> str:
  """Arms by their average loss over what they read."""
  if len({frozenset(arm.own) for arm in arms}) > 1:
    return 'The arms read different sources: their averages do not compare.'
  ranked = [arm for arm in arms if arm.average is not None]
  ranked.sort(key=lambda arm: arm.average)
  if len(ranked) < 2:
    return ''
  best = ranked[0].average
  lowest = [arm for arm in ranked if arm.average - best < TOLERANCE]
  rest = ranked[len(lowest) :]
  what = 'Averaged over these sources' if len(ranked[0].own) > 1 else 'At last'
  names = listed([arm.name for arm in lowest])
  values = listed([loss(arm.average) for arm in lowest])
  if len(lowest) == 1:
    text = f'{what}, {names} ended lowest, at {values} nats a token'
  elif not rest:
    span = _span([arm.average for arm in lowest])
    return f'{what}, all arms ended about equal, at {span} nats a token.'
  else:
    text = f'{what}, {names} ended lowest and about equal, at {values} nats'
  others = [f'{arm.name} {loss(arm.average - best)} higher' for arm in rest]
  return f'{text}; {listed(others)}.' if others else f'{text}.'


def _forgetting(arms: Sequence[Arm]) -> str:
  """Who forgot least and most, over the earlier sources."""
  known = [arm for arm in arms if arm.backward is not None]
  known.sort(key=lambda arm: -arm.backward)
  if not known:
    return ''
  least, most = known[0], known[-1]
  stage = 'the loss after its own stage'
  start = 'On average over the earlier sources, the final loss'
  if least.backward - most.backward < TOLERANCE:
    return f'{start} {_against(-least.backward)} {stage}, in all arms alike.'
  return (
    f'{start} {_against(-least.backward)} {stage} in {least.name}, which '
    f'forgot least, and {_against(-most.backward).removeprefix("was ")} it in '
    f'{most.name}, which forgot most.'
  )


def _replay(arms: Sequence[Arm]) -> str:
  """Arms with replay against arms without, where both exist."""
  groups = []
  for wanted in (True, False):
    groups.append(
      [
        -arm.backward
        for arm in arms
        if arm.replayed is wanted and arm.backward is not None
      ]
    )
  if not all(groups):
    return ''
  replayed, plain = groups
  spans = f'{_span(replayed)} nats with replay, {_span(plain)} without'
  if max(replayed) <= min(plain) - TOLERANCE:
    verdict = 'Every arm with replay forgot less than every arm without'
  elif max(plain) <= min(replayed) - TOLERANCE:
    verdict = 'Every arm with replay forgot more than every arm without'
  else:
    verdict = 'Replay did not part the arms in how much they forgot'
  return f'{verdict} (mean rise {spans}).'


def _span(values: Sequence[float]) -> str:
  low, high = loss(min(values)), loss(max(values))
  return low if low == high else f'{low} to {high}'


def _gap(arms: Sequence[Arm]) -> str:
  """The largest rise after a switch, and the arm with the smallest."""
  found = [(arm.largest_gap, arm) for arm in arms if arm.largest_gap]
  if not found:
    return ''
  found.sort(key=lambda pair: pair[0].peak)
  (smallest, calm), (largest, arm) = found[0], found[-1]
  if largest.peak < TOLERANCE:
    return (
      'No switch raised the loss on a known source by more than '
      f'{TOLERANCE:g} nats.'
    )
  of = f'of {arm.name} ' if len(arms) > 1 else ''
  text = (
    f'The highest rise after a switch was {loss(largest.peak)} nats, {of}on '
    f'{largest.source}, {several(largest.peak_after, "step")} into '
    f'{largest.phase}; {_return(largest)}.'
  )
  if largest.peak - smallest.peak >= TOLERANCE:
    peak = loss(smallest.peak)
    text += f' In {calm.name} no rise was higher than {peak}.'
  return text


def _return(gap: Gap) -> str:
  if gap.back_after is None:
    return 'the loss did not come back to where it was within that phase'
  return f'the loss was back after {several(gap.back_after, "step")}'


def _seed(record: RunRecord, arms: Sequence[Arm]) -> str:
  """One run is one seed."""
  seed = record.facts.get('seed')
  named = 'a single seed' if seed is None else f'a single seed ({seed})'
  if len(arms) == 1:
    return f'This is {named}: another one would give other numbers.'
  return (
    f'This is {named}: how much of these differences is chance, only more '
    'seeds can tell.'
  )
