"""Commands for clinics' agents: invite, list, shut out; and the agent itself."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from teleread.agent import main as agent
from teleread.cli.terminal import actor, say
from teleread.errors import InputRejected
from teleread.services import running_services, utc_now
from teleread.settings import load_settings
from teleread.storage import agents
from teleread.web import serving


def add_commands(commands: Any) -> None:
    """Add ``send`` and ``agent``."""
    send = commands.add_parser("send", help="bring recordings from this PC to the lead hospital, over any line")
    agent.add_arguments(send)
    send.set_defaults(run=agent.run)

    parent = commands.add_parser("agent", help="clinics' agents: invite, list, revoke")
    actions = parent.add_subparsers(metavar="ACTION", required=True)
    invite = actions.add_parser("invite", help="an invitation for one PC of a site; good once")
    invite.add_argument("site", metavar="SITE")
    invite.add_argument("label", metavar="LABEL", help="which PC it is for, for the list")
    invite.add_argument("--hours", type=int, default=24, help="good for so long (default: 24)")
    invite.add_argument("--at", metavar="HOST:PORT", help="where the clinic reaches us, when that is not our own name")
    invite.add_argument("--json", action="store_true")
    invite.set_defaults(run=run_invite)
    listed = actions.add_parser("list", help="all agents, newest first")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=run_list)
    revoke = actions.add_parser("revoke", help="shut a stolen or retired agent out, from its next request on")
    revoke.add_argument("agent", metavar="AGENT")
    revoke.add_argument("--json", action="store_true")
    revoke.set_defaults(run=run_revoke)


def run_invite(options: argparse.Namespace) -> int:
    """``teleread agent invite SITE LABEL``."""
    settings = load_settings()
    with running_services(settings) as services:
        if options.site not in services.alliance.sites:
            raise InputRejected("site_unknown", "The alliance has no such site.")
        with services.catalogue.write() as conn:
            code = agents.invite(
                conn,
                options.site,
                options.label,
                services.clock(),
                actor=actor(),
                valid_for=timedelta(hours=options.hours),
            )
    place = options.at or f"{settings.host}:{settings.web_port}"
    invitation = f"{code}@{place}"
    if serving.tls_wanted(settings):
        invitation += f"#{serving.identity(settings, utc_now()).fingerprint}"
    words = f"{invitation}\n\nOn the clinic's PC, within {options.hours} h:  teleread send --enrol {invitation}"
    say(options, {"invitation": invitation, "site": options.site, "hours": options.hours}, words)
    return 0


def run_list(options: argparse.Namespace) -> int:
    """``teleread agent list``."""
    with running_services() as services, services.catalogue.read() as conn:
        found = agents.listed(conn)
    rows = [
        {name: value if value is None or isinstance(value, str) else value.isoformat() for name, value in row.items()}
        for row in map(asdict, found)
    ]
    lines = [
        f"{row['id']}  {row['site_id']:<16} {row['label']:<24} "
        + (f"shut out {row['revoked_at']}" if row["revoked_at"] else f"last heard of {row['last_seen_at'] or 'never'}")
        for row in rows
    ]
    say(options, {"agents": rows}, "\n".join(lines) or "no agent has enrolled yet")
    return 0


def run_revoke(options: argparse.Namespace) -> int:
    """``teleread agent revoke AGENT``."""
    with running_services() as services, services.catalogue.write() as conn:
        gone = agents.revoke(conn, options.agent, services.clock(), actor=actor())
    words = f"agent {gone.id} of {gone.site_id} is shut out"
    say(options, {"agent": gone.id, "site": gone.site_id}, words)
    return 0
