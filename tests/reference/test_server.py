"""The service over a real socket, in a process of its own."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from keyform.reference.app import root_token
from keyform.reference.limiter import RateLimit
from keyform.reference.server import serve

from .conftest import body, refusal

PROGRAM = """
import os, pathlib, signal, sys, time

def stop_this_server(seconds):
    os.kill(os.getpid(), signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:  # until the signal has been taken
        os.sched_yield()

time.sleep = stop_this_server  # what the fault `latency` calls
from keyform.reference.limiter import RateLimit
from keyform.reference.server import serve
serve(pathlib.Path(sys.argv[1]), faults=sys.argv[2] == "faults", limit=RateLimit(6000, 1000),
      on_ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


class Served:
    """A served data folder."""

    def __init__(self, data: Path, mode: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(data), mode],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        headers = {"Authorization": f"Bearer {root_token(data)}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def stop(self, number: signal.Signals) -> tuple[int, str, str]:
        """Exit code, and what was printed since the start."""
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, errors


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    service = Served(tmp_path / "data", "faults")
    yield service
    service.http.close()
    if service.process.poll() is None:
        service.process.kill()
        service.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(served: Served, tmp_path: Path, number: signal.Signals) -> None:
    assert served.url.startswith("http://127.0.0.1:")
    created = served.http.post("/v1/keys", json=body())
    assert created.status_code == 201
    assert created.headers["X-RateLimit-Limit"] == "6000"
    assert served.stop(number) == (0, "stopped\n", "")
    # The write-ahead log is folded in and gone.
    assert not (tmp_path / "data" / "keys.sqlite3-wal").exists()
    assert stat.S_IMODE((tmp_path / "data" / "keys.sqlite3").stat().st_mode) == 0o600


def test_a_request_in_flight_is_answered_before_it_stops(served: Served) -> None:
    rule = {"action": "latency", "method": "POST", "path": "^/v1/keys$", "seconds": 1}
    served.http.put("/_faults", json={"rules": [rule]})
    assert served.http.post("/v1/keys", json=body()).status_code == 201
    assert served.process.communicate(timeout=30) == ("stopped\n", "")
    assert served.process.returncode == 0


def test_a_dropped_answer_breaks_the_connection(served: Served) -> None:
    rules = [{"action": "drop_answer", "method": "POST", "path": "^/v1/keys$"}]
    assert served.http.put("/_faults", json={"rules": rules}).status_code == 204
    with pytest.raises(httpx.RemoteProtocolError):
        served.http.post("/v1/keys", json=body(name="hidden"))
    assert [key["name"] for key in served.http.get("/v1/keys").json()["data"]] == ["hidden"]
    assert served.stop(signal.SIGTERM) == (0, "stopped\n", "")


def test_a_dropped_request_breaks_the_connection_and_does_nothing(served: Served) -> None:
    served.http.put("/_faults", json={"rules": [{"action": "drop_request", "method": "POST"}]})
    with pytest.raises(httpx.RemoteProtocolError):
        served.http.post("/v1/keys", json=body())
    assert served.http.get("/v1/keys").json()["data"] == []


def test_half_a_page_arrives_whole_as_half(served: Served) -> None:
    served.http.put("/_faults", json={"rules": [{"action": "half_page", "path": "^/v1/keys$"}]})
    answer = served.http.get("/v1/keys")
    assert (answer.status_code, answer.text) == (200, '{"data": [], "next'[: len(answer.text)])


def test_bodies_that_are_too_large_or_broken_get_the_envelope(served: Served) -> None:
    assert refusal(served.http.post("/v1/keys", content=b"x" * 200_000)) == (413, "body_too_large")
    chunks = (b"{" for _ in range(3))  # sent without a Content-Length
    assert refusal(served.http.post("/v1/keys", content=chunks)) == (422, "invalid_request")


def test_a_header_beyond_ascii_is_no_marker(served: Served) -> None:
    answer = served.http.post("/v1/keys", json=body(), headers={b"Idempotency-Key": "é".encode()})
    assert refusal(answer) == (422, "invalid_request")


def test_faults_are_off_unless_allowed(tmp_path: Path) -> None:
    service = Served(tmp_path / "data", "none")
    assert refusal(service.http.put("/_faults", json={"rules": []})) == (404, "not_found")
    service.http.close()
    assert service.stop(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("host", ["::", "192.0.2.1", "service.example", ""])
def test_other_machines_are_kept_out_unless_meant(tmp_path: Path, host: str) -> None:
    def ready(url: str) -> None:
        raise AssertionError(f"served at {url}")

    with pytest.raises(ValueError, match="other machines"):
        serve(tmp_path / "data", host, limit=RateLimit(1, 1), on_ready=ready)
    assert not (tmp_path / "data").exists()
