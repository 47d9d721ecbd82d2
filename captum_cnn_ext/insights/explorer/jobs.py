"""Slow work in a thread of its own, which tells how far it is and ends when asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from captum_cnn_ext._engine.running.stopping import Stoppable, Stopped

T = TypeVar("T")


class Job(Generic[T]):
    """One piece of work: ``work(job)`` runs in a new thread until it ends, fails or is stopped.

    Args:
        work: gets the job, to say through `tell` how far it is.
        words: what it does.

    Example::

        >>> from captum_cnn_ext.insights.explorer.jobs import Job
        >>> job = Job(lambda job: 6 * 7, "thinking")
        >>> job.wait(5)
        True
        >>> job.result()
        42
    """

    def __init__(self, work: Callable[[Job[T]], T], words: str) -> None:
        self.words, self.share = words, 0.0
        self._begin, self._end = time.monotonic(), 0.0
        self._stop, self._done = threading.Event(), threading.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[Job[T]], T]) -> None:
        try:
            with Stoppable(self._stop.is_set):
                self._value.append(work(self))
        except BaseException as error:  # for whoever asks for the result
            self._error = error
        finally:
            self._end = time.monotonic()
            self._done.set()

    def tell(self, share: float, words: str) -> None:
        """Called by the work: how much of it is done, 0 to 1, and what it does now.

        Raises:
            Stopped: it shall end.
        """
        self.share, self.words = share, words
        if self._stop.is_set():
            raise Stopped("stopped")

    def stop(self) -> None:
        """Ask the work to end at its next tensor operation."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the work has ended, after at most so many seconds."""
        return self._done.wait(seconds)

    @property
    def stopped(self) -> bool:
        """Whether the work ended before it was done because it was asked to."""
        return self._done.is_set() and isinstance(self._error, Stopped)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return (self._end or time.monotonic()) - self._begin

    def result(self) -> T:
        """What the work gave.

        Raises:
            whatever the work raised.
        """
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value[0]


class Jobs:
    """The running job of each visitor; a new one ends the one before."""

    def __init__(self) -> None:
        self._running: dict[str, Job[object]] = {}
        self._lock = threading.Lock()

    def start(self, visitor: str, work: Callable[[Job[T]], T], words: str) -> Job[T]:
        """Begin a job for a visitor."""
        self.stop(visitor)
        job = Job(work, words)
        with self._lock:
            self._running[visitor] = job  # type: ignore[assignment]
        return job

    def stop(self, visitor: str) -> bool:
        """End a visitor's job; whether one was running."""
        with self._lock:
            job = self._running.pop(visitor, None)
        if job is None or job.wait(0):
            return False
        job.stop()
        return True
