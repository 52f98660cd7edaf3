"""Adopting a key that exists: ``imports`` and ``keyform import``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from keyform.diagnostics import Diagnostic, error, note, warning
from keyform.engine.declared import Verdict
from keyform.engine.diff import changed_fields, explain, sentence
from keyform.engine.granted import same_end
from keyform.engine.plan import ADOPT, ALTER, DROP, END, IMPORT, MINT, Change, Step
from keyform.engine.sight import ServiceView, Sight, as_adopted, seen_digest, terms_of
from keyform.engine.wording import command
from keyform.model import REVOKED, DesiredKey, LiveKey

SHOWN = 5
"""How many keys a note names."""


def plan_import(
    want: DesiredKey, view: ServiceView, key_id: str, now: datetime, lineage: str, record_only: bool
) -> Verdict:
    """Adopt a live key. It may differ from the declaration in what changes in place, in nothing else; with
    ``record_only`` the key is left as it is, and the next plan shows the difference."""
    live = view.keys.get(key_id)
    if live is None and not view.profile.lists:
        live = LiveKey(key_id, want.spec)  # nobody can look, so it is taken to be as declared
    if live is None or live.status == REVOKED:
        state = "revoked" if live else "not there"
        hint = "Check the id with `keyform generate`, which lists the keys that the service has."
        if live is None and not view.listing.complete:
            hint = "The listing is incomplete; plan again when the service can be read whole."
        summary = f"the key {key_id} is {state} at {view.name}"
        return Verdict(None, (error("import-missing", summary, hint, address=want.address),))
    spec = want.spec
    if want.expires_in is not None:
        start = live.created_at or now
        ends = start + want.expires_in
        spec = replace(spec, expires_at=ends if ends > now else now + want.expires_in)
    if same_end(live.spec.expires_at, spec.expires_at, view.profile):
        spec = replace(spec, expires_at=live.spec.expires_at)
    have = as_adopted(live.spec, spec, view.profile)
    changed = changed_fields(have, spec)
    fixed = changed - view.profile.mutable
    if fixed:
        differences = "; ".join(sentence(d) for d in explain(live.spec, spec, fixed, view.profile))
        return Verdict(
            None,
            (
                error(
                    "import-differs",
                    f"{key_id} cannot be imported as declared: {differences}",
                    f"{view.profile.title} cannot change that in place. Declare what the key is, or "
                    f"remove the import to mint a new key.",
                    address=want.address,
                ),
            ),
        )
    terms = terms_of(want)
    steps = [
        Step(
            ADOPT,
            want.address,
            view.name,
            key_id,
            generation=1,
            spec=have,
            places=want.places,
            # The span holds once its moment is set, and not if that fails.
            terms=replace(terms, expires_in=None) if "expires_at" in changed else terms,
        )
    ]
    altered = bool(changed) and not record_only
    if altered:
        steps.append(
            Step(
                ALTER, want.address, view.name, key_id, spec=spec, fields=tuple(sorted(changed)), terms=terms
            )
        )
    change = Change(
        want.address,
        IMPORT,
        f"imports names {key_id} at {view.name}"
        + ("" if view.profile.lists else "; taken to be as declared, since nothing lists the keys there")
        + (f"; {_becomes(record_only)}: {', '.join(sorted(changed))}" if changed else ""),
        view.name,
        key_id,
        1,
        explain(have, spec, changed, view.profile) if altered else (),
        seen=seen_digest(view.keys.get(key_id)),
        backing=view.backing("update") if altered else None,
        steps=tuple(steps),
    )
    unknown = warning(
        "secret-unknown",
        f"the secret of {key_id} is not known to keyform, so nothing is written to "
        + " and ".join(map(str, want.places)),
        "Put it there by hand, or let the first rotation do it.",
        address=want.address,
    )
    return Verdict(change, (unknown, *_of_another_state(want, live, view, lineage)))


def _becomes(record_only: bool) -> str:
    if record_only:
        return "not as declared, as the next plan shows"
    return "changed to what is declared"


def _of_another_state(
    want: DesiredKey, live: LiveKey, view: ServiceView, lineage: str
) -> tuple[Diagnostic, ...]:
    owner = (live.label or "").partition("/")[0]
    if not owner or owner == lineage:
        return ()
    return (
        warning(
            "other-state",
            f"{live.id} at {view.name} carries the label of another keyform state, of lineage {owner}",
            "If that state still owns the key, forget it there first, with `removed: [{key: NAME, revoke: "
            "false}]` or `keyform state rm`: two states that own one key undo each other's work.",
            address=want.address,
        ),
    )


def never_had(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """A note on the adopted keys whose secret keyform never had, unless the plan rotates them."""
    settled = {change.address for change in changes for step in change.steps if step.op in (MINT, END, DROP)}
    declared = {want.address for want in sight.desired.keys} - settled
    found = [
        address
        for address, record in sight.state.keys.items()
        if address in declared and record.current.secret_unseen
    ]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        its, it = ("its secret", "it") if (one := len(found) == 1) else ("their secrets", "them")
        yield note(
            "secret-unknown",
            f"{', '.join(found[:SHOWN])}{more}: adopted, and keyform never had {its}; the first rotation "
            f"captures {it}",
            f"{command('rotate', found[0])} does it now.",
            address=found[0] if one else None,
        )
