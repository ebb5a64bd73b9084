"""Commands for clinics' agents: invite, list, shut out; and the agent itself."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from teleread.agent import main as agent
from teleread.agent.home import Invitation
from teleread.cli.terminal import actor, plain, say
from teleread.errors import InputRejected
from teleread.services import running_services, utc_now
from teleread.settings import Settings, load_settings
from teleread.storage import agents
from teleread.web import serving
from teleread.web.security import is_loopback

_PORTLESS = re.compile(r"(?:[^:\[\]/@#\s]+|\[[0-9A-Fa-f:.]+\])\Z")


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
    invite.add_argument(
        "--at",
        metavar="HOST[:PORT]",
        help="where the clinic reaches us, when that is not our own name; the port is the agents'",
    )
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
    where = _reached_at(settings, options.at)
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
                valid_for=timedelta(hours=min(options.hours, 10_000)),
            )
    invitation = f"{code}@{where}"
    if serving.tls_wanted(settings):
        invitation += f"#{serving.identity(settings, utc_now()).fingerprint}"
    words = (
        f"{invitation}\n\nGood once, within {options.hours} h. On the clinic's PC:\n"
        f"  python teleread-agent.pyz --enrol {invitation}\n"
        f"or, where teleread is installed:  teleread send --enrol {invitation}"
    )
    agent_port = serving.agent_port(settings)
    if agent_port is not None and urlsplit(f"//{where}").port == settings.web_port:
        words += (
            f"\n\n{settings.web_port} is the persons' port here; agents are served at {agent_port}. If that is not the "
            f"port by which your network leads to {agent_port}, make another invitation, --at HOST:{agent_port}."
        )
    if is_loopback(urlsplit(f"//{where}").hostname or ""):
        words += "\n\nThis address is this machine: the invitation is of use on no other."
    say(options, {"invitation": invitation, "site": options.site, "hours": options.hours}, words)
    return 0


def _reached_at(settings: Settings, said: str | None) -> str:
    """Host and port of an invitation.

    Raises:
        InputRejected: ``place_unknown``: nobody could reach us there.
    """
    if said is None and serving.is_every_address(settings.host):
        raise InputRejected(
            "place_unknown", f"{settings.host} is nobody's address: say where the clinic reaches us, --at HOST:PORT."
        )
    if settings.tls == "off":
        raise InputRejected(
            "tls_needed",
            "TELEREAD_TLS is off: a proxy ends TLS, and an agent's certificate does not come through it. Agents need a "
            "port that we serve with TLS ourselves.",
        )
    port = serving.agent_port(settings) or settings.web_port
    where = said or serving.place(settings.host, port)
    if said is not None and _PORTLESS.match(said):
        where = f"{said}:{port}"
    try:
        Invitation.parse(f"0000-0000-0000-0000@{where}")
    except ValueError as error:
        raise InputRejected("place_unknown", "--at is a host and a port, such as lead.example:8422.") from error
    return where


def run_list(options: argparse.Namespace) -> int:
    """``teleread agent list``."""
    with running_services() as services, services.catalogue.read() as conn:
        found, now = agents.listed(conn), services.clock()
    rows = [{**{name: plain(value) for name, value in asdict(one).items()}, "state": one.state(now)} for one in found]
    lines = [_line(one, now) for one in found]
    say(options, {"agents": rows}, "\n".join(lines) or "no agent has enrolled yet")
    return 0


def _line(one: agents.Agent, now: datetime) -> str:
    state = one.state(now)
    ends = f"{one.expires_at:%Y-%m-%d}"
    how = {
        "shut_out": f"shut out {one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "",
        "expired": f"EXPIRED {ends}: invite it again",
        "ends_soon": f"ends {ends}: renews itself when it is next heard of",
        "good": f"good until {ends}",
    }[state]
    heard = f"{one.last_seen_at:%Y-%m-%d %H:%M}" if one.last_seen_at else "never"
    return f"{one.id}  {one.site_id:<16} {one.label:<24} {how}; last heard of {heard}"


def run_revoke(options: argparse.Namespace) -> int:
    """``teleread agent revoke AGENT``."""
    with running_services() as services, services.catalogue.write() as conn:
        gone = agents.revoke(conn, options.agent, services.clock(), actor=actor())
    words = f"agent {gone.id} of {gone.site_id} is shut out"
    say(options, {"agent": gone.id, "site": gone.site_id}, words)
    return 0
