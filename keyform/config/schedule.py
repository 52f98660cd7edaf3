"""``schedule``: how often keyform is run by itself, and the keys that would not live until the next run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from keyform.config.defaults import Values
from keyform.config.merge import Merged
from keyform.documents.problems import Problems
from keyform.model import DesiredKey, Rotation, format_duration


def read_schedule(merged: Merged, values: Values) -> timedelta | None:
    """The time between two runs, or None where the configuration does not say. The schema has seen to it
    that the text is ``every`` and something like a duration."""
    entry = merged.schedule
    if entry is None:
        return None
    span = values.duration(entry.body.removeprefix("every "), entry.at())
    return span if isinstance(span, timedelta) else None


def report_short_lives(keys: Iterable[DesiredKey], schedule: timedelta | None, problems: Problems) -> None:
    """Warn of keys that can expire between two runs, the entries of a ``for_each`` together."""
    if schedule is None:
        return
    told = set()
    for key in keys:
        if key.source is None or key.source in told or key.expires_in is None:
            continue
        between = format_duration(schedule)
        ahead = _due_ahead(key.rotation, key.expires_in)
        if key.expires_in <= schedule:
            summary = f"the key lives for {format_duration(key.expires_in)}, and keyform runs every {between}"
            detail = "Let it live longer, or run keyform more often and say so in `schedule`."
        elif ahead is not None and ahead < schedule:
            summary = (
                f"the key can expire before it is rotated: it is due {format_duration(ahead)} ahead, and "
                f"keyform runs every {between}"
            )
            detail = f"Rotate it {between} ahead or more, with `before_expiry` or a shorter `every`."
        else:
            continue
        told.add(key.source)
        problems.warning("short-life", key.source, summary, detail, address=key.address)


def _due_ahead(rotation: Rotation | None, lives: timedelta) -> timedelta | None:
    """How long before its expiry a key is due for rotation; None where it is not, before it expires."""
    if rotation is None:
        return None
    spans = [rotation.before_expiry, lives - rotation.every if rotation.every else None]
    return max((span for span in spans if span is not None and span > timedelta(0)), default=None)
