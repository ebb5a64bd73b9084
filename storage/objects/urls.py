"""Choosing a store by one URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from teleread.errors import Misconfigured
from teleread.storage.objects.filesystem import FileSystemStore
from teleread.storage.objects.protocol import ObjectStore

_S3_OPTIONS = frozenset({"secure", "region"})


def open_store(url: str) -> ObjectStore:
    """The object store that the URL names; a remote one is not contacted yet.

    Args:
        url: ``file:///absolute/path`` or ``s3://key:secret@host:port/bucket?secure=0&region=...``, key and secret
            percent-encoded; ``secure`` is 1 unless said.

    Raises:
        Misconfigured: ``bad_store_url``.
        StorageError: ``store_io`` when the folder cannot be made.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad("is not a URL") from error
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.path == "/":
            raise _bad("needs an absolute path: file:///path")
        return FileSystemStore(Path(unquote(parts.path)))
    if parts.scheme != "s3":
        raise _bad("starts with file:// or s3://")
    bucket, options = parts.path.strip("/"), parse_qs(parts.query, keep_blank_values=True)
    if not (parts.hostname and parts.username and parts.password and bucket) or "/" in bucket:
        raise _bad("needs key, secret, host and bucket: s3://key:secret@host:port/bucket")
    if not options.keys() <= _S3_OPTIONS or options.get("secure", ["1"]) not in (["0"], ["1"]):
        raise _bad("takes the options secure=0 or 1 and region")
    # minio costs 0.2 s to import, which who keeps files need not pay
    from teleread.storage.objects.s3 import S3Store

    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return S3Store(
        host if port is None else f"{host}:{port}",
        bucket,
        unquote(parts.username),
        unquote(parts.password),
        secure=options.get("secure", ["1"]) == ["1"],
        region=options.get("region", ["us-east-1"])[0],
    )


def _bad(reason: str) -> Misconfigured:
    return Misconfigured("bad_store_url", f"the object store's URL {reason}")
