"""An image that cannot be read ends a run with the data set, the file and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from torch.utils.data import Dataset

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.decode import ImageFault, decode_as_basicsr


class ReadError(RuntimeError):
    """A data set could not give an item; the text names it. It has one argument, so that workers can send it."""


class NamedReads(Dataset):
    """A data set whose errors name what was read; in all else, also in its attributes, it is the one that it is given.

    Args:
        dataset: Any map-style data set.
        name: Of the set, for errors.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset = dataset
        self.name = name

    def __getitem__(self, index: int) -> Any:
        """An item.

        Raises:
            ReadError: The data set failed.
        """
        try:
            return self.dataset[index]
        except OptionsError:  # it names the image itself
            raise
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise ReadError(f"{self.name}: {_describe(self.dataset, index)} ({what})") from error

    def __len__(self) -> int:
        """Items."""
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        """What the data set has, e.g. ``opt``; not what Python asks for while it copies or unpickles."""
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _describe(dataset: Any, index: int) -> str:
    """The images of an item, and the first that is damaged."""
    files = _files(dataset, index)
    for side, path in files.items():
        fault = _fault_of(dataset, side, path)
        if fault is not None:
            return f"{side} image {path}: {fault}"
    named = ", ".join(f"{side} image {path}" for side, path in files.items())
    return f"item {index}{f', {named}' if named else ''} cannot be read"


def _files(dataset: Any, index: int) -> dict[str, str]:
    """Path or LMDB key by side, where the data set has them as BasicSR's have."""
    try:
        entry = dataset.paths[index]
    except (AttributeError, LookupError, TypeError):
        return {}
    if isinstance(entry, Mapping):
        return {str(key)[: -len("_path")]: str(path) for key, path in entry.items() if str(key).endswith("_path")}
    return {"lq": str(entry)}


def _fault_of(dataset: Any, side: str, path: str) -> Optional[str]:
    """What is wrong with an image; None if it can be decoded."""
    client = getattr(dataset, "file_client", None)
    try:
        content = Path(path).read_bytes() if client is None else client.get(path, side)
        if content is None:
            return "it is not in the LMDB"
        decode_as_basicsr(content)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except ImageFault as fault:
        return str(fault)
    except Exception:  # of a client that is not BasicSR's; the error of the data set itself is told
        return None
    return None
