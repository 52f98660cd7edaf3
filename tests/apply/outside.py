"""The outside world, made to fail on purpose: hooks around stores, requests and the state backend."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import httpx

from keyform.apply import Outcome, Wrapping, apply
from keyform.engine.options import Options
from keyform.engine.plan import Plan
from keyform.errors import StoreError
from tests.world import World

Send = Callable[[httpx.Request], httpx.Response]
Answer = Callable[[httpx.Request, Send], httpx.Response]


def declare(*keys: str, rest: str = "", **more: str) -> str:
    """A configuration with these keys at the embedded service; ``more`` gives further fields by name."""
    lines = [f"  {name}: {{service: sandbox, name: {name}, secret: {name}}}" for name in keys]
    lines += [f"  {name}: {{service: sandbox, name: {name}, {fields}}}" for name, fields in more.items()]
    keys_block = "keys:\n" + "\n".join(lines) + "\n" if lines else ""
    return f"version: 1\nservices: {{sandbox: {{type: embedded}}}}\n{rest}\n{keys_block}"


class Hooked:
    """Any port; calls of the named methods go to the hook, which gets the real method and its arguments."""

    def __init__(self, inner: Any, hooks: dict[str, Callable[..., Any]]) -> None:
        self._inner, self._hooks = inner, hooks

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name == "journal":
            return Hooked(value, self._hooks)
        hook = self._hooks.get(name)
        return value if hook is None else lambda *args, **kwargs: hook(value, *args, **kwargs)


def stores(**hooks: Callable[..., Any]) -> Wrapping:
    return Wrapping(store=lambda inner: Hooked(inner, hooks))


def backend(**hooks: Callable[..., Any]) -> Wrapping:
    return Wrapping(backend=lambda inner: Hooked(inner, hooks))


def requests(answer: Answer) -> Wrapping:
    def wrap(inner: httpx.BaseTransport) -> httpx.BaseTransport:
        return httpx.MockTransport(lambda request: answer(request, inner.handle_request))

    return Wrapping(transport=wrap)


def refuse(
    method: str, path: str = "/v1/keys", *, status: int = 422, times: int = 10**6, body: str = ""
) -> Wrapping:
    """Requests of this kind whose body holds ``body`` are refused by the service."""
    left = [times]
    lock = threading.Lock()

    def answer(request: httpx.Request, send: Send) -> httpx.Response:
        mine = request.method == method and request.url.path.startswith(path)
        with lock:
            if mine and body.encode() in request.read() and left[0] > 0:
                left[0] -= 1
                return httpx.Response(status, json={"error": {"code": "no", "message": "not today"}})
        return send(request)

    return requests(answer)


def failing(*paths: str) -> Callable[..., Any]:
    """A hook for ``put``, ``get`` or ``delete`` that fails at these places."""

    def hook(real: Callable[..., Any], place: Any, *args: Any) -> Any:
        if place.path in paths:
            raise StoreError(f"{place} cannot be had", "The test says so.")
        return real(place, *args)

    return hook


def run(
    world: World, *, stop: threading.Event, parallelism: int = 1, wrap: Wrapping | None = None
) -> Outcome:
    """An apply whose ``stop`` the test sets."""
    with world.open(wrap) as ws:
        return apply(
            ws,
            Options(),
            approve=lambda plan: True,
            parallelism=parallelism,
            on_event=world.told.append,
            stop=stop,
        )


def crash(world: World, wrap: Wrapping, plan: Plan | None = None) -> int:
    """Apply in a forked process; 77 says that a hook ended it with :func:`die`."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            world.apply(wrap=wrap, plan=plan)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die(*_: Any, **__: Any) -> Any:
    os._exit(77)


def nth(number: int, act: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that does ``act`` instead of the call numbered ``number`` (from 1)."""
    count = [0]
    lock = threading.Lock()

    def hook(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with lock:
            count[0] += 1
            mine = count[0] == number
        return act(real, *args, **kwargs) if mine else real(*args, **kwargs)

    return hook


def summaries(outcome: Outcome) -> str:
    return "\n".join(d.summary for d in outcome.failed)


def codes(outcome: Outcome) -> list[str]:
    return [d.code for d in outcome.failed]


def warned(world: World) -> list[str]:
    return [e["diagnostic"]["code"] for e in world.told if e["type"] == "warning"]


def journal_is_empty(world: World) -> bool:
    with world.open(Wrapping()) as ws:
        return not ws.backend.journal.read()
