"""One field of a key out of an answer: a function made beforehand for each.

What does not have the form that the profile describes raises :class:`Unintelligible`, never a
``TypeError``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from keyform.model import ACTIVE, DISABLED, EXPIRED, LATEST, REVOKED, STATUSES
from keyform.services.paths import compile_path
from keyform.services.speech import FIRST_MOMENT, METADATA, TAGS, Marker, Speech

Reader = Callable[[Any], Any]


class Unintelligible(ValueError):
    """An answer is not of the agreed form; the text says how, and holds no value from the answer."""


def conditions(tree: Mapping[str, Any]) -> Callable[[Any], bool]:
    """Whether every path has its value: a JSON value, a list of values, ``present`` or ``absent``."""
    tests = tuple((compile_path(path), expected) for path, expected in tree.items())
    return lambda raw: all(_meets(getter(raw), expected) for getter, expected in tests)


def _meets(value: Any, expected: Any) -> bool:
    if expected == "present":
        return value not in (None, "")
    if expected == "absent":
        return value in (None, "")
    choices = expected if isinstance(expected, list) else [expected]
    return any(value == choice and type(value) is type(choice) for choice in choices)


def place_of(entry: Any) -> tuple[str | None, Mapping[str, Any]]:
    """The path and the further words of one entry of a mapping."""
    if entry is None or isinstance(entry, str):
        return entry, {}
    return entry.get("at"), entry


def id_reader(entry: Any, what: str = "key") -> Reader:
    """The id of a key, a project or an answer."""
    path, more = place_of(entry)
    get = compile_path(path or "id")
    numbers = bool(more.get("number"))

    def read(raw: Any) -> str:
        value = get(raw)
        if numbers and type(value) is int:
            return str(value)
        if type(value) is not str or not value or not value.isprintable():
            raise Unintelligible(f"{'an' if what == 'answer' else 'a'} {what} without an id")
        return value

    return read


def told_id_reader(path: str) -> Callable[[Any], str | None]:
    """The id of the key that an answer speaks of, as a text or a whole number; None where it names none."""
    get = compile_path(path)

    def read(raw: Any) -> str | None:
        value = get(raw)
        if value is None:
            return None
        text = str(value) if type(value) is int else value
        if type(text) is not str or not text or not text.isprintable():
            raise Unintelligible("something else than an id where it names the key")
        return text

    return read


def nothing(raw: Any) -> None:
    """Reads what no answer shows."""


def text_reader(entry: Any, field: str) -> Reader:
    """A text, or None."""
    path, more = place_of(entry)
    if path is None:
        return nothing
    get, default = compile_path(path), more.get("default")

    def read(raw: Any) -> str | None:
        value = get(raw)
        if value is None:
            return default
        if type(value) is str:
            return value if value.isascii() else whole(value)
        raise Unintelligible(f"a key whose {field} is no text")

    return read


def word_reader(entry: Any, field: str, speech: Speech, names: str, prefixes: Mapping[str, str]) -> Reader:
    """A word of keyform's own: told by the service's word for it, or by how a shown text begins."""
    path, more = place_of(entry)
    if path is None:
        default = more.get("default")
        return (lambda raw: default) if default is not None else nothing
    text = text_reader(entry, field)
    if more.get("by") == "prefix":
        known = sorted((more.get("prefixes") or prefixes).items(), key=lambda pair: -len(pair[1]))
        starts = [(prefix, name) for name, prefix in known if prefix]

        def by_prefix(raw: Any) -> str | None:
            value = text(raw) or ""
            return next((name for prefix, name in starts if value.startswith(prefix)), None)

        return by_prefix
    back = words_back(speech, names)
    return (lambda raw: back.get(value := text(raw), value)) if back else text


def words_back(speech: Speech, names: str) -> dict[Any, str]:
    return {said: word for word, said in speech.names.get(names, {}).items() if isinstance(said, str | int)}


def texts_reader(entry: Any, field: str, back: Mapping[Any, str]) -> Reader:
    """A sorted tuple of texts."""
    path, more = place_of(entry)
    if path is None:
        return lambda raw: ()
    get, split = compile_path(path), more.get("split")
    implied = tuple(more.get("implied", {}).items())

    def read(raw: Any) -> tuple[str, ...]:
        value = get(raw)
        if value is None:
            return ()
        if split is not None and type(value) is str:
            value = [text for text in value.split(split) if text]
        if type(value) is list:
            try:
                if value and not "".join(value).isascii():
                    value = [whole(text) for text in value]
                if back:
                    value = [back.get(text, text) for text in value]
                if implied:
                    value = _asked_for(value, implied)
                return tuple(sorted(value))
            except TypeError:
                pass
        raise Unintelligible(f"an entry whose {field} is no list of texts")

    return read


def scopes_reader(entry: Any, speech: Speech) -> Reader:
    """The scopes, with those that the service keeps apart under the prefix that they have at keyform."""
    plain = texts_reader(entry, "scopes", words_back(speech, "scopes"))
    _, more = place_of(entry)
    apart = [
        (speech.groups[group], texts_reader(path, "scopes", {}))
        for group, path in more.get("groups", {}).items()
    ]
    if not apart:
        return plain

    def read(raw: Any) -> tuple[str, ...]:
        others = (prefix + scope for prefix, read_group in apart for scope in read_group(raw))
        return tuple(sorted((*plain(raw), *others)))

    return read


def _asked_for(shown: Sequence[str], implied: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """The entries without those that a service adds to others by itself."""
    added = {
        text
        for cause, patterns in implied
        for text in shown
        if any(fnmatchcase(text, pattern) for pattern in patterns)
        and any(other != text and fnmatchcase(other, cause) for other in shown)
    }
    return [text for text in shown if text not in added]


def moment_reader(entry: Any, field: str, speech: Speech) -> Reader:
    """A time in UTC, or None."""
    path, _ = place_of(entry)
    if path is None:
        return nothing
    get, parse, never = compile_path(path), speech.time_reader(), speech.never
    words = speech.time_words

    def read(raw: Any) -> datetime | None:
        value = get(raw)
        if value is None or (never and type(value) is not bool and value in never):
            return None
        try:
            moment = parse(value)
        except OverflowError:
            moment = LATEST
        except ValueError:
            raise Unintelligible(
                f"a key whose {field} is not {words}, as `times` of the profile says"
            ) from None
        if FIRST_MOMENT <= moment < LATEST:
            return moment
        raise Unintelligible(f"a key whose {field} is no time between the years 1970 and 9000")

    return read


def metadata_reader(entry: Any, marker: Marker | None) -> Reader:
    """The metadata without the ownership label, and the label."""
    path, more = place_of(entry)
    if path is None:
        return lambda raw: ((), None)
    get, as_json = compile_path(path, {}), more.get("values") == "json"
    label_entry = marker.entry if marker and marker.place == METADATA else None

    def read(raw: Any) -> tuple[tuple[tuple[str, str], ...], str | None]:
        value = get(raw)
        if value is None:
            return (), None
        if type(value) is not dict:
            raise Unintelligible("a key whose metadata are no texts")
        if as_json:
            value = {name: text if type(text) is str else json.dumps(text) for name, text in value.items()}
        elif not all(type(text) is str for text in value.values()):
            raise Unintelligible("a key whose metadata are no texts")
        label = value.get(label_entry) if label_entry else None
        return tuple(
            sorted((whole(name), whole(text)) for name, text in value.items() if name != label_entry)
        ), label

    return read


def tag_reader(entry: Any, marker: Marker | None) -> Reader | None:
    """The ownership label among the tags; None where it does not stand there."""
    if marker is None or marker.place != TAGS:
        return None
    texts, before = texts_reader(entry, "tags", {}), marker.before

    def read(raw: Any) -> str | None:
        return next((tag[len(before) :] for tag in texts(raw) if tag.startswith(before)), None)

    return read


def status_reader(entry: Any, speech: Speech) -> Reader:
    """The status by a word, by conditions, or by both; a word that is not known is an error, because a
    key that works must not be taken for one that does not."""
    path, more = place_of(entry)
    tried = (status for status in (REVOKED, EXPIRED, DISABLED) if status in more)
    tests = tuple((status, conditions(more[status])) for status in tried)
    words: dict[Any, str] = {status: status for status in STATUSES}
    for status, said in speech.names.get("statuses", {}).items():
        words |= dict.fromkeys(said if isinstance(said, list) else [said], status)
    get = compile_path(path) if path is not None else None

    def read(raw: Any) -> str:
        for status, met in tests:
            if met(raw):
                return status
        if get is None:
            return ACTIVE
        value = get(raw)
        word = words.get(value) if type(value) is str else None
        if word is None:
            raise Unintelligible("a key without a known status")
        return word

    return read


def whole(text: str) -> str:
    """JSON can hold half a character (a lone surrogate), which no file can; it becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
