"""Trying again where another writer was quicker, or where AWS has not come round to something yet."""

from __future__ import annotations

import secrets as _random
import time
from collections.abc import Iterator

from keyform.errors import StoreError
from keyform.model import Place

_ROUNDS, _LONGEST_WAIT = 50, 2.0  # together 45 seconds or so: SSM asks for 30 between a delete and a create


def pause(number: int) -> None:
    """Wait before attempt ``number``, random up to a time that grows; before attempt 0 not at all."""
    if number:
        wait = min(_LONGEST_WAIT, 0.02 * 1.6**number)
        time.sleep(wait * (0.2 + 0.8 * _random.randbelow(1000) / 1000))


def rounds(store: str, place: Place) -> Iterator[int]:
    """Numbers from 0, with growing random waits in between. Raises ``StoreError`` at the end."""
    for number in range(_ROUNDS):
        pause(number)
        yield number
    raise StoreError(
        f"Store {store!r} could not write {place}: others were quicker {_ROUNDS} times, or AWS has not yet "
        "let go of what was deleted there",
        "Find out who else writes there, and run it again.",
    )
