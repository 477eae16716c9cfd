"""Folders of files, on a disk or in object storage, behind one contract."""

from pathlib import Path

from tpu_lm.data.folder import Folder
from tpu_lm.data.local_storage import LocalFolder
from tpu_lm.data.object_storage import RemoteFolder


def open_folder(url: str | Path) -> Folder:
  """Opens a folder, which need not exist yet.

  Args:
    url: a path, in which `~` is understood, or a URL: gs://bucket/folder,
      s3://bucket/folder, memory://folder (of this process), file:///folder.

  Returns:
    The folder.

  Raises:
    UserError: the URL is of no kind that TensorStore knows.
  """
  if '://' in str(url):
    return RemoteFolder(str(url))
  return LocalFolder(Path(url).expanduser())
