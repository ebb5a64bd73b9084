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
from teleread.errors import StorageError
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


def derive(services: Services, data: bytes, lineage: Lineage, *, timeout_s: float | None = None) -> Product:
    """Read and analyse. Raises ``InputRejected`` when nothing could be read."""
    options = {
        "issuer": lineage.issuer,
        "utc_offset_minutes": lineage.utc_offset_minutes,
        "ecg_profile": lineage.ecg_profile,
        "ecg_profile_on": lineage.ecg_profile_on,
    }
    return services.pool.run("teleread.pipeline.derive:derive", data, options, timeout_s=timeout_s)


def pseudonymise(
    services: Services, data: bytes, lineage: Lineage, pseudonym: str, *, timeout_s: float | None = None
) -> Mapping[str, bytes]:
    """The copy for export, by name; none when the lineage names no project. Raises ``InputRejected``."""
    if lineage.project is None:
        return {}
    vault = services.vault
    options = {
        "pseudonym": vault.project_pseudonym(lineage.project, pseudonym),
        "shift_days": vault.date_shift_days(lineage.project, pseudonym),
        "uid_key": vault.project_key(lineage.project).hex(),
        "utc_offset_minutes": lineage.utc_offset_minutes,
    }
    product = services.pool.run("teleread.pipeline.derive:pseudonymise", data, options, timeout_s=timeout_s)
    return product.blobs


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
