"""What became of the records: accepted = committed + journaled + dropped, and found is all but the dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of one part of the soak; parts and rounds are added with ``+=``."""

    #: Calls that returned.
    accepted: int = 0
    #: Of them, those that went straight to the catalog, and those that went by way of a journal.
    committed: int = 0
    journaled: int = 0
    #: What the catalog says was dropped.
    dropped: int = 0
    #: Of the accepted, those that the catalog has in the end, each with its values to the bit.
    found: int = 0
    #: Of the accepted, those that a power loss may take: "normal", within the last five seconds.
    unsynced: int = 0
    #: Calls that were killed before they returned, and whose record is there all the same, whole.
    in_doubt: int = 0
    #: Processes killed, or power losses.
    deaths: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """What no promise covers: this must be 0."""
        return self.accepted - self.found - self.dropped - self.unsynced

    def __iadd__(self, other: Tally) -> Tally:
        """Add the counts of another round."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


COLUMNS = ("accepted", "committed", "journaled", "dropped", "unsynced", "found", "lost", "in_doubt", "deaths")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align a small table: the first column to the left, numbers to the right."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def records_table(parts: dict[str, Tally]) -> str:
    """Show the tallies of the parts that record something."""
    rows = [[name, *(getattr(tally, column) for column in COLUMNS)] for name, tally in parts.items()]
    return table(["records", *(column.replace("_", " ") for column in COLUMNS)], rows)
