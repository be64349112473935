"""How each version's tables and indexes look: digests of their statements, as the migrations make them.

With them a changed object is found, and named, in well under a millisecond at every opening; building the schema to
compare with takes ten. A test holds them equal to what the migrations make; ``scripts/fingerprint_schema.py`` writes
those of the newest version. Once a version is released, its tables, indexes and views stay as they are: a changed view
is a new version too.
"""

from __future__ import annotations

import hashlib

_FIRST = {
    "index artifact_by_digest": "3b66bcd0acd4295e4e47ed68316cab6f",
    "index artifact_by_type": "4bcbb8a01039b07880ff8c9b4d446982",
    "index artifact_tag_by_tag": "4beae120a339251d1676305e1e224f4c",
    "index experiment_by_project": "b5df942979df67ea250443043020d7f4",
    "index experiment_living": "a67b8adf725443710640bfcfe50a3748",
    "index experiment_tag_by_tag": "c31f775d75614c110d51d4060699c6cc",
    "index metric_report_by_series": "7062124151324c88ae457426c1702380",
    "index metric_summary_highest": "47d22737fa52b3a5502b3dec6ae8f6be",
    "index metric_summary_lowest": "218ab5ecf42318a7e6f41dbdcd7984e1",
    "index metric_summary_open": "5128ccccbb468e83dbe7d2fd097bed6e",
    "index metric_superseded_by_series": "8e0393647db15b7ecfbc910566f0e8cb",
    "index param_by_value": "6f86e7a88d4d78e697197fc553b971c4",
    "index status_change_by_experiment": "d793ed39b45c995a28bb64f1ac6e189a",
    "table artifact": "d2f70d8077f8b12245d0481c83810afa",
    "table artifact_tag": "908a08917b80cb2fcac1a401b211b449",
    "table attempt": "2cfc71957e884e77c5187f8e1e8e09d4",
    "table config": "1224f938f0f195cbed964cf36983255f",
    "table environment": "dcab702447c17c2b1d50b1478f7d3f6d",
    "table experiment": "4cc09729e28f14e4f5cd35fad37c6847",
    "table experiment_tag": "5e693ff8680588f53133d9fd0058aa30",
    "table git_diff": "8b819eeb38beeede8bbace461be1ca36",
    "table metric_name": "73be86c3cac2dc86cccaf9f206a1e5b2",
    "table metric_point": "3be2d231fd2fe5e6396ffa51b98b0fda",
    "table metric_recent": "9648d1d5e72a238bd625952045bcc8ea",
    "table metric_report": "fd4dca3614a0da3ae24ef9c01486a42d",
    "table metric_summary": "3eaa6fbcf63d63669c00f923931d5981",
    "table metric_superseded": "68346dda6e8a08457c1858caccfe2be4",
    "table metric_writer": "bebb4b20c9df84b64d15d3b2dca0d269",
    "table package_set": "b72c725cbef88b7706e306df8e12f90c",
    "table param": "09ceff4aa9d4a8c8c4231688021f5dd3",
    "table sample": "9b1a26caa84f2721abf29e9ae681b271",
    "table sample_point": "3b97c6bc4236a327a89e4336c19674fe",
    "table status_change": "c959fdd3b4531882ea88b43dee019e38",
}

#: Schema version -> kind and name -> digest.
TABLES_AND_INDEXES: dict[int, dict[str, str]] = {
    1: _FIRST,
    2: {
        **_FIRST,
        "index artifact_by_path": "3dd641207b93b7f227d42d0c679a86ba",
        "index change_log_by_experiment": "e43b8de41d7367bcc5a2ad20236deffa",
        "index change_log_by_time": "b73faa6146fc56d191be10a66fa1a139",
        "index experiment_by_creation": "1fb0902206b63c75bda8d560b682875b",
        "index experiment_by_identity": "cf17a348a6344fd4f50de30f61652d81",
        "index experiment_by_status": "b7ca5f7127c1d12f8c52ddb0f041cafe",
        "index journal_writer_by_experiment": "002ef409938343594e4ba811b703bdcf",
        "table attempt": "75823678cfc6b6f8ab0da47f7258d120",
        "table change_log": "96aaa781edc7e22521bb79d184d9cc7a",
        "table experiment": "70f34cd677d17135880ab4e92bd96a35",
        "table journal_writer": "f702253ea80d32f373897c5428612abf",
        "table status_change": "49e840f840a5a47c2d1473d7063ac427",
    },
}

#: The views of released versions, which an upgrade replaces; those of this one are `schema.views.VIEWS`.
FORMER_VIEWS: dict[int, tuple[str, ...]] = {
    1: (
        "_open_summary",
        "_recent_summary",
        "_summary",
        "artifact_tags",
        "artifacts",
        "attempts",
        "catalog_info",
        "experiment_tags",
        "experiments",
        "metric_bests",
        "metric_names",
        "metric_reports",
        "metric_summaries",
        "metrics",
        "params",
        "sample_metrics",
        "status_changes",
        "superseded_metrics",
    ),
}


def fingerprint(statement: str) -> str:
    """Digest the statement that made an object.

    Example:
        >>> fingerprint("CREATE TABLE t (x)")
        'd263c68bf708398a6ae4d07115896c53'
    """
    return hashlib.sha256(statement.encode()).hexdigest()[:32]
