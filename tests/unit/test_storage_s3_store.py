"""The S3 store on a server that does not enforce what S3 promises, and on answers that only a test can make."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from teleread.errors import Misconfigured, PeerError, StorageError, TelereadError
from teleread.storage.objects import FileBlobs, ObjectStore, SealedStore, get_raw, open_store
from teleread.storage.objects.creating import ETAG_MD5, Creator, part_bytes
from teleread.storage.objects.probe import NEEDED
from teleread.storage.objects.s3 import S3Blobs
from teleread.storage.objects.signing import Signer
from tests.contract.keys import TestKeys
from tests.contract.rclone import ACCESS_KEY, SECRET_KEY, RcloneServer, rclone_server
from tests.contract.s3_contract import S3Contract, new_blobs, publish
from tests.contract.stored_objects import MIB

STRONG = frozenset({*NEEDED, ETAG_MD5})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    with rclone_server(tmp_path_factory.mktemp("rclone")) as running:
        yield running


class TestS3OnAWeakServer(S3Contract):
    @pytest.fixture
    def new(self, server: RcloneServer) -> Callable[[], S3Blobs]:
        return lambda: new_blobs(server.endpoint, ACCESS_KEY, SECRET_KEY)

    @pytest.fixture
    def enforced(self) -> frozenset[str]:
        return STRONG - {"create_only"}

    def test_relied_on_for_what_it_does_not_enforce_it_would_overwrite(self, blobs: S3Blobs) -> None:
        blobs.rely_on(STRONG)
        assert publish(blobs, "a", b"one")
        assert publish(blobs, "a", b"two")
        assert blobs.get("a") == b"two"

    def test_minio_itself_would_overwrite(self, blobs: S3Blobs) -> None:
        """Why requests are made here: its public call keeps the condition as metadata."""
        client = Minio(
            endpoint=blobs.wire.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, region="us-east-1"
        )
        for data in (b"one", b"two"):
            client.put_object(
                bucket_name=blobs.bucket,
                object_name="a",
                data=io.BytesIO(data),
                length=3,
                metadata={"If-None-Match": "*"},
            )
        assert blobs.get("a") == b"two"

    def test_rotten_bytes_are_never_taken_for_the_same(self, server: RcloneServer, blobs: S3Blobs) -> None:
        store, data = SealedStore(blobs, TestKeys()), b"waveform" * 1000
        stored = store.put_raw(data)
        assert get_raw(store, stored.sha256) == data
        file = server.folder / blobs.bucket / stored.key
        rotten = bytearray(file.read_bytes())
        rotten[1000] ^= 1
        file.write_bytes(rotten)
        for act in (lambda: get_raw(store, stored.sha256), lambda: store.put_raw(data)):
            with pytest.raises(StorageError) as found:
                act()
            assert found.value.code == "object_corrupt"


def test_requests_are_signed_as_s3_says() -> None:
    """Amazon's own example of a signed request."""
    nothing = hashlib.sha256(b"").hexdigest()
    signer = Signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
    headers = {"host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9"}
    for _ in range(2):
        sent = signer.signed("GET", "/test.txt", "", headers, datetime(2013, 5, 24, tzinfo=UTC), body=nothing)
        assert sent["authorization"] == (
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        )
        signer.signed("GET", "/test.txt", "", headers, datetime(2013, 5, 25, tzinfo=UTC))


@pytest.mark.parametrize("query", ["", "prefix=a%2Fb&uploads=", "partNumber=1&uploadId=2~x"])
def test_requests_are_signed_as_another_client_signs_them(query: str) -> None:
    at = datetime(2026, 11, 22, 8, 0, 7, tzinfo=UTC)
    headers = {"host": "127.0.0.1:9000", "if-none-match": "*", "content-md5": "rL0Y20zC+Fzt72VPzMSk2A=="}
    ours = Signer("key", "secret", "cn-north-1").signed("PUT", "/bucket/a/b", query, headers, at)
    theirs = sign_v4_s3(
        method="PUT",
        url=urlsplit(f"http://127.0.0.1:9000/bucket/a/b?{query}"),
        region="cn-north-1",
        headers={**headers, "x-amz-date": "20261122T080007Z", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
        credentials=Credentials("key", "secret"),
        content_sha256="UNSIGNED-PAYLOAD",
        date=at,
    )
    assert ours["authorization"] == theirs["Authorization"]


def test_a_conditional_write_is_one_signed_request() -> None:
    answers = Answers(("200", {"ETag": f'"{hashlib.md5(b"one").hexdigest()}"'}, b""))
    with store_of(answers) as blobs:
        assert publish(blobs, "a/b", b"one")
    (method, path, sent, body) = answers.seen[0]
    assert (method, path, body) == ("PUT", "/bucket/a/b", b"one")
    assert sent["if-none-match"] == "*"
    assert sent["content-md5"] == base64.b64encode(hashlib.md5(b"one").digest()).decode()
    assert "x-amz-meta-if-none-match" not in sent
    assert "content-md5;host;if-none-match;" in sent["authorization"]


@pytest.mark.parametrize(
    ("size", "part"),
    [(1, 16 * MIB), (9_000 * 16 * MIB, 16 * MIB), (9_000 * 16 * MIB + 1, 17 * MIB), (5 << 40, 583 * MIB)],
)
def test_parts_grow_so_that_they_are_few_enough(size: int, part: int) -> None:
    assert part_bytes(size) == part
    assert -(-size // part) <= 9_000


def test_a_server_that_is_gone_is_a_peer_to_be_tried_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    blobs = S3Blobs(f"127.0.0.1:{port}", "bucket", ACCESS_KEY, SECRET_KEY, secure=False, connect_timeout_s=1)
    for act in (
        lambda: publish(blobs, "a", b"x"),
        lambda: blobs.get("a"),
        lambda: blobs.stat("a"),
        lambda: list(blobs.list()),
        lambda: blobs.delete("a"),
    ):
        with pytest.raises(PeerError) as failed:
            act()
        assert failed.value.code == "store_unreachable"
        assert SECRET_KEY not in str(failed.value)
    blobs.close()


@pytest.mark.parametrize("endpoint", ["", "http://host", "host:port", "host/path", "host:1 x", "us er@host"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        S3Blobs(endpoint, "bucket", ACCESS_KEY, SECRET_KEY)
    assert refused.value.code == "bad_store_url"


Answer = tuple[str, dict[str, str], bytes]


class Answers:
    """Answers in turn, the last one for ever; keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.left = list(answers)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        answers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                return

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                sent = {name.lower(): value for name, value in self.headers.items()}
                answers.seen.append((self.command, self.path, sent, body))
                status, headers, said = answers.left.pop(0) if len(answers.left) > 1 else answers.left[0]
                if status == "lost":
                    self.close_connection = True
                    return
                self.send_response(int(status))
                for name, value in {"Content-Length": str(len(said)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said)
                self.close_connection = "Content-Length" in headers

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        return Handler


@contextmanager
def store_of(answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[S3Blobs]:
    """Blobs whose server answers so, and is relied on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers.handler())
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    blobs = S3Blobs(
        f"127.0.0.1:{server.server_port}", "bucket", "key", "secret", secure=tls is not None, answer_timeout_s=5
    )
    blobs.rely_on(STRONG)
    try:
        yield blobs
    finally:
        blobs.close()
        server.shutdown()
        server.server_close()
        thread.join()


def error(code: str) -> bytes:
    """As S3 says it."""
    return f"<Error><Code>{code}</Code></Error>".encode()


def tagged(data: bytes) -> dict[str, str]:
    return {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}


HELD = {**tagged(b"one"), "Content-Length": "3"}
RIVAL = {**tagged(b"two"), "Content-Length": "3"}


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ("503 Slow", PeerError, "store_unavailable"),
        ("500 Broken", PeerError, "store_unavailable"),
        ("400 RequestTimeout", PeerError, "store_unavailable"),
        ("409 OperationAborted", PeerError, "store_unavailable"),
        ("507 XMinioStorageFull", StorageError, "store_full"),
        ("403 QuotaExceeded", StorageError, "store_full"),
        ("403 AccessDenied", StorageError, "store_access_denied"),
        ("403 RequestTimeTooSkewed", StorageError, "store_clock"),
        ("400 BadDigest", PeerError, "store_damaged_transfer"),
        ("404 NoSuchBucket", StorageError, "bucket_missing"),
        ("400 SomethingElse", StorageError, "store_io"),
        ("301 PermanentRedirect", StorageError, "store_io"),
        ("200 not S3 at all", StorageError, "object_corrupt"),
    ],
)
def test_what_a_server_answers_becomes_a_code(answer: str, kind: type[TelereadError], code: str) -> None:
    status, _, said = answer.partition(" ")
    with store_of(Answers((status, {}, error(said)))) as blobs, pytest.raises(kind) as failed:
        publish(blobs, "a", b"one")
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("answers", "published"),
    [
        ([("200", tagged(b"one"), b"")], True),
        ([("412", {}, b"")], False),
        ([("503", {}, b""), ("200", tagged(b"one"), b"")], True),
        ([("409", {}, b""), ("200", tagged(b"one"), b"")], True),
        # the first try was done and its answer lost: what is refused now is our own
        ([("lost", {}, b""), ("412", {}, b""), ("200", HELD, b"")], True),
        ([("500", {}, b""), ("412", {}, b""), ("200", HELD, b"")], True),
        ([("lost", {}, b""), ("412", {}, b""), ("200", RIVAL, b"two")], False),
        ([("lost", {}, b""), ("412", {}, b""), ("404", {}, b"")], False),
    ],
)
def test_a_lost_answer_is_not_mistaken_for_a_rival(answers: list[Answer], published: bool) -> None:
    with store_of(Answers(*answers)) as blobs:
        assert publish(blobs, "a", b"one") is published


@pytest.mark.parametrize("said", [RIVAL["ETag"], "", '"short"'])
def test_an_acknowledged_object_with_another_etag_is_corrupt(said: str) -> None:
    with store_of(Answers(("200", {"ETag": said}, b""))) as blobs:
        with pytest.raises(StorageError) as failed:
            publish(blobs, "a", b"one")
        assert failed.value.code == "object_corrupt"
        # where the ETag is no MD5, the size decides
        blobs.rely_on(NEEDED)
        with pytest.raises(StorageError) as failed:
            publish(blobs, "a", b"one")
        assert failed.value.code == "object_corrupt"


BEGUN = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
ONE_PART = f'"{hashlib.md5(hashlib.md5(b"one").digest()).hexdigest()}-1"'
PART = ("200", tagged(b"one"), b"")
WHOLE = ("200", {"ETag": ONE_PART, "Content-Length": "3"}, b"")
ABSENT: Answer = ("404", {}, b"")


@pytest.mark.parametrize(
    ("completed", "outcome"),
    [
        ([("200", {}, b"<R/>"), WHOLE], "published"),
        ([("200", {}, b"<R/>"), ("200", {"Content-Length": "2"}, b"")], "object_corrupt"),
        ([("200", {}, b"<R/>"), ABSENT], "object_corrupt"),
        ([("200", {}, error("InternalError")), ABSENT], "store_unavailable"),
        ([("412", {}, b""), WHOLE], "taken"),
        ([("lost", {}, b""), ("412", {}, b""), WHOLE], "published"),
        ([("lost", {}, b""), ("404", {}, error("NoSuchUpload")), WHOLE], "published"),
        ([("404", {}, error("NoSuchUpload")), ABSENT], "store_unavailable"),
    ],
)
def test_what_is_answered_to_the_end_of_an_upload_in_parts(completed: list[Answer], outcome: str) -> None:
    answers = Answers(ABSENT, ("200", {}, BEGUN), PART, *completed, ("204", {}, b""))
    with store_of(answers) as blobs:
        blobs.rely_on({*STRONG, "create_only_parts"})
        creator = Creator(blobs.wire)
        creator.relied_on = STRONG | {"create_only_parts"}
        try:
            found = "published" if creator.create_large("a", io.BytesIO(b"one"), 3) else "taken"
        except TelereadError as failure:
            found = failure.code
    assert found == outcome
    aborted = [path for method, path, _, _ in answers.seen if method == "DELETE"]
    assert set(aborted) == (set() if outcome == "published" else {"/bucket/a?uploadId=u"})


@pytest.mark.parametrize("answer", ["lost", "503"])
def test_a_request_to_delete_is_not_sent_again(answer: str) -> None:
    """The server might come to the first one when the key holds another object already."""
    answers = Answers((answer, {}, b""))
    with store_of(answers) as blobs:
        with pytest.raises(PeerError):
            blobs.wire.send("DELETE", "a")
        assert [method for method, *_ in answers.seen] == ["DELETE"]
        with pytest.raises(PeerError):
            blobs.stat("a")
        assert [method for method, *_ in answers.seen] == ["DELETE"] + 3 * ["HEAD"]  # what reads is


def test_an_answer_that_breaks_off_is_never_taken_for_the_object() -> None:
    with store_of(Answers(("200", {"Content-Length": "10"}, b"half"))) as blobs:
        with pytest.raises(PeerError) as failed:
            blobs.get("a")
        with blobs.open("a") as body, pytest.raises(PeerError):
            body.read(100)
        with pytest.raises(PeerError):
            blobs.get_range("a", 0, 10)
    assert failed.value.code == "store_unreachable"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (("206", {"Content-Range": "bytes 2-4/10"}, b"234"), b"234"),
        (("200", {"Content-Range": "bytes 2-4/10"}, b"234"), b"234"),
        (("200", {}, b"0123456789"), b"234"),
        (("416", {}, error("InvalidRange")), b""),
        (("206", {"Content-Range": "bytes 3-5/10"}, b"345"), "store_io"),
    ],
)
def test_a_range_is_right_however_the_server_answers(answer: Answer, found: bytes | str) -> None:
    with store_of(Answers(answer)) as blobs:
        if isinstance(found, bytes):
            assert blobs.get_range("a", 2, 3) == found
        else:
            with pytest.raises(StorageError) as failed:
                blobs.get_range("a", 2, 3)
            assert failed.value.code == found


@pytest.mark.parametrize(
    "said",
    [
        b"not XML",
        b"<R><IsTruncated>true</IsTruncated></R>",
        b"<R><Contents><Key>a</Key><Size>1</Size><LastModified>soon</LastModified></Contents></R>",
        b"<R><Contents><Key>a</Key><Size>x</Size><LastModified>2026-11-22T08:00:00Z</LastModified></Contents></R>",
    ],
)
def test_a_listing_that_is_none_is_no_empty_one(said: bytes) -> None:
    with store_of(Answers(("200", {}, said))) as blobs, pytest.raises(StorageError) as failed:
        list(blobs.list())
    assert failed.value.code == "store_io"


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1"])
def test_a_bucket_is_made_in_its_region(region: str) -> None:
    answers = Answers(("404", {}, b""), ("200", {}, b""))
    with store_of(answers) as blobs:
        there = S3Blobs(blobs.wire.endpoint, "bucket", "key", "secret", secure=False, region=region)
        there.ensure_bucket()
        there.close()
    (method, path, _, body) = answers.seen[1]
    assert (method, path) == ("PUT", "/bucket/")
    assert (f"<LocationConstraint>{region}<".encode() in body) is (region != "us-east-1")


def test_a_redirect_is_not_followed_with_our_signature() -> None:
    with store_of(Answers(("200", {}, b"other host"))) as other:
        away = ("307", {"Location": f"http://{other.wire.endpoint}/bucket/a"}, b"")
        with store_of(Answers(away)) as blobs, pytest.raises(StorageError) as failed:
            blobs.get("a")
    assert failed.value.code == "store_io"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody trusts yet, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_server_with_a_trusted_certificate_is_spoken_to(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    answers = Answers(("200", tagged(b"one"), b""))
    with store_of(answers, context) as blobs:
        if trusted:
            assert publish(blobs, "a", b"one")
        else:
            with pytest.raises(PeerError) as failed:
                publish(blobs, "a", b"one")
            assert failed.value.code == "store_unreachable"
    assert len(answers.seen) == trusted


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), store_of(Answers(("503", {}, b""))) as blobs, pytest.raises(PeerError):
        blobs.get("a")
    assert "secret" not in caplog.text
    assert "Signature" not in caplog.text


def test_one_url_changes_the_store_and_nothing_else(server: RcloneServer, tmp_path: Path) -> None:
    secret = quote(SECRET_KEY, safe="")
    url = f"s3://{ACCESS_KEY}:{secret}@{server.endpoint}/by-url-{os.getpid()}?secure=0&accept=create_only"
    remote, local = open_store(url, TestKeys()), open_store(f"file://{tmp_path}/objects", TestKeys())
    assert isinstance(remote.blobs, S3Blobs)
    assert isinstance(local.blobs, FileBlobs)

    def fill(either: ObjectStore) -> list[tuple[str, bytes]]:
        for data in (b"one", b"two", b"one"):
            either.put_raw(data)
        return [(info.key, either.get(info.key)) for info in either.list("raw/")]

    assert fill(remote) == fill(local)
    remote.close()
