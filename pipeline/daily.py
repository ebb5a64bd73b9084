"""What is done once a day: ends of the chains written down, keys renewed and retired, deletions ended."""

from __future__ import annotations

import logging
from datetime import timedelta

import teleread
from teleread.errors import TelereadError
from teleread.pipeline import deletion
from teleread.pipeline.intake_keys import retire_intake_keys
from teleread.pipeline.key_holders import disown_left
from teleread.pipeline.restored import store_ring
from teleread.pipeline.services import Services
from teleread.storage import audit

log = logging.getLogger(__name__)

INTAKE_KEY_LASTS = timedelta(days=30)
RETIRED_AFTER = timedelta(days=7)  # out of use for so long; a backup was made since, or it waits


def keep_records(services: Services) -> dict[str, int]:
    """One round. A part that fails is logged and leaves the others alone; the next day does it again.

    Returns:
        counts: ``anchors`` of the day, ``intake_keys_made``, ``intake_keys_retired``, ``deletions_ended``,
            ``keys_disowned`` and ``failures``.
    """
    counts = {"anchors": 0, "intake_keys_made": 0, "intake_keys_retired": 0, "deletions_ended": 0}
    counts |= {"keys_disowned": 0, "failures": 0}
    for part in (_anchor, _renew_intake_key, _retire_intake_keys, _end_deletions, _disown):
        try:
            name, count = part(services)
            counts[name] += count
        except TelereadError as error:
            log.error("daily round, %s: %s", part.__name__, error.code)
            counts["failures"] += 1
    return counts


def _anchor(services: Services) -> tuple[str, int]:
    services.sealer.seal_all()
    written = 0
    if services.anchors is not None:
        for trail in services.trails:
            made = audit.write_anchor(
                trail, services.audit_key, services.anchors, services.clock(), teleread.__version__
            )
            written += made is not None
    return "anchors", written


def _renew_intake_key(services: Services) -> tuple[str, int]:
    newest = services.ring.intakes()[-1]
    if services.clock() - newest.made_at < INTAKE_KEY_LASTS:
        return "intake_keys_made", 0
    services.vault.new_intake_key(who="teleread")
    store_ring(services)
    return "intake_keys_made", 1


def _retire_intake_keys(services: Services) -> tuple[str, int]:
    retired = [one for one in retire_intake_keys(services, older_than=RETIRED_AFTER) if one.retired]
    if retired:
        store_ring(services)
    return "intake_keys_retired", len(retired)


def _end_deletions(services: Services) -> tuple[str, int]:
    states = deletion.resume(services)
    return "deletions_ended", sum(state == "final" for state in states.values())


def _disown(services: Services) -> tuple[str, int]:
    """Entries let go of the keys of studies that were corrected to another patient, where that had failed."""
    return "keys_disowned", disown_left(services)
