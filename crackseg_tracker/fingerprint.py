"""What a file or folder that an experiment produced looked like when it was recorded.

A checkpoint may have gigabytes and a training must not wait for it: small files are hashed at
once, large ones are ``pending`` until :func:`digest` completes them, at leisure. Nothing in here
raises for anything a file system can do.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["FileFacts", "digest", "examine"]

BLOCK = 1024 * 1024
"""Bytes read at a time; between two blocks a caller can stop the reading."""

ENTRY_LIMIT = 20_000
"""Entries of a folder that are looked at while the training waits."""


class FileFacts(NamedTuple):
    """What is known of one path.

    The digest of a file is that of its content. The digest of a folder is that of its listing
    (names and sizes, not contents): reading every file of a data set is not what was asked for.
    """

    kind: Literal["file", "folder", "missing"]
    size_bytes: int | None
    modified_ns: int | None
    file_count: int | None
    sha256: str
    digest_state: Literal["hashed", "pending", "missing", "unreadable"]


class _ChangedError(Exception):
    """The path was written to while it was read."""


class _StoppedError(Exception):
    """The caller has no more time."""


def examine(path: Path, *, hash_up_to: int = 4 * 1024 * 1024) -> FileFacts:
    """Look at a path; what is cheap to hash is hashed.

    Args:
        path: A file or folder; it need not exist. A symbolic link stands for its target.
        hash_up_to: The largest size in bytes that is hashed at once.

    Returns:
        The facts. A broken link is ``missing``; what is neither file nor folder (a pipe, a
        socket, a device) is an ``unreadable`` file and is never opened.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "metrics.csv")
        ...     _ = file.write_bytes(b"epoch,loss")
        ...     facts = examine(file)
        ...     later = examine(file, hash_up_to=0)
        >>> facts.kind, facts.size_bytes, facts.digest_state, facts.sha256[:8]
        ('file', 10, 'hashed', '81869416')
        >>> later.digest_state, later.sha256
        ('pending', '')
        >>> examine(file).kind
        'missing'
    """
    # Twice, because a file that was being closed when it was first read is then complete; not
    # more often, because one that is written all the time would keep the training waiting.
    try:
        return _examine_once(path, hash_up_to)
    except _ChangedError:
        pass
    try:
        return _examine_once(path, hash_up_to)
    except _ChangedError:
        # A limit below every size: the file is not read again, the folder not walked again.
        return _examine_once(path, -1, entries=-1)


def digest(path: Path, facts: FileFacts, stop: Callable[[], bool] = lambda: False) -> FileFacts:
    """Complete facts that are ``pending``, however long that takes.

    Args:
        path: The path that the facts were taken of.
        facts: The facts; any that are not pending are returned as they are.
        stop: Asked between blocks (or entries of a folder); true ends the work.

    Returns:
        The completed facts. They are unchanged, and still pending, if the work was stopped or if
        the path no longer has the size and time of modification they tell of: a digest of other
        content than was recorded would be worse than none. If the path is gone or cannot be read,
        only ``digest_state`` says so.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "model.pt")
        ...     _ = file.write_bytes(b"weights")
        ...     facts = examine(file, hash_up_to=0)
        ...     stopped = digest(file, facts, stop=lambda: True)
        ...     facts = digest(file, facts)
        >>> stopped.digest_state, facts.digest_state, facts.sha256[:8]
        ('pending', 'hashed', '9a129038')
    """
    if facts.digest_state != "pending":
        return facts
    try:
        folder = facts.kind == "folder"
        found = _list_folder(path, None, stop) if folder else _hash_file(path, stop)
    except (_ChangedError, _StoppedError):
        return facts
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return facts._replace(digest_state="missing")
    except OSError:
        return facts._replace(digest_state="unreadable")
    same = found.modified_ns == facts.modified_ns
    # A folder that had too many entries was recorded without a size; a file always has one.
    same = same and facts.size_bytes in (None, found.size_bytes)
    return found if same else facts


def _examine_once(path: Path, hash_up_to: int, entries: int = ENTRY_LIMIT) -> FileFacts:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        return FileFacts("missing", None, None, None, "", "missing")
    except OSError:
        return FileFacts("file", None, None, None, "", "unreadable")
    folder = stat.S_ISDIR(status.st_mode)
    pending = FileFacts(
        kind="folder" if folder else "file",
        size_bytes=None if folder else status.st_size,
        modified_ns=status.st_mtime_ns,
        file_count=None,
        sha256="",
        digest_state="pending",
    )
    try:
        if folder:
            return pending if entries < 0 else _list_folder(path, entries, lambda: False)
        if not stat.S_ISREG(status.st_mode):
            return pending._replace(digest_state="unreadable")
        if status.st_size > hash_up_to:
            return pending
        return _hash_file(path, lambda: False)
    except _StoppedError:
        return pending
    except (FileNotFoundError, NotADirectoryError):
        raise _ChangedError from None  # it was there a moment ago; the next look decides
    except OSError:
        return pending._replace(digest_state="unreadable")


def _open_at_once(path: str, flags: int) -> int:
    # Between the look and the opening a pipe may have taken the file's place; opening one waits
    # for its other end, forever if need be, unless told not to.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _hash_file(path: Path, stop: Callable[[], bool]) -> FileFacts:
    # Not hashlib.file_digest: it cannot be stopped, and it would run after a file that grows.
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError("not a regular file")
        content = hashlib.sha256()
        block = memoryview(bytearray(min(BLOCK, before.st_size + 1)))
        size = 0
        while True:
            if stop():
                raise _StoppedError
            count = file.readinto(block)
            if not count:
                break
            size += count
            if size > before.st_size:
                raise _ChangedError
            content.update(block[:count])
        # The open file, and what now bears its name: a checkpoint is often replaced by renaming
        # a new file over it, which the open one does not show.
        for after in (os.fstat(file.fileno()), path.stat()):
            if size != before.st_size or _identity(after) != _identity(before):
                raise _ChangedError
    return FileFacts("file", size, before.st_mtime_ns, None, content.hexdigest(), "hashed")


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _list_folder(path: Path, limit: int | None, stop: Callable[[], bool]) -> FileFacts:
    """List a folder; a symbolic link in it is an entry like a file and leads nowhere.

    Following links would count a file twice (``best.pt`` links to ``epoch_9.pt``), leave the
    folder, or never end. Empty folders leave no trace in the digest, like in git.
    """
    before = path.stat()
    listing: list[tuple[bytes, int]] = []
    entries = 0
    folders = [(os.fspath(path), b"")]
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as scan:
                for entry in scan:
                    entries += 1
                    if stop() or (limit is not None and entries > limit):
                        raise _StoppedError
                    name = prefix + os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((entry.path, name + b"/"))
                    else:
                        listing.append((name, entry.stat(follow_symlinks=False).st_size))
        except (FileNotFoundError, NotADirectoryError):
            if folder == os.fspath(path) and not path.is_dir():
                raise
            raise _ChangedError from None
    after = path.stat()
    if (after.st_ino, after.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
        raise _ChangedError
    content = hashlib.sha256()
    for name, size in sorted(listing):
        # Neither a name nor a number holds a NUL, so no two listings read the same.
        content.update(b"%b\0%d\0" % (name, size))
    return FileFacts(
        kind="folder",
        size_bytes=sum(size for _, size in listing),
        modified_ns=before.st_mtime_ns,
        file_count=len(listing),
        sha256=content.hexdigest(),
        digest_state="hashed",
    )


def inside(path: Path, folder: Path) -> str | None:
    """Tell the part of a path inside a folder, or None when it is elsewhere; links are followed.

    Example:
        >>> inside(Path("/e/unet/best.pth"), Path("/e/unet"))
        'best.pth'
    """
    try:
        return Path(os.path.realpath(path)).relative_to(folder).as_posix()
    except ValueError:
        return None
