"""Jobs for the tests of the bounded pool; imported by name in its children."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

from teleread.errors import Conflict, InputRejected
from teleread.ingest.bounded import Product


def echo(payload: bytes, options: dict[str, Any]) -> Product:
    return Product({"options": options, "size": len(payload), "pid": os.getpid()}, {"payload": payload, "none": b""})


def reject(payload: bytes, options: dict[str, Any]) -> Product:
    raise InputRejected("dicom_truncated", "The file ends early.")


def conflict(payload: bytes, options: dict[str, Any]) -> Product:
    raise Conflict("lease_lost", "Somebody else has the case.")


def forever(payload: bytes, options: dict[str, Any]) -> Product:
    while True:
        pass


def sleep_once(payload: bytes, options: dict[str, Any]) -> Product:
    time.sleep(options["s"])
    return Product({"done": True})


def wait_forever(payload: bytes, options: dict[str, Any]) -> Product:
    threading.Event().wait()
    return Product()


def allocate(payload: bytes, options: dict[str, Any]) -> Product:
    return Product({"size": len(bytearray(int(options["bytes"])))})


def leave(payload: bytes, options: dict[str, Any]) -> Product:
    os._exit(3)


def segfault(payload: bytes, options: dict[str, Any]) -> Product:
    ctypes.string_at(0)
    return Product()


def raise_value_error(payload: bytes, options: dict[str, Any]) -> Product:
    raise ValueError(payload.decode())


def big(payload: bytes, options: dict[str, Any]) -> Product:
    return Product({}, {"big": bytes(int(options["bytes"]))})


def big_facts(payload: bytes, options: dict[str, Any]) -> Product:
    return Product({"text": "x" * int(options["bytes"])})


def lie(payload: bytes, options: dict[str, Any]) -> Product:
    """Behave like a child that was taken over: write to the connection what was asked for."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, payload)
        except OSError:
            continue
    os._exit(0)


def answer_and_die(payload: bytes, options: dict[str, Any]) -> Product:
    """Answer, then die a little later, as a corrupted heap does."""
    threading.Timer(0.001, os._exit, (3,)).start()
    return Product()


def write_file(payload: bytes, options: dict[str, Any]) -> Product:
    try:
        with open(options["path"], "wb") as file:
            file.write(b"x")
    except OSError:
        return Product({"written": False})
    return Product({"written": True})


def threads(payload: bytes, options: dict[str, Any]) -> Product:
    return Product({"openblas": os.environ.get("OPENBLAS_NUM_THREADS")})
