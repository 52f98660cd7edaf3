"""The values of variables: from ``--var``, from var files, or from their defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keyform.config.interpolate import Interpolator, scalar_text
from keyform.config.merge import Entry
from keyform.diagnostics import did_you_mean
from keyform.documents.parse import parse
from keyform.documents.problems import Problems
from keyform.documents.read import read_text
from keyform.model import SourceRef

_REFERENCE = re.compile(r"(?<!\$)\$\{var\.([A-Za-z_][A-Za-z0-9_-]*)\}")
_LONGEST_CHAIN = 100


def read_var_files(
    files: Sequence[Path], texts: dict[str, str], problems: Problems
) -> dict[str, tuple[str, SourceRef | None]]:
    """The values that var files give, a later file over an earlier one. ``texts`` gets what was read."""
    given: dict[str, tuple[str, SourceRef | None]] = {}
    for path in files:
        file = str(path)
        text = read_text(path, file, problems)
        if text is None:
            continue
        texts[file] = text
        tree = parse(text, file, problems)
        if tree is None:
            continue
        if not isinstance(tree, dict):
            problems.error(
                "wrong-type",
                SourceRef(file, ()),
                f"{file} must be a mapping of variables to values",
                "Write one `name: value` on each line.",
            )
            continue
        for name, value in tree.items():
            where = SourceRef(file, (name,))
            if isinstance(value, str | int | float | bool):
                given[name] = (scalar_text(value), where)
            else:
                problems.error(
                    "wrong-type",
                    where,
                    f"the variable `{name}` must be a text or a number",
                    "Variables hold no lists and no mappings.",
                )
    return given


class Variables:
    """Works out each declared variable once, following references between defaults. With ``offline`` one
    without a value is a warning."""

    def __init__(
        self,
        declared: Mapping[str, Entry],
        given: Mapping[str, tuple[str, SourceRef | None]],
        env: Mapping[str, str],
        problems: Problems,
        *,
        offline: bool,
        incomplete: bool,
    ) -> None:
        self._declared = declared
        self._problems = problems
        self._offline = offline
        self._values: dict[str, str | None] = {}
        self._fill = Interpolator(env, self._values, problems, offline=offline)
        for name, (text, where) in given.items():
            if name in declared:
                self._values[name] = text
            elif not incomplete:
                problems.error(
                    "unknown-variable",
                    where,
                    f"there is no variable `{name}`",
                    did_you_mean(name, declared) or "Declare it under `variables`.",
                    on_name=True,
                )

    def values(self) -> Mapping[str, str | None]:
        """Every declared variable; None where there is no value, for a reason that has been recorded."""
        for name in self._declared:
            self._resolve(name, ())
        return self._values

    def _resolve(self, name: str, chain: tuple[str, ...]) -> None:
        if name in self._values or name not in self._declared:
            return
        entry = self._declared[name]
        where = SourceRef(entry.file, entry.path)
        if name in chain or len(chain) >= _LONGEST_CHAIN:
            shown = " -> ".join((*chain[chain.index(name) if name in chain else -5 :], name))
            self._problems.error(
                "variable-cycle",
                where,
                f"variables refer to each other in a circle: {shown}"
                if name in chain
                else f"variables refer to each other too deeply: … {shown}",
                "Give one of them a value that does not refer to the others.",
            )
            self._values[name] = None
            return
        default: Any = entry.body
        if isinstance(default, dict):
            where = SourceRef(entry.file, (*entry.path, "default"))
            default = default.get("default")
        if default is None:
            record = self._problems.warning if self._offline else self._problems.error
            record(
                "missing-variable",
                SourceRef(entry.file, entry.path),
                f"the variable `{name}` has no value",
                f"Give it one with --var {name}=…, with --var-file, or as its `default`.",
                on_name=True,
            )
            self._values[name] = None
            return
        text = scalar_text(default)
        for needed in _REFERENCE.findall(text):
            self._resolve(needed, (*chain, name))
        if name not in self._values:
            filled = self._fill.fill(text, where)
            self._values[name] = filled if isinstance(filled, str) else None
