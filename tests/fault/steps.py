"""Numbering the steps of a running system from inside, and dying at one of them.

Numbered are: what the store itself calls a step, every call of the store, every request to an S3 server, every
statement, every begin and commit of either database (before and after), and the acknowledgement. The hooks are set in
a process that is thrown away, never in the test's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import urllib3.connectionpool
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from tests.fault.world import Step

# what a store's method may give back that has steps of its own
_NESTED = frozenset({"draft", "__enter__"})
_DATA = frozenset({"root", "blobs", "bucket"})


class Steps:
    """Counts steps; the process ends at one of them.

    Args:
        die_at: number of the step at which the process kills itself, from 1; 0 for never.
    """

    def __init__(self, die_at: int = 0) -> None:
        self.names: list[str] = []
        self._die_at = die_at

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


class Stepped:
    """Another object with a step before and after each call of a method, and of what ``draft`` gives."""

    def __init__(self, inner: Any, name: str, step: Step) -> None:
        self._inner, self._name, self._step = inner, name, step

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._inner, attribute)
        if attribute in _DATA or not callable(value):
            return value
        return self._wrapped(attribute, value)

    def __enter__(self) -> Any:
        return self._wrapped("__enter__", self._inner.__enter__)()

    def __exit__(self, *reason: object) -> Any:
        return self._wrapped("__exit__", self._inner.__exit__)(*reason)

    def _wrapped(self, attribute: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any, **named: Any) -> Any:
            self._step(f"before {self._name}.{attribute}")
            value = call(*arguments, **named)
            self._step(f"after {self._name}.{attribute}")
            return Stepped(value, f"{self._name}.draft", self._step) if attribute in _NESTED else value

        return stepping


def number_databases(step: Step) -> None:
    """From now on every transaction of this process has steps."""
    commit: Any = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: Any) -> None:
        step("before commit")
        commit(self, connection)
        step("after commit")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
    event.listen(Engine, "begin", lambda _: step("begin"))
    event.listen(Engine, "after_cursor_execute", lambda *_: step("statement"))


def number_requests(step: Step) -> None:
    """From now on every HTTP request of this process has steps."""
    pool: Any = urllib3.connectionpool.HTTPConnectionPool
    request = pool._make_request

    def make_request(self: Any, *arguments: Any, **named: Any) -> Any:
        step("before request")
        answer = request(self, *arguments, **named)
        step("after request")
        return answer

    pool._make_request = make_request
