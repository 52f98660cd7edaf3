"""What the profile of a service says about the fields of its keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from keyform.config.configuration import ServiceConfig
from keyform.config.declared import Declared
from keyform.config.origins import OriginRules
from keyform.config.scopes import ScopeRules
from keyform.contract import cite_limit, limits_of
from keyform.diagnostics import did_you_mean, listed
from keyform.documents.problems import Problems
from keyform.model import MONTHLY, SPEC_FIELDS, Credits, Refill, SourceRef, format_duration, instant
from keyform.profile import FORBIDDEN, REQUIRED, Kind

SERVICE_FIELDS = frozenset(SPEC_FIELDS) | {"expires_in"}
"""Key fields that mean something to a service; the others are keyform's own."""


class ServiceRules:
    """Checks keys against one service's profile, recording what is wrong."""

    def __init__(self, service: ServiceConfig, problems: Problems, where: SourceRef | None = None) -> None:
        """``where`` the service is declared."""
        self.name = service.name
        self._where = where
        self._plan = service.options.get("plan")
        self.profile = service.profile.under(service.mode)
        self._not_by_contract = service.profile.fields - self.profile.fields
        self._limits = limits_of(self.profile)
        self.label = f"{self.profile.short_name} keys"
        self.scopes = ScopeRules(self.profile)
        self.origins = OriginRules(self.profile)
        self._problems = problems
        self._holders: dict[str, str] = {}
        self._unknown_fields: dict[tuple[str, ...], tuple[str, ...]] = {}

    def _by(self, detail: str, topic: str) -> str:
        """What to do, and the rule that asks for it."""
        return f"{detail} {self.profile.cite(topic)}".strip()

    def knows(self, field: str) -> bool:
        """Whether keys of the service have this field."""
        return field in self.profile.fields

    def fields(self, key: Declared) -> None:
        """Refuse the fields that are the service's business and that it does not know."""
        shape = tuple(key.fields)
        unknown = self._unknown_fields.get(shape)
        if unknown is None:
            # Origins have an error of their own, which names the right place.
            allowed = self.profile.fields | ({"allowed_origins"} if self.profile.origins_on else set())
            unknown = tuple(field for field in shape if field in SERVICE_FIELDS and field not in allowed)
            self._unknown_fields[shape] = unknown
        for field in unknown:
            detail = f"Remove it. They take {listed(sorted(self.profile.fields & SERVICE_FIELDS))}."
            if field == "expires_at" and self.knows("expires_in"):
                detail = "Use `expires_in`."
            detail = self._by(detail, field)
            if field in self._not_by_contract:
                lacks = f"keyform's key-service contract has no `{field}`."
                detail = f"{lacks} Remove it, or leave out `mode: contract`."
            key.error("unsupported-field", (field,), f"{self.label} take no `{field}`", detail, on_name=True)

    def kind(self, key: Declared) -> Kind | None:
        """The kind of a key; None when the service has none or it cannot be told."""
        kinds = self.profile.kinds
        if not kinds or "kind" in key.unknown:
            return None
        name = key.fields.get("kind") if self.knows("kind") else None
        name = name or self.profile.default_kind
        if name is None:
            detail = self._by(f"Choose one of {listed(kinds)}.", "kind")
            key.error("missing-kind", (), f"{self.label} need a `kind`", detail)
            return None
        kind = kinds.get(name)
        if kind is None:
            detail = self._by(did_you_mean(name, kinds), "kind")
            key.error("unknown-kind", ("kind",), f"{self.label} have no kind `{name}`", detail)
        elif self.profile.one_per_kind and self._holders.setdefault(name, key.address) != key.address:
            detail = self._by(f"Keep one of the two; {self._holders[name]} is it already.", "kind")
            key.error("second-key", ("kind",), f"there is exactly one key of kind `{name}`", detail)
        return kind

    def environment(self, key: Declared, default: str | None) -> str | None:
        """The environment of a key; a default that the service does not have is passed over."""
        if "environment" in key.unknown or not self.knows("environment"):
            return None
        choices, given = self.profile.environments, key.fields.get("environment")
        if given is not None:
            if choices and given not in choices:
                key.error(
                    "unknown-environment",
                    ("environment",),
                    f"{self.label} have no environment `{given}`",
                    self._by(did_you_mean(given, choices), "environment"),
                )
            return str(given)
        if default is not None and (not choices or default in choices):
            return default
        if choices and self.profile.default_environment is None:
            key.error(
                "missing-environment",
                (),
                f"{self.label} need an `environment`",
                f"Choose one of {listed(choices)}.",
            )
        return self.profile.default_environment

    def project(self, key: Declared, kind: Kind | None) -> None:
        """Whether a key of this kind may, or must, be in a project."""
        given = "project" in key.fields
        if kind is None or "project" in key.unknown:
            return
        if given and kind.project == FORBIDDEN:
            key.error(
                "misplaced-project",
                ("project",),
                f"{self.profile.keys_of(kind)} belong to no project",
                self._by("Remove `project`.", "project"),
                on_name=True,
            )
        if not given and kind.project == REQUIRED:
            key.error(
                "missing-project",
                (),
                f"{self.profile.keys_of(kind)} need a `project`",
                self._by("Declare one under `projects` and name it in the key.", "project"),
            )

    def expires_in(self, span: timedelta | None, where: SourceRef, address: str) -> None:
        """Whether the service takes this span (None for never)."""
        rule = self.profile.expiry
        summary = ""
        if not rule.settable and span is not None:
            summary, detail = f"{self.label} take no expiry", "Remove it, or write `never`."
        elif span is None and rule.never:
            return
        elif rule.settable and rule.windows and span not in rule.windows:
            given = "never" if span is None else format_duration(span)
            summary, detail = f"{self.label} cannot expire in `{given}`", f"Choose one of {self._windows()}."
        if summary:
            detail = self._by(detail, "expires_in")
            self._problems.error("unsupported-expiry", where, summary, detail, address=address)

    def expires_at(self, key: Declared) -> bool:
        """Whether the service takes a moment of expiry."""
        rule = self.profile.expiry
        if rule.settable and not rule.windows:
            return True
        summary, detail = f"{self.label} take no expiry", "Remove it."
        if rule.settable:
            summary = f"{self.label} cannot expire at a moment of choice"
            detail = f"Use `expires_in` with one of {self._windows()}."
        detail = self._by(detail, "expires_in")
        key.error("unsupported-expiry", ("expires_at",), summary, detail, on_name=True)
        return False

    def ends(self, moment: datetime, where: SourceRef, address: str) -> None:
        """Whether the service takes a key that lives so long."""
        latest = self.profile.expiry.latest
        if latest is not None and moment > latest:
            self._problems.error(
                "unsupported-expiry",
                where,
                f"{self.label} cannot expire after {instant(latest)}; this one would on {instant(moment)}",
                self._by("Write an earlier end, or `never`.", "expires_at"),
                address=address,
            )

    def credits(self, key: Declared) -> Credits | None:
        """The credits of a key."""
        body = key.fields.get("credits")
        if body is None or not self.knows("credits"):
            return None
        if "refill" not in body:
            return Credits(body["remaining"])
        refill = Refill(**body["refill"])
        if (refill.interval == MONTHLY) == (refill.refill_day is None):
            monthly = refill.interval == MONTHLY
            need = "needs a `refill_day`" if monthly else "takes no `refill_day`"
            do = "Add the day of the month, 1 to 31, as `refill_day`." if monthly else "Remove it."
            summary = f"a {refill.interval} refill {need}"
            key.error("bad-value", ("credits", "refill"), summary, self._by(do, "credits"))
        return Credits(body["remaining"], refill)

    @property
    def ungated(self) -> str:
        """Why the revocation of an old generation cannot wait until it is unused, or nothing where it can."""
        if not self.profile.revokes:
            return f"holds nothing back: {self.profile.title} end by themselves, in use or not"
        if not self.profile.shows_last_used:
            return (
                "needs to know when a key was last used, and keyform is not shown that by "
                f"{self.profile.title} here"
            )
        return ""

    def _windows(self) -> str:
        windows = [format_duration(window) for window in self.profile.expiry.windows]
        return listed([*windows, "never"] if self.profile.expiry.never else windows)

    def gate(self, key: Declared, kind: Kind | None) -> None:
        """Whether the account's plan is large enough for keys of this kind; a note where none is declared."""
        option = self.profile.options.get("plan")
        if kind is None or not kind.gate:
            return
        title = self.profile.title
        needed = f"{self.profile.keys_of(kind)} need the {kind.gate} plan of {title}"
        plans = [plan.lower() for plan in option.choices] if option else []
        have = self._plan
        if have is None:
            say = f"Write `plan: {kind.gate.lower()}` at the service if the account has it." if option else ""
            self._problems.note("plan-needed", self._where, needed, self._by(say, "plan"))
        elif (
            have in plans
            and kind.gate.lower() in plans
            and plans.index(have) < plans.index(kind.gate.lower())
        ):
            other = "Choose another kind, or upgrade" if len(self.profile.kinds) > 1 else "Upgrade"
            detail = f"The service is declared with `plan: {have}`. {other} the account."
            key.error("plan-needed", ("kind",), needed, self._by(detail, "plan"))

    def hint(self, key: Declared, kind: Kind | None, *texts: str) -> None:
        """Say what a narrower key would do. ``texts`` are the words that the user has for the key."""
        if kind is None or not kind.hint:
            return
        detail = self._by(kind.hint, "hint")
        if not kind.hint_words:
            self._problems.note("least-privilege", key.at("kind"), f"{kind.name} keys reach far", detail)
            return
        found = kind.hinted_by(*texts)
        if found is not None:
            summary = f'a `{kind.name}` key with "{found}" in its words may do more than it needs'
            self._problems.warning("least-privilege", key.at("kind"), summary, detail, address=key.address)

    def size(self, key: Declared, limit: str, value: Any, *path: str) -> None:
        """Whether a text is short enough, or a list or mapping small enough, for the service."""
        most = self._limits.get(limit)
        if most is not None and len(value) > most:
            what = "characters" if isinstance(value, str) else "entries"
            key.error(
                "too-long",
                path,
                f"`{path[0]}` has {len(value):,} {what}; {self.label} take at most {most:,}",
                f"Shorten it. {cite_limit(self.profile, limit)}".strip(),
            )
