"""What devices can do at most, by the name that JAX gives them."""

from tpu_lm.compiled.topology import GENERATIONS

# JAX's name of a device begins so. Of GPUs: dense products in bfloat16, SXM, by
# NVIDIA's data sheets (without sparsity, which doubles what they print first).
_TPUS = {
  'TPU v4': 'v4',
  'TPU v5 lite': 'v5e',
  'TPU v5e': 'v5e',
  'TPU v5': 'v5p',
  'TPU v6 lite': 'v6e',
  'TPU v6e': 'v6e',
  'TPU7x': 'tpu7x',
}
_GPUS = {
  'NVIDIA A100': 312e12,
  'NVIDIA H100': 989e12,
  'NVIDIA H200': 989e12,
}
# Operations a second of a chip in 8 bits, where they are more than in bfloat16:
# Google's pages on v5e, v6e and tpu7x, and jax's `tpu_info.py` for v5p (0.10.2;
# it has all of these within 1 %, and fp8 on v6e at the rate of bfloat16).
_NARROW = {
  ('v5e', 'int8'): 393e12,
  ('v5p', 'int8'): 918e12,
  ('v6e', 'int8'): 1836e12,
  ('tpu7x', 'fp8'): 4614e12,
}


def narrow_peak_flops(generation: str, kind: str) -> float:
  """Operations of a device a second, in a format of 8 bits.

  Args:
    generation: a key of `GENERATIONS`.
    kind: 'int8' or 'fp8'; where it isn't faster, the peak in bfloat16.
  """
  facts = GENERATIONS[generation]
  return _NARROW.get((generation, kind), facts.peak_flops) / facts.devices


def peak_flops(device_kind: str) -> float | None:
  """Operations in bfloat16 of a device, per second; None where not known.

  Args:
    device_kind: of a `jax.Device`. A v4 lite is no v4, and so is not known.
  """
  for name, generation in _TPUS.items():
    if device_kind == name or (
      device_kind == f'{name}p' and generation == 'v5p'
    ):
      facts = GENERATIONS[generation]
      return facts.peak_flops / facts.devices
  for name, peak in _GPUS.items():
    if device_kind.startswith(name) and 'PCIe' not in device_kind:
      return peak
  return None
