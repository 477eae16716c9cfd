"""Models: frozen dataclasses with `init`, `axes` and `apply` on nested dicts.

Contract (suite: tests/conformance/test_models.py):
  init(key) -> params            nested dicts of float32 arrays
  axes() -> names                the same dicts, leaves tuples of axis names
  apply(params, batch, rng=None) -> Out
"""
