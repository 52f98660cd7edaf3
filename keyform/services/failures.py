"""What went wrong with a call, in words, and as the right exception."""

from __future__ import annotations

import socket
import ssl
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keyform.errors import AnswerLost, Refused, ServiceError, Unreachable
from keyform.masking import masked
from keyform.model import Secret
from keyform.services.calls import CREATE, WRITE

REFUSED, NO_ANSWER, BAD_ANSWER = "refused", "no answer", "bad answer"

_LONGEST = 200
_MOST_READ = 16_000

Show = Callable[[str], str]
"""Makes foreign text fit for a message: :func:`safe`, with what a call has to hide."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that did not succeed.

    ``again``: worth another attempt; ``pause``: seconds that the service asks to wait before it;
    ``perhaps_done``: the service may have carried the request out all the same; ``silent``: it was waited for
    in vain, which takes long.
    """

    kind: str
    what: str
    next_step: str
    again: bool = False
    pause: float | None = None
    perhaps_done: bool = False
    status: int = 0
    reason: str = ""
    silent: bool = False

    def exception(self, service: str, doing: str, effect: str, perhaps_done: bool) -> ServiceError:
        """The exception for a call that ended in this failure. ``perhaps_done``: some attempt may have
        been carried out."""
        summary = f"service {service!r}: {doing} failed: {self.what}"
        if perhaps_done and (effect == CREATE or (effect == WRITE and self.kind != REFUSED)):
            return AnswerLost(summary, f"It may have been carried out all the same. {self.next_step}")
        if self.kind == REFUSED:
            return Refused(summary, self.next_step, status=self.status, reason=self.reason)
        if self.kind == NO_ANSWER:
            return Unreachable(summary, self.next_step)
        return ServiceError(summary, self.next_step)


def safe(text: str, hide: Iterable[Secret] = (), prefixes: Iterable[str] = ()) -> str:
    """Foreign text for a message: control and format characters gone, what repeats a secret of ``hide`` or
    looks like a key with one of ``prefixes`` masked, at most 200 long."""
    cut = text[:_MOST_READ]
    kept = "".join(" " if char.isspace() else char for char in cut if char.isspace() or char.isprintable())
    kept = " ".join("".join(char for char in kept if unicodedata.category(char)[0] != "C").split())
    if len(text) > _MOST_READ and len(kept) < _MOST_READ // 2:
        return "…"  # mostly what cannot be shown; half of a secret might stand where it was cut
    kept = masked(kept, hide, prefixes)
    return kept if len(kept) <= _LONGEST else kept[: _LONGEST - 1] + "…"


def not_connected(problem: Exception, host: str, show: Show) -> Failure:
    """The connection could not be made, so nothing was sent."""
    causes = tuple(_causes(problem))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Failure(
            NO_ANSWER,
            f"the certificate of {host} is not trusted: {show(str(problem))}",
            "Check the endpoint. For a private certificate authority set SSL_CERT_FILE to its certificate.",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Failure(
            NO_ANSWER,
            f"{host} does not speak TLS as expected: {show(str(problem))}",
            "Check the endpoint: its scheme and its port.",
        )
    names = [cause for cause in causes if isinstance(cause, socket.gaierror)]
    if names:
        return Failure(
            NO_ANSWER,
            f"the host name {host} cannot be found: {show(str(problem))}",
            "Check the endpoint, and that this machine can resolve names.",
            again=any(cause.errno == socket.EAI_AGAIN for cause in names),
        )
    return Failure(
        NO_ANSWER,
        f"cannot connect to {host}: {show(str(problem)) or type(problem).__name__}",
        "Check the endpoint, and that the service is running and reachable from here.",
        again=True,
    )


def not_in_time(host: str, timeout: float, repeatable: bool, *, connected: bool) -> Failure:
    """The service stayed silent for ``timeout`` seconds: it took no connection, or gave no answer."""
    what = f"no answer came from {host}" if connected else f"{host} took no connection"
    return Failure(
        NO_ANSWER,
        f"{what} within {timeout:g} s",
        "Check the endpoint, and that the service is well and reachable from here; then run it again.",
        again=repeatable,
        perhaps_done=connected,
        silent=True,
    )


def no_answer(problem: Exception, repeatable: bool, show: Show) -> Failure:
    """The request went out and no whole answer came back."""
    return Failure(
        NO_ANSWER,
        f"the connection broke before an answer came ({show(str(problem)) or type(problem).__name__})",
        "Run the command again; if it stays so, ask whoever runs the service.",
        again=repeatable,
        perhaps_done=True,
    )


def unsendable() -> Failure:
    """The request cannot be written down, so nothing was sent."""
    return Failure(
        BAD_ANSWER,
        "an id, an option or another text in the request is too long, or is no Unicode",
        "Nothing was sent. Check the ids and texts in the configuration, and the service's options.",
    )


def no_credential(problem: ServiceError) -> Failure:
    """A login failed, so the call itself was never sent."""
    said = problem.diagnostics[0]
    kind = NO_ANSWER if isinstance(problem, Unreachable) else REFUSED
    status, reason = (problem.status, problem.reason) if isinstance(problem, Refused) else (0, "")
    what = said.summary.partition(": ")[2] or said.summary
    return Failure(kind, what, said.detail, status=status, reason=reason)


_NEXT_STEPS = {
    400: "This may be a bug in keyform or in the service; report it with this message.",
    401: "Check the service's `credential`: it is missing, mistyped, expired or revoked.",
    403: "The credential is known but may not do this; give it the right to manage keys.",
    404: "Check the service's `endpoint`: host, port and base path.",
    405: "Check the service's `endpoint`: something else answers there.",
    409: "Something else changed the key meanwhile; plan again.",
    413: "Make the key's texts or lists shorter.",
    422: "Change the configuration as the service says.",
    429: "Wait a while, lower --parallelism, or ask for a higher limit.",
}


_BY_REASON = {
    "plan_required": "The account's plan does not include this: upgrade it, or declare what the plan has.",
}
"""What an error code of services asks for, whatever the status."""


def refused(
    status: int, reason: str, message: str, *, next_step: str | None, again: bool, pause: float | None
) -> Failure:
    """The service said no. ``reason`` and ``message`` are its own, made safe already. ``next_step`` None:
    what the status usually asks for."""
    return Failure(
        REFUSED,
        _said(status, reason, message),
        next_step
        or _BY_REASON.get(reason)
        or _NEXT_STEPS.get(status, "See what the service says; its documentation may tell more."),
        again=again,
        pause=pause,
        status=status,
        reason=reason,
    )


def broken(status: int, reason: str, message: str, *, again: bool, pause: float | None) -> Failure:
    """The service itself failed (5xx), or its answer did not come in time."""
    return Failure(
        BAD_ANSWER,
        _said(status, reason, message),
        "The service has a problem of its own; try again later or ask whoever runs it.",
        again=again,
        pause=pause,
        perhaps_done=True,
        status=status,
        reason=reason,
    )


def _said(status: int, reason: str, message: str) -> str:
    return f"{status} {reason}".strip() + (f': "{message}"' if message else "")


def unintelligible(what: str, *, again: bool = False, perhaps_done: bool = True) -> Failure:
    """An answer that is not of the form agreed."""
    return Failure(
        BAD_ANSWER,
        what,
        "Check that the service's `endpoint` is a key service, not a web page or a proxy.",
        again=again,
        perhaps_done=perhaps_done,
    )


def repeated_credential(status: int) -> Failure:
    """An answer that holds keyform's own credential, so that nothing of it can be used."""
    return Failure(
        BAD_ANSWER,
        f"{status}: the answer repeats keyform's own credential",
        "Whoever may read there can use it: find where the service shows it, and replace the credential.",
        perhaps_done=True,
    )


def _causes(problem: BaseException | None) -> Iterable[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
