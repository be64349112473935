"""What machine, code and packages a training ran with, read without ever failing it.

Nothing in here may raise and nothing may take long: a tracker that breaks or delays a training
because ``git`` hangs on a network file system is worse than one that knows less. Every fact is
therefore read on its own behind a guard and is simply empty where it cannot be had.

Roads not taken: GitPython, psutil and pynvml would each answer a part of this, at the price of a
dependency and of an import that costs more than the question.
"""

import functools
import getpass
import os
import platform
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import subprocess

__all__ = ["Environment", "ProcessFacts", "capture", "process_facts", "process_start"]

T = TypeVar("T")

DIFF_LIMIT = 1024 * 1024
"""Bytes of a diff that are kept: what a person changes by hand is far below this."""

TIME_LIMIT = 0.5
"""Seconds that all git commands together, and the list of packages, may take."""

_KILL_GRACE = 0.1
_TEXT_LIMIT = 64 * 1024


class Environment(NamedTuple):
    """Facts of the machine, the code and the packages; empty where they are unknown."""

    python_version: str = ""
    platform: str = ""
    hostname: str = ""
    username: str = ""
    memory_gb: float = 0.0
    cpu_count: int = 0
    pytorch_version: str = ""
    cuda_available: bool = False
    cuda_version: str = ""
    gpu_info: dict[str, Any] = {}  # noqa: RUF012
    git_commit: str = ""
    git_branch: str = ""
    git_dirty: bool = False
    git_remote: str = ""
    git_diff: str = ""
    git_diff_truncated: bool = False
    packages: dict[str, str] = {}  # noqa: RUF012


class ProcessFacts(NamedTuple):
    """What tells this process from every other one, also after its number was given away again.

    A process number alone does not: it is reused, it means another process in another container,
    and it starts over with the next boot.
    """

    hostname: str
    boot_id: str
    pid_namespace: str
    pid: int
    process_started: str
    username: str
    command_line: str


def capture(directory: Path | None = None) -> Environment:
    """Read the environment of this process; git is asked about ``directory``.

    The answer is kept for the life of the process, per directory: the code that runs is the code
    that was imported, so asking git again for a second training in the same process would describe
    files this process never loaded. Only what torch says about CUDA is read again, because it
    becomes known late: when torch is imported, and when CUDA is first used.

    Args:
        directory: A folder inside the working tree; the current folder when left out.

    Returns:
        The facts, empty where unknown. The dictionaries are shared by all who ask: they are not to be changed.

    Examples:
        >>> facts = capture()
        >>> facts.python_version.count(".")
        2
        >>> capture().git_commit == facts.git_commit
        True
    """
    try:
        where = os.path.abspath(directory or "")
    except OSError:  # the working directory is gone
        where = ""
    # No lock: one held by another thread during a fork would stay locked in the child forever.
    # Two threads that ask at the same moment read the same facts twice, which harms nobody.
    known = _captured.get(where)
    if known is None:
        known = _captured[where] = _capture(where)
    cuda = _guarded(_cuda_facts, None)
    if cuda is None:
        return known
    return known._replace(
        pytorch_version=known.pytorch_version or cuda.pytorch_version,
        cuda_available=cuda.available,
        cuda_version=cuda.version,
        gpu_info=cuda.gpu_info,
    )


@functools.cache
def process_facts() -> ProcessFacts:
    """Read what identifies this process, once; a forked child reads its own.

    Returns:
        The facts, empty where unknown.

    Examples:
        >>> import os
        >>> process_facts().pid == os.getpid()
        True
    """
    pid = os.getpid()
    return ProcessFacts(
        hostname=_guarded(_hostname, ""),
        boot_id=_guarded(lambda: _read_text("/proc/sys/kernel/random/boot_id").strip(), ""),
        pid_namespace=_guarded(lambda: str(Path("/proc/self/ns/pid").readlink()), ""),
        pid=pid,
        process_started=_guarded(lambda: process_start(pid), "") or "",
        username=_guarded(_username, ""),
        # orig_argv and not argv: argv has lost "-m package" and the interpreter's own options.
        command_line=_guarded(lambda: _storable(shlex.join(sys.orig_argv)), ""),
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process_facts.cache_clear)

_captured: dict[str, Environment] = {}


def _capture(where: str) -> Environment:
    deadline = time.monotonic() + TIME_LIMIT
    commands = _guarded(lambda: _start_git(where), {})  # git works while the rest is read
    known = Environment(
        python_version=_guarded(platform.python_version, ""),
        platform=_guarded(lambda: _storable(platform.platform()), ""),
        hostname=_guarded(_hostname, ""),
        username=_guarded(_username, ""),
        memory_gb=_guarded(_memory_gb, 0.0),
        cpu_count=_guarded(lambda: os.cpu_count() or 0, 0),
        pytorch_version=_guarded(_pytorch_version, ""),
        packages=_guarded(lambda: _packages(deadline), {}),
    )
    return _guarded(lambda: _with_git(known, commands, deadline), known)


def _guarded(read: Callable[[], T], empty: T) -> T:
    try:
        return read()
    except Exception:  # whatever goes wrong in there, the training goes on
        return empty


def _storable(text: str) -> str:
    # Names and arguments that are not valid UTF-8 arrive as lone surrogates, which SQLite refuses.
    return text.encode("utf-8", "replace").decode("utf-8")


def _read_text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


# Machine and process


def _hostname() -> str:
    return _storable(_guarded(socket.gethostname, "") or platform.node())


def _username() -> str:
    # Not os.environ["USERNAME"], which only Windows sets, and not os.getlogin(), which fails in
    # every job that has no terminal.
    return _storable(getpass.getuser())


def _memory_gb() -> float:
    if sys.platform == "win32":
        import ctypes

        class MemoryStatus(ctypes.Structure):
            _fields_ = [
                ("length", ctypes.c_ulong),
                ("load", ctypes.c_ulong),
                ("total_physical", ctypes.c_ulonglong),
                ("others", ctypes.c_ulonglong * 6),
            ]

        status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
        if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return 0.0
        total = int(status.total_physical)
    else:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return round(max(total, 0) / 1024**3, 2)


def process_start(pid: int) -> str | None:
    """Tell when a process of this machine started, in a form that only serves to be compared.

    Together with the number it names one process, for the number alone is given away again.

    Returns:
        None when there is no such process (or only its zombie), "" where the system does not say.

    Examples:
        >>> process_start(os.getpid()) == process_facts().process_started
        True
    """
    if not 0 < pid < 2**31:
        return None
    try:
        # The second field is the program's name in brackets and may itself hold blanks and brackets,
        # so the fields are counted from the last closing one: what follows is field 3, wanted is 22.
        fields = _read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return _guarded(lambda: _exists(pid), "")


def _exists(pid: int) -> str | None:
    if sys.platform == "win32":
        return ""  # os.kill would end it
    try:
        os.kill(pid, 0)  # where there is no /proc, or one that hides the processes of others
    except ProcessLookupError:
        return None
    return ""


# Packages and torch


def _packages(deadline: float) -> dict[str, str]:
    from importlib import metadata

    found: dict[str, tuple[str, str]] = {}
    for distribution in metadata.distributions():
        if time.monotonic() > deadline:
            return {}  # an unknown list is honest; half of one would pass for the whole
        name, version = _guarded(functools.partial(_name_and_version, distribution), ("", ""))
        if name:
            # The first one on sys.path is the one that is imported.
            found.setdefault(name.lower().replace("_", "-"), (name, version))
    return dict(sorted(found.values(), key=lambda pair: (pair[0].lower(), pair[0])))


def _name_and_version(distribution: Any) -> tuple[str, str]:
    # What pip leaves behind of an interrupted upgrade is called "~orch-2.1.dist-info" and would
    # compete with the real one; there is no public way to learn the name of the folder.
    location: object = getattr(distribution, "_path", None)
    if str(getattr(location, "name", "")).startswith("~"):
        return "", ""
    # Not distribution.metadata: it parses the whole README of every package as an e-mail, which
    # is ten times slower than looking for two lines of its head.
    read = distribution.read_text
    text: str = read("METADATA") or read("PKG-INFO") or read("") or ""
    name = version = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "Name":
            name = value.strip()
        elif key == "Version":
            version = value.strip()
        if not line or (name and version):
            break
    return _storable(name), _storable(version)


def _pytorch_version() -> str:
    from importlib import metadata

    return _storable(metadata.version("torch"))


class _CudaFacts(NamedTuple):
    pytorch_version: str = ""
    available: bool = False
    version: str = ""
    gpu_info: dict[str, Any] = {}  # noqa: RUF012


def _loaded_torch() -> Any | None:
    torch = sys.modules.get("torch")
    # A module is in sys.modules from the first moment of its import; the flag is the one the
    # import system itself goes by.
    if getattr(getattr(torch, "__spec__", None), "_initializing", False):
        return None
    return torch


def _cuda_facts() -> _CudaFacts | None:
    """Ask torch about CUDA, once it is imported, without creating a context and without making a later fork fail.

    ``torch.cuda.is_available()`` asks the CUDA runtime, after which forked children (the workers
    of a DataLoader) may no longer use CUDA; ``current_device()`` and ``get_device_properties()``
    create a context. Before CUDA is in use only ``device_count()`` is called: it asks NVML.
    """
    torch = _loaded_torch()
    if torch is None:
        return None
    facts = _CudaFacts(
        pytorch_version=_guarded(lambda: _storable(str(torch.__version__)), ""),
        version=_guarded(lambda: _storable(str(torch.version.cuda or "")), ""),
    )
    if not _guarded(lambda: bool(torch.cuda.is_initialized()), False):
        count = _guarded(lambda: _visible_devices(torch), 0)
        if count <= 0:
            return facts
        # The current device is chosen when CUDA is first used; until then there is none.
        name = _guarded(_model_of_all_gpus, "")
        return facts._replace(available=True, gpu_info={"count": count, "current": None, "name": name})
    return facts._replace(
        available=True,
        gpu_info=_guarded(lambda: _devices_in_use(torch), {}),
    )


@functools.lru_cache(maxsize=1)
def _visible_devices(torch: Any) -> int:
    # NVML takes milliseconds to load, and the number does not change while CUDA is not in use.
    return int(torch.cuda.device_count())


def _devices_in_use(torch: Any) -> dict[str, Any]:
    current = int(torch.cuda.current_device())
    name = _storable(str(torch.cuda.get_device_properties(current).name))
    return {"count": int(torch.cuda.device_count()), "current": current, "name": name}


def _model_of_all_gpus() -> str:
    # The driver's own listing needs no CUDA. Its order is not CUDA's, so it only names the device
    # where all of them are of one model.
    models: set[str] = set()
    for gpu in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        for line in _read_text(str(gpu)).splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                models.add(value.strip())
    return _storable(models.pop()) if len(models) == 1 else ""


# Git

# What a git hook or a wrapper exported about *its* repository; the question is about ours.
_FOREIGN_GIT_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIFF_OPTS",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_WORK_TREE",
    }
)

# The user's configuration must not shape the diff (so that it can be applied again), and no
# file system monitor may be started: that daemon would hold our pipe open.
_GIT_OPTIONS = (
    "--no-pager",
    *("-c", "core.fsmonitor=false"),
    *("-c", "diff.noprefix=false"),
    *("-c", "diff.mnemonicPrefix=false"),
    *("-c", "diff.relative=false"),
    *("-c", "diff.submodule=short"),
)

_GIT_COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "commit": (("rev-parse", "--quiet", "--verify", "HEAD"), _TEXT_LIMIT),
    "branch": (("symbolic-ref", "--quiet", "--short", "HEAD"), _TEXT_LIMIT),
    "dirty": (("status", "--porcelain", "--untracked-files=no"), 0),  # the first byte says it all
    "remote": (("remote", "get-url", "origin"), _TEXT_LIMIT),
    "diff": (("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--"), DIFF_LIMIT),
}


class _GitCommand:
    """One git command in a thread of its own, which starts it and reads what it says.

    A thread and not a ``selectors`` loop, because Windows cannot wait on pipes, and because
    starting a process in a folder on a network file system that is gone can itself hang: it is
    the daemon thread that is then left behind, not the training.
    """

    def __init__(self, command: list[str], where: str, limit: int) -> None:
        self.output = b""
        self.complete = False
        self.cut = False
        self._command = command
        self._where = where
        self._limit = limit
        self._abandoned = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="crackseg-git", daemon=True)
        self._thread.start()

    def finish(self, deadline: float) -> None:
        """Wait for the end, at most until ``deadline``; what still runs then is killed."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self.cut = True
            self._abandoned = True
            self._kill()

    def give_up(self, deadline: float) -> None:
        """Let a killed command be collected, so that no zombie and no open pipe is left."""
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        try:
            self._start_and_read()
        except Exception:  # no git, no such folder, no more processes: nothing is known then
            self.complete = False

    def _start_and_read(self) -> None:
        import subprocess

        self._process = process = subprocess.Popen(
            self._command,
            cwd=self._where,
            env=_git_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that git's own children die with it
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        with process:
            if self._abandoned:
                self._kill()
            assert process.stdout is not None
            output = process.stdout.read(self._limit + 1)
            if len(output) > self._limit:
                self.cut = True
                self._kill()
            self.output = output[: self._limit] if self._limit else output
        self.complete = process.returncode == 0 and not self.cut

    def _kill(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            if sys.platform == "win32":
                process.kill()
            else:
                # 9 and not SIGTERM: nothing here writes, so there is nothing to tidy up.
                os.killpg(process.pid, 9)
        except OSError:  # it ended by itself in this moment
            pass


def _git_environment() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in _FOREIGN_GIT_VARIABLES}
    return inherited | {
        "GIT_OPTIONAL_LOCKS": "0",  # never be the reason why the user's own git finds a lock
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_PAGER": "cat",
        "LC_ALL": "C",
    }


def _start_git(where: str) -> dict[str, _GitCommand]:
    import shutil

    git = shutil.which("git")
    if git is None or not where:
        return {}
    return {
        name: _GitCommand([git, *_GIT_OPTIONS, *arguments], where, limit)
        for name, (arguments, limit) in _GIT_COMMANDS.items()
    }


def _with_git(known: Environment, commands: dict[str, _GitCommand], deadline: float) -> Environment:
    for command in commands.values():
        command.finish(deadline)
    grace = max(deadline, time.monotonic()) + _KILL_GRACE
    for command in commands.values():
        command.give_up(grace)
    if not commands:
        return known

    def line(name: str) -> str:
        command = commands[name]
        text = command.output if command.complete else b""
        return text.decode("utf-8", "replace").strip()

    commit = line("commit")
    diff = commands["diff"]
    text = diff.output if diff.complete or diff.cut else b""
    if diff.cut:
        text = text[: text.rfind(b"\n") + 1]
    return known._replace(
        git_commit=commit,
        git_branch=line("branch"),
        # Either may have run out of time on a large tree; one of them is enough to know.
        git_dirty=bool(commands["dirty"].output or text),
        git_remote=_without_credentials(line("remote")),
        git_diff=text.decode("utf-8", "replace"),
        # Also where time ran out before the first line: an empty diff is then no clean tree.
        git_diff_truncated=diff.cut and bool(commit),
    )


def _without_credentials(remote: str) -> str:
    """Take passwords and access tokens out of an address: databases are copied and shared.

    Examples:
        >>> _without_credentials("https://me:secret@example.org/a.git")
        'https://example.org/a.git'
        >>> _without_credentials("git@example.org:a.git")
        'git@example.org:a.git'
    """
    scheme, separator, rest = remote.partition("://")
    host, slash, path = rest.partition("/")
    user, at, machine = host.rpartition("@")
    if not (separator and at):
        return remote
    # A token may stand in the place of the name, except with ssh, where the name is needed.
    keep = user.partition(":")[0] + "@" if "ssh" in scheme else ""
    return f"{scheme}://{keep}{machine}{slash}{path}"
