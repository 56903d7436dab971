"""How far the node that runs has come, told to whoever listens, who may end it by raising Interrupted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int, int], None]

# In a context variable, so that runs in several threads do not hear each other.
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


class Interrupted(Exception):
    """The run was cancelled; no fault of a node."""


@contextmanager
def listen(function: Listener) -> Iterator[None]:
    """Have `function(value, total)` called at each report in this block."""
    token = _listener.set(function)
    try:
        yield
    finally:
        _listener.reset(token)


def report(value: int, total: int) -> None:
    """Say that `value` of `total` steps are done; passes on what the listener raises."""
    function = _listener.get()
    if function is not None:
        function(value, total)
