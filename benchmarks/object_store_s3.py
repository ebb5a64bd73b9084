"""What the S3 store costs beside the clients it could be built on: CPU of the client and time, in the same run.

    python -m benchmarks.object_store_s3 [--size 60000] [--rounds 15] [--times 60] [--ceph]

An object is put (create-only where the server has that) and read again, one after the other, by each client in turn,
in interleaved rounds; the medians of the rounds are printed. The sealed store also encrypts, authenticates and hashes,
and compares what the server acknowledged; the bare clients do not. Needs the environment of requirements-bench.lock
for boto3, which is left out where it is missing. Servers: rclone (the binary beside this interpreter or on the PATH)
and, with ``--ceph``, Ceph's gateway as it is and told to send small packets at once, which spares the other clients
the wait for a delayed acknowledgement (44 ms for each get).
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio

from teleread.storage.objects import SealedStore
from teleread.storage.objects.probe import probe
from teleread.storage.objects.s3 import S3Blobs
from tests.contract import ceph, rclone
from tests.contract.keys import TestKeys

_BAR = 1.3
Act = Callable[[int], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=60_000, help="bytes of an object (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--times", type=int, default=60, help="objects in each round (default: %(default)s)")
    parser.add_argument(
        "--ceph", action="store_true", help="also against Ceph's gateway, which takes a minute to start"
    )
    options = parser.parse_args()
    with rclone_endpoint() as endpoint:
        measure("rclone", endpoint, rclone.ACCESS_KEY, rclone.SECRET_KEY, options)
    if options.ceph:
        for name, tcp_nodelay in (("Ceph RGW", False), ("Ceph RGW with tcp_nodelay=1", True)):
            with ceph.ceph_server(tcp_nodelay=tcp_nodelay) as server:
                measure(name, server.endpoint, ceph.ACCESS_KEY, ceph.SECRET_KEY, options)
    return 0


@contextmanager
def rclone_endpoint() -> Iterator[str]:
    """A server over a folder in memory, so that the disk does not show."""
    shared = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder,
        rclone.rclone_server(Path(folder)) as server,
    ):
        yield server.endpoint


def measure(name: str, endpoint: str, access_key: str, secret_key: str, options: argparse.Namespace) -> None:
    body, keys = os.urandom(options.size), itertools.count()
    with ExitStack() as stack:
        clients = {
            "teleread (sealed)": ours(endpoint, access_key, secret_key, body, stack),
            "minio-py": minio(endpoint, access_key, secret_key, body),
        }
        if importlib.util.find_spec("boto3"):
            clients["boto3"] = boto(endpoint, access_key, secret_key, body)
        figures: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(options.rounds + 1):
            for client, acts in clients.items():
                some = [next(keys) for _ in range(options.times)]
                for act, do in acts.items():
                    figure = one(do, some)
                    if number:  # the first round warms up
                        figures.setdefault((client, act), []).append(figure)
    report(name, options, figures)


def one(do: Act, some: list[int]) -> tuple[float, float]:
    """CPU and wall time of each, in ms."""
    wall, cpu = time.perf_counter(), time.process_time()
    for number in some:
        do(number)
    return 1000 * (time.process_time() - cpu) / len(some), 1000 * (time.perf_counter() - wall) / len(some)


def report(name: str, options: argparse.Namespace, figures: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    print(f"{name}, {options.size} bytes, medians of {options.rounds} rounds of {options.times}, ms for each object")
    print(f"  {'client':<20}{'put CPU':>9}{'get CPU':>9}{'both':>8}{'put':>9}{'get':>9}")
    both = {}
    for client in dict.fromkeys(client for client, _ in figures):
        puts, gets = figures[client, "put"], figures[client, "get"]
        cpu = [statistics.median(one[0] for one in some) for some in (puts, gets)]
        wall = [statistics.median(one[1] for one in some) for some in (puts, gets)]
        both[client] = statistics.median(put[0] + get[0] for put, get in zip(puts, gets, strict=True))
        print(f"  {client:<20}{cpu[0]:>9.3f}{cpu[1]:>9.3f}{both[client]:>8.3f}{wall[0]:>9.2f}{wall[1]:>9.2f}")
    first = next(iter(both))
    for client in list(both)[1:]:
        print(f"  CPU of {first} / {client}: {both[first] / both[client]:.2f}")
    verdict = "met" if both[first] <= _BAR * both["minio-py"] else "NOT met"
    print(f"  bar (at most {_BAR} of minio-py): {verdict}", flush=True)


def ours(endpoint: str, access_key: str, secret_key: str, body: bytes, stack: ExitStack) -> dict[str, Act]:
    blobs = S3Blobs(endpoint, "ours", access_key, secret_key, secure=False)
    stack.callback(blobs.close)
    blobs.ensure_bucket()
    blobs.rely_on(probe(blobs).enforced)
    store = SealedStore(blobs, TestKeys())

    def put(number: int) -> None:
        store.put(f"objects/{number}", body)

    def get(number: int) -> None:
        assert len(store.get(f"objects/{number}")) == len(body)

    return {"put": put, "get": get}


def minio(endpoint: str, access_key: str, secret_key: str, body: bytes) -> dict[str, Act]:
    client = Minio(
        endpoint=endpoint,
        access_key=access_key,
        secret_key=secret_key,
        secure=False,
        region="us-east-1",
        http_client=urllib3.PoolManager(maxsize=16),
    )
    client.make_bucket(bucket_name="minio")

    def put(number: int) -> None:
        client.put_object(bucket_name="minio", object_name=f"objects/{number}", data=io.BytesIO(body), length=len(body))

    def get(number: int) -> None:
        answer = client.get_object(bucket_name="minio", object_name=f"objects/{number}")
        assert len(answer.read()) == len(body)
        answer.close()
        answer.release_conn()

    return {"put": put, "get": get}


def boto(endpoint: str, access_key: str, secret_key: str, body: bytes) -> dict[str, Act]:
    import boto3

    client: Any = boto3.client(
        "s3",
        endpoint_url=f"http://{endpoint}",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="boto")

    def put(number: int) -> None:
        client.put_object(Bucket="boto", Key=f"objects/{number}", Body=body)

    def get(number: int) -> None:
        assert len(client.get_object(Bucket="boto", Key=f"objects/{number}")["Body"].read()) == len(body)

    return {"put": put, "get": get}


if __name__ == "__main__":
    sys.exit(main())
