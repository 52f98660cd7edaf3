"""The exceptions of keyform.

::

    KeyformError                 something the user can act on; exit code 1
    ├── ConfigError              the configuration is wrong; carries every diagnostic of it
    ├── PlanError                a plan cannot be made, read or applied
    ├── StateError               the state cannot be read or written
    │   ├── Locked               somebody else holds the lock
    │   └── Conflict             compare-and-swap failed: somebody else wrote
    ├── StoreError               a secrets manager refused or could not be reached
    ├── Pending                  a person has to do something in a dashboard, and has not yet
    └── ServiceError             a key service refused, or answered what cannot be understood
        ├── Refused              it understood the request and said no (4xx)
        ├── Unreachable          no answer was had; nothing was carried out
        └── AnswerLost           the request went out and no answer came: it may have been carried out
    Interrupted                  Ctrl-C; exit code 130

Each carries diagnostics, so that a message says what happened, where, and what to do next. Anything
else that escapes is a bug in keyform; exit code 3.
"""

from __future__ import annotations

from keyform.diagnostics import Diagnostic, error


class KeyformError(Exception):
    """Base of the errors that a user can act on. Holds one or more :class:`Diagnostic`."""

    code = "error"

    def __init__(self, what: str | Diagnostic | tuple[Diagnostic, ...], detail: str = "") -> None:
        if isinstance(what, str):
            what = error(self.code, what, detail)
        self.diagnostics: tuple[Diagnostic, ...] = what if isinstance(what, tuple) else (what,)
        super().__init__("; ".join(d.summary for d in self.diagnostics))


class ConfigError(KeyformError):
    code = "config"


class PlanError(KeyformError):
    code = "plan"


class StateError(KeyformError):
    code = "state"


class Locked(StateError):
    code = "state-locked"


class Conflict(StateError):
    code = "state-conflict"


class StoreError(KeyformError):
    code = "store"


class Taken(StoreError):
    """The place holds something else than the write was to replace. Nothing was written."""

    code = "place-taken"


class Pending(KeyformError):
    """``begun``: the person may have done it all the same, and left before they could say so."""

    code = "assisted-pending"

    def __init__(
        self, what: str | Diagnostic | tuple[Diagnostic, ...], detail: str = "", *, begun: bool = False
    ) -> None:
        super().__init__(what, detail)
        self.begun = begun


class ServiceError(KeyformError):
    code = "service"


class Refused(ServiceError):
    """``status`` is the HTTP status, ``reason`` the service's own error code if it gave one."""

    code = "service-refused"

    def __init__(
        self,
        what: str | Diagnostic | tuple[Diagnostic, ...],
        detail: str = "",
        *,
        status: int = 0,
        reason: str = "",
    ) -> None:
        super().__init__(what, detail)
        self.status = status
        self.reason = reason


class Unreachable(ServiceError):
    code = "service-unreachable"


class AnswerLost(ServiceError):
    code = "answer-lost"


class Interrupted(KeyformError):
    code = "interrupted"
