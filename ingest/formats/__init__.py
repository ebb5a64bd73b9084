"""ECG files in, records out. Pure over bytes: everything is bounded by what is really there before it is allocated.

Every failure is an ``InputRejected`` with a stable code; library exceptions do not leave this package.
"""

from __future__ import annotations

from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.bundle import bundle, unbundle
from teleread.ingest.formats.names import safe_name, safe_names
from teleread.ingest.formats.recording import is_whole, missing_part, read_ecg
from teleread.ingest.formats.sniff import kind_of, sniff
from teleread.ingest.formats.wfdb_write import pseudonymise_wfdb, write_wfdb

__all__ = [
    "ALLIANCE_ZONE",
    "bundle",
    "is_whole",
    "kind_of",
    "missing_part",
    "pseudonymise_wfdb",
    "read_ecg",
    "safe_name",
    "safe_names",
    "sniff",
    "unbundle",
    "write_wfdb",
]
