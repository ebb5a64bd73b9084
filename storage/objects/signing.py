"""Signatures of requests to S3 servers: AWS Signature Version 4, in the Authorization header.

Source: Amazon Simple Storage Service API Reference, "Authenticating Requests: Using the Authorization Header". Every
header that is given is signed, so that nobody on the way can take out one that makes a request conditional.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

_BODY_BY_MD5 = "UNSIGNED-PAYLOAD"


class Signer:
    """Signs with one pair of keys; safe to use from several threads.

    Args:
        access_key, secret_key: credentials.
        region: as the server signs for.
    """

    def __init__(self, access_key: str, secret_key: str, region: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self._of_day = ("", b"")  # replaced whole, so that threads need no lock

    def with_secret(self, secret_key: str) -> Signer:
        """The same with another secret."""
        return Signer(self._access_key, secret_key, self._region)

    def signed(
        self, method: str, path: str, query: str, headers: Mapping[str, str], now: datetime, *, body: str = _BODY_BY_MD5
    ) -> dict[str, str]:
        """The headers to send.

        Args:
            method: as HTTP names it.
            path: as it is sent, escaped.
            query: as it is sent, escaped and in order of the names.
            headers: with lower-case names, ``host`` among them, and values without surplus spaces.
            now: aware; servers take a request for about 15 minutes.
            body: SHA-256 of the body, hexadecimal; where it is not said, the body is covered by its Content-MD5 alone,
                which is then among the headers.
        """
        now = now.astimezone(UTC)
        day = f"{now.year:04}{now.month:02}{now.day:02}"
        stamp = f"{day}T{now.hour:02}{now.minute:02}{now.second:02}Z"
        sent = {**headers, "x-amz-content-sha256": body, "x-amz-date": stamp}
        names = sorted(sent)
        listed = ";".join(names)
        lines = "".join([f"{name}:{sent[name]}\n" for name in names])
        request = hashlib.sha256(f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{body}".encode()).hexdigest()
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{request}".encode()
        signature = hmac.digest(self._key(day), text, "sha256").hex()
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        )
        return sent

    def _key(self, day: str) -> bytes:
        known, key = self._of_day
        if known != day:
            key = f"AWS4{self._secret_key}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._of_day = (day, key)
        return key
