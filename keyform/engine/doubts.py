"""What is said of a doubt: in every plan, and to the person who looks."""

from __future__ import annotations

from keyform.diagnostics import Diagnostic, warning
from keyform.doubt import Doubt
from keyform.model import instant
from keyform.state import State


def about_doubt(doubt: Doubt, state: State) -> Diagnostic:
    """The warning that is repeated until the doubt is closed. ``state`` knows which keys it is not about."""
    return warning(
        "perhaps-stray",
        f"{doubt.address}: a key {_named(doubt)} may have been minted at {doubt.service} on {_when(doubt)}, "
        "whose secret is stored nowhere",
        f"The answer to its create was lost, and keyform sees no listing there. Look at {_place(doubt)} for "
        f"{_looked_for(doubt)}, and revoke it there.{_not_ours(doubt, state)} Then close this doubt, or it "
        "is told by every plan and apply: type 'done' when `keyform apply` asks for it on a terminal, or "
        f"give `{doubt.address}<TAB>done` by `--secrets-from`.",
        address=doubt.address,
    )


def doubt_checklist(doubt: Doubt, state: State) -> tuple[str, ...]:
    """The lines for the person who looks."""
    return (
        f"Look at {_place(doubt)}, in its dashboard for one, for {_looked_for(doubt)}."
        + _not_ours(doubt, state),
        "If it is there, revoke it: its secret is stored nowhere.",
        "If there is none, nothing is to be done.",
    )


def _place(doubt: Doubt) -> str:
    return f"{doubt.service} ({doubt.where})" if doubt.where else doubt.service


def _looked_for(doubt: Doubt) -> str:
    traits = (("kind", doubt.spec.kind), ("project", doubt.spec.project), ("label", doubt.label))
    told = ", ".join(f"{trait} {text}" for trait, text in traits if text)
    return f"a key {_named(doubt)}" + (f" ({told})" if told else "") + f" made at about {_when(doubt)}"


def _not_ours(doubt: Doubt, state: State) -> str:
    """Which keys of the same name are in use, so that nobody revokes those."""
    ours = [
        generation.id
        for record in state.keys.values()
        for generation in record.generations()
        if (generation.service, generation.spec.name) == (doubt.service, doubt.spec.name)
    ]
    return f" Leave {', '.join(ours)} alone: keyform made it, and knows it." if ours else ""


def _named(doubt: Doubt) -> str:
    return f"named {doubt.spec.name!r}" if doubt.spec.name else "without a name"


def _when(doubt: Doubt) -> str:
    return instant(doubt.at.replace(microsecond=0))
