"""Commands for local accounts: the first administrator is made here, and whoever is shut out gets in again."""

from __future__ import annotations

import argparse
import secrets
from dataclasses import asdict
from typing import Any

from teleread.cli.terminal import actor, plain, say
from teleread.errors import InputRejected
from teleread.services import running_services
from teleread.storage import accounts, people, second_factor


def add_commands(commands: Any) -> None:
    """Add ``account``."""
    parent = commands.add_parser("account", help="local accounts: add, list, password, close, open")
    actions = parent.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="a new account; its password is printed once")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", required=True, choices=sorted(accounts.ROLES))
    add.add_argument("--site", metavar="SITE", help="of a clinic's account")
    add.add_argument("--display-name", metavar="TEXT", help="what clinics read", default="")
    add.set_defaults(run=run_add)
    listing = actions.add_parser("list", help="all accounts")
    listing.set_defaults(run=run_list)
    for name, run, words in (
        ("password", run_password, "make a new password and print it once"),
        ("close", run_close, "sign in no more; sessions end"),
        ("open", run_open, "open a closed or locked account"),
        ("reset-second-factor", run_reset, "take a lost second factor away"),
    ):
        one = actions.add_parser(name, help=words)
        one.add_argument("name", metavar="NAME")
        one.set_defaults(run=run)
        one.add_argument("--json", action="store_true")
    for one in (add, listing):
        one.add_argument("--json", action="store_true")


def run_add(options: argparse.Namespace) -> int:
    """``teleread account add NAME --role ROLE``."""
    password = secrets.token_urlsafe(9)
    with running_services() as services:
        if options.site is not None and options.site not in services.alliance.sites:
            raise InputRejected("site_unknown", "The alliance file has no such site.")
        hashed, now = accounts.hash_password(password), services.clock()
        with services.catalogue.write() as conn:
            accounts.add_account(conn, options.name, hashed, options.role, options.site, now, actor())
            if options.display_name:
                people.set_display_name(conn, options.name, options.display_name, actor(), now)
    facts = {"name": options.name, "role": options.role, "site": options.site, "password": password}
    say(options, facts, f"{options.name}: {password}")
    return 0


def run_list(options: argparse.Namespace) -> int:
    """``teleread account list``."""
    with running_services() as services, services.catalogue.read() as conn:
        found = people.people(conn)
    for one in found:
        facts = {key: plain(value) for key, value in asdict(one).items()}
        state = "closed" if one.disabled_at else "open"
        say(options, facts, f"{one.name:<20} {one.role:<14} {one.site_id or '-':<20} {state}")
    return 0


def run_password(options: argparse.Namespace) -> int:
    """``teleread account password NAME``."""
    password = secrets.token_urlsafe(9)
    with running_services() as services:
        hashed = accounts.hash_password(password)
        with services.catalogue.write() as conn:
            accounts.set_hash(conn, options.name, hashed, services.clock(), actor=actor())
    say(options, {"name": options.name, "password": password}, f"{options.name}: {password}")
    return 0


def run_close(options: argparse.Namespace) -> int:
    """``teleread account close NAME``."""
    with running_services() as services, services.catalogue.write() as conn:
        people.disable(conn, options.name, actor(), services.clock())
    say(options, {"name": options.name, "state": "closed"}, f"{options.name}: closed")
    return 0


def run_open(options: argparse.Namespace) -> int:
    """``teleread account open NAME``."""
    with running_services() as services, services.catalogue.write() as conn:
        people.enable(conn, options.name, actor(), services.clock())
    say(options, {"name": options.name, "state": "open"}, f"{options.name}: open")
    return 0


def run_reset(options: argparse.Namespace) -> int:
    """``teleread account reset-second-factor NAME``."""
    with running_services() as services, services.catalogue.write() as conn:
        people.require(conn, options.name)
        second_factor.remove(conn, options.name, actor(), services.clock())
    say(options, {"name": options.name, "second_factor": None}, f"{options.name}: no second factor")
    return 0
