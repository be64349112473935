import getpass
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from crackseg_tracker import environment
from crackseg_tracker.environment import Environment, capture, process_facts

GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="needs git")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    # A temporary folder may itself be inside a working tree.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(environment, "TIME_LIMIT", 20.0)  # a busy machine is not what is tested
    monkeypatch.setattr(environment, "_captured", {})
    process_facts.cache_clear()
    environment._visible_devices.cache_clear()
    yield
    process_facts.cache_clear()
    environment._visible_devices.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Me", "-c", "user.email=me@example.org")
    done = subprocess.run([str(GIT), *identity, *arguments], cwd=folder, capture_output=True, check=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "train.py").write_text("one\ntwo\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def no_git(facts: Environment) -> bool:
    return facts[10:16] == ("", "", False, "", "", False)


@needs_git
def test_clean_repository(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "git@example.org:me/it.git")
    (repository / "untracked").touch()
    facts = capture(repository)
    assert facts.git_commit == git(repository, "rev-parse", "HEAD")
    assert facts.git_branch == "trunk"
    assert facts.git_remote == "git@example.org:me/it.git"
    assert (facts.git_dirty, facts.git_diff, facts.git_diff_truncated) == (False, "", False)


@needs_git
def test_a_diff_can_be_applied_whatever_the_configuration(repository: Path) -> None:
    for setting in ("diff.noprefix", "diff.mnemonicPrefix", "diff.relative"):
        git(repository, "config", setting, "true")
    git(repository, "config", "color.ui", "always")
    git(repository, "config", "diff.external", "false")
    file = repository / "train.py"
    file.write_bytes(b"one\r\nthree \xff\n")
    sub = repository / "sub"
    sub.mkdir()
    facts = capture(sub)
    assert facts.git_dirty
    assert "+three \ufffd\n" in facts.git_diff
    assert "--- a/train.py\n+++ b/train.py\n" in facts.git_diff
    assert not facts.git_diff_truncated

    file.write_text("one\nthree\n")
    diff = capture(repository).git_diff
    git(repository, "checkout", "-q", ".")
    (repository / "patch").write_text(diff)
    git(repository, "apply", "patch")
    assert file.read_text() == "one\nthree\n"


@needs_git
def test_staged_changes_are_in_the_diff(repository: Path) -> None:
    (repository / "new.py").write_text("new\n")
    git(repository, "add", "new.py")
    facts = capture(repository)
    assert facts.git_dirty
    assert "+new\n" in facts.git_diff


@needs_git
def test_detached(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    facts = capture(repository)
    assert len(facts.git_commit) == 40
    assert facts.git_branch == ""


@needs_git
def test_no_commits(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    facts = capture(tmp_path)
    assert facts.git_branch == "trunk"
    assert (facts.git_commit, facts.git_diff, facts.git_diff_truncated) == ("", "", False)


@needs_git
def test_a_huge_diff_is_cut_at_a_line(repository: Path) -> None:
    lines = "".join(f"é line {number}\n" for number in range(300_000))
    (repository / "train.py").write_text(lines, encoding="utf-8")
    facts = capture(repository)
    assert facts.git_dirty
    assert facts.git_diff_truncated
    assert "\ufffd" not in facts.git_diff
    size = len(facts.git_diff.encode())
    assert environment.DIFF_LIMIT - 100 < size <= environment.DIFF_LIMIT
    assert facts.git_diff.endswith("\n")


@needs_git
def test_the_environment_of_a_hook_does_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "wrong")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert capture(repository).git_branch == "trunk"


@needs_git
@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://me:secret@example.org/a.git", "https://example.org/a.git"),
        ("https://token@example.org:8080/a@b.git", "https://example.org:8080/a@b.git"),
        ("https://example.org/a@b.git", "https://example.org/a@b.git"),
        ("ssh://git:secret@example.org/a.git", "ssh://git@example.org/a.git"),
        ("/srv/git@home/a.git", "/srv/git@home/a.git"),
    ],
)
def test_no_credentials_are_kept(repository: Path, address: str, kept: str) -> None:
    git(repository, "remote", "add", "origin", address)
    assert capture(repository).git_remote == kept


@needs_git
def test_a_broken_repository(repository: Path) -> None:
    (repository / ".git" / "HEAD").write_bytes(b"\xff\0nonsense")
    assert no_git(capture(repository))


def test_outside_a_repository(tmp_path: Path) -> None:
    assert no_git(capture(tmp_path))
    assert no_git(capture(tmp_path / "none"))
    (tmp_path / "file").touch()
    assert no_git(capture(tmp_path / "file"))
    assert no_git(capture(Path("nul\0name")))


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = capture(tmp_path)
    assert no_git(facts)
    assert facts.python_version


def fake_git(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    program = folder / "git"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@needs_posix
@pytest.mark.parametrize("script", ["", "not a program", "#!/does/not/exist\n", "\x7fELF"])
def test_a_git_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    fake_git(tmp_path / "bin", script, monkeypatch)
    assert no_git(capture(tmp_path))


@needs_posix
def test_a_git_that_hangs_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "TIME_LIMIT", 0.5)
    monkeypatch.setattr(environment, "_KILL_GRACE", 10.0)
    pids = tmp_path / "pids"
    pids.mkdir()
    script = f'#!/bin/sh\nsleep 100 &\ntouch {pids}/$!\necho "half a line"\nwait\n'
    fake_git(tmp_path / "bin", script, monkeypatch)
    before = time.monotonic()
    facts = capture(tmp_path)
    assert time.monotonic() - before < 8
    assert (facts.git_commit, facts.git_branch, facts.git_remote) == ("", "", "")
    assert facts.python_version
    children = list(pids.iterdir())
    assert children
    for child in children:
        assert not alive(int(child.name))


def alive(pid: int) -> bool:
    # An orphan that was killed may wait a moment for its new parent to collect it.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return False
        if state in "ZX":
            return False
        time.sleep(0.02)
    return True


@needs_git
def test_answers_are_kept_per_directory(repository: Path, tmp_path: Path) -> None:
    first = capture(repository)
    (repository / "train.py").write_text("changed\n")
    again = capture(repository)
    assert not again.git_dirty
    assert again == first
    assert capture(tmp_path).git_commit == ""


def test_the_current_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert capture() == capture(tmp_path) == capture(Path())
    assert len(environment._captured) == 1


@needs_posix
def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    facts = capture()
    assert no_git(facts)
    assert facts.python_version
    assert process_facts().pid == os.getpid()


def test_machine_facts(tmp_path: Path) -> None:
    facts = capture(tmp_path)
    assert facts.python_version == platform.python_version()
    assert facts.platform == platform.platform()
    assert facts.hostname == socket.gethostname()
    assert facts.memory_gb > 0
    assert facts.cpu_count >= 1
    json.dumps(facts._asdict())


def test_packages(tmp_path: Path) -> None:
    packages = capture(tmp_path).packages
    assert packages["pytest"] == metadata.version("pytest")
    assert list(packages) == sorted(packages, key=str.lower)
    # The heads are read by hand; the standard library's own parser must agree.
    for distribution in metadata.distributions():
        assert distribution.version in metadata.version(distribution.metadata["Name"])
        assert distribution.metadata["Name"] in packages


def test_leftovers_and_broken_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(folder: str, content: str) -> None:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "METADATA").write_text(content)

    install("~emo_pack-1.0.dist-info", "Name: Demo-Pack\nVersion: 1.0\n")
    install("Demo_Pack-2.0.dist-info", "Name: Demo-Pack\nVersion: 2.0\n\nName: Body\n")
    install("later/demo_pack-3.0.dist-info", "Name: demo_pack\nVersion: 3.0\n")
    install("nameless-1.0.dist-info", "Metadata-Version: 2.1\n\nName: Body\n")
    (tmp_path / "empty-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "later")])
    assert capture(tmp_path).packages == {"Demo-Pack": "2.0"}


def test_a_slow_list_of_packages_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "TIME_LIMIT", 0.0)
    assert capture(tmp_path).packages == {}


def raising(*_: object, **__: object) -> Any:
    raise RuntimeError("broken")


def test_nothing_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for module, name in [
            (platform, "platform"),
            (platform, "python_version"),
            (platform, "node"),
            (socket, "gethostname"),
            (getpass, "getuser"),
            (os, "cpu_count"),
            (shutil, "which"),
            (metadata, "distributions"),
            (metadata, "version"),
            (environment, "_read_text"),
            (Path, "readlink"),
            (Path, "cwd"),
        ]:
            patch.setattr(module, name, raising)
        if hasattr(os, "sysconf"):
            patch.setattr(os, "sysconf", raising)
        patch.setattr(sys, "orig_argv", None)
        facts, process = capture(), process_facts()
    assert facts == Environment()
    assert process == ("", "", "", os.getpid(), "", "", "")


@pytest.mark.parametrize("broken", ["Popen", "Thread"])
def test_no_more_processes_or_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(subprocess if broken == "Popen" else environment.threading, broken, raising)
        facts = capture(tmp_path)
    assert no_git(facts)
    assert facts.packages


def fake_torch(monkeypatch: pytest.MonkeyPatch, **cuda: Callable[..., Any]) -> ModuleType:
    torch: Any = ModuleType("torch")
    torch.__version__ = "9.8.7+cu123"
    torch.version = SimpleNamespace(cuda="12.3")
    torch.cuda = SimpleNamespace(**cuda)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(environment, "_pytorch_version", raising)
    return torch


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    monkeypatch.setattr(environment, "_pytorch_version", raising)
    assert capture(tmp_path)[6:10] == ("", False, "", {})


def test_torch_is_not_imported_to_learn_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "torch-9.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: torch\nVersion: 9.1\n")
    (tmp_path / "torch.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    facts = capture(tmp_path)
    assert facts.pytorch_version == facts.packages["torch"] == "9.1"
    assert "torch" not in sys.modules


def test_cuda_that_is_not_in_use_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    # No current_device, no get_device_properties, no is_available: they would use CUDA.
    fake_torch(
        monkeypatch,
        is_initialized=lambda: False,
        device_count=lambda: asked.append(1) or 2,
    )
    monkeypatch.setattr(environment, "_model_of_all_gpus", lambda: "NVIDIA X")
    facts = capture(tmp_path)
    assert facts[6:9] == ("9.8.7+cu123", True, "12.3")
    assert facts.gpu_info == {"count": 2, "current": None, "name": "NVIDIA X"}
    capture(tmp_path)
    assert len(asked) == 1


def test_no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = fake_torch(monkeypatch, is_initialized=lambda: False, device_count=lambda: 0)
    torch.version.cuda = None
    assert capture(tmp_path)[6:10] == ("9.8.7+cu123", False, "", {})


def test_cuda_in_use_is_seen_after_the_rest_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert capture(tmp_path).gpu_info == {}
    fake_torch(
        monkeypatch,
        is_initialized=lambda: True,
        device_count=lambda: 4,
        current_device=lambda: 3,
        get_device_properties=lambda index: SimpleNamespace(name=f"GPU {index}"),
    )
    facts = capture(tmp_path)
    assert facts.cuda_available
    assert facts.gpu_info == {"count": 4, "current": 3, "name": "GPU 3"}


def test_broken_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = fake_torch(monkeypatch, is_initialized=lambda: True, current_device=raising)
    assert capture(tmp_path)[6:10] == ("9.8.7+cu123", True, "12.3", {})
    torch.cuda.is_initialized = torch.cuda.device_count = raising
    assert capture(tmp_path)[6:10] == ("9.8.7+cu123", False, "12.3", {})
    del torch.cuda, torch.version, torch.__version__
    assert capture(tmp_path)[6:10] == ("", False, "", {})


def test_half_imported_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = fake_torch(monkeypatch, is_initialized=raising)
    torch.__spec__ = SimpleNamespace(_initializing=True)  # type: ignore[assignment]
    assert capture(tmp_path)[6:10] == ("", False, "", {})


def test_model_of_all_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, model in enumerate(["NVIDIA H200", "NVIDIA H200"]):
        gpu = tmp_path / str(number)
        gpu.mkdir()
        (gpu / "information").write_text(f"Model: \t\t {model}\nIRQ:   12\n")
    monkeypatch.setattr(environment, "Path", lambda path: tmp_path if "gpus" in path else raising())
    monkeypatch.setattr(environment, "_read_text", lambda path: Path(path).read_text())
    assert environment._model_of_all_gpus() == "NVIDIA H200"
    (tmp_path / "1" / "information").write_text("Model: another\n")
    assert environment._model_of_all_gpus() == ""


@needs_linux
def test_process_facts() -> None:
    facts = process_facts()
    assert facts == process_facts()
    assert facts.hostname == socket.gethostname()
    assert len(facts.boot_id) == 36
    assert facts.pid_namespace.startswith("pid:[")
    assert facts.pid == os.getpid()
    assert facts.process_started.isdigit()
    assert Path(sys.executable).name in facts.command_line


@needs_linux
def test_the_start_of_a_process_with_an_odd_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = " ".join(str(number) for number in range(4, 53))
    monkeypatch.setattr(environment, "_read_text", lambda _: f"7 (a) b (c) S {fields}\n")
    assert process_facts().process_started == "22"


def test_another_process_has_another_identity(tmp_path: Path) -> None:
    code = "from crackseg_tracker.environment import process_facts; print(process_facts().pid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=Path.cwd())
    assert int(done.stdout) != process_facts().pid


def test_arguments_that_are_not_utf8_can_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "a b", "\udcff"])
    command = process_facts().command_line
    command.encode("utf-8")
    assert command.startswith("python 'a b' ")


def test_it_takes_little_time(tmp_path: Path) -> None:
    before = time.perf_counter()
    capture(tmp_path)
    assert time.perf_counter() - before < 10  # a fraction of a second, unless the machine is busy
    before = time.perf_counter()
    capture(tmp_path)
    assert time.perf_counter() - before < 1
