"""One run of the command line: where it works, when, and how it speaks."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyform.cli.console import Console
from keyform.cli.logs import end_log, log_to
from keyform.clock import SystemClock
from keyform.diagnostics import ERROR, Diagnostic
from keyform.errors import ConfigError, KeyformError
from keyform.model import Location, SourceRef
from keyform.report.diagnostics import diagnostics_text

if TYPE_CHECKING:
    from keyform.apply import Workspace, Wrapping
    from keyform.config import Config
    from keyform.ports import Clock, Desk


@dataclass(slots=True)
class Session:
    """``folder`` is where the configuration is; relative paths on the command line start there."""

    folder: Path
    clock: Clock
    console: Console
    wrap: Wrapping | None = None
    config: Config | None = None

    def path(self, given: str) -> Path:
        """A path from the command line."""
        return self.folder / given

    def command(self, *words: str) -> str:
        """A command line that a user can paste, with the same ``-C``."""
        here = [] if str(self.folder) == "." else ["-C", str(self.folder)]
        return shlex.join(["keyform", *here, *words])

    def load(
        self,
        variables: Sequence[str] = (),
        var_files: Sequence[str] = (),
        *,
        offline: bool = False,
        quiet: bool = False,
    ) -> Config:
        """Read the configuration; its warnings are told, unless ``quiet``. Raises ``ConfigError``."""
        from keyform.registry import load_config

        self.config = load_config(
            self.folder,
            self.clock,
            variables=_assignments(variables),
            var_files=[self.path(file) for file in var_files],
            offline=offline,
        )
        if not quiet:
            self.tell_all(self.config.diagnostics)
        return self.config

    def state_workspace(
        self, operation: str, variables: Sequence[str], var_files: Sequence[str]
    ) -> Workspace:
        """For what only looks at the state: nothing but where that is must be known."""
        config = self.load(variables, var_files, offline=True, quiet=True)
        if not config.state.known:
            unset = (d for d in config.diagnostics if d.code in ("unset-environment", "missing-variable"))
            raise ConfigError(tuple(replace(diagnostic, severity=ERROR) for diagnostic in unset))
        return self.workspace(config, operation)

    def workspace(self, config: Config, operation: str, desk: Desk | None = None) -> Workspace:
        """The services, stores and state that ``config`` declares. ``desk``: who is asked to do things in a
        dashboard; nobody, unless given."""
        from keyform.apply import Workspace

        if self.wrap is None:
            return Workspace(config, self.clock, operation, desk=desk)
        return Workspace(config, self.clock, operation, self.wrap, desk)

    def declared(self, addresses: Collection[str]) -> dict[str, str]:
        """Where these keys are declared, as ``FILE:LINE:COLUMN`` from here; those that are not are left
        out."""
        if self.config is None:
            return {}
        sources = {key.address: key.source for key in self.config.desired.keys}
        return {
            address: str(self._from_here(self.config.locate(source)[0]))
            for address, source in sources.items()
            if source is not None and address in addresses
        }

    def tell_all(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Put diagnostics on stderr, errors last, each with its place in the files where that is known."""
        if not diagnostics:
            return
        ordered = sorted(dict.fromkeys(diagnostics), key=lambda d: d.severity == ERROR)
        text = diagnostics_text([self._located(d) for d in ordered], self.console.err_style)
        self.console.tell(text.rstrip("\n"))

    def _located(self, diagnostic: Diagnostic) -> Diagnostic:
        location, snippet = diagnostic.location, diagnostic.snippet
        if location is None and diagnostic.address and self.config is not None:
            desired = self.config.desired
            sources = [key.source for key in desired.keys if key.address == diagnostic.address]
            sources += [p.source for p in desired.projects if p.address == diagnostic.address]
            if sources and sources[0] is not None:
                location, snippet = self.config.locate(sources[0])
        also = diagnostic.also and (diagnostic.also[0], self._from_here(diagnostic.also[1]))
        return replace(
            diagnostic, location=location and self._from_here(location), snippet=snippet, also=also
        )

    def end(self) -> bool:
        """End the log of this run and write out what is still held back; False if that cannot be done."""
        end_log()
        return self.console.flushed()

    def place(self, source: SourceRef) -> Location:
        """Where a part of the configuration stands, as seen from where the command was given."""
        if self.config is None:
            return Location(source.file, 1, 1)
        return self._from_here(self.config.locate(source)[0])

    def _from_here(self, location: Location) -> Location:
        """A place in the folder as seen from where the command was given."""
        return replace(location, file=str(self.folder / location.file))


def open_session(
    folder: str, verbose: int, no_color: bool, clock: Clock | None, wrap: Wrapping | None
) -> Session:
    """The session of a command line."""
    console = Console(no_color)
    log_to(console, verbose)
    return Session(Path(folder), clock or SystemClock(), console, wrap)


def read_bytes(path: Path, what: str) -> bytes:
    """A file named on the command line. Raises ``KeyformError``."""
    try:
        return path.read_bytes()
    except OSError as problem:
        raise KeyformError(
            f"{what} {path} cannot be read: {problem.strerror or type(problem).__name__}", "Check the path."
        ) from None


def _assignments(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--var {name or text!r} is not NAME=VALUE.")
        pairs[name] = value
    return pairs
