"""Plans and JSON on stdout, in the format that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keyform.cli.options import JSON, MARKDOWN
from keyform.errors import KeyformError
from keyform.report.markdown import plan_markdown
from keyform.report.safe import json_text
from keyform.report.text import plan_text

if TYPE_CHECKING:
    from keyform.cli.session import Session
    from keyform.diagnostics import Diagnostic
    from keyform.engine.plan import Plan


def print_plan(session: Session, plan: Plan, output: str) -> None:
    """The plan without its diagnostics, which the JSON and Markdown forms hold themselves."""
    console = session.console
    if output == JSON:
        console.data(pretty(plan.as_json()))
    elif output == MARKDOWN:
        console.data(plan_markdown(plan, plan.as_json()["digest"]))
    else:
        console.data(plan_text(plan, console.style))


@contextmanager
def errors_as_json(session: Session, output: str) -> Iterator[None]:
    """With ``--format json``, what forbids a result is on stdout as ``{"diagnostics": […]}`` as well."""
    try:
        yield
    except KeyformError as problem:
        if output == JSON:
            session.console.data(pretty({"diagnostics": as_json(problem.diagnostics)}))
        raise


def as_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """Diagnostics as JSON values."""
    return [diagnostic.as_json() for diagnostic in diagnostics]


def pretty(value: Any) -> str:
    """A JSON document that is safe to look at."""
    return json_text(json.dumps(value, indent=1, ensure_ascii=False)) + "\n"


def one_line(value: Any) -> str:
    """One JSON object on one line, safe to look at."""
    return json_text(json.dumps(value, ensure_ascii=False)) + "\n"
