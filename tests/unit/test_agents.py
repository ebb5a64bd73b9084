"""Who may send for a site without a person: by invitation, by certificate, and no longer once shut out."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from teleread.agent import home
from teleread.agent.lead import Lead, LineBroken, Refused
from teleread.errors import AccessDenied, InputRejected
from teleread.pipeline.services import Services
from teleread.storage import agents
from teleread.web import certificates
from teleread.web.app import create_app
from tests.conftest import Clock
from tests.ui.live import over_tls

SITE = "village"


def invited(services: Services, site: str = SITE) -> str:
    with services.catalogue.write() as conn:
        return agents.invite(conn, site, "ward 3", services.clock(), actor="engineer")


@contextmanager
def secure(services: Services, folder: Path, *, renew: bool = True) -> Iterator[tuple[int, certificates.Identity]]:
    """The application over TLS as ``teleread serve`` runs it where agents and persons share a port."""
    now = services.clock()
    own = certificates.own_identity(folder, "0.0.0.0", now, renew=renew)
    authority = certificates.agents_authority(folder, now)
    app = create_app(services, sweep_every=None, agents_authority=authority)
    app.state.agents_trust = certificates.AgentsTrust(own.authority)
    with over_tls(app, own, authority) as port:
        yield port, own


@pytest.fixture
def tls(services: Services, tmp_path: Path) -> Iterator[tuple[int, certificates.Identity]]:
    with secure(services, tmp_path / "tls") as running:
        yield running


def invitation(tls: tuple[int, certificates.Identity], code: str, fingerprint: str | None = None) -> home.Invitation:
    port, own = tls
    return home.Invitation.parse(f"{code}@127.0.0.1:{port}#{fingerprint or own.fingerprint}")


@contextmanager
def lead_of(identity: home.Identity) -> Iterator[Lead]:
    lead = Lead(identity.url, context=identity.context(), token=identity.token if identity.is_local else None)
    try:
        yield lead
    finally:
        lead.close()


def test_an_invited_agent_sends_for_its_site_until_it_is_shut_out(
    tls: tuple[int, certificates.Identity], services: Services, tmp_path: Path
) -> None:
    identity = home.enrol(tmp_path / "agent", invitation(tls, invited(services)))
    assert (identity.site, identity.is_local) == (SITE, False)
    assert home.load(tmp_path / "agent") == identity
    with lead_of(identity) as lead:
        receipt = lead.announce(4, {"filename": "a"}, b"1234").receipts[0]
        assert lead.verdict(receipt)["state"] in {"landed", "prepared", "quarantined"}
    with services.catalogue.write() as conn:
        (known,) = agents.listed(conn)
        assert known.last_seen_at is not None
        agents.revoke(conn, known.id, services.clock(), actor="engineer")
    with lead_of(identity) as lead, pytest.raises(Refused, match="agent_shut_out") as refused:
        lead.announce(4, {"filename": "a"}, b"4321")
    assert not refused.value.for_ever  # what it holds stays


def test_a_code_is_good_once_and_not_for_ever(
    tls: tuple[int, certificates.Identity], services: Services, tmp_path: Path, clock: Clock
) -> None:
    code = invited(services)
    home.enrol(tmp_path / "one", invitation(tls, code))
    for late in (code, "0000-0000-0000-0000"):
        with pytest.raises(Refused, match="invitation_unknown"):
            home.enrol(tmp_path / "two", invitation(tls, late))
    old = invited(services)
    with services.catalogue.read() as conn, pytest.raises(AccessDenied, match="invitation_unknown"):
        agents.invited_to(conn, old, services.clock() + agents.INVITED_FOR + timedelta(seconds=1))
    assert home.load(tmp_path / "two") is None


def test_the_code_is_not_said_to_anybody_else(
    tls: tuple[int, certificates.Identity], services: Services, tmp_path: Path
) -> None:
    code = invited(services)
    with pytest.raises(LineBroken, match="server_not_trusted"):
        home.enrol(tmp_path / "agent", invitation(tls, code, "0" * 64))
    with services.catalogue.read() as conn:
        assert agents.invited_to(conn, code, services.clock()) == SITE


def test_an_enrolled_agent_trusts_no_other_certificate(
    tls: tuple[int, certificates.Identity], services: Services, tmp_path: Path
) -> None:
    identity = home.enrol(tmp_path / "agent", invitation(tls, invited(services)))
    with secure(services, tmp_path / "impostor") as (port, _):
        impostor = Lead(f"https://127.0.0.1:{port}", context=identity.context())
        with pytest.raises(LineBroken, match="server_not_trusted"):
            impostor.announce(4, {"filename": "a"})
        impostor.close()


def test_a_certificate_of_another_authority_is_nobody(
    tls: tuple[int, certificates.Identity], services: Services, tmp_path: Path
) -> None:
    port, _ = tls
    forged = certificates.agents_authority(tmp_path / "forged", services.clock())
    issued = certificates.issue(forged, "0" * 16, SITE, services.clock(), timedelta(days=1))
    (tmp_path / "forged.pem").write_text(issued.certificate_pem + issued.key_pem)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "forged.pem")
    client = httpx.Client(verify=context, base_url=f"https://127.0.0.1:{port}", trust_env=False)
    with client, pytest.raises(httpx.TransportError):
        client.head("/api/tus/" + "0" * 32, headers={"Tus-Resumable": "1.0.0"})


def test_a_browser_without_a_certificate_is_served(tls: tuple[int, certificates.Identity]) -> None:
    port, own = tls
    context = ssl.create_default_context(cafile=str(own.certificate))
    with httpx.Client(verify=context, base_url=f"https://localhost:{port}", trust_env=False) as client:
        assert client.get("/healthz").status_code == 200


def test_a_token_is_good_on_this_machine_alone(services: Services) -> None:
    now = services.clock()
    with services.catalogue.write() as conn:
        _, token = agents.enrol(conn, invited_in(conn, services), "0" * 16, "a" * 64, now + timedelta(days=1), now)
        account = agents.by_token(conn, token, now)
        assert account is not None
        assert (account.role, account.site_id) == ("uploader", SITE)
        assert agents.by_token(conn, token, now + timedelta(days=2)) is None
        assert agents.by_token(conn, token + "x", now) is None


def invited_in(conn: object, services: Services) -> str:
    return agents.invite(conn, SITE, "ward", services.clock(), actor="engineer")  # type: ignore[arg-type]


def test_letters_read_as_digits_over_the_telephone_do_not_matter(services: Services) -> None:
    with services.catalogue.write() as conn:
        code = agents.invite(conn, SITE, "w", services.clock(), actor="e", choose=lambda letters: letters[0])
        assert code == "0000-0000-0000-0000"
        assert agents.invited_to(conn, "oOoO oooo 0000-0000", services.clock()) == SITE
        with pytest.raises(InputRejected, match="bad_label"):
            agents.invite(conn, SITE, " ", services.clock(), actor="e")


@pytest.mark.parametrize("text", ["", "ABCD", "ABCD-EFGH-JKMN-PQRS", "A@b", "ABCD-EFGH-JKMN-PQRS@h:1#zz"])
def test_an_invitation_that_is_none_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="invitation"):
        home.Invitation.parse(text)


def test_the_certificate_made_at_the_first_start_stays(tmp_path: Path, clock: Clock) -> None:
    one = certificates.own_identity(tmp_path / "tls", "10.0.0.5", clock())
    assert certificates.own_identity(tmp_path / "tls", "10.0.0.5", clock()) == one
    assert one.key.stat().st_mode & 0o077 == 0
