"""The S3 store against a server that does not enforce what S3 promises."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import pytest

from teleread.errors import PeerError, StorageError, TelereadError
from teleread.storage.objects import (
    FileSystemStore,
    ObjectStore,
    StoredObject,
    check_raw,
    get_raw,
    open_store,
    put_raw,
    raw_key,
)
from teleread.storage.objects.s3 import S3Store
from teleread.storage.objects.streams import Rewindable, rewindable
from tests.contract.object_store_contract import MIB, ObjectStoreContract
from tests.contract.rclone import ACCESS_KEY, SECRET_KEY, RcloneServer, rclone_server

_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    with rclone_server(tmp_path_factory.mktemp("rclone")) as running:
        yield running


@pytest.fixture
def store(server: RcloneServer) -> Iterator[S3Store]:
    new = S3Store(server.endpoint, f"bucket-{next(_numbers)}", ACCESS_KEY, SECRET_KEY, secure=False)
    new.ensure_bucket()
    yield new
    new.close()


class TestS3Store(ObjectStoreContract):
    memory_bound_bytes = 40 * MIB  # one part of 16 MiB, and the client's copy of it


class Careless(S3Store):
    """The twin: writes without looking first."""

    def put(self, key: str, data: bytes | BinaryIO, *, size_hint: int | None = None) -> StoredObject:
        with rewindable(data) as source:
            self._upload(key, source)
            return StoredObject(key, source.sha256, source.size_bytes)


class Overtaken(S3Store):
    """A store whose writes are always followed at once by another process's."""

    def _upload(self, key: str, source: Rewindable) -> None:
        super()._upload(key, source)
        with rewindable(b"rival") as rival:
            super()._upload(key, rival)


def test_without_the_look_before_the_write_this_server_would_overwrite(server: RcloneServer, store: S3Store) -> None:
    store.put("a", b"one")
    careless = Careless(server.endpoint, store.bucket, ACCESS_KEY, SECRET_KEY, secure=False)
    careless.put("a", b"two")
    careless.close()
    assert store.get("a") == b"two"


def test_a_writer_that_comes_in_between_is_noticed(server: RcloneServer, store: S3Store) -> None:
    overtaken = Overtaken(server.endpoint, store.bucket, ACCESS_KEY, SECRET_KEY, secure=False)
    with pytest.raises(StorageError) as refused:
        overtaken.put("a", b"mine")
    overtaken.close()
    assert refused.value.code == "object_exists"


def test_rotten_bytes_are_never_taken_for_the_same(server: RcloneServer, store: S3Store) -> None:
    data = b"waveform" * 1000
    stored = put_raw(store, data)
    assert get_raw(store, stored.sha256) == data
    assert check_raw(store, stored.sha256) == len(data)
    file = server.folder / store.bucket / stored.key
    rotten = bytearray(data)
    rotten[17] ^= 1
    file.write_bytes(rotten)
    for act in (
        lambda: get_raw(store, stored.sha256),
        lambda: check_raw(store, stored.sha256),
        lambda: put_raw(store, data),
    ):
        with pytest.raises(StorageError) as found:
            act()
        assert found.value.code == "object_corrupt"


def test_a_bucket_that_is_not_there_is_named_as_the_cause(server: RcloneServer) -> None:
    store = S3Store(server.endpoint, "nobody-made-it", ACCESS_KEY, SECRET_KEY, secure=False)
    with pytest.raises(StorageError) as failed:
        store.get("a")
    store.close()
    assert failed.value.code == "bucket_missing"


def test_a_wrong_secret_is_named_as_the_cause(server: RcloneServer, store: S3Store) -> None:
    store.put("a", b"one")
    intruder = S3Store(server.endpoint, store.bucket, ACCESS_KEY, "wrong", secure=False)
    with pytest.raises(StorageError) as failed:
        intruder.get("a")
    intruder.close()
    assert failed.value.code == "store_access_denied"


def test_a_server_that_is_gone_is_a_peer_to_be_tried_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = S3Store(f"127.0.0.1:{port}", "bucket", ACCESS_KEY, SECRET_KEY, secure=False, connect_timeout_s=1)
    for act in (
        lambda: store.put("a", b"x"),
        lambda: store.get("a"),
        lambda: store.exists("a"),
        lambda: list(store.list()),
    ):
        with pytest.raises(PeerError) as failed:
            act()
        assert failed.value.code == "store_unreachable"
        assert SECRET_KEY not in str(failed.value)


class QuietHandler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@contextmanager
def store_of(handler: type[BaseHTTPRequestHandler]) -> Iterator[S3Store]:
    """A store whose server answers as the handler says."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    store = S3Store(f"127.0.0.1:{server.server_port}", "bucket", "key", "secret", secure=False, answer_timeout_s=5)
    try:
        yield store
    finally:
        store.close()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ("503 Slow", PeerError, "store_unavailable"),
        ("500 Broken", PeerError, "store_unavailable"),
        ("507 XMinioStorageFull", StorageError, "store_full"),
        ("403 QuotaExceeded", StorageError, "store_full"),
        ("403 AccessDenied", StorageError, "store_access_denied"),
        ("400 SomethingElse", StorageError, "store_io"),
        ("200 not S3 at all", StorageError, "object_corrupt"),
    ],
)
def test_what_a_server_answers_becomes_a_code(answer: str, kind: type[TelereadError], code: str) -> None:
    """A server that gives every PUT this answer, and knows no object."""
    status, _, said = answer.partition(" ")

    class Handler(QuietHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = f"<Error><Code>{said}</Code></Error>".encode()
            self.send_response(int(status))
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with store_of(Handler) as store, pytest.raises(kind) as failed:
        store.put("a", b"one")
    assert failed.value.code == code


def test_an_answer_that_breaks_off_is_never_taken_for_the_object() -> None:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True

    with store_of(Handler) as store:
        with pytest.raises(PeerError) as failed:
            store.get("a")
        with store.open("a") as body, pytest.raises(PeerError):
            body.read(100)
    assert failed.value.code == "store_unreachable"


def test_one_url_changes_the_store_and_nothing_else(server: RcloneServer, store: S3Store, tmp_path: Path) -> None:
    url = f"s3://{ACCESS_KEY}:{quote(SECRET_KEY, safe='')}@{server.endpoint}/{store.bucket}?secure=0"
    remote, local = open_store(url), open_store(f"file://{tmp_path}/objects")
    assert isinstance(remote, S3Store)
    assert isinstance(local, FileSystemStore)

    def fill(either: ObjectStore) -> list[tuple[str, bytes]]:
        for data in (b"one", b"two", b"one"):
            put_raw(either, data)
        return [(key, either.get(key)) for key in either.list("raw/")]

    assert fill(remote) == fill(local)
    assert raw_key(put_raw(remote, b"one").sha256) in list(remote.list())
    remote.close()
