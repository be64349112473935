import hashlib
import os
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg_tracker import fingerprint
from crackseg_tracker.fingerprint import FileFacts, digest, examine

needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")
needs_permissions = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user"
)

MISSING = FileFacts("missing", None, None, None, "", "missing")

names = st.text("abcXYZ_.é ", min_size=1, max_size=8).filter(
    lambda name: name.strip(". ") == name  # what every file system takes as it is
)
trees = st.dictionaries(
    st.tuples(st.sampled_from(["", "sub/", "sub/deep/", "other/"]), names).map(
        # Upper case only in folders of their own: a file system may not tell the cases apart.
        lambda pair: pair[0]
        + "f_"
        + pair[1].lower()
    ),
    st.integers(0, 50),
    min_size=1,
    max_size=8,
)


def grow(root: Path, tree: dict[str, int], order: list[str]) -> None:
    for name in order:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * tree[name])


@given(st.binary(max_size=5000), st.integers(1, 100))
def test_digest_is_the_plain_sha256(content: bytes, block: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "BLOCK", block)
        file = Path(folder, "file")
        file.write_bytes(content)
        at_once = examine(file)
        later = examine(file, hash_up_to=-1)
        assert later.digest_state == "pending"
        assert at_once == digest(file, later)
        assert at_once.sha256 == hashlib.sha256(content).hexdigest()
        assert at_once.size_bytes == len(content)
        assert at_once.modified_ns == file.stat().st_mtime_ns
        assert at_once.file_count is None


@given(trees, st.randoms())
def test_folder_digest_tells_names_and_sizes(tree: dict[str, int], random) -> None:
    order = list(tree)
    random.shuffle(order)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        grow(Path(first), tree, list(tree))
        grow(Path(second), tree, order)
        facts, again = examine(Path(first)), examine(Path(second))
        assert facts.digest_state == "hashed"
        assert facts.sha256 == again.sha256
        assert facts.size_bytes == sum(tree.values())
        assert facts.file_count == len(tree)

        seen = {facts.sha256}
        some = Path(second, order[0])
        some.write_bytes(b"x" * (tree[order[0]] + 1))
        seen.add(examine(Path(second)).sha256)
        some = some.rename(some.with_name("renamed"))
        seen.add(examine(Path(second)).sha256)
        some.with_name("added").touch()
        seen.add(examine(Path(second)).sha256)
        assert len(seen) == 4


def test_the_limit_is_inclusive(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert examine(file, hash_up_to=5).digest_state == "hashed"
    assert examine(file, hash_up_to=4).digest_state == "pending"


@pytest.mark.parametrize("name", ["none", "file/below", "nul\0name"])
def test_what_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert examine(tmp_path / name) == MISSING


@needs_posix
def test_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert examine(tmp_path / "link") == examine(tmp_path / "file")
    assert examine(tmp_path / "broken") == MISSING
    assert examine(tmp_path / "loop").digest_state == "unreadable"


@needs_posix
def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 1000)
    (inside / "itself").symlink_to(inside)
    (inside / "out").symlink_to(outside)
    (inside / "broken").symlink_to("nowhere")
    os.mkfifo(inside / "pipe")
    facts = examine(inside)
    assert facts.digest_state == "hashed"
    assert facts.file_count == 4
    assert facts.size_bytes is not None
    (outside / "large").write_bytes(b"x" * 2000)
    assert examine(inside).sha256 == facts.sha256


@needs_posix
def test_pipes_sockets_and_devices_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)  # the address of a socket has a small limit
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            facts = examine(path)
            assert (facts.kind, facts.digest_state, facts.sha256) == ("file", "unreadable", "")


@needs_posix
def test_a_pipe_that_took_the_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    facts = examine(file, hash_up_to=0)
    file.unlink()
    os.mkfifo(file)
    assert digest(file, facts) == facts._replace(digest_state="unreadable")


@needs_posix
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"abc")
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    facts = examine(tmp_path)
    assert facts.sha256 == hashlib.sha256(b"\xff\x003\x00").hexdigest()


@needs_permissions
def test_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    file = folder / "sub" / "file"
    file.write_bytes(b"abc")
    file.chmod(0)
    facts = examine(file)
    assert (facts.kind, facts.size_bytes, facts.digest_state) == ("file", 3, "unreadable")
    (folder / "sub").chmod(0)
    try:
        assert examine(file) == FileFacts("file", None, None, None, "", "unreadable")
        assert examine(folder).digest_state == "unreadable"
    finally:
        (folder / "sub").chmod(0o700)


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(5, "input/output error")])
def test_errors_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(*_: object) -> int:
        raise error

    file = tmp_path / "file"
    file.write_bytes(b"abc")
    pending = examine(file, hash_up_to=0)
    monkeypatch.setattr(fingerprint, "_open_at_once", fail)
    assert examine(file) == pending._replace(digest_state="unreadable")
    assert digest(file, pending) == pending._replace(digest_state="unreadable")


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(fingerprint.os, "scandir", fail)
    facts = examine(tmp_path)
    assert (facts.kind, facts.size_bytes, facts.digest_state) == ("folder", None, "unreadable")


def meddle(monkeypatch: pytest.MonkeyPatch, times: int, do) -> list[int]:
    """Let ``do`` happen while a file is read, in each of the first ``times`` readings."""
    fstat, calls, reader = os.fstat, [0], threading.get_ident()

    def and_do(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if calls[0] < times and threading.get_ident() == reader:  # other tests' catalogs have threads that ask, too
            calls[0] += 1
            do()
        return status

    monkeypatch.setattr(fingerprint.os, "fstat", and_do)
    return calls


def test_a_file_that_changed_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    meddle(monkeypatch, 1, lambda: file.write_bytes(b"abcdef"))
    facts = examine(file)
    assert facts.sha256 == hashlib.sha256(b"abcdef").hexdigest()
    assert facts.size_bytes == 6


def test_a_file_that_keeps_changing_is_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    calls = meddle(monkeypatch, 99, lambda: file.write_bytes(file.read_bytes() + b"more"))
    facts = examine(file)
    assert (facts.kind, facts.digest_state, facts.sha256) == ("file", "pending", "")
    assert calls[0] == 2
    assert facts.size_bytes == file.stat().st_size


def test_a_file_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, new = tmp_path / "file", tmp_path / "new"
    file.write_bytes(b"old")
    new.write_bytes(b"new")
    same = file.stat().st_mtime_ns
    os.utime(new, ns=(same, same))
    meddle(monkeypatch, 1, lambda: new.replace(file))
    assert examine(file).sha256 == hashlib.sha256(b"new").hexdigest()


@needs_posix
def test_a_file_that_vanishes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    meddle(monkeypatch, 1, file.unlink)
    assert examine(file) == MISSING


def test_a_folder_whose_entries_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    scandir = os.scandir

    def vanished(path):
        if os.fspath(path).endswith("sub"):
            raise FileNotFoundError(2, "gone")
        return scandir(path)

    monkeypatch.setattr(fingerprint.os, "scandir", vanished)
    facts = examine(tmp_path)
    assert (facts.kind, facts.size_bytes, facts.digest_state) == ("folder", None, "pending")
    assert digest(tmp_path, facts) == facts


def test_a_large_folder_is_completed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / str(number)).write_bytes(b"x")
    full = examine(tmp_path)
    limited = fingerprint._examine_once(tmp_path, 0, entries=29)
    assert limited == full._replace(size_bytes=None, file_count=None, sha256="", digest_state="pending")
    assert digest(tmp_path, limited, stop=lambda: True) == limited
    assert digest(tmp_path, limited) == full
    assert full.file_count == 30


def test_digest_leaves_what_is_not_pending(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    for facts in (examine(file), MISSING, examine(tmp_path)):
        assert digest(tmp_path / "other", facts) is facts


def test_digest_only_of_what_was_recorded(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    facts = examine(file, hash_up_to=0)
    file.write_bytes(b"longer")
    os.utime(file, ns=(facts.modified_ns or 0, facts.modified_ns or 0))
    assert digest(file, facts) == facts
    file.write_bytes(b"abc")
    os.utime(file, ns=(1, 1))
    assert digest(file, facts) == facts
    os.utime(file, ns=(facts.modified_ns or 0, facts.modified_ns or 0))
    assert digest(file, facts).digest_state == "hashed"
    file.unlink()
    assert digest(file, facts) == facts._replace(digest_state="missing")


def test_digest_stops_between_blocks(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * (fingerprint.BLOCK * 3))
    facts = examine(file, hash_up_to=0)
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    assert digest(file, facts, stop) == facts
    assert asked == [False, False, True]


def test_digest_of_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    facts = fingerprint._examine_once(folder, 0, entries=-1)
    assert facts.digest_state == "pending"
    folder.rmdir()
    assert digest(folder, facts).digest_state == "missing"
