"""The final name: when it may be taken, and how a whole file gets there in one step."""

import errno
import filecmp
import os
from pathlib import Path
from typing import Literal

from shopsdk.export._checkpoint import Journal, Mark, sync_folder
from shopsdk.export._part import check_parameters, checkpoint_path, part_path

IfExists = Literal["refuse", "same", "replace"]
"""What becomes of a file that is there already, and of an unfinished export beside it."""


def check_target(target: Path, parameters: dict[str, object], *, resume: bool, if_exists: IfExists) -> Mark | None:
    """See whether the name is free, or may be taken. Gives the end of an export that an earlier run has put in place.

    Raises:
        FileExistsError: a file, or an unfinished export, is there and may not be replaced.
        IsADirectoryError: a folder is there.
        FileNotFoundError: there is no folder for it.
        CheckpointError: another process is at it, or (to be resumed) it was asked for differently.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    exists = target.exists()
    if exists and not target.is_file():
        raise FileExistsError(errno.EEXIST, "it is no regular file; give it open to stream into it", str(target))
    earlier = _earlier(target)
    if resume and earlier is not None:
        there, mark = earlier
        if mark.complete and exists and not part_path(target).exists():
            check_parameters(target, there, parameters)
            return mark
        return None
    if exists and if_exists == "refuse":
        why = "it exists, and there is nothing beside it to go on with" if resume else "it exists already"
        raise FileExistsError(errno.EEXIST, f"{why}; if_exists='replace' replaces it", str(target))
    if earlier is not None and if_exists != "replace" and not (if_exists == "same" and earlier[0] == parameters):
        raise FileExistsError(
            errno.EEXIST,
            f"an unfinished export of {earlier[1].rows} rows is there; resume=True goes on with it,"
            " if_exists='replace' begins anew",
            str(part_path(target)),
        )
    return None


def _earlier(target: Path) -> tuple[dict[str, object], Mark] | None:
    """What an earlier run left that is worth keeping: its parameters and its last mark."""
    path = checkpoint_path(target)
    if not path.exists():
        return None
    journal = Journal(path)
    try:
        found = journal.read()
    finally:
        journal.close()
    if found is None or not found.marks or not (found.marks[-1].page or found.marks[-1].complete):
        return None
    return found.parameters, found.marks[-1]


def put_in_place(source: Path, target: Path, *, if_exists: IfExists, taken: bool, keep_checkpoint: bool) -> int:
    """Give the whole file its final name, and clear up behind it; gives its size.

    Args:
        source: the file, synced to the disk.
        target: the final name.
        if_exists: as in ``check_target``; a file that appeared meanwhile is minded too.
        taken: was a file there when it was checked? Then it was agreed that it be replaced.
        keep_checkpoint: leave the checkpoint, to tell later that this export was finished.

    Raises:
        FileExistsError: the name was taken meanwhile, or its file differs; the export is kept, except for "same".
    """
    if if_exists == "same" and target.exists() and not filecmp.cmp(source, target, shallow=False):
        source.unlink()
        forget(target)
        why = "it exists and holds something else; if_exists='replace' replaces it"
        raise FileExistsError(errno.EEXIST, why, str(target))
    if if_exists == "refuse" and not taken and target.exists():
        if source != part_path(target) or not checkpoint_path(target).exists():
            source.unlink()  # it was made of parts, and they are kept
        why = "it appeared while the export ran, which is kept; resume=True replaces it"
        raise FileExistsError(errno.EEXIST, why, str(target))
    size = source.stat().st_size
    os.replace(source, target)
    sync_folder(target.parent)
    if keep_checkpoint:
        part_path(target).unlink(missing_ok=True)
    else:
        forget(target)
    return size


def forget(target: Path) -> None:
    """Remove an unfinished export and its checkpoint, the bytes first."""
    part_path(target).unlink(missing_ok=True)
    checkpoint_path(target).unlink(missing_ok=True)
