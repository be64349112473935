"""Packaged Alembic migrations: the one way in which a catalog is created and upgraded."""
