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
