"""Folders and LMDBs of images, read in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from srkd_plugin.images.decode import ImageFault
from srkd_plugin.images.listing import list_folder
from srkd_plugin.images.lmdb_store import LmdbImages, is_lmdb


class ImageSet(Protocol):
    """Images by key."""

    folder: Path

    def keys(self) -> list[str]:
        """All keys, sorted."""

    def read(self, key: str) -> bytes:
        """The image file of a key; raises :class:`~srkd_plugin.images.decode.ImageFault`."""


class FolderImages:
    """The images of a folder; a key is a file name without its extension.

    Args:
        option: How the user named the folder, for errors, e.g. ``--gt``.
        folder: The folder.

    Raises:
        InputError: It is not there, has no images, or two with the same key.
    """

    def __init__(self, option: str, folder: Path) -> None:
        self.folder = folder
        self.listing = list_folder(option, folder)
        self.files = self.listing.images(option)
        """Path by key."""

    def keys(self) -> list[str]:
        """All keys, sorted."""
        return list(self.files)

    def read(self, key: str) -> bytes:
        """The content of the image file of a key.

        Raises:
            ImageFault: There is none, or it cannot be read.
        """
        if key not in self.files:
            raise ImageFault("it is not in the folder")
        try:
            return self.files[key].read_bytes()
        except OSError as error:
            raise ImageFault(f"it cannot be read ({error.strerror})") from error


def open_images(option: str, path: Path) -> ImageSet:
    """Open a folder or an LMDB.

    Raises:
        InputError: It is not there, or not whole.
    """
    return LmdbImages(option, path) if is_lmdb(path) else FolderImages(option, path)
