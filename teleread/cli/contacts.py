"""Commands on the contacts for critical results: what waits to be tested, and the key of a contact's webhook."""

from __future__ import annotations

import argparse
from typing import Any

from teleread.cli.terminal import actor, plain, say
from teleread.errors import InputRejected
from teleread.pipeline.tell import webhook_key
from teleread.reading import contact_tests
from teleread.reading.critical_people import contacts_of
from teleread.services import running_services
from teleread.storage import audit


def add_commands(commands: Any) -> None:
    """Add ``contacts``."""
    parent = commands.add_parser("contacts", help="contacts for critical results: their tests, a webhook's key")
    actions = parent.add_subparsers(metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="all that hold today, those first that nobody has reached lately")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=run_list)
    key = actions.add_parser("key", help="what a contact's webhook is signed with; give it to its receiver alone")
    key.add_argument("contact", metavar="CONTACT")
    key.add_argument("--json", action="store_true")
    key.set_defaults(run=run_key)


def run_list(options: argparse.Namespace) -> int:
    """``teleread contacts list``."""
    with running_services() as services, services.catalogue.read() as conn:
        found = contact_tests.overview(conn, services.room, services.clock())
    rows = [
        {"contact": one.contact.id, "site": one.contact.site, "state": one.state, "tested_at": plain(one.tested_at)}
        for one in found
    ]
    words = "\n".join(f"{row['state']:8}{row['site']:16}{row['contact']:24}{row['tested_at'] or '-'}" for row in rows)
    say(options, {"contacts": rows}, words or "The alliance file names no contacts.")
    return 0


def run_key(options: argparse.Namespace) -> int:
    """``teleread contacts key``; that it was shown is recorded."""
    with running_services() as services:
        now = services.clock()
        if all(one.id != options.contact for one in contacts_of(services.room, now)):
            raise InputRejected("contact_unknown", "No contact of today's rules has this name.")
        with services.catalogue.write() as conn:
            audit.record(
                conn, at=now, actor=actor(), action="contact_key", object_type="contact", object_id=options.contact
            )
        key = webhook_key(services.ring, options.contact).hex()
    say(options, {"contact": options.contact, "key": key}, key)
    return 0
