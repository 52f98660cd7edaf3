"""An audit of a world that is not at rest: it reads as a plan does, and takes nothing for what it is not."""

from __future__ import annotations

import pytest

from keyform.apply import audit_now
from keyform.engine.audit import Audit
from keyform.errors import PlanError
from tests.apply.outside import crash, declare, die, nth, stores
from tests.world import World


def audited(world: World) -> tuple[Audit, list[str]]:
    with world.open() as ws:
        found, told = audit_now(ws, ())
    return found, [diagnostic.code for diagnostic in told]


def codes(found: Audit) -> list[str]:
    return [finding.rule.code for finding in found.outstanding]


def test_after_a_crash_the_keys_of_open_intents_are_not_unmanaged(world: World) -> None:
    world.write(declare("a"))
    assert crash(world, stores(put=nth(1, die))) == 77
    found, told = audited(world)
    assert (told, found.complete) == (["recovery-pending"], True)
    assert "KF001" not in codes(found)
    world.apply()
    assert "KF001" not in codes(audited(world)[0])


def test_a_service_that_moved_is_not_audited_in_the_place_of_the_old_one(world: World) -> None:
    world.write(declare("a")).apply()
    text = (world.folder / "keyform.yaml").read_text()
    world.write(text.replace("type: embedded", "type: embedded, path: elsewhere"))
    with pytest.raises(PlanError, match="is now declared as"):
        audited(world)


def test_a_value_that_somebody_put_into_a_place_is_found(world: World) -> None:
    world.write(declare("a")).apply()
    (place,) = world.state().keys["keys.a"].current.places
    with world.open() as ws:
        ws.store(place.store).delete(place)
    found, _ = audited(world)
    (altered,) = [finding for finding in found.outstanding if finding.rule.code == "KF010"]
    assert "local:a no longer holds its secret" in altered.message
    assert altered.source is not None and altered.source.path[:2] == ("keys", "a")


def test_a_key_that_was_revoked_outside_is_found(world: World) -> None:
    world.write(declare("a", "b")).apply()
    service = world.service()
    service.revoke(world.state().keys["keys.a"].current.id)
    found, _ = audited(world)
    assert [f.address for f in found.outstanding if f.rule.code == "KF020"] == ["keys.a"]
