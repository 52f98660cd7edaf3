"""Adopting a key that exists: ``imports`` and ``keyform import``."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from keyform.diagnostics import error, warning
from keyform.engine.declared import Verdict
from keyform.engine.diff import changed_fields, explain, sentence
from keyform.engine.plan import ADOPT, ALTER, IMPORT, Change, Step
from keyform.engine.sight import ServiceView, seen_digest, terms_of
from keyform.model import REVOKED, DesiredKey


def plan_import(want: DesiredKey, view: ServiceView, key_id: str, now: datetime) -> Verdict:
    """Adopt a live key. It may differ from the declaration in what changes in place, in nothing else."""
    if not view.profile.lists:
        summary = (
            f"{view.name} key {key_id} cannot be adopted: nothing lists or shows the keys of the service"
        )
        hint = "Remove the import; a new key can take its place, and the old one be revoked by hand."
        return Verdict(None, (error("import-unseen", summary, hint, address=want.address),))
    live = view.keys.get(key_id)
    if live is None or live.status == REVOKED:
        state = "revoked" if live else "not there"
        hint = "Check the id with `keyform generate`, which lists the keys that the service has."
        if live is None and not view.listing.complete:
            hint = "The listing is incomplete; plan again when the service can be read whole."
        return Verdict(
            None,
            (error("import-missing", f"{view.name} key {key_id} is {state}", hint, address=want.address),),
        )
    spec = want.spec
    if want.expires_in is not None:
        start = live.created_at or now
        ends = start + want.expires_in
        spec = replace(spec, expires_at=ends if ends > now else now + want.expires_in)
    # What cannot be seen and cannot be changed either is taken to be as declared.
    unseen = view.profile.fields_unseen - view.profile.mutable
    have = replace(live.spec, **{name: getattr(spec, name) for name in unseen})
    changed = changed_fields(have, spec)
    fixed = changed - view.profile.mutable
    if fixed:
        differences = "; ".join(sentence(d) for d in explain(live.spec, spec, fixed))
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
    if changed:
        steps.append(
            Step(
                ALTER, want.address, view.name, key_id, spec=spec, fields=tuple(sorted(changed)), terms=terms
            )
        )
    change = Change(
        want.address,
        IMPORT,
        f"imports names {key_id} at {view.name}"
        + (f"; {len(changed)} of its fields are changed to what is declared" if changed else ""),
        view.name,
        key_id,
        1,
        explain(have, spec, changed),
        seen=seen_digest(live),
        backing=view.backing("update") if changed else None,
        steps=tuple(steps),
    )
    unknown = warning(
        "secret-unknown",
        f"the secret of {key_id} is not known to keyform, so nothing is written to {want.places[0]}",
        "Put it there by hand, or let the first rotation do it.",
        address=want.address,
    )
    return Verdict(change, (unknown,))
