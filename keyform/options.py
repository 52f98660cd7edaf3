"""The options that a service declaration takes, by its profile: the rules in one place, for the check of a
configuration and for whoever opens a service."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from keyform.diagnostics import did_you_mean
from keyform.model import Secret
from keyform.profile import BOOLEAN, CONTRACT, DOCUMENTED, NUMBER, TEXT, Option, Profile

_KINDS = {TEXT: "text", NUMBER: "a whole number", BOOLEAN: "`true` or `false`"}


@dataclass(frozen=True, slots=True)
class OptionFault:
    """What is wrong with ``option``. ``code`` says what is at fault: the name (``unknown-field``), the value
    (``bad-value``, ``wrong-type``), or that there is none (``missing-field``)."""

    code: str
    option: str
    summary: str
    detail: str


def option_faults(
    service: str,
    profile: Profile,
    given: Mapping[str, Any],
    *,
    unread: Collection[str] = (),
    other_fields: Collection[str] = (),
) -> Iterator[OptionFault]:
    """Everything that is wrong with the options ``given`` to the service of that name. ``unread`` are options
    that are written and whose values are not known here; ``other_fields`` are what a declaration takes
    besides, for suggestions."""
    rules = profile.service_options
    for name in (*given, *unread):
        if name not in rules:
            known = {*rules, *other_fields}
            yield OptionFault(
                "unknown-field",
                name,
                f"unknown field `{name}` in service `{service}`",
                did_you_mean(name, known),
            )
    for name, rule in rules.items():
        if name in unread:
            continue
        value = given.get(name, rule.default)
        if (rule.required and value == "") or (name not in given and rule.required and rule.default is None):
            summary = f"service `{service}` has no `{name}`"
            yield OptionFault("missing-field", name, summary, f"Add {_meaning(name, rule)}")
        elif name in given:
            thing = f"`{name}` of service `{service}`"
            for fault in _value_faults(thing, name, rule, value):
                yield replace(fault, detail=f"{fault.detail} {profile.cite(name)}".strip())
            shape = profile.texts.get(f"options.{name}")
            if shape is not None and isinstance(value, str) and (why := shape.broken_by(value)):
                detail = f"Write it as {profile.title} takes it. {profile.cite('options')}".strip()
                yield OptionFault("bad-value", name, f"{thing} {why}", detail)


def with_defaults(profile: Profile, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options and the defaults of the others."""
    defaults = {name: rule.default for name, rule in profile.service_options.items()}
    return {name: value for name, value in defaults.items() if value is not None} | dict(given)


def option_value(rule: Option, text: str) -> Any:
    """The value that a text stands for where nothing but text can be given; the text where it is none."""
    if rule.type == BOOLEAN and text in ("true", "false"):
        return text == "true"
    if rule.type == NUMBER and text.removeprefix("-").isdecimal():
        return int(text)
    return text


def _value_faults(thing: str, name: str, rule: Option, value: Any) -> Iterator[OptionFault]:
    if not is_of_type(value, rule.type):
        hint = _type_hint(rule.type, value)
        yield OptionFault(
            "wrong-type", name, f"{thing} must be {_KINDS[rule.type]}, not {_found(value)}", hint
        )
    elif rule.choices and value not in rule.choices:
        shown = "have this value" if isinstance(value, Secret) else f"be `{str(value)[:80]}`"
        hint = f"{did_you_mean(str(value), rule.choices)} {_meaning(name, rule)}"
        yield OptionFault("bad-value", name, f"{thing} cannot {shown}", hint)


def _meaning(name: str, rule: Option) -> str:
    return f"`{name}`: {rule.description}." if rule.description else f"`{name}`."


def is_of_type(value: Any, kind: str) -> bool:
    """Whether a value is of an option's type; a credential is text."""
    if kind == TEXT:
        return isinstance(value, str | Secret)
    return type(value) is (bool if kind == BOOLEAN else int)


def _found(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return (
        "text" if isinstance(value, str | Secret) else "a mapping" if isinstance(value, Mapping) else "a list"
    )


def _type_hint(kind: str, value: Any) -> str:
    if value is None:
        return "Write a value, or leave the field out."
    if kind == TEXT and isinstance(value, bool | int | float):
        return f'Put it in quotes: "{str(value).lower()}".'
    if kind == BOOLEAN:
        return "Write `true` or `false` without quotes."
    return (
        "Write it without quotes." if kind == NUMBER and isinstance(value, str) else "Write a single value."
    )


def endpoint_fault(service: str, profile: Profile) -> OptionFault | None:
    """What is wrong with a service that is declared without an ``endpoint``, or None. ``profile`` is as the
    service's mode makes it. The embedded service needs none."""
    undocumented = sorted(op for op, how in profile.operations.items() if how == CONTRACT)
    if not undocumented and profile.base_url is not None:
        return None
    vendor = bool(profile.domains) or DOCUMENTED in profile.operations.values()
    summary, detail = (
        f"service {service!r} has no endpoint",
        "Add the address of the service as `endpoint: https://…`",
    )
    if undocumented and vendor:
        summary += f": {profile.title} documents no call for {', '.join(undocumented)}"
        detail += ": `keyform serve`, or a broker that speaks keyform's contract. Or add `mode: assisted`"
    return OptionFault("missing-field", "endpoint", summary, f"{detail}.")
