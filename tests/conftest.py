"""One cache of compiled programs for all test processes of a checkout."""

import os
import pathlib

import pytest

from tpu_lm.data import object_storage

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault(
  'JAX_COMPILATION_CACHE_DIR',
  str(pathlib.Path(__file__).parents[1] / '.pytest_cache' / 'jax'),
)
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')


@pytest.fixture(autouse=True)
def copies_of_remote_stores(tmp_path_factory, monkeypatch):
  """Keeps what is copied from object storage out of the home folder."""
  copies = tmp_path_factory.getbasetemp() / 'indexes'
  monkeypatch.setattr(object_storage, 'COPIES', str(copies))
