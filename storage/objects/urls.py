"""Choosing a store by one URL, and refusing one that cannot keep its promises."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from teleread.errors import Misconfigured
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.folder import check_folder
from teleread.storage.objects.protocol import Blobs, ObjectKeys
from teleread.storage.objects.remembered import Remembered
from teleread.storage.objects.sealed import SealedStore

if TYPE_CHECKING:
    from teleread.storage.objects.s3 import S3Blobs

_S3_OPTIONS = frozenset({"secure", "region", "accept"})


def _utc_now() -> datetime:
    return datetime.now(UTC)


def open_store(
    url: str, keys: ObjectKeys, *, remember: Path | None = None, clock: Callable[[], datetime] = _utc_now
) -> SealedStore:
    """The object store that the URL names.

    A bucket is made when it is absent. What the store enforces is found out (see ``probe.py`` and ``folder.py``; a
    remote one takes about a hundred requests) unless it was within the last day.

    Args:
        url: ``file:///absolute/path`` or
            ``s3://key:secret@host:port/bucket?secure=0&region=...&accept=create_only,...``, key and secret
            percent-encoded; ``secure`` is 1 unless said. ``accept`` names what the server need not enforce.
        keys: with which the objects are sealed.
        remember: file for what stores were found to enforce; None: find out each time.
        clock: aware.

    Raises:
        Misconfigured: ``bad_store_url``; ``store_does_not_enforce`` when the store lacks what is needed.
        StorageError: ``store_io`` when the folder cannot be made; ``store_access_denied``.
        PeerError: a remote store does not answer.
    """
    return SealedStore(open_blobs(url, remember=remember, clock=clock), keys)


def open_blobs(url: str, *, remember: Path | None = None, clock: Callable[[], datetime] = _utc_now) -> Blobs:
    """What holds the sealed bytes, without keys; as :func:`open_store` otherwise."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad("is not a URL") from error
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.path == "/":
            raise _bad("needs an absolute path: file:///path")
        root = Path(os.path.abspath(unquote(parts.path)))
        files, memory = FileBlobs(root), Remembered(remember, clock=clock)
        name = f"file {os.stat(root).st_dev} {root}"
        if memory.recall(name) is None:
            check_folder(root)
            memory.keep(name, frozenset({"hard_links", "fsync"}))
        return files
    if parts.scheme != "s3":
        raise _bad("starts with file:// or s3://")
    return _open_s3(parts, port, remember, clock)


def _open_s3(parts: SplitResult, port: int | None, remember: Path | None, clock: Callable[[], datetime]) -> S3Blobs:
    bucket, options = parts.path.strip("/"), parse_qs(parts.query, keep_blank_values=True)
    if not (parts.hostname and parts.username and parts.password and bucket) or "/" in bucket:
        raise _bad("needs key, secret, host and bucket: s3://key:secret@host:port/bucket")
    if not options.keys() <= _S3_OPTIONS or options.get("secure", ["1"]) not in (["0"], ["1"]):
        raise _bad("takes the options secure=0 or 1, region and accept")
    # urllib3 takes a while to import, which who keeps files need not pay
    from teleread.storage.objects.probe import ACCEPTABLE, Capabilities, probe, require
    from teleread.storage.objects.s3 import S3Blobs

    accepted = frozenset(name for value in options.get("accept", []) for name in value.split(",") if name)
    if not accepted <= ACCEPTABLE:
        raise _bad(f"can accept no more than {','.join(sorted(ACCEPTABLE))}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    blobs = S3Blobs(
        host if port is None else f"{host}:{port}",
        bucket,
        unquote(parts.username),
        unquote(parts.password),
        secure=options.get("secure", ["1"]) == ["1"],
        region=options.get("region", ["us-east-1"])[0],
    )
    memory, name = Remembered(remember, clock=clock), blobs.wire.url
    with ExitStack() as failing:
        failing.callback(blobs.close)
        enforced = memory.recall(name)
        if enforced is None or not set(Capabilities(enforced).missing()) <= accepted:
            blobs.ensure_bucket()
            found = probe(blobs)
            require(found, accepted)
            enforced = found.enforced
            memory.keep(name, enforced)
        blobs.rely_on(enforced)
        failing.pop_all()
    return blobs


def _bad(reason: str) -> Misconfigured:
    return Misconfigured("bad_store_url", f"the object store's URL {reason}")
