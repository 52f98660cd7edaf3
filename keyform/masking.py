"""Keeping secrets out of texts that came from elsewhere: what a service or a store says may repeat one.

A text is compared by its ASCII letters and digits alone, in lower case, so that characters which draw
nothing, line breaks and another spelling hide nothing; and a secret is looked for in its usual
encodings (URL, base64, hexadecimal) too. Whoever knows a secret can always disguise it further; what
is met here is the service that logs or quotes, not the one that conspires.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import quote

from keyform.diagnostics import Diagnostic
from keyform.errors import KeyformError
from keyform.model import LiveKey, Secret

_HIDDEN = "[hidden]"
_COMPARED = re.compile("[A-Za-z0-9]")
_ESCAPED = re.compile(rb"\\(?:u00([0-7][0-9a-fA-F])|(.))", re.DOTALL)
_SHORTEST = 8  # letters and digits; a shorter secret is compared as it stands
_GIVES_AWAY = 16  # so many in a row of a secret are masked; longer than the start that services show


def masked(text: str, secrets: Iterable[Secret], prefixes: Iterable[str] = ()) -> str:
    """``text`` with ``[hidden]`` for every part that repeats one of ``secrets``, or 16 letters and digits
    in a row of it, and for everything that looks like a key with one of ``prefixes``."""
    spans = [span for secret in secrets for span in _repeats(text, secret)]
    spans += _keys(text, prefixes)
    out, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            out += [text[end:start], _HIDDEN]
        end = max(end, stop)
    return "".join((*out, text[end:]))


_OPAQUE = re.compile(r"[^\s'\"`,;:(){}\[\]<>]{12,}")
_WORDLIKE = 24  # letters in a row without a digit that may still be words


def without_opaque(text: str) -> str:
    """``text`` with ``[hidden]`` for every run of characters that may be a secret which nobody here knows: 12
    and more with letters and digits among them, or 24 and more of whatever kind."""

    def hidden(found: re.Match[str]) -> str:
        run = found[0]
        mixed = any(c.isdigit() for c in run) and any(c.isalpha() for c in run)
        return _HIDDEN if mixed or len(run) >= _WORDLIKE else run

    return _OPAQUE.sub(hidden, text)


_PLAIN = re.compile(r"\d{4}-\d\d-\d\d[\dTtZz:.+-]*")
_NAMED = re.compile(r"-{0,2}[a-z]{1,20}(?:-[a-z]{1,20})*")
_TYPED = re.compile(r"[^\s'\"`,;:(){}\[\]<>=/]{12,}")


def without_secrets(text: str) -> str:
    """``text``, which repeats what somebody typed, with ``[hidden]`` for what may be a secret as in
    ``without_opaque``. Times, and names of lower-case words like those of options, stay; of a path each part
    is looked at alone."""

    def hidden(found: re.Match[str]) -> str:
        run = found[0]
        return run if _PLAIN.fullmatch(run) or _NAMED.fullmatch(run) else without_opaque(run)

    return _TYPED.sub(hidden, text)


def mask_error(problem: KeyformError, secrets: Iterable[Secret]) -> None:
    """Mask ``secrets`` in everything that ``problem`` would tell."""
    problem.diagnostics = mask_diagnostics(problem.diagnostics, secrets)
    problem.args = ("; ".join(d.summary for d in problem.diagnostics),)


def mask_diagnostics(told: Iterable[Diagnostic], secrets: Iterable[Secret]) -> tuple[Diagnostic, ...]:
    """The same diagnostics with ``secrets`` masked in their texts."""
    known = tuple(secrets)
    return tuple(replace(d, summary=masked(d.summary, known), detail=masked(d.detail, known)) for d in told)


def gives_away(key: LiveKey, secret: Secret) -> bool:
    """Whether what a service shows of ``key`` repeats its ``secret``, or three quarters of it in a row. (Less
    may be an id or a start that a secret begins with, and leaves the rest beyond guessing.)"""
    spec = key.spec
    named = (key.id, key.label, key.hint, spec.kind, spec.environment, spec.project)
    metadata = (text for pair in spec.metadata for text in pair)
    texts = (*named, spec.name, spec.description, *spec.scopes, *spec.allowed_origins, *metadata)
    compared = _letters("".join(text for text in texts if text))
    for form in _forms(secret):
        size = max(_SHORTEST, -(-3 * len(form) // 4))
        middle = form[len(form) - size : size]  # every part of that size has it, so look for it first
        if middle in compared and any(form[at : at + size] in compared for at in range(len(form) - size + 1)):
            return True
    return False


def in_json(document: bytes, secret: Secret) -> bool:
    """Whether a JSON document holds ``secret`` in any case, escapes or not. One of fewer than 16 characters
    is not looked for, since it may be an ordinary word."""
    sought = secret.reveal().lower().encode("utf-8", "surrogatepass")
    if len(sought) < _GIVES_AWAY:
        return False
    return sought in (_ESCAPED.sub(_unescaped, document) if b"\\" in document else document).lower()


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else found[2]


def _repeats(text: str, secret: Secret) -> Iterator[tuple[int, int]]:
    forms = _forms(secret)
    if len(forms[0]) < _SHORTEST:
        yield from (found.span() for found in re.finditer(re.escape(secret.reveal()), text, re.I) if found[0])
        return
    size = min(_GIVES_AWAY, len(forms[0]))
    parts = {form[at : at + size] for form in forms for at in range(len(form) - size + 1)}
    places = [found.start() for found in _COMPARED.finditer(text)]
    compared = _letters(text)
    for at in range(len(compared) - size + 1):
        if compared[at : at + size] in parts:
            yield places[at], places[at + size - 1] + 1


def _keys(text: str, prefixes: Iterable[str]) -> Iterator[tuple[int, int]]:
    words = "|".join(re.escape(prefix) for prefix in prefixes if prefix)
    if words:
        shape = rf"(?<![A-Za-z0-9])(?:{words})[_-][A-Za-z0-9_.~+/=-]{{{_GIVES_AWAY},}}"
        yield from (found.span() for found in re.finditer(shape, text, re.I))


def _letters(text: str) -> str:
    return "".join(_COMPARED.findall(text)).lower()


def _forms(secret: Secret) -> list[str]:
    """A secret as it is compared: itself first, then its encodings."""
    text = secret.reveal()
    data = text.encode("utf-8", "surrogatepass")
    encoded = [quote(data, safe=""), data.hex()]
    for lead in range(3):  # base64 of a longer text has it in one of three alignments, but for the edges
        in_base64 = base64.b64encode(bytes(lead) + data).decode().rstrip("=")
        encoded.append(in_base64[(0, 2, 3)[lead] : -1])
    return [_letters(form) for form in (text, *encoded)]
