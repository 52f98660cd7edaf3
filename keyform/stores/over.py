"""What a write may replace, the same for every store."""

from __future__ import annotations

from keyform.errors import Taken
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over


def allow(store: str, place: Place, over: Over, present: Secret | None) -> None:
    """Refuse (``Taken``) to write where ``present`` is not what ``over`` allows. For readable stores."""
    if over == ANYTHING or (present is None and over is None):
        return
    if isinstance(over, Held):
        raise TypeError("a store that can be read goes by values, not by versions")
    if over is None or present != over:
        raise taken(store, place, gone=present is None)


def allow_deletion(store: str, place: Place, over: Over, present: Secret | Held | None) -> None:
    """Refuse (``Taken``) to delete ``present`` where ``over`` does not allow it. Nothing is no matter."""
    if present is None or over == ANYTHING:
        return
    if isinstance(present, Held):
        same = isinstance(over, Held) and over.version == present.version
    else:
        same = present == over
    if not same:
        raise Taken(
            f"Store {store!r}: {place} does not hold the value to delete: somebody else writes there too",
            "It was left as it is. Find out who wrote it; delete it by hand if nobody needs it.",
        )


def allow_held(store: str, place: Place, over: Over, present: Held | None) -> None:
    """The same for stores that cannot be read, which go by what they tell of the value."""
    if over == ANYTHING or (present is None and over is None):
        return
    if isinstance(over, Secret):
        raise TypeError("a store that cannot be read goes by versions, not by values")
    if over is None or present is None or present.version != over.version:
        raise taken(store, place, gone=present is None)


def taken(store: str, place: Place, *, gone: bool = False) -> Taken:
    """What is said of a place that somebody else wrote to."""
    what = "no longer holds what was there" if gone else "holds a value that was not there before"
    return Taken(
        f"Store {store!r}: {place} {what}: somebody else writes there too",
        "Nothing was written. Find out who does, then plan again; --overwrite-secrets writes all the same.",
    )
