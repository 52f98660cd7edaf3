"""Keys that may do more than they should."""

from __future__ import annotations

import re
from collections.abc import Iterator

from keyform.diagnostics import NOTE
from keyform.engine.audit.finding import Finding, ManagedKey
from keyform.engine.audit.rules import FULL_ACCESS, NARROWER_KIND, WILDCARD_SCOPE
from keyform.model import KeySpec
from keyform.profile import Profile

_SEPARATORS = re.compile(r"[.:/]")


def scopes(key: ManagedKey) -> Iterator[Finding]:
    """Full access, and scopes with wildcards; each once, as declared where the declaration says so."""
    told: set[str] = set()
    for spec, where in key.specs():
        if FULL_ACCESS.code not in told and (why := _everything(spec, key.view.profile)):
            told.add(FULL_ACCESS.code)
            yield key.found(FULL_ACCESS, f"{why}{where}", "scopes")
        for index, scope in enumerate(spec.scopes):
            if "*" in scope and not _is_everything(scope) and scope not in told:
                told.add(scope)
                yield key.found(
                    WILDCARD_SCOPE,
                    f"its scope `{scope}` holds a wildcard{where}",
                    "scopes",
                    index,
                    about=scope,
                )


def kind(key: ManagedKey) -> Iterator[Finding]:
    """Kinds that reach further than the words of the key ask for, by the knowledge of the profile."""
    want, profile = key.want, key.view.profile
    chosen = profile.kinds.get(want.spec.kind or "") if want is not None else None
    if want is None or chosen is None or not chosen.hint:
        return
    advice = f"{chosen.hint} {profile.cite('hint')}".rstrip()
    if not chosen.hint_words:
        message = f"`{chosen.name}` keys of {profile.title} reach far. {advice}"
        yield key.found(NARROWER_KIND, message, "kind", severity=NOTE)
        return
    word = chosen.hinted_by(want.address, want.spec.name, want.spec.description, *want.tags)
    if word is not None:
        message = f'it is a `{chosen.name}` key of {profile.title}, and its words say "{word}". {advice}'
        yield key.found(NARROWER_KIND, message, "kind")


def _everything(spec: KeySpec, profile: Profile) -> str | None:
    of_kind = profile.kinds.get(spec.kind or "")
    if not spec.scopes:
        unlimited = of_kind is not None and of_kind.unscoped_is_all
        return "it names no scopes, and so has all of them" if unlimited else None
    if star := next((scope for scope in spec.scopes if _is_everything(scope)), None):
        return f"its scope `{star}` means everything"
    catalogue = profile.scopes or {}
    if len(catalogue) > 1 and catalogue.keys() <= set(spec.scopes):
        return f"it has every one of the {len(catalogue)} scopes of {profile.title}"
    return None


def _is_everything(scope: str) -> bool:
    return "*" in scope and set(_SEPARATORS.split(scope)) == {"*"}
