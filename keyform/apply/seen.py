"""What the places hold that a run is to write to, seen before its first effect: nothing foreign is
overwritten, and nothing that came in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error
from keyform.engine.plan import MINT, PROMOTE, RELOCATE, RESTORE, Step
from keyform.engine.sight import Sight
from keyform.errors import PlanError, Refused, StoreError
from keyform.model import Place, Secret, fingerprint_matches
from keyform.ports import ANYTHING, Held, Over
from keyform.state import Generation, State


@dataclass(frozen=True, slots=True)
class Before:
    """What was in a place: its value or, of a store that cannot be read, what is told of it. ``over`` is what
    a write may replace by now. ``begun``: an interrupted copy may have brought the secret there."""

    found: Secret | Held | None
    over: Over
    begun: bool = False


Seen = Mapping[Place, Before]
"""Every place that the run may write to."""


Generations = Mapping[tuple[str, str], Generation]
"""What the state knows, by service and id."""


def written_by(step: Step, generations: Generations) -> tuple[Place, ...]:
    """The places that a step writes a secret to."""
    if step.op in (MINT, RESTORE, PROMOTE):
        return step.places
    if step.op != RELOCATE or not step.sources:  # without sources, keyform never saw that secret
        return ()
    generation = generations.get((step.service or "", step.key_id or ""))
    kept = generation.places if generation else ()
    return tuple(place for place in step.places if place not in kept)


def see_places(
    ws: Workspace, sight: Sight, state: State, steps: Iterable[Step], parallelism: int, overwrite: bool
) -> dict[Place, Before]:
    """Look at every place that the steps write to. Without ``overwrite``, raises ``PlanError`` naming each
    that holds a value which keyform did not write."""
    generations = {(g.service, g.id): g for record in state.keys.values() for g in record.generations()}
    by_place: dict[Place, list[Generation]] = {}
    for generation in generations.values():
        for place in generation.written:
            by_place.setdefault(place, []).append(generation)
    past = {
        of: record.past
        for record in state.keys.values()
        for of in (record.address, *((g.service, g.id) for g in record.generations()))
    }
    wanted = [(place, step) for step in steps for place in written_by(step, generations)]

    def see(entry: tuple[Place, Step]) -> tuple[Place, Before, Step | None]:
        place, step = entry
        try:
            store = ws.store(place.store)
            found: Secret | Held | None = store.get(place) if store.readable else store.look(place)
        except StoreError:
            if not overwrite:
                raise
            return place, Before(None, ANYTHING), None  # what cannot be read can be replaced all the same
        if overwrite or found is None:
            return place, Before(found, ANYTHING if overwrite else None), None
        # A secret of the key itself may be there under another name of the place, or may have been copied.
        record = state.keys.get(step.address)
        moving = generations.get((step.service or "", step.key_id or "")) if step.op == RELOCATE else None
        known = [*by_place.get(place, ()), *(record.generations() if record else ())]
        known += [moving] if moving and moving not in known else []
        ended = past.get((step.service or "", step.key_id or ""), past.get(step.address, ()))
        prints = [one.fingerprint for one in ended]
        prints += [one.fingerprint for one in state.undone if one.address == step.address]
        ours = any(_is_of(ws, sight, place, found, generation) for generation in known) or (
            isinstance(found, Secret) and any(fingerprint_matches(found, one) for one in prints)
        )
        return place, Before(found, found), None if ours else step

    if not wanted:
        return {}
    with ThreadPoolExecutor(min(parallelism, len(wanted)), thread_name_prefix="check") as pool:
        looked = tuple(pool.map(see, wanted))
    foreign = [(place, step, before.found) for place, before, step in looked if step is not None]
    if foreign:
        known = generations.values() if len(foreign) <= _EXPLAINED else ()
        raise PlanError(tuple(_foreign(*one, state, known) for one in foreign))
    return {place: before for place, before, _ in looked}


_EXPLAINED = 20
"""Of so many places with other values it is told whose they are; each is held against all known secrets."""


def _foreign(
    place: Place,
    step: Step,
    found: Secret | Held | None,
    state: State,
    known: Iterable[Generation],
) -> Diagnostic:
    for generation in known:
        same = isinstance(found, Secret) and fingerprint_matches(found, generation.fingerprint or "")
        if generation.written and same:
            owner = next(r.address for r in state.keys.values() if generation in r.generations())
            return error(
                "place-taken",
                f"{place} holds the secret of {owner}, which keyform wrote to {generation.written[0]}, and "
                f"{step.address} would overwrite it",
                f"The two are one place, it seems. Apply the change of {owner} first, or choose another "
                "`secret`.",
                address=step.address,
            )
    what = "a value that keyform did not write"
    if isinstance(found, Held):
        what = "a value that was changed since keyform wrote it, or that it did not write"
    return error(
        "place-taken",
        f"{place} holds {what}, and {step.address} would overwrite it",
        "Choose another `secret`, delete that value if nobody needs it, or allow it with "
        "--overwrite-secrets.",
        address=step.address,
    )


def unread_of(ws: Workspace, places: Iterable[Place], seen: Seen) -> tuple[tuple[Place, Held | None], ...]:
    """What was told of those of the places whose values cannot be read, for a recovery to compare with."""
    found = ((place, seen[place].found) for place in places if not ws.store(place.store).readable)
    return tuple((place, held if isinstance(held, Held) else None) for place, held in found)


def empty_of(ws: Workspace, places: Iterable[Place], generation: Generation, seen: Seen) -> tuple[Place, ...]:
    """Those of the places whose values can be read and that do not hold the secret of this generation."""
    return tuple(
        place
        for place in places
        if ws.store(place.store).readable
        and (
            seen[place].begun
            or not isinstance(found := seen[place].found, Secret)
            or not fingerprint_matches(found, generation.fingerprint or "")
        )
    )


def with_begun(seen: Seen, begun: frozenset[Place]) -> dict[Place, Before]:
    """``seen`` with a mark at the places that an interrupted copy was about to write to."""
    return {place: replace(before, begun=place in begun) for place, before in seen.items()}


def is_of_write(held: Held, place: Place, generation: Generation) -> bool:
    """Whether what a store tells without giving the value is what keyform wrote: the version tells, or else
    the labels."""
    version = generation.version_at(place)
    if version is not None:
        return held.version == version
    return held.labels.get("key_id") == generation.id


def _is_of(ws: Workspace, sight: Sight, place: Place, found: Secret | Held, generation: Generation) -> bool:
    """Whether what a place holds is the secret of this generation. Of an adopted one only its service can
    tell."""
    if isinstance(found, Held):
        return is_of_write(found, place, generation)
    if generation.fingerprint is not None:
        return fingerprint_matches(found, generation.fingerprint)
    view = sight.services.get(generation.service)
    live = view.keys.get(generation.id) if view else None
    if view is None or live is None or not view.profile.proves:
        return False
    try:
        return ws.service(generation.service).prove(found, live) == generation.id
    except Refused:
        return False
