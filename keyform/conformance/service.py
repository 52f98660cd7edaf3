"""What every key service must do. See :class:`ServiceConformance`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keyform.errors import AnswerLost, Refused
from keyform.model import ACTIVE, REVOKED, SPEC_FIELDS, KeySpec, LiveKey, Secret, ownership_label
from keyform.ports import Minted, Service

LINEAGE = "5f0c1a52-7d7e-4a53-9d5a-3f1f6a2b8c01"


class ServiceConformance:
    """Subclass it and override the fixtures ``service`` (an account without keys), ``spec`` and
    ``changed``, and the other two where the service can be brought to it:

    - ``spec``: a function from a name to a key that the service can mint, named so.
    - ``changed``: a function from a spec to one that differs in every field that the service changes
      in place, as far as one key can carry them together.
    - ``lose_next_answer``: a function after which the next create is carried out and its answer lost.
    - ``break_listing``: a function that mints keys enough for two pages, and makes the second fail.

    What the profile says that the service lacks (``lists``, ``marks``, ``proves``) is not asked of it.
    """

    @pytest.fixture
    def service(self) -> Service:
        raise NotImplementedError("override the fixture service")

    @pytest.fixture
    def spec(self) -> Callable[[str], KeySpec]:
        raise NotImplementedError("override the fixture spec")

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        raise NotImplementedError("override the fixture changed")

    @pytest.fixture
    def lose_next_answer(self) -> Callable[[], None]:
        pytest.skip("this service's answers cannot be lost on purpose")

    @pytest.fixture
    def break_listing(self) -> Callable[[], None]:
        pytest.skip("this service's listing cannot be broken on purpose")

    # Hooks with a default

    def project_origins(self) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """A project's id and two different sets of origins for it."""
        return "conformance", ("https://a.example",), ("https://a.example", "https://b.example")

    def find(self, service: Service, key_id: str) -> LiveKey | None:
        """The key as the listing shows it."""
        listing = service.list()
        assert listing.complete, listing.problem
        return next((key for key in listing.keys if key.id == key_id), None)

    def test_an_empty_account_lists_nothing_of_ours(self, service: Service) -> None:
        if service.profile.lists:
            listing = service.list()
            assert listing.complete
            assert [key for key in listing.keys if key.label] == []

    def test_a_created_key_is_listed_as_specified(
        self, service: Service, spec: Callable[[str], KeySpec]
    ) -> None:
        wanted = spec("created")
        minted = service.create(wanted, ownership_label(LINEAGE, "created"))
        assert minted.secret is not None
        assert minted.secret.reveal()
        assert minted.key.status == ACTIVE
        if service.profile.lists:
            found = self.find(service, minted.key.id)
            assert found is not None
            assert found.status == ACTIVE
            _same(found.spec, wanted, service.profile.shown)

    def test_the_label_comes_back_and_is_no_metadata(
        self, service: Service, spec: Callable[[str], KeySpec]
    ) -> None:
        label = ownership_label(LINEAGE, "marker-1")
        minted = service.create(spec("labelled"), label)
        if service.profile.lists and service.profile.marks:
            found = self.find(service, minted.key.id)
            assert found is not None
            assert found.label == label
            assert label not in str(found.spec.metadata)

    def test_secrets_differ_and_no_listing_shows_them(
        self, service: Service, spec: Callable[[str], KeySpec]
    ) -> None:
        secrets = []
        for number in range(3):
            minted = service.create(spec(f"secret-{number}"), ownership_label(LINEAGE, f"secret-{number}"))
            assert minted.secret is not None
            assert minted.secret.reveal() not in repr(minted)
            secrets.append(minted.secret.reveal())
        assert len(set(secrets)) == 3
        if service.profile.lists:
            shown = repr(service.list())
            assert not any(secret in shown for secret in secrets)

    def test_the_same_label_never_mints_twice(self, service: Service, spec: Callable[[str], KeySpec]) -> None:
        if not service.profile.marks:
            return
        label = ownership_label(LINEAGE, "once")
        first = service.create(spec("once"), label)
        again = service.create(spec("once"), label)
        assert again.key.id == first.key.id
        assert again.secret is None or again.secret == first.secret
        if service.profile.lists:
            assert len([key for key in service.list().keys if key.label == label]) == 1

    def test_different_labels_mint_different_keys(
        self, service: Service, spec: Callable[[str], KeySpec]
    ) -> None:
        first = service.create(spec("twin"), ownership_label(LINEAGE, "twin-1"))
        second = service.create(spec("twin"), ownership_label(LINEAGE, "twin-2"))
        assert first.key.id != second.key.id

    def test_an_update_changes_what_it_names_and_nothing_else(
        self, service: Service, spec: Callable[[str], KeySpec], changed: Callable[[KeySpec], KeySpec]
    ) -> None:
        before = spec("before")
        after = changed(before)
        mutable = service.profile.mutable & set(SPEC_FIELDS)
        fields = frozenset(field for field in mutable if getattr(before, field) != getattr(after, field))
        label = ownership_label(LINEAGE, "update")
        key = service.create(before, label).key
        for field in sorted(fields):
            wanted = replace(key.spec, **{field: getattr(after, field)})
            key = service.update(key, after, frozenset({field}))
            _same(key.spec, wanted, service.profile.shown)
        if service.profile.lists:
            found = self.find(service, key.id)
            assert found is not None
            _same(found.spec, after, service.profile.shown & fields)
            assert found.status == ACTIVE
            if service.profile.marks:
                assert found.label == label, "the label survives every update, of metadata too"

    def test_a_revoked_key_is_active_no_more(self, service: Service, spec: Callable[[str], KeySpec]) -> None:
        kept = service.create(spec("kept"), ownership_label(LINEAGE, "kept")).key
        ended = service.create(spec("ended"), ownership_label(LINEAGE, "ended")).key
        service.revoke(ended.id)
        if service.profile.lists:
            found = self.find(service, ended.id)
            assert found is None or found.status == REVOKED
            still = self.find(service, kept.id)
            assert still is not None
            assert still.status == ACTIVE

    def test_revoking_what_is_gone_is_no_error(
        self, service: Service, spec: Callable[[str], KeySpec]
    ) -> None:
        key = service.create(spec("twice"), ownership_label(LINEAGE, "twice")).key
        service.revoke(key.id)
        service.revoke(key.id)
        service.revoke(f"{key.id}-never-was")

    def test_a_secret_is_proven_until_its_key_is_revoked(
        self, service: Service, spec: Callable[[str], KeySpec]
    ) -> None:
        if not service.profile.proves:
            return
        minted = service.create(spec("proven"), ownership_label(LINEAGE, "proven"))
        assert minted.secret is not None
        assert service.prove(minted.secret, minted.key) in (None, minted.key.id)
        service.revoke(minted.key.id)
        with pytest.raises(Refused):
            service.prove(minted.secret, minted.key)

    def test_a_false_secret_is_refused_and_not_shown(
        self, service: Service, spec: Callable[[str], KeySpec]
    ) -> None:
        if not service.profile.proves:
            return
        minted = service.create(spec("false"), ownership_label(LINEAGE, "false"))
        assert minted.secret is not None
        text = minted.secret.reveal()
        false = text[:-4] + ("aaaa" if not text.endswith("aaaa") else "bbbb")
        with pytest.raises(Refused) as refused:
            service.prove(Secret(false), minted.key)
        assert false not in f"{refused.value!r} {refused.value.diagnostics}"

    def test_the_origins_of_a_project_become_exactly_these(self, service: Service) -> None:
        if "set_origins" not in service.profile.operations:
            return
        project, fewer, more = self.project_origins()
        for origins in (fewer, more, fewer):
            service.set_origins(project, origins)
            service.set_origins(project, origins)
            shown = {p.id: p.allowed_origins for p in service.list().projects}
            assert shown[project] == tuple(sorted(origins))

    def test_many_threads_mint_at_once(self, service: Service, spec: Callable[[str], KeySpec]) -> None:
        def mint(number: int) -> Minted:
            return service.create(spec(f"thread-{number}"), ownership_label(LINEAGE, f"thread-{number}"))

        with ThreadPoolExecutor(8) as threads:
            minted = list(threads.map(mint, range(24)))
        assert len({one.key.id for one in minted}) == 24
        if service.profile.lists:
            listed = {key.id for key in service.list().keys}
            assert {one.key.id for one in minted} <= listed

    def test_a_lost_answer_is_told_or_made_good(
        self, service: Service, spec: Callable[[str], KeySpec], lose_next_answer: Callable[[], None]
    ) -> None:
        label = ownership_label(LINEAGE, "lost")
        lose_next_answer()
        try:
            minted = service.create(spec("lost"), label)
        except AnswerLost:
            pass
        else:
            assert minted.secret is None, "its secret went with the answer"
        if service.profile.lists and service.profile.marks:
            assert len([key for key in service.list().keys if key.label == label]) == 1

    def test_a_missing_page_makes_the_listing_incomplete(
        self, service: Service, break_listing: Callable[[], None]
    ) -> None:
        break_listing()
        listing = service.list()
        assert not listing.complete
        assert listing.problem is not None
        assert listing.problem.summary

    def test_its_own_credential_is_known_or_none(self, service: Service) -> None:
        own = service.own_key()
        if own is not None and service.profile.lists:
            assert self.find(service, own) is not None


def _same(found: KeySpec, wanted: KeySpec, fields: frozenset[str]) -> None:
    """Compare field by field, so that a failure names the field."""
    for field in sorted(fields & set(SPEC_FIELDS)):
        assert getattr(found, field) == getattr(wanted, field), field
