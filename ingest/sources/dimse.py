"""One DICOM association with limits that a slow, broken or hostile peer cannot stretch (PS3.7, PS3.8).

pynetdicom speaks the protocol, ``Wire`` bounds what it reads. Its log would show query answers: it is switched off.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AddressInformation, AssociationSocket

from teleread.alliance import Connection
from teleread.errors import PeerError
from teleread.ingest.sources.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from teleread.ingest.sources.wire import Wire

_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
for _name in ("pynetdicom", "pydicom"):  # both repeat values of datasets in what they log
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

BUDGET_SPENT = "budget_spent"
"""Code of the error that says: our own time is over, the peer did nothing wrong."""

MAX_PDU_BYTES = 128 * 1024
MAX_ANSWER_BYTES = 1 << 20
MAX_ANSWERS = 100_000

_PENDING = (0xFF00, 0xFF01)

_T = TypeVar("_T")


class Peer:
    """An established association in the role of the requestor."""

    def __init__(self, association: Association, wire: Wire) -> None:
        self._association = association
        self._wire = wire

    def echo(self) -> None:
        """C-ECHO."""
        with self._asking():
            status = self._association.send_c_echo()
        self._finish(status, "C-ECHO")

    def find(
        self, model: str, identifier: Dataset, read: Callable[[Dataset], _T | None], limit: int = MAX_ANSWERS
    ) -> tuple[list[_T], int, PeerError | None]:
        """C-FIND. Returns what ``read`` made of the answers, how many it could not read, and why the list is cut."""
        found: list[_T] = []
        unreadable = 0
        status: Dataset | None = None
        with self._asking():
            for status, answer in self._association.send_c_find(identifier, model):
                if "Status" not in status or status.Status not in _PENDING:
                    break
                one = None if answer is None else read(answer)
                if one is None:
                    unreadable += 1
                else:
                    found.append(one)
                if len(found) + unreadable >= limit:
                    self._association.abort()
                    return found, unreadable, PeerError("peer_failed", f"The peer lists more than {limit} entries.")
        try:
            self._finish(status, "C-FIND")
        except PeerError as error:
            return found, unreadable, error
        return found, unreadable, None

    def get(self, model: str, identifier: Dataset) -> int:
        """C-GET; the objects go to the ``on_store`` handler. Returns the final status, whatever it says."""
        status: Dataset | None = None
        with self._asking():
            for status, _ in self._association.send_c_get(identifier, model):
                if "Status" not in status or status.Status not in _PENDING:
                    break
        return self._status(status)

    def store(self, dataset: Dataset) -> None:
        """C-STORE of one object."""
        with self._asking():
            status = self._association.send_c_store(dataset)
        self._finish(status, "C-STORE", accepted=(0x0000, 0xB000, 0xB006, 0xB007))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        if not self._association.is_established:
            raise self._broken()
        try:
            with self._wire.turn(ours=False):
                yield
        except (ValueError, RuntimeError) as error:
            # pynetdicom's way to say that no accepted presentation context fits, or that the association has gone
            if not self._association.is_established:
                raise self._broken() from error
            raise PeerError("peer_rejected", "The peer does not offer the service that was asked of it.") from error

    def _status(self, status: Dataset | None) -> int:
        if status is None or "Status" not in status:
            raise self._broken()
        return int(status.Status)

    def _finish(self, status: Dataset | None, service: str, accepted: Sequence[int] = (0x0000,)) -> None:
        code = self._status(status)
        if code not in accepted:
            raise PeerError("peer_failed", f"The peer ended {service} with status 0x{code:04X}.")

    def _broken(self) -> PeerError:
        return _fault(self._wire)


def _fault(wire: Wire) -> PeerError:
    match wire.fault:
        case "deadline":
            return PeerError(BUDGET_SPENT, "The time for this exchange is over.")
        case "silent":
            return PeerError("peer_silent", "The peer does not answer.")
        case "aborted" | "closed":
            return PeerError("peer_aborted", "The peer broke off the association.")
        case "oversized":
            return PeerError("peer_failed", "The peer sent a message beyond all limits.")
        case _:
            return PeerError("peer_failed", "The peer broke the DICOM protocol.")


@contextmanager
def associate(
    connection: Connection,
    contexts: Sequence[PresentationContext],
    *,
    deadline: float,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    on_store: Callable[[evt.Event], int] | None = None,
    max_message_bytes: int = MAX_ANSWER_BYTES,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Peer]:
    """Open an association for the time of a ``with`` block.

    Args:
        deadline: ``monotonic`` time at which the association is cut, whatever is going on.
        on_store: takes in the objects of a C-GET; returns the status that answers each.

    Raises:
        PeerError: ``peer_refused``, ``peer_unreachable``, ``peer_silent``, ``peer_rejected``, ``peer_aborted``,
            ``peer_failed`` or ``budget_spent``.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise PeerError(BUDGET_SPENT, "The time for this exchange is over.")
    wire = Wire(connection.answer_timeout_s, deadline, max_message_bytes, monotonic)
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, wire.on_open)]
    if on_store is not None:
        handlers.append((evt.EVT_C_STORE, _on_our_turn(on_store, wire)))
    association = _request(connection, contexts, roles, handlers, left)
    clean = False
    try:
        if not association.is_established:
            raise _not_established(association, wire)
        with wire.turn(ours=True):
            yield Peer(association, wire)
        clean = True
    finally:
        if association.is_established:
            if clean:
                association.release()
            else:
                association.abort()
        wire.close()


def _on_our_turn(on_store: Callable[[evt.Event], int], wire: Wire) -> Callable[[evt.Event], int]:
    def handle(event: evt.Event) -> int:
        with wire.turn(ours=True):
            return on_store(event)

    return handle


class _Socket(socket.socket):
    """Remembers why it could not connect, which pynetdicom keeps to itself, and closes itself then."""

    error: OSError | None = None

    def connect(self, address: Any) -> None:
        try:
            super().connect(address)
        except OSError as error:
            self.error = error
            self.close()
            raise


class _Entity(AE):
    """An application entity whose one association uses our socket."""

    plain: _Socket | None = None

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        wrapped = AssociationSocket(assoc, address=address)
        if wrapped.socket is not None:
            wrapped.socket.close()
        self.plain = _Socket(address.address_family, socket.SOCK_STREAM)
        wrapped.socket = self.plain
        return wrapped


def _request(
    connection: Connection,
    contexts: Sequence[PresentationContext],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
    handlers: list[Any],
    left: float,
) -> Association:
    entity = _Entity(ae_title=connection.calling_ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION
    entity.connection_timeout = min(connection.connect_timeout_s, left)
    entity.acse_timeout = min(connection.answer_timeout_s, left)
    # A message may take as long as the line needs: the wire's watch knows silence from slowness, this does not.
    entity.dimse_timeout = left + 1
    entity.network_timeout = None
    try:
        association = entity.associate(
            connection.host,
            connection.port,
            contexts=list(contexts),
            ae_title=connection.ae_title,
            max_pdu=MAX_PDU_BYTES,
            ext_neg=list(roles),
            evt_handlers=handlers,
        )
    except OSError as error:
        raise PeerError("peer_unreachable", "The peer's name has no address.") from error
    failed = None if entity.plain is None else entity.plain.error
    if isinstance(failed, ConnectionRefusedError):
        raise PeerError("peer_refused", "Nothing listens at the peer's port.") from failed
    if failed is not None:
        raise PeerError("peer_unreachable", "The peer cannot be reached.") from failed
    return association


def _not_established(association: Association, wire: Wire) -> PeerError:
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = getattr(answer, "reason_str", "") or "no reason given"
        return PeerError("peer_rejected", f"The peer rejected the association: {reason}.")
    if association.rejected_contexts and not association.accepted_contexts:
        return PeerError("peer_rejected", "The peer accepts none of the services that were proposed.")
    if wire.fault is None:
        return PeerError("peer_silent", "The peer takes the connection and does not answer.")
    return _fault(wire)


def echo(connection: Connection, monotonic: Callable[[], float] = time.monotonic) -> float:
    """C-ECHO. Returns the seconds from connecting to the answer.

    Raises:
        PeerError: as ``associate``.
    """
    start = monotonic()
    limit = connection.connect_timeout_s + 2 * connection.answer_timeout_s
    with associate(connection, [build_context(Verification)], deadline=start + limit, monotonic=monotonic) as peer:
        peer.echo()
        return monotonic() - start
