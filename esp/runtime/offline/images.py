"""Rows that are image files: one, or all those of a folder in the order of their names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from esp.astore.model import Astore
from esp.errors import FileError
from esp.runtime.events import VarColumn
from esp.runtime.offline.rows import Batch, Source, only_input

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
BATCH_FILES = 64
FOLDER_LABEL = "folder"  # the true label of an image is the name of the folder that it lies in


def read_images(astore: Astore, path: Path, label: str) -> Source:
    """The image files of a folder and of the folders in it, or one file. Raises FileError where the model takes no image files."""
    item = only_input(astore, "an image", path)
    if item.dtype != "blob":
        wanted = f"{item.dtype}{list(item.shape)}"
        raise FileError(f"the model takes {wanted}, not image files", where=str(path), mend="give an .npy file of that")
    if label not in ("", FOLDER_LABEL):
        raise FileError(
            f"an image file has no label '{label}'", where=str(path), mend=f"use --label {FOLDER_LABEL}, or leave it out"
        )
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise FileError("there are no image files", where=str(path), mend=f"it wants one of {', '.join(SUFFIXES)}")
    return Source(_batches(files, path, bool(label)), len(files))


def _batches(files: Sequence[Path], root: Path, is_labelled: bool) -> Iterator[Batch]:
    for at in range(0, len(files), BATCH_FILES):
        some = files[at : at + BATCH_FILES]
        read: dict[int, bytes] = {}
        bad: dict[int, str] = {}
        for number, file in enumerate(some, at):
            try:
                read[number] = file.read_bytes()
            except OSError as err:
                bad[number] = f"the file cannot be read ({err.strerror})"
        names = [str(files[number].relative_to(root)) if root.is_dir() else str(root) for number in read]
        labels = [files[number].parent.name for number in read] if is_labelled else None
        yield Batch((VarColumn.of(list(read.values())),), (None,), list(read), at + len(some), names, labels, bad)
