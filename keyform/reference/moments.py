"""Times: whole milliseconds since the Unix epoch inside, RFC 3339 in UTC outside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def to_text(milliseconds: int) -> str:
    """Format as RFC 3339 with milliseconds and Z."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def from_text(text: str) -> int:
    """Read an RFC 3339 time with any offset, rounded down to milliseconds. Raises ValueError."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("not an RFC 3339 time")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = found.groups()[6:]
    offset = timedelta()
    if sign:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            raise ValueError("the offset is out of range")
        offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
        offset = -offset if sign == "-" else offset
    leap = second == 60
    if leap:  # RFC 3339 allows a leap second; Unix time counts it as the next second
        second = 59
    moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
    whole = (moment - _EPOCH) // timedelta(seconds=1) + leap
    milliseconds = whole * 1000 + int(((fraction or "") + "000")[:3])
    try:
        to_text(milliseconds)
    except OverflowError:
        raise ValueError("the time is out of range") from None
    return milliseconds
