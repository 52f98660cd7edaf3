"""What the profile of a service says about scopes."""

from __future__ import annotations

from keyform.config.declared import Declared
from keyform.config.values import has_control
from keyform.diagnostics import did_you_mean, listed
from keyform.profile import Kind, Profile


class ScopeRules:
    """Checks scopes against the catalogue and the kind. Good combinations are remembered."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._label = f"{profile.short_name} keys"
        self._good: dict[tuple[str | None, tuple[str, ...]], tuple[str, ...]] = {}

    def of(self, key: Declared, kind: Kind | None) -> tuple[str, ...]:
        """The scopes of a key, sorted; those of its kind when none are written."""
        given = key.fields.get("scopes")
        if given is None or "scopes" not in self._profile.fields:
            kind_is_wrong = kind is None and bool(self._profile.kinds)
            return () if "scopes" in key.unknown or kind_is_wrong else self._inherited(key, kind)
        remembered = (kind.name if kind else None, tuple(given))
        good = self._good.get(remembered)
        if good is not None:
            return good
        most = self._profile.limits.get("scopes", len(given))
        sound = len(given) <= most
        if not sound:
            key.error(
                "too-long",
                ("scopes",),
                f"`scopes` has {len(given):,} entries; {self._label} take at most {most:,}",
                "Shorten it.",
            )
        for index, scope in enumerate(given):
            sound &= self._allowed(key, scope, kind, index)
        result = tuple(sorted(set(given)))
        if sound:
            self._good[remembered] = result
        return result

    def _inherited(self, key: Declared, kind: Kind | None) -> tuple[str, ...]:
        catalogue = self._profile.scopes
        defaults = kind.default_scopes if kind else ()
        takes_some = kind is None or kind.scopes != ()
        if not defaults and catalogue and takes_some and "scopes" in self._profile.fields:
            choice = kind.scopes if kind and kind.scopes is not None else catalogue
            key.error(
                "missing-scopes",
                (),
                f"{self._label} need `scopes`",
                f"Choose from {listed(choice)}. {self._profile.cite('scopes')}".strip(),
            )
        return tuple(sorted(set(defaults)))

    def _allowed(self, key: Declared, scope: str, kind: Kind | None, index: int) -> bool:
        catalogue, path = self._profile.scopes, ("scopes", index)
        if not scope or has_control(scope) or scope != scope.strip():
            summary = "a scope is empty, has a space at an end or a control character"
            key.error("bad-scope", path, summary, "Write the name of a scope.")
            return False
        if catalogue is not None and scope not in catalogue:
            key.error(
                "unknown-scope",
                path,
                f"{self._label} have no scope `{scope}`",
                f"{did_you_mean(scope, catalogue)} {self._profile.cite('scopes')}".strip(),
            )
            return False
        if kind is not None and kind.scopes is not None and scope not in kind.scopes:
            holders = [k.name for k in self._profile.kinds.values() if k.scopes is None or scope in k.scopes]
            detail = f"They may have {listed(kind.scopes)}." if kind.scopes else "They have no scopes."
            if holders:
                detail += f" Kinds that may have it: {listed(holders)}."
            detail = f"{detail} {self._profile.cite('scopes')}".strip()
            key.error("scope-not-allowed", path, f"{kind.name} keys cannot have the scope `{scope}`", detail)
            return False
        return True
