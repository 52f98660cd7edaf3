"""What is known of a leaked string, as text and as JSON; never the string."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from keyform.encoding import spec_to_json
from keyform.engine.whose import (
    CURRENT,
    ENDED,
    GONE,
    OLD,
    UNKNOWN,
    Candidate,
    Likeness,
    Match,
    Owner,
    Seen,
    Standing,
)
from keyform.model import ACTIVE, EXPIRED, format_duration, instant
from keyform.report.changes import value
from keyform.report.safe import padded, visible
from keyform.report.style import Style
from keyform.report.text import plan_text
from keyform.state import Generation, place_to_json

FORMAT, VERSION = "keyform-whose", 1

_SHOWN = 5

_WHICH = {CURRENT: "the one in use", OLD: "an old one, in its overlap", ENDED: "which has ended"}


def answer_text(
    owner: Owner, standing: Standing, at_once: bool, style: Style, declared: Mapping[str, str]
) -> str:
    """The answer for people, with the plan. ``declared`` says where in the files an address stands."""
    out: list[str] = []
    for index, match in enumerate(owner.matches):
        out += [*_match(match, standing.of(index), style, declared), ""]
    for name in owner.credentials:
        out += style.wrapped(
            f"It is `{visible(name)}` of this configuration: keyform's own credential. Make a new one where "
            "this one came from, set it, and revoke this one there; keyform cannot do that for you."
        )
        out.append("")
    if not owner.matches and not owner.credentials:
        out += _strange(owner, standing, style)
    if standing.plan is not None:
        title, remark = _about_plan(owner, standing, at_once)
        out += [style.paint(title, "bold"), "", *style.wrapped(remark), *([""] if remark else [])]
        out.append(plan_text(standing.plan, style))
        if not at_once:
            out += style.wrapped("`keyform whose --now` plans to end it as soon as the new key is stored.")
    elif any(_can_be_ended(match, standing.of(index)) for index, match in enumerate(owner.matches)):
        out += style.wrapped("`keyform whose --now` plans to revoke it at once, used or not.")
    return "\n".join(out).rstrip("\n") + "\n"


def _about_plan(owner: Owner, standing: Standing, at_once: bool) -> tuple[str, str]:
    """What the plan does to the leaked key, and what its reader has to know before it is applied."""
    current = [(i, match) for i, match in enumerate(owner.matches) if match.standing == CURRENT]
    if at_once:
        if all(standing.revoked_by_plan(match) for match in owner.matches if match.standing != ENDED):
            return "The plan that ends it at once:", ""
        return "The plan that ends it as soon as its service lets it:", ""
    cut = [seen for i, match in current if standing.revoked_by_plan(match) and (seen := standing.of(i))]
    if not cut:
        return "The plan that ends it without an outage:", ""
    if all(seen.status == EXPIRED for seen in cut):
        return "The plan that replaces it:", ""
    return (
        "The plan that ends it in the same run:",
        "No overlap is declared, so it is revoked as soon as the new key is stored: whoever has not fetched "
        "that by then is refused. Declare a `rotation.overlap` first if nobody is to be cut off.",
    )


def _can_be_ended(match: Match, seen: Seen | None) -> bool:
    return match.standing == OLD and seen is not None and seen.status != GONE and not seen.ender


def _match(match: Match, seen: Seen | None, style: Style, declared: Mapping[str, str]) -> Iterator[str]:
    record, generation = match.record, match.generation
    live = seen.live if seen else None
    title = f"{visible(record.address)}, generation {match.number}: {_WHICH[match.standing]}"
    yield style.paint(title, "bold")
    fields: list[tuple[str, Any]] = [("status", _status(match, seen or Seen()))]
    if generation is not None:
        fields += [("service", generation.service), ("key", generation.id)]
        fields.append(("minted", instant(generation.created_at)))
        if live is not None and live.last_used_at is not None:
            fields.append(("last used", instant(live.last_used_at)))
        spec = spec_to_json((live or generation).spec)
        fields += [(name, spec[name]) for name in spec if name not in ("metadata", "description")]
        fields.append(("secret", [str(place) for place in generation.written]))
        if generation.revoke_at is not None:
            fields.append(("ends", _end(generation, generation.revoke_at, seen)))
    fields.append(("owner", record.owner or "nobody is named"))
    if record.tags:
        fields.append(("tags", list(record.tags)))
    fields.append(("declared", declared.get(record.address, "no longer")))
    width = max(len(name) for name, _ in fields) + 2
    for name, item in fields:
        shown = visible(item) if isinstance(item, str) else value(item)
        yield "  " + padded(name, width) + shown


def _end(generation: Generation, at: datetime, seen: Seen | None) -> str:
    if seen is not None and seen.ender:
        return f"{instant(at)}, by {seen.ender} itself"
    if generation.revoke_now:
        return "revoked by the next apply, used or not"
    after = f"revoked by the first apply after {instant(at)}"
    if seen is None:
        return f"{after} at the earliest"
    return after + (f", once it has not been used for {format_duration(seen.gate)}" if seen.gate else "")


def _status(match: Match, seen: Seen) -> str:
    if match.standing == ENDED:
        return "revoked: keyform ended it, and it works no more"
    if seen.status == UNKNOWN:
        return f"unknown: {seen.why or 'its service could not be asked, or did not show it'}"
    if seen.status == GONE:
        return f"{seen.why or 'revoked or gone at its service'}: it works no more"
    return f"{seen.status}: {seen.why or ('it works' if seen.status == ACTIVE else 'refused for now')}"


def _strange(owner: Owner, standing: Standing, style: Style) -> Iterator[str]:
    yield from style.wrapped("It is no key that this state knows, current, old or among the last to end.")
    if owner.likenesses:
        yield from style.wrapped(f"It looks like a key of {_likely(owner.likenesses)}.")
    elif not standing.candidates:
        unknown = visible(", ".join(owner.unknown_looks))
        but = f", but nobody knows what keys of {unknown} look like" if unknown else ""
        yield from style.wrapped(f"It looks like no key of the declared services either{but}.")
    managed = [one for one in standing.candidates if one.record is not None]
    for one in managed[:_SHOWN]:
        yield from style.wrapped(_managed(one))
    if more := managed[_SHOWN:]:
        yield from style.wrapped(f"What services show of {len(more)} more managed keys fits it, too.")
    if strangers := [one for one in standing.candidates if one.record is None]:
        shown = [f"{one.service}: {one.key.id} ({one.key.status})" for one in strangers[:_SHOWN]]
        rest = len(strangers) - _SHOWN
        yield from style.wrapped(
            f"What services show of these keys, which keyform does not manage, fits it: "
            f"{visible(', '.join(shown))}"
            + (f" and {rest} more" if rest > 0 else "")
            + ". If it is one of them, revoke it at its service, or adopt it with `imports` and rotate it."
        )


def _managed(one: Candidate) -> str:
    """What to do about a key of the state that the string may be: never what is for keys of nobody."""
    record, generation = one.record, one.generation
    if record is None or generation is None:
        return ""
    address = visible(record.address)
    which = _WHICH[CURRENT if generation is record.current else OLD]
    owner = visible(record.owner or "nobody is named")
    why = "the whole secret of that key is another string, so this one may be cut short or changed"
    if generation.fingerprint is None:
        why = "keyform never had the secret of that key, so no more than this can be compared"
    command = shlex.join(["keyform", "rotate", record.address, "--now", "--reason", "leaked"])
    return (
        f"What {visible(one.service)} shows of {address}, generation {generation.number} "
        f"({visible(one.key.id)}, {one.key.status}; {which}; owner: {owner}) fits it; "
        f"{why}. If it is that key, `{visible(command)}` puts a new one in its place and ends it; "
        "without --now it lives on for the declared overlap."
    )


def _likely(likenesses: tuple[Likeness, ...]) -> str:
    names = [f"{one.service} (kind {one.kind})" if one.kind else one.service for one in likenesses]
    return visible(", ".join(dict.fromkeys(names)))


def answer_json(owner: Owner, standing: Standing, declared: Mapping[str, str]) -> dict[str, Any]:
    """The answer as a JSON value, with the plan."""
    keys = []
    for index, match in enumerate(owner.matches):
        generation, record = match.generation, match.record
        seen = standing.of(index) or Seen()
        live = seen.live
        one: dict[str, Any] = {
            "address": record.address,
            "generation": match.number,
            "standing": match.standing,
            "status": seen.status,
            "owner": record.owner,
            "tags": list(record.tags),
            "declared": declared.get(record.address),
        }
        if generation is not None:
            one |= {
                "service": generation.service,
                "key_id": generation.id,
                "created_at": instant(generation.created_at),
                "spec": spec_to_json((live or generation).spec),
                "secret": [place_to_json(place) for place in generation.written],
            }
            if generation.revoke_at is not None:
                one["revoke_at"] = instant(generation.revoke_at)
        if live is not None and live.last_used_at is not None:
            one["last_used_at"] = instant(live.last_used_at)
        keys.append(one)
    return {
        "format": FORMAT,
        "version": VERSION,
        "known": bool(owner.matches or owner.credentials),
        "keys": keys,
        "credentials": list(owner.credentials),
        "looks_like": [{"service": one.service, "kind": one.kind} for one in owner.likenesses],
        "candidates": [
            {
                "service": one.service,
                "key_id": one.key.id,
                "status": one.key.status,
                "address": one.record.address if one.record else None,
                "generation": one.generation.number if one.generation else None,
                "owner": one.record.owner if one.record else None,
            }
            for one in standing.candidates
        ],
        "plan": standing.plan.as_json() if standing.plan else None,
    }
