"""A calendar as text, and as iCalendar (RFC 5545) for the calendars that people have."""

from __future__ import annotations

from datetime import datetime

from keyform.engine.calendar import EXPIRES, MOST, REVOKES, ROTATES, Calendar, Entry
from keyform.model import digest, instant
from keyform.report.safe import visible
from keyform.report.style import Style
from keyform.report.table import table


def calendar_text(calendar: Calendar, style: Style) -> str:
    """One line per entry, in order, those that are outages marked; then how many there are of each."""
    out = []
    if calendar.entries:
        header = ("when", "in", "what", "key", "why")
        lines = [_line(entry, calendar.since) for entry in calendar.entries]
        out.append(table(header, lines, style))
    counts = [(EXPIRES, "expiry", "expiries"), (ROTATES, "rotation", "rotations")]
    counts.append((REVOKES, "revocation", "revocations"))
    words = []
    for event, one, many in counts:
        number = sum(entry.event == event for entry in calendar.entries)
        words.append(f"{number} {one if number == 1 else many}")
    until = instant(calendar.until)
    out.append(style.paint(f"Until {until}: {', '.join(words)}.", "bold") + "\n")
    if outages := sum(entry.outage for entry in calendar.entries):
        keys = "1 key expires before anything renews it"
        if outages > 1:
            keys = f"{outages} keys expire before anything renews them"
        out.append(style.paint(f"{keys} (marked !).", "yellow") + "\n")
    out_of = [f"{visible(address)} after {instant(at)}" for address, at in calendar.cut]
    if out_of:
        out.append(f"Not written out, beyond {MOST} rotations of a key: {', '.join(out_of)}.\n")
    if calendar.unminted:
        keys = "1 declared key is" if calendar.unminted == 1 else f"{calendar.unminted} declared keys are"
        out.append(f"{keys} not minted yet, and not in it.\n")
    return "\n".join([out[0], "".join(out[1:])]) if calendar.entries else "".join(out)


def _line(entry: Entry, since: datetime) -> tuple[str, ...]:
    what = entry.event + (" !" if entry.outage else "")
    at = instant(entry.at.replace(microsecond=0))
    return at, _ahead(entry.at, since), what, f"{entry.address} (generation {entry.generation})", entry.why


def _ahead(at: datetime, since: datetime) -> str:
    """How far away, in whole units, the largest first."""
    seconds = int((at - since).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return "now" if seconds <= 0 else f"{seconds}s"


def calendar_ics(calendar: Calendar) -> str:
    """One event per entry. Its UID stays the same from run to run, so that a calendar that takes the file in
    again moves what has moved."""
    from icalendar import Calendar as ICalendar
    from icalendar import Event

    out = ICalendar()
    out.add("prodid", "-//keyform//calendar//EN")
    out.add("version", "2.0")
    out.add("x-wr-calname", "API keys")
    for entry in calendar.entries:
        event = Event()
        event.add("uid", f"{_uid(entry, calendar.lineage)}@keyform")
        event.add("dtstamp", calendar.since)
        event.add("dtstart", entry.at)
        event.add("dtend", entry.at)
        event.add(
            "summary", visible(f"{entry.address} {entry.event}" + (" (outage)" if entry.outage else ""))
        )
        of = f"{entry.service}, generation {entry.generation}" + (f", {entry.key_id}" if entry.key_id else "")
        event.add("description", visible(f"{entry.why} ({of})"))
        event.add("transp", "TRANSPARENT")
        event.add("categories", ["keyform", entry.event])
        out.add_component(event)
    text: str = out.to_ical().decode()
    return text


def _uid(entry: Entry, lineage: str) -> str:
    named = digest([lineage, entry.address, entry.generation, entry.event])
    return named.removeprefix("sha256:")[:32]
