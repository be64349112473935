"""Where the catalog is, and which setting said so.

``catalog=`` argument > ``CRACKSEG_TRACKER_CATALOG`` > ``[tool.crackseg_tracker] catalog`` of the first
``pyproject.toml`` with that table on the way up > the user's data folder. Resolved once, when a tracker or a
`Catalog` is made, to an absolute path: Hydra may change the working directory afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from crackseg_tracker.errors import InvalidTypeError, SettingsError

CATALOG_VARIABLE = "CRACKSEG_TRACKER_CATALOG"
PROJECT_VARIABLE = "CRACKSEG_TRACKER_PROJECT"
DEFAULT_PROJECT = "default"
FILE_NAME = "catalog.db"


class Location(NamedTuple):
    """The absolute path of a catalog and the setting that chose it."""

    path: Path
    setting: str


def locate(catalog: str | os.PathLike[str] | None = None) -> Location:
    """Find out where the catalog is.

    Args:
        catalog: A path or an SQLAlchemy URL of SQLite (``sqlite:////data/catalog.db``), or None to ask the
            settings.

    Raises:
        SettingsError: For ``:memory:``, a server's URL, an empty value, or an unreadable ``pyproject.toml``.

    Example:
        >>> locate("/data/catalog.db").path.as_posix()
        '/data/catalog.db'
        >>> locate("sqlite:////data/catalog.db").setting
        'catalog argument'
    """
    if catalog is not None:
        return Location(_file_of(catalog, "catalog argument"), "catalog argument")
    if variable := os.environ.get(CATALOG_VARIABLE):
        setting = f"environment variable {CATALOG_VARIABLE}"
        return Location(_file_of(variable, setting), setting)
    directory = Path.cwd()
    for folder in (directory, *directory.parents):
        found = _from_pyproject(folder / "pyproject.toml")
        if isinstance(found, Location):
            return found
        if found == "no catalog":  # the nearest table decides, also when it leaves the catalog to the default
            break
    import platformdirs

    folder = platformdirs.user_data_path("crackseg_tracker", appauthor=False)
    # A folder of its own: whoever zips or hashes a folder with the catalog in it drops SQLite's locks.
    return Location(folder / "catalog" / FILE_NAME, "user data folder")


def project_of(argument: str | None, config_project: str | None) -> str:
    """Tell the project: argument > ``CRACKSEG_TRACKER_PROJECT`` > ``project_name`` of the config > "default".

    Example:
        >>> project_of("roads", None)
        'roads'
    """
    return argument or os.environ.get(PROJECT_VARIABLE) or config_project or DEFAULT_PROJECT


def _file_of(value: object, setting: str) -> Path:
    if not isinstance(value, (str, os.PathLike)):
        raise InvalidTypeError(
            f"{setting}: {value!r} is a {type(value).__name__}; give a path or an SQLAlchemy URL of SQLite"
        )
    text = os.fspath(cast("str | os.PathLike[str]", value))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{setting}: {text!r} has a lone surrogate; give a path of valid UTF-8") from None
    if not text.strip() or "\0" in text:
        raise SettingsError(f"{setting}: {text!r} is not a path; give the path of a file")
    if text == ":memory:" or text.startswith("file:"):
        raise SettingsError(
            f"{setting}: {text!r} is not supported, because a catalog is shared by processes and outlives them; "
            "give the path of a file (a temporary one for trials)"
        )
    if "://" in text:
        text = _file_of_url(text, setting)
    return _absolute(os.path.abspath(Path(text).expanduser() if text.startswith("~") else text))


@lru_cache(maxsize=16)  # each tracker of a process asks for the same one
def _absolute(path: str) -> Path:
    return Path(path)


def _file_of_url(url: str, setting: str) -> str:
    scheme, _, rest = url.partition("://")
    # The URL may hold a password: no message repeats what follows the scheme.
    if scheme.split("+")[0] != "sqlite":
        raise SettingsError(
            f"{setting}: a server's URL ({scheme}://...) is not supported yet; give the path of a file, "
            "or sqlite:////absolute/path.db"
        )
    from urllib.parse import unquote

    path = unquote(rest.partition("?")[0])
    host = rest.partition("/")[0]
    path = path[1:] if path.startswith("/") else path
    if path in ("", ":memory:") or "@" in host:
        raise SettingsError(
            f"{setting}: {scheme}://... names no file of this machine (:memory: is not supported); give "
            "sqlite:////absolute/path.db"
        )
    return path


def _from_pyproject(file: Path) -> Location | Literal["no catalog"] | None:
    if not file.is_file():
        return None
    import tomllib

    setting = f"[tool.crackseg_tracker] of {file}"
    try:
        with file.open("rb") as stream:
            tool: object = tomllib.load(stream).get("tool", {})
    except (OSError, ValueError) as error:
        # Somebody else's broken file on the way up must not stop a training: it has no table of ours.
        import logging

        logging.getLogger("crackseg_tracker").warning("%s is not readable as TOML: %s", file, error)
        return None
    table = cast("Mapping[str, Any]", tool).get("crackseg_tracker") if isinstance(tool, dict) else None
    if table is None:
        return None
    if not isinstance(table, dict):
        raise SettingsError(f"{setting}: {table!r} is not a table; write [tool.crackseg_tracker] with catalog = ...")
    if "catalog" not in table:
        return "no catalog"
    value = cast("dict[str, object]", table)["catalog"]
    if (
        not isinstance(value, str)
        or not value.strip()
        or value.startswith(("file:", "sqlite:", ":memory:"))
        or "://" in value
    ):
        shown = f"{value.partition('://')[0]}://..." if isinstance(value, str) and "://" in value else repr(value)
        raise SettingsError(f"{setting}: catalog = {shown} is not the path of a file; write one")
    path = Path(value).expanduser()
    return Location(Path(os.path.abspath(file.parent / path)), setting)
