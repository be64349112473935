"""Write what follows from crackseg_tracker/schema/contract.py: the README's table, and the columns of the version.

    python scripts/write_contract.py

The columns of a released version never change: raise CONTRACT_VERSION in crackseg_tracker/schema/views.py first, and
those of the new version are added beside the others.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from crackseg_tracker.schema.contract import CONTRACT, readme_table
from crackseg_tracker.schema.views import CONTRACT_VERSION

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SECTION = ("<!-- views: written by scripts/write_contract.py -->", "<!-- views end -->")
VERSIONS = ROOT / "tests" / "unit" / "contract_versions.json"


def columns() -> dict[str, list[str]]:
    """Give the names of the columns of each view, in order."""
    return {name: [column.name for column in view.columns] for name, view in CONTRACT.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(SECTION[0])
    after = rest.split(SECTION[1])[1]
    README.write_text(f"{before}{SECTION[0]}\n\n{readme_table()}\n\n{SECTION[1]}{after}", encoding="utf-8")
    versions = json.loads(VERSIONS.read_text(encoding="utf-8")) if VERSIONS.exists() else {}
    versions[str(CONTRACT_VERSION)] = columns()
    lines = [
        f'"{version}": {{\n' + ",\n".join(f" {json.dumps(view)}: {json.dumps(names)}" for view, names in views.items())
        for version, views in versions.items()
    ]
    VERSIONS.write_text("{\n" + "\n},\n".join(lines) + "\n}\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
