"""A disk that loses its power: what was synced is there, and of the rest any part may be, in any order, torn.

Built from a recorded list of system calls (`recording`). Two kinds of file systems are meant: one that keeps a new name
once its folder is synced and not before (POSIX says no more), and one whose every sync takes all earlier names along
(ext4, XFS). Names are kept in their order either way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from recording import Call

SECTOR = 512


@dataclass(eq=False)
class _File:
    size: int = 0
    synced: bytearray = field(default_factory=bytearray)
    unsynced: list[Call] = field(default_factory=list)

    def after(self, calls: list[Call]) -> bytearray:
        content = bytearray(self.synced)
        for call in calls:
            _apply(content, call)
        return content


def _apply(content: bytearray, call: Call) -> None:
    if call.kind == "truncate":
        if call.offset < len(content):
            del content[call.offset :]
        content.extend(bytes(call.offset - len(content)))
        return
    content.extend(bytes(max(0, call.offset - len(content))))
    content[call.offset : call.offset + len(call.data)] = call.data


@dataclass(frozen=True)
class _Rename:
    """A name that from then on means a file, or none."""

    path: PurePath
    file: _File | None


class Disk:
    """The state of the files while the recorded calls are made one by one."""

    def __init__(self) -> None:
        self._now: dict[PurePath, _File] = {}
        self._strict = _Names(lambda folder, path: path.parent == folder)
        self._ordered = _Names(lambda folder, path: True)

    def make(self, call: Call) -> None:
        """Have a call made."""
        path = PurePath(call.path)
        if call.kind == "create":
            if path not in self._now:
                self._name(path, _File())
            elif call.offset == 0 and call.data == b"truncate":
                self._write(path, Call(call.start, call.at, call.time, "truncate", call.path))
        elif call.kind == "rename":
            self._name(PurePath(call.target), self._now.pop(path, None))
            self._name(path, None)
        elif call.kind == "unlink":
            self._name(path, None)
        elif call.kind in ("write", "append", "truncate"):
            self._write(path, call)
        elif call.kind == "sync":
            if path in self._now:
                file = self._now[path]
                done = [one for one in file.unsynced if one.at < call.start]
                file.synced = file.after(done)
                file.unsynced = file.unsynced[len(done) :]
                self._ordered.sync(path.parent)
            else:
                self._strict.sync(path)
                self._ordered.sync(path)

    def _name(self, path: PurePath, file: _File | None) -> None:
        if file is None:
            self._now.pop(path, None)
        else:
            self._now[path] = file
        for names in (self._strict, self._ordered):
            names.unsynced.append(_Rename(path, file))

    def _write(self, path: PurePath, call: Call) -> None:
        file = self._now.get(path)
        if file is None:
            return  # it has no name any more, and nobody will read it
        if call.kind == "append":
            call = call._replace(kind="write", offset=file.size)
        file.size = call.offset if call.kind == "truncate" else max(file.size, call.offset + len(call.data))
        file.unsynced.append(call)

    def lose_power(self, root: Path, folder: Path, chance: random.Random) -> str:
        """Write into a folder what a loss of power now may leave of the files below a root; tell how it keeps names."""
        kind, names = chance.choice((("names as POSIX", self._strict), ("names as ext4", self._ordered)))
        survives = _fate(chance)
        for path, file in names.left(chance).items():
            kept = [torn for call in file.unsynced for torn in survives(call)]
            place = folder / path.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.after(kept))
        return kind


class _Names:
    """The names in the folders, as one kind of file system keeps them."""

    def __init__(self, is_covered: Callable[[PurePath, PurePath], bool]) -> None:
        self._is_covered = is_covered
        self._synced: dict[PurePath, _File] = {}
        self.unsynced: list[_Rename] = []

    def sync(self, folder: PurePath) -> None:
        rest = [rename for rename in self.unsynced if not self._is_covered(folder, rename.path)]
        for rename in self.unsynced:
            if self._is_covered(folder, rename.path):
                _rename(self._synced, rename)
        self.unsynced = rest

    def left(self, chance: random.Random) -> dict[PurePath, _File]:
        names = dict(self._synced)
        for rename in self.unsynced[: chance.randrange(len(self.unsynced) + 1)]:
            _rename(names, rename)
        return names


def _rename(names: dict[PurePath, _File], rename: _Rename) -> None:
    if rename.file is None:
        names.pop(rename.path, None)
    else:
        names[rename.path] = rename.file


def _fate(chance: random.Random) -> Callable[[Call], Iterator[Call]]:
    """Choose how unkind the disk is: it keeps nothing, each write or not, or of each write some sectors."""
    keep = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    tear = chance.choice((0.0, 0.0, 0.3, 1.0))

    def survives(call: Call) -> Iterator[Call]:
        if call.kind == "write" and chance.random() < tear:
            for begin in range(0, len(call.data), SECTOR):
                if chance.random() < keep:
                    yield call._replace(offset=call.offset + begin, data=call.data[begin : begin + SECTOR])
        elif chance.random() < keep:
            yield call

    return survives
