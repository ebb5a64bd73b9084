"""What is computed from an arrival's bytes, with which parameters and by which code: the same again at any time.

Two jobs in the bounded parser processes: ``derive`` reads and analyses, ``pseudonymise`` makes the copy for export.
Between them the patient is enrolled in the vault, because the copy's pseudonym and dates depend on the vault alone.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import teleread
from teleread.errors import InputRejected, StorageError
from teleread.ingest.bounded import Product
from teleread.pipeline.services import Services

EXPORT_PROJECT = "default-export"
_LIBRARIES = ("numpy", "scipy", "pydicom", "pillow", "pylibjpeg", "pylibjpeg-openjpeg")
_DECIDING = ("signal", "ingest", "pipeline/derive.py", "pipeline/pictures.py")  # the code that decides on derived bytes
_DECIDING_KINDS = ("py", "toml", "weights")  # with its limits and weights


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where derived bytes come from; all that is needed to make them again.

    ``project`` is None for what holds no pseudonym. The pseudonym and the shift of dates themselves are not stored:
    the vault gives them again. ``ecg_profile`` names the limits that judge an ECG, ``ecg_profile_on`` the day (ISO
    8601) whose edition of them; None where they decide on nothing.
    """

    issuer: str
    utc_offset_minutes: int
    project: str | None = None
    ecg_profile: str | None = None
    ecg_profile_on: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As the catalogue keeps it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job of a parser may take, where that is less than the pool allows."""

    timeout_s: float | None = None
    output_bytes: int | None = None


class NeedsMoreRoom(Exception):
    """A job's output is larger than the caller has room for; the pool itself would allow it."""


_NO_LIMITS = Limits()


def derive(services: Services, data: bytes, lineage: Lineage, limits: Limits = _NO_LIMITS) -> Product:
    """Read and analyse.

    Raises:
        InputRejected: nothing could be read.
        NeedsMoreRoom: see :class:`Limits`.
    """
    options = {
        "issuer": lineage.issuer,
        "utc_offset_minutes": lineage.utc_offset_minutes,
        "ecg_profile": lineage.ecg_profile,
        "ecg_profile_on": lineage.ecg_profile_on,
    }
    return _run(services, "teleread.pipeline.derive:derive", data, options, limits)


def pseudonymise(
    services: Services, data: bytes, lineage: Lineage, pseudonym: str, limits: Limits = _NO_LIMITS
) -> Mapping[str, bytes]:
    """The copy for export, by name; none when the lineage names no project. Raises as :func:`derive`."""
    if lineage.project is None:
        return {}
    vault = services.vault
    options = {
        "pseudonym": vault.project_pseudonym(lineage.project, pseudonym),
        "shift_days": vault.date_shift_days(lineage.project, pseudonym),
        "uid_key": vault.project_key(lineage.project).hex(),
        "utc_offset_minutes": lineage.utc_offset_minutes,
    }
    return _run(services, "teleread.pipeline.derive:pseudonymise", data, options, limits).blobs


def _run(services: Services, function: str, data: bytes, options: dict[str, Any], limits: Limits) -> Product:
    if limits.output_bytes is None:
        return services.pool.run(function, data, options, timeout_s=limits.timeout_s)
    try:
        return services.pool.run(
            function, data, options, timeout_s=limits.timeout_s, max_output_bytes=limits.output_bytes
        )
    except InputRejected as error:
        if error.code == "too_much_output":
            raise NeedsMoreRoom from error
        raise


@lru_cache(maxsize=1)
def made_with() -> dict[str, str]:
    """Versions of all that decides on derived bytes; ``code`` is a hash of our own deciding source.

    Raises:
        StorageError: ``code_unreadable``: the program's own files cannot be read now.
    """
    try:
        libraries = {name: version(name) for name in _LIBRARIES}
        code = _code()
    except (OSError, PackageNotFoundError) as error:
        raise StorageError("code_unreadable", "the program's own files cannot be read") from error
    return {"teleread": teleread.__version__, "code": code, "python": platform.python_version(), **libraries}


def _code() -> str:
    root = Path(teleread.__file__).parent
    digest = hashlib.sha256()
    for part in _DECIDING:
        place = root / part
        files = [file for kind in _DECIDING_KINDS for file in place.rglob(f"*.{kind}")]
        for file in [place] if place.is_file() else sorted(files):
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]
