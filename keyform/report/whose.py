"""What is known of a leaked string, as text and as JSON; never the string."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keyform.encoding import spec_to_json
from keyform.engine.whose import CURRENT, ENDED, GONE, OLD, UNKNOWN, Likeness, Match, Owner, Standing
from keyform.model import LiveKey, instant
from keyform.report.changes import value
from keyform.report.safe import padded, visible
from keyform.report.style import Style
from keyform.report.text import plan_text
from keyform.state import place_to_json

FORMAT, VERSION = "keyform-whose", 1

_SHOWN = 5

_WHICH = {CURRENT: "the one in use", OLD: "an old one, in its overlap", ENDED: "which has ended"}


def answer_text(
    owner: Owner, standing: Standing, at_once: bool, style: Style, declared: Mapping[str, str]
) -> str:
    """The answer for people, with the plan. ``declared`` says where in the files an address stands."""
    out: list[str] = []
    for index, match in enumerate(owner.matches):
        status = standing.status[index] if standing.status else UNKNOWN
        live = standing.live[index] if standing.live else None
        out += [*_match(match, status, live, style, declared), ""]
    for name in owner.credentials:
        out += style.wrapped(
            f"It is `{visible(name)}` of this configuration: keyform's own credential. Make a new one where "
            "this one came from, set it, and revoke this one there; keyform cannot do that for you."
        )
        out.append("")
    if not owner.matches and not owner.credentials:
        out += _strange(owner, standing, style)
    if standing.plan is not None:
        how = "at once" if at_once else "without an outage"
        out += [style.paint(f"The plan that ends it {how}:", "bold"), "", plan_text(standing.plan, style)]
        if not at_once:
            out += style.wrapped("`keyform whose --now` plans to end it as soon as the new key is stored.")
    return "\n".join(out).rstrip("\n") + "\n"


def _match(
    match: Match, status: str, live: LiveKey | None, style: Style, declared: Mapping[str, str]
) -> Iterator[str]:
    record, generation = match.record, match.generation
    title = f"{visible(record.address)}, generation {match.number}: {_WHICH[match.standing]}"
    yield style.paint(title, "bold")
    fields: list[tuple[str, Any]] = [("status", _status(match, status, live))]
    if generation is not None:
        fields += [("service", generation.service), ("key", generation.id)]
        fields.append(("minted", instant(generation.created_at)))
        if live is not None and live.last_used_at is not None:
            fields.append(("last used", instant(live.last_used_at)))
        spec = spec_to_json((live or generation).spec)
        fields += [(name, spec[name]) for name in spec if name not in ("metadata", "description")]
        fields.append(("secret", [str(place) for place in generation.written]))
        if generation.revoke_at is not None:
            fields.append(("revoked", f"by the first apply after {instant(generation.revoke_at)}, if unused"))
    fields.append(("owner", record.owner or "nobody is named"))
    if record.tags:
        fields.append(("tags", list(record.tags)))
    fields.append(("declared", declared.get(record.address, "no longer")))
    width = max(len(name) for name, _ in fields) + 2
    for name, item in fields:
        shown = visible(item) if isinstance(item, str) else value(item)
        yield "  " + padded(name, width) + shown


def _status(match: Match, status: str, live: LiveKey | None) -> str:
    if match.standing == ENDED:
        return "revoked: keyform ended it, and it works no more"
    if status == UNKNOWN:
        return "unknown: its service could not be asked, or did not show it"
    if status == GONE:
        return "revoked or gone at its service: it works no more"
    return f"{status}: it works" if live is not None and status == "active" else f"{status}: refused for now"


def _strange(owner: Owner, standing: Standing, style: Style) -> Iterator[str]:
    yield from style.wrapped("It is no key that this state knows, current, old or among the last to end.")
    if owner.likenesses:
        yield from style.wrapped(f"It looks like a key of {_likely(owner.likenesses)}.")
    elif not standing.candidates:
        yield from style.wrapped("It looks like no key of the declared services either.")
    if standing.candidates:
        shown = [f"{service}: {key.id} ({key.status})" for service, key in standing.candidates[:_SHOWN]]
        more = len(standing.candidates) - _SHOWN
        yield from style.wrapped(
            f"What services show of these keys fits it: {visible(', '.join(shown))}"
            + (f" and {more} more" if more > 0 else "")
            + ". If it is one of them, revoke it at its service, or adopt it with `imports` and rotate it."
        )


def _likely(likenesses: tuple[Likeness, ...]) -> str:
    names = [f"{one.service} (kind {one.kind})" if one.kind else one.service for one in likenesses]
    return visible(", ".join(dict.fromkeys(names)))


def answer_json(owner: Owner, standing: Standing, declared: Mapping[str, str]) -> dict[str, Any]:
    """The answer as a JSON value, with the plan."""
    keys = []
    for index, match in enumerate(owner.matches):
        generation, record = match.generation, match.record
        live = standing.live[index] if standing.live else None
        one: dict[str, Any] = {
            "address": record.address,
            "generation": match.number,
            "standing": match.standing,
            "status": standing.status[index] if standing.status else UNKNOWN,
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
            {"service": service, "key_id": key.id, "status": key.status}
            for service, key in standing.candidates
        ],
        "plan": standing.plan.as_json() if standing.plan else None,
    }
