"""The final name: when it may be taken, and how a whole file gets there in one step."""

import errno
import io
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from shopsdk.export._checkpoint import Journal, Mark
from shopsdk.export._disk import holds_same, path_of, place, remove, state_of, sync_folder
from shopsdk.export._errors import CheckpointError
from shopsdk.export._part import PartFile, check_parameters, checkpoint_path, part_path

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
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    there = state_of(target)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise FileExistsError(errno.EEXIST, "it is no regular file; give it open to stream into it", str(target))
    # What is to be begun anew is not read: it may be damaged, or not ours.
    earlier = _earlier(target) if resume or if_exists != "replace" else None
    if resume and earlier is not None:
        asked, mark = earlier
        if not mark.complete or there is None or _is_unfinished(part_path(target), there):
            return None
        if mark.placed == there.st_size:
            check_parameters(target, asked, parameters)
            return mark
        if if_exists == "refuse":
            why = "it is not the file that an earlier run of this export made; if_exists='replace' replaces it"
            raise FileExistsError(errno.EEXIST, why, str(target))
        return None
    if there is not None and if_exists == "refuse":
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


def _earlier(target: Path) -> tuple[Mapping[str, object], Mark] | None:
    """Find what an earlier run left that is worth keeping: its parameters and its last mark."""
    journal = Journal.existing(checkpoint_path(target))
    if journal is None:
        return None
    try:
        parameters = journal.parameters()
        last = journal.last()
    finally:
        journal.close()
    return None if parameters is None or last is None or not (last.page or last.complete) else (parameters, last)


def _is_unfinished(part: Path, there: os.stat_result) -> bool:
    """Tell whether there is a file that lacks its final name; between a hard link and the removal, it has both."""
    state = state_of(part)
    return state is not None and not os.path.samestat(state, there)


def put_in_place(
    file: io.FileIO,
    target: Path,
    part: PartFile | None = None,
    *,
    if_exists: IfExists,
    taken: bool,
    keep_checkpoint: bool = False,
) -> int:
    """Give the whole file its final name, and clear up behind it; gives its size.

    Args:
        file: the file, open, and synced to the disk.
        target: the final name.
        part: the unfinished file of this target, open; it may be the whole file itself.
        if_exists: as in ``check_target``; a file that appeared meanwhile is minded too.
        taken: was a file there when it was checked? Then it was agreed that it be replaced.
        keep_checkpoint: leave the checkpoint, to tell later that this export was finished.

    Raises:
        FileExistsError: the name was taken meanwhile, or its file differs; the export is kept, except for "same".
        OSError: the name cannot be given; the export is kept.
    """
    size = os.fstat(file.fileno()).st_size
    same = if_exists == "same" and state_of(target) is not None
    if same and not holds_same(file, target):
        remove(file)
        if part is not None:
            part.discard()
        why = "it exists and holds something else; if_exists='replace' replaces it"
        raise FileExistsError(errno.EEXIST, why, str(target))
    try:
        if part is not None:
            part.will_place(size)
        if same:
            remove(file)
        else:
            place(file, target, replace=taken or if_exists == "replace")
    except BaseException as error:
        if part is None or path_of(file) != part.path:
            remove(file)  # it was made of parts, and they are kept
        if isinstance(error, FileExistsError):
            why = "it appeared while the export ran, which is kept; resume=True replaces it"
            raise FileExistsError(errno.EEXIST, why, str(target)) from None
        raise
    sync_folder(target.parent)
    if part is not None:
        part.discard(keep_checkpoint=keep_checkpoint)
    return size


def clear_up(target: Path) -> None:
    """Remove what an export that was read to its end has left beside its target, unless another one has begun since."""
    with suppress(CheckpointError):
        journal = Journal.existing(checkpoint_path(target))
        if journal is None:
            return
        try:
            last = journal.last()
            if last is not None and last.complete:
                part_path(target).unlink(missing_ok=True)
                journal.remove()
        finally:
            journal.close()
