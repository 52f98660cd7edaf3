"""Where services and stores are: another address under the same name is not taken for the same place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keyform.engine.events import Event, fold
from keyform.engine.options import Options
from keyform.engine.planner import make_plan
from keyform.engine.whereabouts import Whereabouts, with_whereabouts
from keyform.model import Import
from keyform.state import State
from tests.engine.scene import LINEAGE, Scene, codes, errors, ops, record, step, wanted

RECORDED = {"services": {"toy": "toy at prod"}, "stores": {"local": "age path=a"}}
DECLARED = {
    "services": Whereabouts({"toy": "toy at staging"}, {"local": "age path=a"}),
    "stores": Whereabouts({"toy": "toy at prod"}, {"local": "age path=b"}),
}


def scene(section: str) -> Scene:
    keys, records = (wanted("a"), wanted("b")), (record("a"), record("b"))
    return Scene(keys, records, state=RECORDED, where=DECLARED[section])


@pytest.mark.parametrize("mode", ["normal", "destroy", "refresh-only"])
@pytest.mark.parametrize(
    ("section", "name", "before", "now", "remedy"),
    [
        ("services", "toy", "toy at prod", "toy at staging", "`service:`"),
        ("stores", "local", "age path=a", "age path=b", "`secret:"),
    ],
)
def test_another_address_under_the_same_name_is_refused(
    section: str, name: str, before: str, now: str, remedy: str, mode: str
) -> None:
    plan = scene(section).plan(mode=mode)
    assert plan.changes == ()
    (told,) = plan.diagnostics
    assert (told.code, told.address) == ("moved-elsewhere", f"{section}.{name}")
    assert all(part in told.summary for part in (before, now, "2 "))
    assert all(part in told.detail for part in ("Put the declaration", remedy, "--allow-endpoint-change"))


@pytest.mark.parametrize(("section", "name"), [("services", "toy"), ("stores", "local")])
def test_a_new_address_of_the_same_place_is_recorded_by_a_step(section: str, name: str) -> None:
    one = scene(section)
    change = one.only(allow_endpoint_change=True)
    assert (change.address, change.action, ops(change)) == (f"{section}.{name}", "refresh", ["readdress"])
    after = fold(
        one.sight().state,
        [Event("readdressed", change.address, where=step(change, "readdress").where)],
    )
    one.state = {"services": after.services, "stores": after.stores}
    assert one.plan().empty
    assert errors(one.plan()) == []


def test_what_has_nothing_of_the_state_may_change() -> None:
    free = Scene((wanted(),), where=DECLARED["services"])
    assert errors(free.plan()) == []


def test_the_state_records_what_it_needs_and_what_it_knows_stays() -> None:
    state = State(LINEAGE, keys={"keys.a": record()}, services={"toy": "toy at prod", "old": "x"})
    after = with_whereabouts(state, DECLARED["services"])
    assert after.services == {"toy": "toy at prod"}
    assert after.stores == {"local": "age path=a"}


def test_a_key_is_not_imported_twice_through_two_names_of_one_service() -> None:
    both = Whereabouts({"toy": "toy at prod", "other": "toy at prod"}, {"local": "age path=a"})
    plan = Scene(
        (wanted(), wanted("b", service="other")),
        (record(),),
        services=("toy", "other"),
        where=both,
        desired={"imports": (Import("keys.b", "id-a-1"),)},
    ).plan()
    assert "import-owned" in codes(plan)


def test_a_name_that_holds_nothing_any_more_may_mean_another_place() -> None:
    assert errors(Scene(state=RECORDED, where=DECLARED["services"]).plan()) == []


def test_the_own_credential_is_known_under_every_name_of_its_service() -> None:
    one = scene("services")
    one.services, one.state, one.keys = ("toy", "alias"), {}, ()
    one.where = Whereabouts({"toy": "toy at prod", "alias": "toy at prod"}, {"local": "age path=a"})
    sight = one.sight()
    views = {
        **sight.services,
        "toy": replace(sight.services["toy"], own_key=None),
        "alias": replace(sight.services["alias"], own_key="id-a-1"),
    }
    assert "own-credential" in errors(make_plan(replace(sight, services=views), Options()))
