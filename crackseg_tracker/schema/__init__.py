"""What a catalog consists of: tables (may change with a migration) and views (the contract)."""

#: "CSTK", in the header of every catalog (PRAGMA application_id).
APPLICATION_ID = 0x4353544B
#: The newest version that this release knows (PRAGMA user_version), and the Alembic revision that makes it.
VERSION = 2
REVISION = "0002"

STATUSES = ("created", "running", "completed", "failed", "aborted")
ENDS = STATUSES[2:]
DIGEST_STATES = ("hashed", "pending", "missing", "unreadable")
