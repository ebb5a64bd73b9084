"""Commands on the running system: start it, pull, look at the queue and at what failed."""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from teleread.cli.terminal import actor, plain, say
from teleread.errors import Conflict, Misconfigured
from teleread.services import running_services
from teleread.settings import load_settings


def add_commands(commands: Any) -> None:
    """Add the commands that need the settings."""
    up = commands.add_parser("up", help="everything, with a sample alliance; Ctrl-C ends it")
    up.add_argument("--studies", type=Path, metavar="FOLDER", help="add a member that serves this folder's studies")
    up.add_argument("--pacs-port", type=int, metavar="PORT", help="port of the sample PACS (or TELEREAD_PACS_PORT)")
    up.set_defaults(run=run_up)

    serve = commands.add_parser("serve", help="the web service alone")
    serve.set_defaults(run=run_serve)

    pull = commands.add_parser("pull", help="fetch one hospital's studies now, then prepare and enqueue them")
    pull.add_argument("site", metavar="SITE")
    pull.add_argument(
        "--since", type=_day, metavar="YYYY-MM-DD", help="list a PACS from this day on, whatever its watermark is"
    )
    pull.add_argument("--json", action="store_true")
    pull.set_defaults(run=run_pull)

    sites = commands.add_parser("sites", help="each site's last pull, what waits, what fails")
    sites.add_argument("--json", action="store_true")
    sites.set_defaults(run=run_sites)

    worklist = commands.add_parser("worklist", help="the cases that wait, most urgent first (no identities)")
    worklist.add_argument("--json", action="store_true")
    worklist.add_argument("--limit", type=_count, default=50, help="at most so many (default: 50)")
    worklist.set_defaults(run=run_worklist)

    quarantine = commands.add_parser("quarantine", help="what could not be parsed or analysed")
    actions = quarantine.add_subparsers(metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="all of it, newest first")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=run_quarantine_list)
    show = actions.add_parser("show", help="one, with its reason; --bytes FILE saves what was received")
    show.add_argument("arrival", metavar="ARRIVAL")
    show.add_argument("--bytes", type=Path, metavar="FILE")
    show.add_argument("--json", action="store_true")
    show.set_defaults(run=run_quarantine_show)
    retry = actions.add_parser("retry", help="prepare again; --all for every one")
    retry.add_argument("arrival", metavar="ARRIVAL", nargs="?")
    retry.add_argument("--all", action="store_true")
    retry.add_argument("--json", action="store_true")
    retry.set_defaults(run=run_quarantine_retry)

    account = commands.add_parser("account", help="local accounts")
    actions = account.add_subparsers(metavar="ACTION", required=True)
    password = actions.add_parser("password", help="make a new password and print it once")
    password.add_argument("name", metavar="NAME")
    password.set_defaults(run=run_account_password)

    settings = commands.add_parser("settings", help="the settings in force, passwords left out")
    settings.add_argument("--json", action="store_true")
    settings.set_defaults(run=run_settings)


def run_up(options: argparse.Namespace) -> int:
    """``teleread up``."""
    import os

    from teleread.up.main import run_up as start

    asked = options.pacs_port or os.environ.get("TELEREAD_PACS_PORT")
    return start(load_settings(), options.studies, pacs_port=_port(str(asked)) if asked else None)


def run_serve(_options: argparse.Namespace) -> int:
    """``teleread serve``."""
    import uvicorn

    from teleread.services import utc_now
    from teleread.web import certificates, live, patience, serving

    settings = load_settings()
    # libraries only warn, whatever the level: pynetdicom's and pydicom's lines may hold a patient's data
    logging.getLogger("teleread").setLevel(settings.log_level)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    patience.raise_file_limit()
    options: dict[str, Any] = {"http": patience.PatientProtocol}
    if serving.tls_wanted(settings):
        own = serving.identity(settings, utc_now())
        options |= serving.tls_options(own, certificates.agents_authority(settings.home / "tls", utc_now()))
        print(f"certificate SHA-256 {certificates.fingerprint_words(own.fingerprint)}", flush=True)
    config = uvicorn.Config(
        "teleread.web.app:create_default_app",
        factory=True,
        host=settings.host,
        port=settings.web_port,
        log_config=None,  # its lines go where ours go
        log_level=settings.log_level.lower(),
        server_header=False,
        # request lines hold receipt numbers and case ids only, but nobody needs them in a log
        access_log=False,
        # X-Forwarded-For is somebody's word for where a request comes from: believed only of a proxy that is meant
        proxy_headers=settings.tls == "off",
        **options,
    )
    config.load()
    serving.harden(config)

    class Server(uvicorn.Server):
        """Ends its open streams before it waits for its requests."""

        def handle_exit(self, sig: int, frame: Any) -> None:
            live.ending.set()
            super().handle_exit(sig, frame)

    Server(config).run()
    return 0


def run_pull(options: argparse.Namespace) -> int:
    """``teleread pull SITE``."""
    from teleread.pipeline.batches import plan_batches, prepare_batch
    from teleread.pipeline.pull import pull_site

    with running_services() as services:
        outcome = pull_site(services, options.site, since=options.since)
        done = {"prepared": 0, "quarantined": 0, "failed": 0}
        batches = plan_batches(services)
        total = sum(len(batch) for batch in batches)

        def progress(_arrival_id: str, state: str) -> None:
            done[state] += 1
            if sys.stderr.isatty():
                print(f"\rpreparing {sum(done.values())} of {total}", end="", file=sys.stderr, flush=True)

        for batch in batches:
            prepare_batch(services, batch, progress)
        if total and sys.stderr.isatty():
            print(file=sys.stderr)
    facts = {
        "site": outcome.site_id,
        "listed": outcome.listed,
        "landed": outcome.landed,
        "waiting": outcome.waiting,
        "unrecognised": outcome.unrecognised,
        **done,
    }
    say(options, facts, ", ".join(f"{name} {value}" for name, value in facts.items()))
    return 0


def run_sites(options: argparse.Namespace) -> int:
    """``teleread sites``."""
    from teleread.pipeline.pull import site_report
    from teleread.storage.catalogue.schema import site_status

    with running_services() as services:
        today = services.clock().date()
        with services.catalogue.read() as conn:
            rows = {row.site_id: row for row in conn.execute(select(site_status))}
        for site_id in services.alliance.sites:
            connection = services.alliance.connection(site_id, today)
            row = rows.get(site_id)
            if options.json:
                facts = {"site": site_id, "kind": connection.kind if connection else None}
                facts |= {name: plain(value) for name, value in row._mapping.items()} if row else {}
                print(json.dumps(facts))
            elif connection is None or connection.kind == "web":
                print(f"{site_id}: {'sends by itself' if connection else 'not connected'}")
            else:
                print(site_report(connection, row))
    return 0


def run_worklist(options: argparse.Namespace) -> int:
    """``teleread worklist``."""
    from teleread.reading.worklist import list_items

    with running_services() as services:
        now = services.clock()
        with services.catalogue.read() as conn:
            items = list_items(conn, limit=options.limit)
    for item in items:
        waited_min = (now - item.arrived_at).total_seconds() / 60
        if options.json:
            facts = {name: plain(getattr(item, name)) for name in item.__slots__}
            print(json.dumps({**facts, "waiting_min": round(waited_min, 1)}))
        else:
            quality = {None: "-", True: "good", False: "poor"}[item.quality_acceptable]
            label = "" if item.analysed else "  NOT ANALYSED"
            print(
                f"{item.priority:<8} {item.modality:<5} {item.site_id:<20} {item.receipt:<16} "
                f"{waited_min:6.0f} min  {quality}{label}"
            )
    return 0


def run_quarantine_list(options: argparse.Namespace) -> int:
    """``teleread quarantine list``."""
    with running_services() as services, services.catalogue.read() as conn:
        rows = conn.execute(_quarantined()).all()
    for row in rows:
        if options.json:
            print(json.dumps({name: plain(value) for name, value in row._mapping.items()}))
        else:
            print(f"{row.arrival_id}  {row.site_id:<20} {row.quarantined_at:%Y-%m-%d %H:%M} UTC  {row.code}")
    if not rows and not options.json:
        print("nothing is in quarantine")
    return 0


def run_quarantine_show(options: argparse.Namespace) -> int:
    """``teleread quarantine show ARRIVAL``."""
    from teleread.storage import audit
    from teleread.storage.catalogue.schema import arrivals
    from teleread.storage.objects.raw import get_raw

    with running_services() as services:
        with services.catalogue.read() as conn:
            row = conn.execute(_quarantined().where(arrivals.c.id == options.arrival)).one_or_none()
        if row is None:
            raise Conflict("not_quarantined", "This arrival is not in quarantine.")
        if options.bytes:
            _save_private(options.bytes, get_raw(services.store, row.sha256))
            with services.catalogue.write() as conn:
                audit.record(
                    conn,
                    at=services.clock(),
                    actor=actor(),
                    action="export_raw",
                    object_type="arrival",
                    object_id=row.arrival_id,
                )
    facts = {name: plain(value) for name, value in row._mapping.items()}
    if options.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name:<16} {value}")
    return 0


def run_quarantine_retry(options: argparse.Namespace) -> int:
    """``teleread quarantine retry ARRIVAL | --all``."""
    from teleread.pipeline.batches import retry_quarantined

    if bool(options.arrival) == bool(options.all):
        raise Misconfigured("usage", "Name one arrival, or say --all.")
    who = actor()
    with running_services() as services:
        ids = [options.arrival]
        if options.all:
            with services.catalogue.read() as conn:
                ids = [row.arrival_id for row in conn.execute(_quarantined())]
        if not ids and not options.json:
            print("nothing is in quarantine")
        for arrival_id in ids:
            state = retry_quarantined(services, arrival_id, who)
            print(json.dumps({"arrival_id": arrival_id, "state": state}) if options.json else f"{arrival_id}  {state}")
    return 0


def run_account_password(options: argparse.Namespace) -> int:
    """``teleread account password NAME``."""
    from teleread.storage.accounts import set_password

    password = secrets.token_urlsafe(9)
    with running_services() as services, services.catalogue.write() as conn:
        set_password(conn, options.name, password, services.clock(), actor=actor())
    print(f"{options.name}: {password}")
    return 0


def run_settings(options: argparse.Namespace) -> int:
    """``teleread settings``."""
    values = load_settings().redacted()
    if options.json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            print(f"{name:<16} {value}")
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Misconfigured("settings_invalid", "TELEREAD_PACS_PORT must be a port number.")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number above zero")
    return int(text)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day like 2026-01-31") from None


def _quarantined() -> Any:
    from teleread.storage.catalogue.schema import arrivals, quarantine

    return (
        select(
            arrivals.c.id.label("arrival_id"),
            arrivals.c.site_id,
            arrivals.c.receipt,
            arrivals.c.size_bytes,
            arrivals.c.sha256,
            arrivals.c.attempts,
            quarantine.c.code,
            quarantine.c.safe_message,
            quarantine.c.quarantined_at,
        )
        .join(quarantine, quarantine.c.arrival_id == arrivals.c.id)
        .where(quarantine.c.resolved_at.is_(None))
        .order_by(quarantine.c.quarantined_at.desc())
    )


def _save_private(path: Path, data: bytes) -> None:
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_bytes(data)
    except OSError as error:
        raise Misconfigured("file_unwritable", f"{path} cannot be written: {error.strerror}.") from None
