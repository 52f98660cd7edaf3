"""``${env:NAME}``, ``${var.NAME}``, ``${each.key}`` and ``${each.value}``: substitution, no expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyform.config.values import has_control
from keyform.diagnostics import did_you_mean
from keyform.documents.problems import Problems
from keyform.model import SourceRef

LONGEST_TEXT = 65536
"""Characters of a text after substitution."""

_TEMPLATE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)\Z")
_VARIABLE = re.compile(r"var\.([A-Za-z_][A-Za-z0-9_-]*)\Z")
_FORMS = "Templates are ${env:NAME}, ${var.NAME}, ${each.key} and ${each.value}; write $${ for a literal ${."


@dataclass(frozen=True, slots=True)
class Each:
    """One entry of a ``for_each``."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Stands for a value with a template that could not be filled in; the reason has been recorded."""


UNRESOLVED = Unresolved()


def scalar_text(value: str | float | bool) -> str:
    """A scalar as the text that a template puts in its place."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_plain(value: Any) -> bool:
    """Whether there is neither a template nor an unprintable character anywhere in ``value``."""
    kind = type(value)
    if kind is str:
        return value.isprintable() and "${" not in value
    if kind is list:
        return all(map(is_plain, value))
    if kind is dict:
        return all(map(is_plain, value.values())) and all(map(str.isprintable, value))
    return True


class Interpolator:
    """Fills templates in, and records those that cannot be.

    ``variables`` maps names to texts, or to None where the value is unknown for a reason that has been
    recorded. With ``offline`` an unset environment variable is a warning.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        variables: Mapping[str, str | None],
        problems: Problems,
        *,
        offline: bool,
    ) -> None:
        self._env = env
        self._variables = variables
        self._problems = problems
        self._offline = offline

    def fill(self, value: Any, where: SourceRef, each: Each | None = None) -> Any:
        """``value`` with its templates filled in, :data:`UNRESOLVED` if one of them cannot be."""
        if is_plain(value):
            return value
        if isinstance(value, str):
            return self._fill_text(value, where, each)
        if isinstance(value, list):
            items = [
                self.fill(item, SourceRef(where.file, (*where.path, index)), each)
                for index, item in enumerate(value)
            ]
            return UNRESOLVED if UNRESOLVED in items else items
        if any(has_control(name) for name in value):
            self._problems.error(
                "control-character", where, "a name here contains a control character", "Remove it."
            )
            return UNRESOLVED
        fields = {
            name: self.fill(item, SourceRef(where.file, (*where.path, name)), each)
            for name, item in value.items()
        }
        return UNRESOLVED if any(item is UNRESOLVED for item in fields.values()) else fields

    def environment(self, name: str, where: SourceRef) -> str | Unresolved:
        """The value of an environment variable."""
        value = self._env.get(name)
        if value is not None:
            self._problems.came_from_environment(name, value)
            return value
        record = self._problems.warning if self._offline else self._problems.error
        record(
            "unset-environment",
            where,
            f"the environment variable {name} is not set",
            f"Set it before running keyform: export {name}=…",
        )
        return UNRESOLVED

    def _fill_text(self, text: str, where: SourceRef, each: Each | None) -> str | Unresolved:
        parts: list[str] = []
        position = size = 0
        failed = False
        for match in _TEMPLATE.finditer(text):
            parts.append(text[position : match.start()])
            position = match.end()
            if match[0] == "$${":
                value: str | Unresolved = "${"
            elif match[2]:
                value = self._reference(match[1], where, each)
            else:
                self._problems.error("bad-template", where, "a `${` is never closed", _FORMS)
                value = UNRESOLVED
            if isinstance(value, Unresolved):
                failed = True
                continue
            parts.append(value)
            size += len(value)
            if size > LONGEST_TEXT:
                self._problems.error(
                    "too-long",
                    where,
                    f"this text is longer than {LONGEST_TEXT:,} characters once its templates are filled in",
                    "Shorten what it refers to.",
                )
                return UNRESOLVED
        if failed:
            return UNRESOLVED
        filled = "".join(parts) + text[position:]
        if control := has_control(filled.replace("\n", "").replace("\t", "")):
            self._problems.error(
                "control-character",
                where,
                f"this text contains a control character ({control})",
                "Remove it.",
            )
            return UNRESOLVED
        return filled

    def _reference(self, inner: str, where: SourceRef, each: Each | None) -> str | Unresolved:
        if match := _ENVIRONMENT.match(inner):
            return self.environment(match[1], where)
        if match := _VARIABLE.match(inner):
            return self._variable(match[1], where)
        if inner == "each.key" or inner == "each.value" or inner.startswith("each.value."):
            return self._each(inner, where, each)
        shown = inner if len(inner) <= 60 and not has_control(inner) else "…"
        detail = _FORMS
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", inner):
            detail = f"Did you mean `${{env:{inner}}}` or `${{var.{inner}}}`? " + _FORMS
        self._problems.error(
            "bad-template", where, f"`${{{shown}}}` is not a template that keyform knows", detail
        )
        return UNRESOLVED

    def _variable(self, name: str, where: SourceRef) -> str | Unresolved:
        if name not in self._variables:
            self._problems.error(
                "unknown-variable",
                where,
                f"there is no variable `{name}`",
                did_you_mean(name, self._variables) or "Declare it under `variables`.",
            )
            return UNRESOLVED
        value = self._variables[name]
        return UNRESOLVED if value is None else value

    def _each(self, inner: str, where: SourceRef, each: Each | None) -> str | Unresolved:
        if each is None:
            self._problems.error(
                "bad-template",
                where,
                f"`${{{inner}}}` has no meaning here",
                "It stands for an entry of `for_each`, in the fields of the key that has one.",
            )
            return UNRESOLVED
        if inner == "each.key":
            return each.key
        value, field = each.value, inner.removeprefix("each.value").removeprefix(".")
        if not field:
            if not isinstance(value, dict):
                return scalar_text(value)
            self._problems.error(
                "bad-template",
                where,
                "`${each.value}` is a mapping here, not a text",
                f"Name one of its fields, like `${{each.value.{next(iter(value), 'FIELD')}}}`.",
            )
            return UNRESOLVED
        if not isinstance(value, dict):
            self._problems.error(
                "bad-template",
                where,
                f"`${{{inner}}}`: the entry `{each.key}` has no fields",
                "Use `${each.value}`, or make the entries of `for_each` mappings.",
            )
            return UNRESOLVED
        if field not in value:
            self._problems.error(
                "bad-template",
                where,
                f"the entry `{each.key}` of `for_each` has no field `{field}`",
                did_you_mean(field, value),
            )
            return UNRESOLVED
        return scalar_text(value[field])
