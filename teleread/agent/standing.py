"""How the agent stands with the lead hospital: asked once a minute, also while nothing is sent.

Without it a line that broke in a quiet hour, an agent that was shut out, or a certificate that ends would be found out
by the first urgent recording. A certificate whose time is nearly over is renewed here, by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from teleread.agent.home import Identity, moved, renewed, told
from teleread.agent.lead import Lead, LineBroken, Refused

log = logging.getLogger(__name__)

ASK_EVERY_S = 60.0
SHOWN_BEFORE_S = 60 * 86400.0
"""It renews itself earlier; where it has not, a person must know."""
NOT_OURS = frozenset({"agent_shut_out", "agent_expired", "sign_in_needed", "role_not_allowed", "account_without_site"})
"""Codes with which the lead hospital says that this PC may not send: no line will mend that."""


class KnownLead(Lead):
    """The lead hospital, asked about the agent itself."""

    def me(self) -> Any:
        """``{agent, site, telephone, expires_at, renew}``."""
        return self._ask("GET", "/api/agents/me", {}, b"")[0]

    def place(self) -> Any:
        """``{agent_port, web_port}``: where the lead hospital asks for agents' certificates."""
        return self._ask("GET", "/api/agents/place", {}, b"")[0]

    def renew(self) -> Any:
        """``{certificate, key, expires_at}``."""
        return self._ask("POST", "/api/agents/renew", {}, b"")[0]


class Standing:
    """Asks, on a thread of its own, until stopped or renewed: then whoever runs it starts anew with what is kept."""

    def __init__(self, folder: Path, identity: Identity, lead: KnownLead, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self.identity = identity
        self._lead = lead
        self._now = now
        self._stopped = threading.Event()
        self.failure = ""
        self.failing_since: float | None = None
        self.heard_at: float | None = None

    def run(self) -> None:
        """Ask until stopped."""
        while not self._stopped.is_set():
            if self.ask():
                return
            self._stopped.wait(ASK_EVERY_S)

    def stop(self) -> None:
        """End after the question that is on its way."""
        self._stopped.set()

    def ask(self) -> bool:
        """Ask once; True when another certificate was given and kept, or another port."""
        try:
            said = self._lead.me()
            if not isinstance(said, dict):
                raise LineBroken("answer_not_understood")
            self.identity = told(self._folder, self.identity, said)
            is_renewed = said.get("renew") is True
            if is_renewed:
                self.identity = renewed(self._folder, self.identity, self._lead.renew())
        except (LineBroken, Refused) as error:
            if error.code == "sign_in_needed" and self._has_moved():
                return True
            self._failed(error.code)
        except OSError as error:
            log.error("what the lead hospital said cannot be kept: %s", type(error).__name__)
            self._failed("agent_disk_full")
        else:
            self.failure, self.failing_since, self.heard_at = "", None, self._now()
            return is_renewed
        finally:
            self._lead.close()
        return False

    def _has_moved(self) -> bool:
        """Whether the lead hospital asks for our certificate at another port than the one we know; it is kept then."""
        before = self.identity.url
        try:
            self.identity = moved(self._folder, self.identity, self._lead.place())
        except (LineBroken, Refused, OSError):
            return False
        return self.identity.url != before

    def _failed(self, code: str) -> None:
        self.failure = code
        if self.failing_since is None:
            self.failing_since = self._now()

    @property
    def ends_at(self) -> float | None:
        """When the certificate ends, by seconds since 1970, where that is soon; None where it is not."""
        try:
            ends = datetime.fromisoformat(self.identity.expires_at).timestamp()
        except ValueError:
            return None
        ahead = self._lead.skew_s or 0.0  # the time that counts is the lead hospital's
        return ends if ends - (self._now() - ahead) < SHOWN_BEFORE_S else None
