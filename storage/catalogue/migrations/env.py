"""Run by Alembic."""

from __future__ import annotations

from teleread.storage.catalogue.migrate import run_environment

run_environment()
