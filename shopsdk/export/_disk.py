"""The only module that opens, locks, names and removes an export's files.

**Problem.** Working files have names that anybody can guess, in folders that others may write to. Somebody may have put
a link, a FIFO or a file of their own at such a name. It must neither be written through nor be taken for ours.

**Invariants.** A new working file is created with ``O_EXCL`` and mode 0600, whatever the umask; what lies at its name
is removed, not opened. A working file of an earlier run is opened without following links, and used only if the
descriptor shows a regular file of this user, with one name, that nobody else may write to. The checkpoint is checked
before it is locked, and a lock counts only while the locked file still has its name. A final name that must not be
replaced is given by a call that cannot replace.

**Limits.** In a folder that others may write to and that has no sticky bit, they may rename and remove files at any
time; they can end an export, but neither read nor write it. On file systems that show all files as one user's (FAT,
SMB, NFS with squashed root), that user's files count as ours.

**What a file system may refuse.** Syncing and locking are done without where the file system says by its error number
that it cannot do them. Any other error ends the export: a full or failing disk must not pass for a synced one. Without
locks, two exports to one name can run at once. Then the later one takes over: it goes on in copies of the working
files (``take_over``), and the earlier one, whose files have lost their names, ends in an error.

**Platforms.** Calls and flags that a platform may lack are looked up when they are needed. Windows has no
``O_NOFOLLOW``, no user ids and no ``flock``, and it cannot rename or remove an open file. So on Windows a file is
closed first, names are checked by ``lstat`` alone, and two exports to one name are not kept apart.
"""

import errno
import importlib
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Container, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from shopsdk.export._summary import CheckpointError

_PRIVATE = 0o600
_OTHERS_WRITE = 0o022
_MAX_LINKS = 40
"""The most links to follow for one name, as on Linux."""
_MAX_RACES = 10
"""How often another process may take the name first before it counts as at work on it."""
_LOOK_SECONDS = 0.01
"""Seconds between two attempts to lock a file."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""From ``flock``: some NFS has no locks."""
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""From ``fsync``: the file system has nothing to sync."""
_NO_FOLDER_SYNC = _NO_SYNC | {errno.EACCES}
"""From ``open`` and ``fsync`` of a folder: SMB and some FUSE, a folder that may not be read, and Windows."""
_NO_MODES = _NO_LOCKS | {errno.EINVAL, errno.EACCES, errno.EPERM, errno.EBADF}
"""From ``fchmod`` and ``fchown``."""
_SAFELY = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
BLOCK = 2**20
"""The most bytes to read or write at once."""


def create(path: Path) -> io.FileIO:
    """Remove what lies at a name, and create a working file there.

    Raises:
        OSError: what lies there cannot be removed, or the file cannot be created.
    """
    path.unlink(missing_ok=True)
    return _create(path)


def reopen(path: Path) -> io.FileIO:
    """Open a working file of an earlier run.

    Raises:
        FileNotFoundError: there is none.
        CheckpointError: what lies there may not be ours.
        OSError: it cannot be opened.
    """
    _check_ours(os.lstat(path), path)  # a FIFO or a device is not even opened
    file = _open(path, os.O_RDWR)
    try:
        _check_ours(os.fstat(file.fileno()), path, named=is_named(file))
        _set_mode(file, _PRIVATE)  # somebody may have let others read it
    except BaseException:
        file.close()
        raise
    return file


def open_locked(path: Path, *, anew: bool) -> io.FileIO:
    """Open a file, created if there is none, and lock it until ``release``: no other export can open it so.

    Args:
        path: the file.
        anew: remove what lies there, unless another export is at work on it.

    Raises:
        CheckpointError: another export is at work on it; or, without ``anew``, what lies there may not be ours.
        OSError: it cannot be opened, or what lies there cannot be removed.
    """
    for _ in range(_MAX_RACES):
        if anew:
            _clear(path)
        file = open_existing(path)
        if file is None:
            try:
                file = _create(path)
            except FileExistsError:
                continue
            _lock(file)
        if is_named(file):  # else whoever had it locked before removed it
            return file
        release(file)
    raise _at_work(path)


def open_existing(path: Path) -> io.FileIO | None:
    """Open and lock a file as ``open_locked`` does; None if there is none.

    Raises:
        CheckpointError: another export is at work on it, or what lies there may not be ours.
        OSError: it cannot be opened.
    """
    try:
        file = reopen(path)
    except FileNotFoundError:
        return None
    _lock(file)
    if is_named(file):
        return file
    release(file)
    return None


def release(file: io.FileIO) -> None:
    """Unlock and close a file. Closing alone would leave it locked by a process that was forked meanwhile."""
    if not file.closed:
        unlock(file)
        file.close()


def unlock(file: io.FileIO) -> None:
    """Unlock a file that stays open."""
    if (flock := _find("flock", "fcntl")) is not None:
        with suppress(OSError):
            flock(file.fileno(), _find("LOCK_UN", "fcntl"))


def has_locks(file: io.FileIO) -> bool:
    """Whether the file system of a file that is open and, if it can be, locked has locks.

    Windows counts as if it had: open files cannot be replaced there, so nothing can be taken over.
    """
    flock = _find("flock", "fcntl")
    return flock is None or _flock(flock, file)


def take_over(file: io.FileIO) -> io.FileIO:
    """Put a copy in the place of a working file, and return it, open. Who has the old one open reaches it no more.

    Raises:
        CheckpointError: somebody else put something in its place.
        OSError: it cannot be copied; the old one stays.
    """
    path = path_of(file)
    temporary = _random_path(path.parent)
    with _create(temporary) as copy:
        try:
            file.seek(0)
            while block := file.read(BLOCK):
                write_all(copy, block)
            sync(copy)  # its journal may say that it is
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    release(file)
    return reopen(path)


def path_of(file: io.FileIO) -> Path:
    """Return the path by which a file was opened."""
    return Path(str(file.name))


def is_named(file: io.FileIO, path: Path | None = None) -> bool:
    """Whether a path is the open file's; default: the path by which it was opened."""
    if _euid() is None:
        return True  # Windows may tell different states by path and by descriptor
    there = state_of(path or path_of(file))
    return there is not None and os.path.samestat(os.fstat(file.fileno()), there)


def check_named(file: io.FileIO) -> None:
    """Check that an open file still has the path by which it was opened.

    Raises:
        FileNotFoundError: it lost it.
    """
    if not is_named(file):
        raise FileNotFoundError(errno.ENOENT, "it was removed or replaced while the export ran", str(path_of(file)))


def state_of(path: Path) -> os.stat_result | None:
    """Return the state of what lies at a path, without following a link; None for nothing."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(file: io.FileIO) -> None:
    """Remove the path of an open file, if it is still the file's."""
    if is_named(file):
        _by_name(file, lambda: path_of(file).unlink(missing_ok=True))


def place(file: io.FileIO, target: Path, *, replace: bool) -> None:
    """Give a finished file its final name and mode.

    A file that is replaced passes on its mode and, where this user may give it, its group. In a folder that others may
    write to, the file of somebody else passes on nothing, and its mode counts only where it is the stricter one. A new
    file follows the umask.

    Args:
        file: the file, open and synced.
        target: the final name.
        replace: whether what lies there may be replaced.

    Raises:
        FileExistsError: something lies there, and may not be replaced.
        FileNotFoundError: the file lost its own name.
        OSError: the name cannot be given.
    """
    source = path_of(file)
    check_named(file)
    mode = _final_mode(file, target, replace=replace)
    # Readers may read at once. Writing by others comes after the name: a part that others may write to is not resumed.
    _set_mode(file, mode & ~_OTHERS_WRITE)
    try:
        if replace:
            _by_name(file, lambda: os.replace(source, target))
        else:
            _place_new(file, source, target)
    except BaseException:
        _set_mode(file, _PRIVATE)
        raise
    if mode & _OTHERS_WRITE:
        _set_mode(file, mode)


def holds_same(file: io.FileIO, path: Path) -> bool:
    """Whether the file at a path has the same bytes as an open file."""
    with _open(path, os.O_RDONLY) as other:
        states = os.fstat(file.fileno()), os.fstat(other.fileno())
        if not stat.S_ISREG(states[1].st_mode) or states[0].st_size != states[1].st_size:
            return False
        file.seek(0)
        mine, theirs = io.BufferedReader(file, BLOCK), io.BufferedReader(other, BLOCK)
        try:
            while block := mine.read(BLOCK):
                if block != theirs.read(BLOCK):
                    return False
        finally:
            mine.detach()
            theirs.detach()
    return True


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of the data to a file without a buffer, which may take it in pieces."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync(file: io.FileIO) -> None:
    """Sync a file to the disk, if its file system can.

    Raises:
        OSError: the disk failed, or is full.
    """
    with _unless(_NO_SYNC):
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, if its file system can.

    Raises:
        OSError: the disk failed, or is full.
    """
    with _unless(_NO_FOLDER_SYNC):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def resolve(name: str) -> Path:
    """Follow the links of a name, and return the path that they lead to.

    The kernel's protection (Linux: ``fs.protected_symlinks``) does not reach links that are followed here. So every
    link on the way is checked: in a folder that others may write to, it must be this user's or root's.

    Raises:
        PermissionError: a link is neither.
        OSError: links lead in a circle.
    """
    if _euid() is None:
        return Path(os.path.realpath(name))
    path = "/" if name.startswith("/") else os.getcwd()
    rest = name.split("/")[::-1]
    links = 0
    while rest:
        part = rest.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            path = os.path.dirname(path)
            continue
        step = os.path.join(path, part)
        try:
            state = os.lstat(step)
        except OSError:  # who opens it will be told why
            path = step
            continue
        if not stat.S_ISLNK(state.st_mode):
            path = step
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        if _is_strangers(state, path, on_the_way=any(rest)):
            why = "it is another user's link, in a folder that others may write to"
            raise PermissionError(errno.EACCES, why, step)
        meant = os.readlink(step)
        if meant.startswith("/"):
            path = "/"
        rest += meant.split("/")[::-1]
    return Path(path)


def _find(name: str, module: str = "os") -> Any:
    """Return an attribute that a platform may lack; None if it does."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


@contextmanager
def _unless(refused: Container[int | None]) -> Generator[None]:
    """Ignore errors that say that the platform or the file system refuses a call."""
    try:
        yield
    except OSError as error:
        if error.errno not in refused:
            raise


def _open(path: Path, flags: int, mode: int = _PRIVATE) -> io.FileIO:
    """Open a file. Links are not followed, and a FIFO is not waited for."""

    def opener(name: str, _: int) -> int:
        return os.open(name, flags | sum(_find(flag) or 0 for flag in _SAFELY), mode)

    return open(path, "r+b", buffering=0, opener=opener)


def _create(path: Path) -> io.FileIO:
    file = _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        _set_mode(file, _PRIVATE)  # the umask may have taken the owner's rights, too
    except BaseException:
        file.close()
        raise
    return file


def _set_mode(file: io.FileIO, mode: int) -> None:
    fchmod = _find("fchmod")
    if fchmod is not None and not file.closed:
        with _unless(_NO_MODES):
            fchmod(file.fileno(), mode)


def _check_ours(state: os.stat_result, path: Path, *, named: bool = True) -> None:
    why = _why_not_ours(state, path.parent) if named else "it was replaced while it was opened"
    if why is not None:
        raise CheckpointError(
            f"{str(path)!r} cannot be used: {why}; look at it and remove it, or begin anew with"
            " if_exists='replace' and without resume=True"
        )


def _why_not_ours(state: os.stat_result, folder: Path) -> str | None:
    if stat.S_ISLNK(state.st_mode):
        return "it is a link"
    if not stat.S_ISREG(state.st_mode):
        return "it is no regular file"
    if state.st_nlink > 1:
        return "it has another name (a hard link)"
    euid = _euid()
    if euid is None or (state.st_uid == euid and not state.st_mode & _OTHERS_WRITE):
        return None
    # FAT and SMB show all files as one user's, writable for all. A file that is made now shows how ours look.
    mine = _sample(folder)
    if state.st_uid != mine.st_uid:
        return "it is another user's"
    return "others may write to it" if state.st_mode & _OTHERS_WRITE & ~mine.st_mode else None


def _sample(folder: Path, mode: int | None = None) -> os.stat_result:
    """Return the state of a new, empty file; the umask and the folder's ACL apply to ``mode``."""
    path = _random_path(folder)
    file = _create(path) if mode is None else _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try:
        return os.fstat(file.fileno())
    finally:
        file.close()
        path.unlink(missing_ok=True)


def _random_path(folder: Path) -> Path:
    return folder / f".shopsdk-{secrets.token_hex(8)}"


def _clear(path: Path) -> None:
    """Remove what lies at a path, unless another export is at work on it."""
    try:
        file = reopen(path)
    except FileNotFoundError:
        return
    except (CheckpointError, PermissionError):  # any other error may come from a file in use by another export
        path.unlink(missing_ok=True)
        return
    _lock(file)
    try:
        remove(file)  # while it is locked: afterwards it may be another's
    finally:
        release(file)


def _lock(file: io.FileIO) -> None:
    """Lock a file, or close it. A file system without locks is accepted.

    Another export may hold the lock for a moment, to look at the file before it begins; that is waited for.

    Raises:
        CheckpointError: it is locked.
    """
    flock = _find("flock", "fcntl")
    if flock is None:
        return
    for attempt in range(_MAX_RACES):
        try:
            _flock(flock, file)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS * (attempt < _MAX_RACES - 1))
        except OSError:
            file.close()
            raise
        else:
            return
    file.close()
    raise _at_work(path_of(file))


def _flock(flock: Callable[[int, int], object], file: io.FileIO) -> bool:
    """Lock a file, and return whether its file system has locks.

    Raises:
        BlockingIOError: it is locked.
    """
    try:
        flock(file.fileno(), _find("LOCK_EX", "fcntl") | _find("LOCK_NB", "fcntl"))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _euid() -> int | None:
    """Return the effective user id; None on Windows, where files have no such owner."""
    geteuid = _find("geteuid")
    return None if geteuid is None else int(geteuid())


def _at_work(path: Path) -> CheckpointError:
    return CheckpointError(f"another export is at work on {path.name!r}")


def _by_name(file: io.FileIO, call: Callable[[], object]) -> None:
    """Call what renames or removes an open file by its path; Windows needs it closed."""
    if _euid() is None:
        file.close()
    call()


def _is_strangers(state: os.stat_result, folder: str | Path, *, on_the_way: bool = False) -> bool:
    """Whether another user, root excepted, put something into a folder that others may write to.

    The folder's owner counts as another user. But their link on the way to a name is trusted, since they could put
    another folder in its place anyway.
    """
    where = os.stat(folder)
    ours = {0, _euid(), where.st_uid} if on_the_way else {0, _euid()}
    return state.st_uid not in ours and (bool(where.st_mode & _OTHERS_WRITE) or where.st_uid not in ours)


def _final_mode(file: io.FileIO, target: Path, *, replace: bool) -> int:
    old = state_of(target) if replace else None
    if old is None or _euid() is None or not stat.S_ISREG(old.st_mode):
        # The umask can only be read by setting it, for all threads at once, and knows nothing of default ACLs.
        return _sample(target.parent, 0o666).st_mode & 0o777
    mode = old.st_mode & 0o777  # never setuid or setgid
    if _is_strangers(old, target.parent):
        return mode & _sample(target.parent, 0o666).st_mode
    fchown = _find("fchown")
    if old.st_gid != os.fstat(file.fileno()).st_gid and fchown is not None:
        with _unless(_NO_MODES):
            fchown(file.fileno(), -1, old.st_gid)
    if old.st_gid != os.fstat(file.fileno()).st_gid:
        mode &= ~0o070 | (mode & 0o007) << 3  # another group gets no more rights than everybody
    return mode


def _place_new(file: io.FileIO, source: Path, target: Path) -> None:
    """Give a name that must be free. Without hard links (FAT, some FUSE), an empty file reserves it.

    Limits: what somebody puts in place of the empty file, before the rename replaces it, is lost.
    """
    try:
        _link(source, target)
    except FileExistsError:
        if _euid() is None or not is_named(file, target):  # NFS may say so of a link that it made
            raise
    except OSError:
        _rename_over_reservation(file, source, target)
        return
    _by_name(file, lambda: source.unlink(missing_ok=True))


def _link(source: Path, target: Path) -> None:
    link = _find("link")
    if link is None:
        raise OSError(errno.ENOTSUP, "no hard links")
    link(source, target)


def _rename_over_reservation(file: io.FileIO, source: Path, target: Path) -> None:
    reserved = _create(target)
    try:
        _by_name(reserved, lambda: _by_name(file, lambda: os.replace(source, target)))
    except BaseException:
        remove(reserved)
        raise
    finally:
        reserved.close()
