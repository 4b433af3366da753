"""Runs the steps of a story, each under its own deadline and all under one, and prints one line for each.

A failed step says what was expected and what came; the steps after it still run.
"""

import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

STEP_SECONDS_MAX = 10


class Mismatch(Exception):
    """A step found something other than what it expected."""

    def __init__(self, expected: str, came: Any) -> None:
        super().__init__(f"expected {expected}; came {show(came)}")
        self.expected = expected
        self.came = came


def expect(condition: Any, expected: str, came: Any) -> None:
    """Raises a Mismatch unless `condition` holds."""
    if not condition:
        raise Mismatch(expected, came)


def show(value: Any, limit: int = 1200) -> str:
    """A value as short text for a message."""
    if isinstance(value, BaseExceptionGroup):
        text = "; ".join(show(inner) for inner in value.exceptions)
    elif isinstance(value, BaseException):
        code = f" (code {value.code})" if hasattr(value, "code") else ""
        text = f"{type(value).__name__}{code}: {value}"
    elif hasattr(value, "model_dump_json"):
        text = value.model_dump_json(by_alias=True, exclude_none=True)
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False, default=show)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


class Runner:
    """Collects the outcome of steps."""

    def __init__(self, seconds: float) -> None:
        self.passed = 0
        self.failed = 0
        self.current = "start"
        self.started = time.monotonic()
        signal.signal(signal.SIGALRM, lambda *_: self._stop(seconds))
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _stop(self, seconds: float) -> None:
        print(f"FAIL {self.current}\n  expected: the whole story within {seconds} s\n  came: it still ran", flush=True)
        os._exit(124)

    async def step(self, name: str, body: Callable[[], Awaitable[Any]], seconds: float | None = STEP_SECONDS_MAX) -> bool:
        """Runs one step; `body` gives a few words for the line or nothing. Says whether it passed.

        A body that opens something for later steps needs `seconds=None`: a deadline must not end around it.
        """
        self.current = name
        started = time.monotonic()
        try:
            if seconds is None:
                words = await body()
            else:
                with anyio.fail_after(seconds):
                    words = await body()
        except Mismatch as error:
            self.fail(name, error.expected, error.came)
            return False
        except TimeoutError as error:
            self.fail(name, f"an end within {seconds or 'the time of a request in'} s", str(error) or "none")
            return False
        except Exception as error:
            self.fail(name, "no error", error)
            return False
        self.passed += 1
        spent = int((time.monotonic() - started) * 1000)
        print(f"ok   {name}{f': {words}' if words else ''} ({spent} ms)", flush=True)
        return True

    def fail(self, name: str, expected: str, came: Any) -> None:
        """Counts and prints a failure."""
        self.failed += 1
        print(f"FAIL {name}\n  expected: {expected}\n  came: {show(came)}", flush=True)

    def finish(self) -> int:
        """Prints the sum and gives the exit code: 0 when every step passed."""
        spent = int((time.monotonic() - self.started) * 1000)
        print(f"{self.passed} passed, {self.failed} failed, {spent} ms")
        return 0 if self.failed == 0 and self.passed > 0 else 1


class Inbox:
    """Things that arrive, and waiting for one of them."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._arrived = anyio.Event()

    def push(self, item: Any) -> None:
        """Something arrived."""
        self.items.append(item)
        self._arrived.set()
        self._arrived = anyio.Event()

    async def wait_for(self, test: Callable[[Any], bool], expected: str, seconds: float = 5) -> Any:
        """The first item that `test` accepts, here already or in time; a Mismatch naming `expected` otherwise."""
        with anyio.move_on_after(seconds):
            while True:
                arrived = self._arrived
                for item in self.items:
                    if test(item):
                        return item
                await arrived.wait()
        raise Mismatch(f"{expected} within {seconds} s", self.items)
