"""Train steps in bfloat16 on the GPUs of this machine: tokens/s and MFU.

  python scripts/benchmarks/gpu.py
  python scripts/benchmarks/gpu.py --against=torch --models=125m,1b

Decoders of 125 M, 1.3 B and 7 B parameters on random tokens, each in a process
of its own, over all GPUs (data: fsdp). MFU ("model FLOPs utilisation") counts
what training needs, causal attention half, against the peak in bfloat16. With
--against=torch (extra `bench`) the same model in PyTorch follows: compiled,
under autocast, with its own flash attention, on one GPU.

`tiny` runs on any device, to see that the program works; its figures say
nothing.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time

WARM_UP = 3
SIDES = ('ours', 'torch')
COMMON = {'dtype': 'bfloat16', 'vocabulary': 32_768}
# Sizes of the decoder, of its batch on a GPU, and what its training needs.
MODELS = {
  'tiny': (
    {'layers': 2, 'embed': 64, 'heads': 4, 'kv_heads': 2, 'head_dim': 16}
    | {'mlp': 128},
    {'batch_size': 2, 'sequence_length': 64},
    {},
  ),
  '125m': (
    {'layers': 12, 'embed': 768, 'heads': 12, 'kv_heads': 12, 'head_dim': 64}
    | {'mlp': 2048},
    {'batch_size': 16, 'sequence_length': 2048},
    {},
  ),
  '1b': (
    {'layers': 24, 'embed': 2048, 'heads': 16, 'kv_heads': 16, 'head_dim': 128}
    | {'mlp': 5504, 'remat': 'dots'},
    {'batch_size': 4, 'sequence_length': 4096},
    {},
  ),
  '7b': (
    {'layers': 32, 'embed': 4096, 'heads': 32, 'kv_heads': 32, 'head_dim': 128}
    | {'mlp': 11008, 'remat': 'full'},
    {'batch_size': 2, 'sequence_length': 4096},
    {'offload': True},  # moments of 53 GB do not fit beside the rest
  ),
}


def main() -> None:
  """Prints one line a model and side."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--models', default='125m,1b,7b', help='with commas')
  parser.add_argument('--against', choices=['torch'])
  parser.add_argument('--steps', type=int, default=20, help='that are timed')
  parser.add_argument('--side', choices=SIDES, help=argparse.SUPPRESS)
  options = parser.parse_args()
  names = options.models.split(',')
  for name in names:
    if name not in MODELS:
      parser.error(f'--models: {name!r} is none of {", ".join(MODELS)}')
  if options.side:
    print(json.dumps(measure(names[0], options.side, options.steps)))
    return
  failed = False
  for name in names:
    for side in SIDES if options.against else SIDES[:1]:
      line, good = in_a_process(name, side, options.steps)
      failed |= not good
      print(f'{name} {side}: {line}', flush=True)
  sys.exit(1 if failed else 0)


def in_a_process(name: str, side: str, steps: int) -> tuple[str, bool]:
  """What was measured, or why nothing was; and which of these it is."""
  command = [sys.executable, __file__, f'--models={name}', f'--side={side}']
  done = subprocess.run(
    [*command, f'--steps={steps}'], capture_output=True, text=True, check=False
  )
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ['no word of why']
    return f'failed: {lines[-1][:500]}', False
  found = json.loads(done.stdout.splitlines()[-1])
  share = found['utilisation']
  parts = [
    f'{found["parameters"] / 1e9:.2f} B parameters on {found["devices"]}',
    f'{found["tokens_per_second"]:,.0f} tokens/s',
    'MFU unknown' if share is None else f'MFU {share:.1%}',
    f'{found["seconds"] * 1e3:,.1f} ms a step'
    f' ({found["least"] * 1e3:,.1f} to {found["most"] * 1e3:,.1f})',
  ]
  if found['bytes']:
    parts.append(f'{found["bytes"] / 1e9:.1f} GB')
  return ', '.join(parts), True


def measure(name: str, side: str, steps: int) -> dict:
  """Times the steps of one side here; seconds of each, and what follows."""
  import jax

  from tpu_lm.compiled.peaks import peak_flops
  from tpu_lm.data.layout import Layout
  from tpu_lm.forecast.flops import step_flops
  from tpu_lm.tree import count

  devices = jax.devices()
  if devices[0].platform != 'gpu' and name != 'tiny':
    sys.exit(f'there is no GPU here, jax has {devices[0].device_kind}')
  if side == 'torch':
    devices = devices[:1]
  run = make_run(name, len(devices))
  phase = run.phases[0]
  if side == 'ours':
    seconds, held = ours(run, steps)
  else:
    seconds, held = theirs(run, steps)
  middle = statistics.median(seconds)
  needed = step_flops(run.model, Layout.of(phase, run.model), phase.batch_size)
  peak = peak_flops(devices[0].device_kind)
  shapes = jax.eval_shape(run.model.init, jax.random.key(0))
  return {
    'parameters': count(shapes),
    'devices': f'{len(devices)} {devices[0].device_kind}',
    'seconds': middle,
    'least': min(seconds),
    'most': max(seconds),
    'tokens_per_second': phase.tokens_per_step / middle,
    'utilisation': peak and needed.total / (middle * peak * len(devices)),
    'bytes': held,
  }


def make_run(name: str, devices: int):
  """One phase of one of `MODELS`, over so many devices."""
  from tpu_lm.data.corpus import Corpus
  from tpu_lm.data.mixing import Mixture
  from tpu_lm.models.decoder import Decoder
  from tpu_lm.objectives.cross_entropy import CrossEntropy
  from tpu_lm.optimizers.adamw import AdamW
  from tpu_lm.phase import Phase, Run
  from tpu_lm.schedules.constant import Constant
  from tpu_lm.sharding import Mesh

  sizes, batch, training = MODELS[name]
  phase = Phase(
    name=name,
    length=1000,
    mixture=Mixture(weights={'random': 1.0}),
    schedule=Constant(rate=1e-4),
    objective=CrossEntropy(vocabulary_chunks=4),
    optimizer=AdamW(**training),
    **batch | {'batch_size': batch['batch_size'] * devices},
  )
  return Run(
    name=name,
    model=Decoder(**COMMON, **sizes),
    phases=(phase,),
    corpus=Corpus(),
    mesh=Mesh(data=1, fsdp=-1),
  )


def ours(run, steps: int) -> tuple[list[float], int]:
  """Seconds of each step, and the bytes that a device held at most."""
  import jax
  from our_step import OurStep, random_batch

  step = OurStep(run)
  batch = random_batch(run.phases[0], run.model.vocabulary, seed=0)
  seconds = timed(lambda: step(batch), step.wait, steps)
  memory = jax.local_devices()[0].memory_stats() or {}
  return seconds, memory.get('peak_bytes_in_use', 0)


def theirs(run, steps: int) -> tuple[list[float], int]:
  """The same of PyTorch."""
  import torch
  from our_step import random_batch
  from torch_twin import Batch, TwinStep, batch_of

  gpu = torch.cuda.is_available()
  device = 'cuda' if gpu else 'cpu'
  # It has no offload, and no chunks: what it needs, it needs on the device.
  phase = dataclasses.replace(
    run.phases[0],
    optimizer=dataclasses.replace(run.phases[0].optimizer, offload=None),
  )
  run = dataclasses.replace(run, phases=(phase,))
  step = TwinStep(run, compiled=gpu, device=device)
  batch = batch_of(random_batch(phase, run.model.vocabulary, seed=0))
  batch = Batch(*(x if x is None else x.to(device) for x in batch))
  wait = torch.cuda.synchronize if gpu else lambda: None
  seconds = timed(lambda: step(batch), wait, steps)
  return seconds, torch.cuda.max_memory_allocated() if gpu else 0


def timed(step, wait, steps: int) -> list[float]:
  """Seconds of each of so many steps, after some that are not timed."""
  for _ in range(WARM_UP):
    step()
  wait()
  seconds = []
  for _ in range(steps):
    began = time.perf_counter()
    step()
    wait()
    seconds.append(time.perf_counter() - began)
  return seconds


if __name__ == '__main__':
  main()
