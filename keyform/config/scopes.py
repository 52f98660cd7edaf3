"""What the profile of a service says about scopes."""

from __future__ import annotations

from keyform.config.declared import Declared
from keyform.config.values import has_control
from keyform.contract import cite_limit, limits_of
from keyform.diagnostics import did_you_mean, listed
from keyform.profile import Kind, Profile


class ScopeRules:
    """Checks scopes against the catalogue and the kind. Good combinations are remembered."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._label = f"{profile.short_name} keys"
        self._groups = tuple(profile.scope_groups.items())
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
        sound = True
        for group, prefix in (("", ""), *self._groups):
            sound &= self._few(key, given, group, prefix)
        for index, scope in enumerate(given):
            sound &= self._allowed(key, scope, kind, index)
        result = tuple(sorted(set(given)))
        if sound:
            self._good[remembered] = result
        return result

    def _few(self, key: Declared, given: list[str], group: str, prefix: str) -> bool:
        """Whether there are no more scopes of a group (empty: those of none) than the service takes."""
        most = limits_of(self._profile).get(f"scopes.{group}" if group else "scopes")
        count = sum(self._group_of(scope) == (group, prefix) for scope in given)
        if most is None or count <= most:
            return True
        entries = f"entries `{prefix}…`" if prefix else "entries"
        key.error(
            "too-long",
            ("scopes",),
            f"`scopes` has {count:,} {entries}; {self._label} take at most {most:,}",
            f"Shorten it. {cite_limit(self._profile, 'scopes')}".strip(),
        )
        return False

    def _group_of(self, scope: str) -> tuple[str, str]:
        return next(((group, prefix) for group, prefix in self._groups if scope.startswith(prefix)), ("", ""))

    def _misshapen(self, scope: str) -> str:
        """What the service does not take about the text of a scope; empty when nothing."""
        group, prefix = self._group_of(scope)
        rule = self._profile.texts.get(f"scopes.{group}" if group else "scope")
        return rule.broken_by(scope[len(prefix) :]) if rule else ""

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
        if why := self._misshapen(scope):
            detail = f"Write it as {self._profile.title} has it. {self._profile.cite('scopes')}".strip()
            key.error("bad-scope", path, f"the scope `{scope}` {why}", detail)
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
