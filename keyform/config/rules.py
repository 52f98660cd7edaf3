"""What the profile of a service says about the fields of its keys and projects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from keyform.config.configuration import ServiceConfig
from keyform.config.problems import Problems, did_you_mean, listed
from keyform.config.values import Bad, has_control, origin
from keyform.model import SPEC_FIELDS, SourceRef, format_duration
from keyform.profile import FORBIDDEN, ON_KEY, ON_PROJECT, REQUIRED, Kind

SERVICE_FIELDS = frozenset(SPEC_FIELDS) | {"expires_in"}
"""Key fields that mean something to a service; the others are keyform's own."""


class ServiceRules:
    """Checks values against one service's profile. Good combinations are remembered.

    The methods record what is wrong and return None, or what is still usable.
    """

    def __init__(self, service: ServiceConfig, problems: Problems) -> None:
        self.name = service.name
        self.profile = service.profile
        self._problems = problems
        self._scopes: dict[tuple[str | None, tuple[str, ...]], tuple[str, ...]] = {}
        self._origins: dict[str, str] = {}
        self._unknown_fields: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._label = f"{service.type} keys"

    def knows(self, field: str) -> bool:
        return field in self.profile.fields

    def unknown_fields(self, shape: tuple[str, ...]) -> tuple[str, ...]:
        """Of the given field names, those that are the service's business and that it does not know."""
        known = self._unknown_fields.get(shape)
        if known is None:
            allowed = self.profile.fields | ({"allowed_origins"} if self.profile.origins_on else set())
            known = tuple(f for f in shape if f in SERVICE_FIELDS and f not in allowed)
            self._unknown_fields[shape] = known
        return known

    def refuse_field(self, field: str, where: SourceRef, address: str) -> None:
        known = listed(sorted(self.profile.fields & SERVICE_FIELDS))
        detail = f"Remove it. They take {known}."
        if field == "expires_at" and self.knows("expires_in"):
            detail = "Use `expires_in`."
        self._problems.error(
            "unsupported-field",
            where,
            f"{self._label} take no `{field}`",
            detail,
            on_name=True,
            address=address,
        )

    def kind(self, given: str | None, where: SourceRef, missing: SourceRef, address: str) -> Kind | None:
        """The kind of a key; None when the service has none or the given one is wrong."""
        kinds = self.profile.kinds
        if not kinds:
            return None
        name = given if given is not None else self.profile.default_kind
        if name is None:
            self._problems.error(
                "missing-kind",
                missing,
                f"{self._label} need a `kind`",
                f"Choose one of {listed(kinds)}.",
                on_name=True,
                address=address,
            )
            return None
        kind = kinds.get(name)
        if kind is None:
            self._problems.error(
                "unknown-kind",
                where,
                f"{self._label} have no kind `{name}`",
                did_you_mean(name, kinds),
                address=address,
            )
        return kind

    def environment(
        self, given: str | None, default: str | None, where: SourceRef, missing: SourceRef, address: str
    ) -> str | None:
        """The environment of a key; a default that the service does not have is passed over."""
        choices = self.profile.environments
        if given is not None:
            if choices and given not in choices:
                self._problems.error(
                    "unknown-environment",
                    where,
                    f"{self._label} have no environment `{given}`",
                    did_you_mean(given, choices),
                    address=address,
                )
            return given
        if default is not None and self.knows("environment") and (not choices or default in choices):
            return default
        if choices and self.profile.default_environment is None and self.knows("environment"):
            self._problems.error(
                "missing-environment",
                missing,
                f"{self._label} need an `environment`",
                f"Choose one of {listed(choices)}.",
                on_name=True,
                address=address,
            )
        return self.profile.default_environment

    def scopes(
        self, given: list[str] | None, kind: Kind | None, where: SourceRef, missing: SourceRef, address: str
    ) -> tuple[str, ...]:
        """The scopes of a key, sorted; those of its kind when none are given."""
        catalogue = self.profile.scopes
        if given is None:
            defaults = kind.default_scopes if kind else ()
            takes_any = kind is None or kind.scopes != ()
            if not defaults and catalogue and takes_any and self.knows("scopes"):
                choice = kind.scopes if kind and kind.scopes is not None else catalogue
                self._problems.error(
                    "missing-scopes",
                    missing,
                    f"{self._label} need `scopes`",
                    f"Choose from {listed(choice)}.",
                    on_name=True,
                    address=address,
                )
            return tuple(sorted(set(defaults)))
        remembered = (kind.name if kind else None, tuple(given))
        good = self._scopes.get(remembered)
        if good is not None:
            return good
        sound = self.check_size("scopes", given, where, address)
        for index, scope in enumerate(given):
            place = SourceRef(where.file, (*where.path, index))
            sound &= self._scope(scope, kind, place, address)
        result = tuple(sorted(set(given)))
        if sound:
            self._scopes[remembered] = result
        return result

    def _scope(self, scope: str, kind: Kind | None, where: SourceRef, address: str) -> bool:
        catalogue = self.profile.scopes
        if not scope or has_control(scope) or scope != scope.strip():
            self._problems.error(
                "bad-scope",
                where,
                "a scope is empty or has a space at an end",
                "Write the name of a scope.",
                address=address,
            )
            return False
        if catalogue is not None and scope not in catalogue:
            self._problems.error(
                "unknown-scope",
                where,
                f"{self._label} have no scope `{scope}`",
                did_you_mean(scope, catalogue),
                address=address,
            )
            return False
        if kind is not None and kind.scopes is not None and scope not in kind.scopes:
            holders = [k.name for k in self.profile.kinds.values() if k.scopes is None or scope in k.scopes]
            takes = f"They may have {listed(kind.scopes)}." if kind.scopes else "They have no scopes."
            others = f" Kinds that may have it: {listed(holders)}." if holders else ""
            self._problems.error(
                "scope-not-allowed",
                where,
                f"{kind.name} keys cannot have the scope `{scope}`",
                takes + others,
                address=address,
            )
            return False
        return True

    def origins(self, given: Iterable[str], where: SourceRef, address: str) -> tuple[str, ...]:
        """Origins in their one form, sorted."""
        result = set()
        values = list(given)
        self.check_size("allowed_origins", values, where, address)
        for index, text in enumerate(values):
            clean = self._origins.get(text)
            if clean is None:
                try:
                    clean = origin(
                        text, wildcard=self.profile.wildcard_origins, http=self.profile.http_origins
                    )
                except Bad as bad:
                    place = SourceRef(where.file, (*where.path, index))
                    self._problems.error("bad-origin", place, bad.summary, bad.detail, address=address)
                    continue
                self._origins[text] = clean
            result.add(clean)
        return tuple(sorted(result))

    def origins_belong_on_key(
        self, kind: Kind | None, where: SourceRef, address: str, project: str | None
    ) -> bool:
        """Whether a key of this kind may carry its own origins."""
        profile = self.profile
        if kind is not None and kind.origins == FORBIDDEN:
            others = [k.name for k in profile.kinds.values() if k.origins != FORBIDDEN]
            detail = f"Kinds that have them: {listed(others)}." if others else "Remove them."
            self._problems.error(
                "misplaced-origins",
                where,
                f"{kind.name} keys have no allowed origins",
                detail,
                on_name=True,
                address=address,
            )
            return False
        if ON_KEY in profile.origins_on:
            return True
        if ON_PROJECT in profile.origins_on:
            name = project or "NAME"
            detail = f"Move them to `projects.{name}.allowed_origins`."
            if project is None:
                detail += " Then name the project in the key's `project`."
            self._problems.error(
                "misplaced-origins",
                where,
                f"{self._label} take their allowed origins from their project",
                detail,
                on_name=True,
                address=address,
            )
        return False

    def origins_belong_on_project(self, where: SourceRef, address: str) -> bool:
        """Whether a project of the service may carry origins."""
        if ON_PROJECT in self.profile.origins_on:
            return True
        on_key = ON_KEY in self.profile.origins_on
        self._problems.error(
            "misplaced-origins",
            where,
            f"{self.profile.type} projects have no allowed origins",
            "Move them to the `allowed_origins` of each key." if on_key else "Remove them.",
            on_name=True,
            address=address,
        )
        return False

    def require_origins(self, kind: Kind | None, have: bool, missing: SourceRef, address: str) -> None:
        if kind is None or kind.origins != REQUIRED or have:
            return
        places = []
        if ON_KEY in self.profile.origins_on:
            places.append("`allowed_origins` on the key")
        if ON_PROJECT in self.profile.origins_on:
            places.append("`allowed_origins` on its project")
        self._problems.error(
            "missing-origins",
            missing,
            f"{kind.name} keys need allowed origins",
            f"Write {' or '.join(places)}.",
            on_name=True,
            address=address,
        )

    def project(
        self, kind: Kind | None, given: bool, where: SourceRef, missing: SourceRef, address: str
    ) -> None:
        """Whether a key of this kind may, or must, be in a project."""
        if kind is None:
            return
        if given and kind.project == FORBIDDEN:
            self._problems.error(
                "misplaced-project",
                where,
                f"{kind.name} keys belong to no project",
                "Remove `project`.",
                on_name=True,
                address=address,
            )
        if not given and kind.project == REQUIRED:
            self._problems.error(
                "missing-project",
                missing,
                f"{kind.name} keys need a `project`",
                "Declare one under `projects` and name it here.",
                on_name=True,
                address=address,
            )

    def expiry(self, span: timedelta | None, where: SourceRef, address: str) -> None:
        """Whether the service takes this span (None for never)."""
        rule = self.profile.expiry
        if not rule.settable:
            if span is not None:
                self._problems.error(
                    "unsupported-expiry",
                    where,
                    f"{self._label} take no expiry",
                    "Remove it, or write `never`.",
                    address=address,
                )
        elif rule.windows and span not in rule.windows:
            choices = listed(format_duration(window) for window in rule.windows)
            given = "never" if span is None else format_duration(span)
            self._problems.error(
                "unsupported-expiry",
                where,
                f"{self._label} cannot expire in `{given}`",
                f"Choose one of {choices}.",
                address=address,
            )

    def moment(self, where: SourceRef, address: str) -> bool:
        """Whether the service takes a moment of expiry."""
        rule = self.profile.expiry
        if not rule.settable:
            self._problems.error(
                "unsupported-expiry",
                where,
                f"{self._label} take no expiry",
                "Remove it.",
                on_name=True,
                address=address,
            )
        elif rule.windows:
            choices = listed(format_duration(window) for window in rule.windows)
            self._problems.error(
                "unsupported-expiry",
                where,
                f"{self._label} cannot expire at a moment of choice",
                f"Use `expires_in` with one of {choices}.",
                on_name=True,
                address=address,
            )
        return rule.settable and not rule.windows

    def check_size(self, field: str, value: Any, where: SourceRef, address: str) -> bool:
        """Whether a text is short enough, or a list or mapping small enough, for the service."""
        most = self.profile.limits.get(field)
        if most is None or len(value) <= most:
            return True
        what = "characters" if isinstance(value, str) else "entries"
        self._problems.error(
            "too-long",
            where,
            f"`{field}` has {len(value)} {what}; {self._label} take at most {most}",
            "Shorten it.",
            address=address,
        )
        return False
