"""Doppler, against a stand-in that does what its reference says and refuses the rest."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyform.conformance.store import StoreConformance
from keyform.conformance.store_basics import LABELS
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.ports import Store
from keyform.stores.doppler import LARGEST, DopplerStore, open_store
from tests.stores.standins import Refusal, Wire, nobody, silent
from tests.stores.standins.doppler import Doppler

PLACE = Place("dp", "CHECKOUT")


def store_of(
    app: Doppler,
    credential: str = "dp.sa.good",
    config: str = "prd",
    project: str = "payments",
    sleep: Callable[[float], None] = time.sleep,
) -> DopplerStore:
    wire = Wire(app)
    return DopplerStore(
        "dp", "https://doppler.example", Secret(credential), project, config, transport=wire, sleep=sleep
    )


def told(problem: pytest.ExceptionInfo[StoreError]) -> str:
    (diagnostic,) = problem.value.diagnostics
    return f"{diagnostic.summary}\n{diagnostic.detail}"


@pytest.fixture(params=[True, False], ids=["404", "no-value"])
def app(request: pytest.FixtureRequest) -> Iterator[Doppler]:
    app = Doppler()
    app.absent_is_404 = request.param
    yield app
    app.blame()


class TestDopplerStore(StoreConformance):
    paths = ("a", "b", "ab", "a/b", "a/b/c", "b_2", "_a")
    exclusive = False
    largest = LARGEST
    refused = (
        Place("dp", ""),
        Place("dp", "checkout"),
        Place("dp", "PROD/CHECKOUT"),
        Place("dp", "1ST"),
        Place("dp", "É"),
        Place("dp", "X" * 201),
        Place("dp", "LINE\n"),
        Place("dp", "DOPPLER_CONFIG"),
        Place("dp", "CHECKOUT", "live"),
    )

    @pytest.fixture(autouse=True)
    def _servers(self, app: Doppler) -> Iterator[None]:
        self.app = app
        with ExitStack() as stack:
            self.silent = stack.enter_context(silent())
            yield

    @pytest.fixture
    def open_store(self, app: Doppler) -> Callable[[], DopplerStore]:
        return functools.partial(store_of, app)

    def place(self, path: str) -> Place:
        return Place("dp", re.sub("[^A-Z0-9]", "_", path.upper()))

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        def at(address: str) -> Callable[[], Store]:
            token, fast = Secret("dp.sa.good"), lambda _: None
            return lambda: DopplerStore("dp", address, token, "payments", "prd", timeout=0.05, sleep=fast)

        return {
            "unreachable": at(nobody()),
            "expired": lambda: store_of(self.app, "dp.sa.expired"),
            "refused": lambda: store_of(self.app, "dp.st.foreign"),
            "slow": at(self.silent),
        }


def test_the_other_secrets_stay(app: Doppler) -> None:
    app.secrets = {"STRIPE": "theirs", "CHECKOUT_OLD": "old"}
    store = store_of(app)
    store.put(PLACE, Secret("one"), LABELS, None)
    store.put(PLACE, Secret("two"), LABELS, Secret("one"))
    store.delete(PLACE)
    store.probe()
    assert app.secrets == {"STRIPE": "theirs", "CHECKOUT_OLD": "old"}


def test_doppler_itself_refuses_what_changed_in_between(app: Doppler) -> None:
    class Meddler(Wire):
        def handle_request(self, request):
            if request.method == "POST":
                app.secrets["CHECKOUT"] = "theirs"
            return super().handle_request(request)

    app.secrets = {"CHECKOUT": "mine"}
    store = DopplerStore(
        "dp", "https://doppler.example", Secret("dp.sa.good"), "payments", "prd", transport=Meddler(app)
    )
    with pytest.raises(Taken):
        store.put(PLACE, Secret("mine again"), LABELS, Secret("mine"))
    assert app.secrets == {"CHECKOUT": "theirs"}


def test_a_lost_answer_to_a_conditional_write_is_no_failure(app: Doppler) -> None:
    app.secrets = {"CHECKOUT": "one"}
    app.lose = 1
    store_of(app, sleep=lambda _: None).put(PLACE, Secret("two"), LABELS, Secret("one"))
    assert app.secrets == {"CHECKOUT": "two"}


@pytest.mark.parametrize(("project", "config"), [("paymnets", "prd"), ("payments", "prod")])
def test_a_project_or_config_that_is_not_there_is_no_absent_secret(
    app: Doppler, project: str, config: str
) -> None:
    store = store_of(app, project=project, config=config)
    for act in (lambda: store.get(PLACE), lambda: store.delete(PLACE), store.access):
        with pytest.raises(StoreError) as problem:
            act()
        assert "Check `project` and `config`" in told(problem)


def test_a_read_only_token_is_told_at_the_probe_and_writes_nothing(app: Doppler) -> None:
    store = store_of(app, "dp.st.reader")
    assert "can be seen" in store.access()
    with pytest.raises(StoreError) as problem:
        store.probe()
    assert "does not have write access" in told(problem)
    assert "read and write" in told(problem)
    assert app.secrets == {}


def test_it_waits_as_long_as_it_is_asked_to(app: Doppler) -> None:
    slept: list[float] = []
    store = store_of(app, sleep=slept.append)
    app.troubles += [
        Refusal(429, {"messages": ["slow down"], "success": False}, {"Retry-After": "30"}),
        Refusal(409, {"messages": ["busy"], "success": False, "data": {"isRetryable": True}}),
        Refusal(409, {"messages": ["busy"], "success": False, "data": {"isRetryableAfterSec": 4}}),
    ]
    store.put(PLACE, Secret("value"), LABELS)
    assert slept == [30.0, 0.5, 4.0]
    assert app.secrets == {"CHECKOUT": "value"}


def test_a_restricted_secret_is_neither_read_nor_written_over(app: Doppler) -> None:
    app.secrets, app.restricted = {"CHECKOUT": "theirs"}, {"CHECKOUT"}
    store = store_of(app)
    with pytest.raises(StoreError) as problem:
        store.put(PLACE, Secret("mine"), LABELS, None)
    assert "restricted" in told(problem)
    assert app.secrets == {"CHECKOUT": "theirs"}


@pytest.mark.parametrize("text", ["${STRIPE}", "half \udcff a character"])
def test_what_would_not_come_out_as_it_went_in_is_refused(app: Doppler, text: str) -> None:
    with pytest.raises(StoreError) as problem:
        store_of(app).put(PLACE, Secret(text), LABELS)
    assert "STRIPE" not in told(problem)
    assert problem.value.diagnostics[0].detail
    assert app.secrets == {}


def test_what_the_server_repeats_is_masked(app: Doppler) -> None:
    store = store_of(app)
    assert store.get(PLACE) is None
    app.echo = True
    with pytest.raises(StoreError) as problem:
        store._change(
            {"name": "A", "value": "sk_live_0123456789abcdef"}, "write", Secret("sk_live_0123456789abcdef")
        )
    assert "0123456789abcdef" not in told(problem)
    assert "dp.sa.good" not in told(problem)


@pytest.mark.parametrize("body", [[], {}, {"value": None}, {"value": {"raw": 7}}, "text"])
def test_an_answer_of_another_form_is_no_value(body: object) -> None:
    app = Doppler()
    app.troubles.append(Refusal(200, body))
    try:
        assert store_of(app).get(PLACE) is None
    except StoreError as problem:
        assert problem.diagnostics[0].detail


def test_it_opens_by_what_dopplers_own_tools_read(tmp_path: Path) -> None:
    options = {"project": "payments", "config": "prd"}
    assert open_store("dp", options, tmp_path, {"DOPPLER_TOKEN": "dp.sa.x"}).name == "dp"
    with pytest.raises(StoreError) as problem:
        open_store("dp", options, tmp_path, {})
    assert "DOPPLER_TOKEN" in told(problem)


def test_a_name_that_would_do_is_told() -> None:
    with pytest.raises(StoreError) as problem:
        store_of(Doppler()).check(Place("dp", "prod/checkout-key"))
    assert "PROD_CHECKOUT_KEY" in told(problem)
