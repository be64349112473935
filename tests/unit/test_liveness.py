from pathlib import Path

import pytest

from crackseg_tracker.environment import process_facts
from crackseg_tracker.store.liveness import AttemptFacts, Witness, of_all, of_attempt, why_dead, witness
from crackseg_tracker.store.locks import LifeLock, is_life_lock_held, remove_life_locks_of_the_dead

ATTEMPT = AttemptFacts("host", "boot-1", "pid:[1]", 7, "100", "7-a.lock", None)
LIVING = {7: "100"}


def seen(held: bool | None, processes: dict[int, str] = LIVING, **other: str) -> Witness:
    here = {"hostname": "host", "boot_id": "boot-1", "pid_namespace": "pid:[1]"} | other
    return Witness(**here, is_lock_held=lambda name: held, start_of=processes.get)


@pytest.mark.parametrize(
    ("attempt", "witness", "expected"),
    [
        # A held lock is life, wherever one asks from.
        (ATTEMPT, seen(True), "alive"),
        (ATTEMPT, seen(True, {}, pid_namespace="pid:[2]"), "alive"),
        (ATTEMPT, seen(True, {}, hostname="other", boot_id="boot-2"), "alive"),
        # Nobody holds it, or there is no such file: the process decides.
        (ATTEMPT, seen(False), "alive"),  # it closed all its descriptors, and goes on
        (ATTEMPT, seen(False, {}), "dead"),
        (ATTEMPT, seen(False, {7: "101"}), "dead"),  # the number was given away again
        (ATTEMPT, seen(None), "alive"),
        (ATTEMPT, seen(None, {}), "dead"),
        # Another container of this machine: its process numbers mean nothing here.
        (ATTEMPT, seen(False, {}, pid_namespace="pid:[2]"), "dead"),
        (ATTEMPT, seen(None, LIVING, pid_namespace="pid:[2]"), "elsewhere"),
        # The host was started anew; the number and even the start time may be there again.
        (ATTEMPT, seen(None, LIVING, boot_id="boot-2"), "dead"),
        (ATTEMPT, seen(False, LIVING, hostname="other", boot_id="boot-2"), "elsewhere"),
        (ATTEMPT._replace(hostname="localhost"), seen(None, hostname="localhost", boot_id="boot-2"), "elsewhere"),
        # Systems that tell neither boots nor start times.
        (ATTEMPT._replace(boot_id="", process_started=""), seen(False, {7: ""}, boot_id=""), "dead"),
        (ATTEMPT._replace(boot_id="", process_started=""), seen(None, {7: ""}, boot_id=""), "alive"),
        (ATTEMPT._replace(boot_id="", process_started=""), seen(None, {}, boot_id=""), "dead"),
        (ATTEMPT._replace(boot_id=""), seen(False, {}, hostname="other", boot_id=""), "elsewhere"),
        (ATTEMPT._replace(ended_at="2026-01-01"), seen(True), ""),
    ],
)
def test_liveness_is_told_by_facts(attempt: AttemptFacts, witness: Witness, expected: str) -> None:
    assert of_attempt(attempt, witness) == expected


def test_one_living_attempt_is_enough() -> None:
    assert of_all({"dead", "elsewhere", "alive"}) == "alive"
    assert of_all({"dead", "elsewhere"}) == "elsewhere"
    assert of_all({"dead"}) == "dead"


def test_the_reason_names_the_process() -> None:
    assert "process 7 on host" in why_dead(ATTEMPT, seen(False, {}))
    assert "started anew" in why_dead(ATTEMPT, seen(False, boot_id="boot-2"))


def test_this_process_is_alive_to_itself(tmp_path: Path) -> None:
    facts = process_facts()
    attempt = AttemptFacts(*facts[:5], "", None)
    assert of_attempt(attempt, witness(tmp_path / "catalog.db")) == "alive"
    assert of_attempt(attempt._replace(process_started="1"), witness(tmp_path / "catalog.db")) == "dead"


def test_a_life_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    lock = LifeLock(catalog)
    assert is_life_lock_held(catalog, lock.name) is True
    assert remove_life_locks_of_the_dead(catalog) == 0
    lock.release()
    assert is_life_lock_held(catalog, lock.name) is None
    left = tmp_path / "attempts" / "1-0123456789abcdef.lock"
    left.touch(mode=0o600)
    assert is_life_lock_held(catalog, left.name) is False
    assert remove_life_locks_of_the_dead(catalog) == 1
    assert list((tmp_path / "attempts").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "../catalog.db", "/etc/passwd", "a/b", "no such file", "a\0b"])
def test_the_name_of_a_lock_may_be_hostile(tmp_path: Path, name: str) -> None:
    (tmp_path / "attempts").mkdir()
    assert is_life_lock_held(tmp_path / "catalog.db", name) is None
