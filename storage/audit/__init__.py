"""Who did what to which thing: written with the act, chained soon after, and checked by anybody who holds the key.

``record`` writes an event in the transaction of the act. A trigger of the database notes it as unsealed, whatever
version wrote it. ``seal`` chains what is unsealed; ``verify`` walks the chain and names the first broken link. What
the chain can and cannot show stands in ``docs/audit.md``.
"""

from __future__ import annotations

from teleread.storage.audit.anchors import Anchor, read_anchors, write_anchor
from teleread.storage.audit.recording import record
from teleread.storage.audit.renewing import begin_section
from teleread.storage.audit.sealing import Sealer, Trail, read_head, seal
from teleread.storage.audit.sections import Section
from teleread.storage.audit.verifying import Break, Verdict, verify

__all__ = [
    "Anchor",
    "Break",
    "Sealer",
    "Section",
    "Trail",
    "Verdict",
    "begin_section",
    "read_anchors",
    "read_head",
    "record",
    "seal",
    "verify",
    "write_anchor",
]
