"""``imports``, ``moved`` and ``removed``: what happens to keys that exist already."""

from __future__ import annotations

from collections.abc import Mapping

from keyform.config.addresses import Addresses
from keyform.config.merge import Entry, Merged
from keyform.config.values import has_control
from keyform.documents.problems import Problems
from keyform.model import Import, Move, Removal, normal_address


class Changes:
    """Reads the three lists."""

    def __init__(self, merged: Merged, addresses: Addresses, problems: Problems) -> None:
        self._merged = merged
        self._addresses = addresses
        self._declared = addresses.declared
        self._instances = addresses.instances
        self._problems = problems

    def imports(self) -> tuple[Import, ...]:
        """The imports; each adopts one id for one declared key."""
        found: list[Import] = []
        addresses: dict[str, Entry] = {}
        ids: dict[tuple[str | None, str], Entry] = {}
        for entry in self._merged.imports:
            address, key_id = self._addresses.key(entry, "key"), self._addresses.text(entry, "id")
            if address is None or key_id is None:
                continue
            if not key_id or has_control(key_id):
                self._problems.error(
                    "bad-value",
                    entry.at("id"),
                    "the id of a key is empty or has control characters",
                    "Write the id that the service shows.",
                )
                continue
            self._addresses.must_be_declared(address, entry, "key", "an import")
            self._addresses.once(addresses, address, entry, "key", f"{address} is imported twice")
            if self._declared.get(address) is not None:
                self._addresses.once(
                    ids,
                    (self._declared[address], key_id),
                    entry,
                    "id",
                    f"the key `{key_id}` is imported twice",
                )
            found.append(Import(address, key_id, entry.at()))
        return tuple(found)

    def moves(self) -> tuple[Move, ...]:
        """The moves, each straight to where a chain of them ends."""
        steps: dict[str, tuple[str, Entry]] = {}
        arrivals: dict[str, Entry] = {}
        for entry in self._merged.moved:
            before, after = self._addresses.key(entry, "from"), self._addresses.key(entry, "to")
            if before is None or after is None:
                continue
            if before in steps:
                self._problems.error(
                    "bad-move",
                    entry.at("from"),
                    f"{before} is moved twice",
                    "Keep one of the two.",
                    also=("The first is at", steps[before][1].at("from")),
                )
                continue
            self._addresses.once(arrivals, after, entry, "to", f"two keys move to {after}")
            steps[before] = (after, entry)
        found: dict[str, Move] = {}
        for before, (_, entry) in steps.items():
            end = self._end(before, steps)
            for address in self._instances.get(end, (end,)) if end is not None else ():
                former = before + address[len(end or "") :]
                if found.setdefault(former, Move(former, address, entry.at())).after != address:
                    detail = "Keep one of the two."
                    self._problems.error("bad-move", entry.at("from"), f"{former} is moved twice", detail)
        return tuple(found.values())

    def _end(self, before: str, steps: Mapping[str, tuple[str, Entry]]) -> str | None:
        after, entry = steps[before]
        trail = [before]
        while after in steps:
            trail.append(after)
            if after == before or after in trail[:-1]:
                if after == before and before == min(trail):
                    self._problems.error(
                        "bad-move",
                        entry.at("from"),
                        f"moves in a circle: {' -> '.join(trail)}",
                        "One of these keys must be declared and not be moved.",
                    )
                return None
            after = steps[after][0]
        if before in self._declared or before in self._instances:
            self._problems.error(
                "bad-move",
                entry.at("from"),
                f"{before} is moved away and still declared",
                "Remove its declaration, or the move.",
            )
            return None
        last = steps[trail[-1]][1]
        # All keys of a `for_each` move together when both sides name it without an entry.
        if after not in self._instances or "[" in before:
            self._addresses.must_be_declared(after, last, "to", "a move")
        return after

    def removals(self) -> tuple[Removal, ...]:
        """The keys that left the configuration."""
        found: list[Removal] = []
        addresses: dict[str, Entry] = {}
        moved = {
            address: entry for entry in self._merged.moved if (address := self._quiet_address(entry, "from"))
        }
        for entry in self._merged.removed:
            address = self._addresses.key(entry, "key")
            if address is None:
                continue
            if address in self._declared:
                self._problems.error(
                    "removed-but-declared",
                    entry.at("key"),
                    f"{address} is removed and declared",
                    "Remove its declaration, or this entry.",
                )
            if address in moved:
                self._problems.error(
                    "bad-removal",
                    entry.at("key"),
                    f"{address} is removed and moved",
                    "Keep one of the two.",
                    also=("The move is at", moved[address].at("from")),
                )
            self._addresses.once(addresses, address, entry, "key", f"{address} is removed twice")
            found.append(Removal(address, entry.body["revoke"], entry.at()))
        return tuple(found)

    def _quiet_address(self, entry: Entry, field: str) -> str | None:
        text = entry.body[field]
        return normal_address(text) if isinstance(text, str) else None
