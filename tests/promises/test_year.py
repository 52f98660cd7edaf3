"""A year in the life of keys: rotations with overlap and gates, an apply every six hours, in bad weather.

KEYFORM_YEAR=whole simulates a year with 50 keys, as CI does; otherwise it is six weeks with 20. A failure
names its seed; KEYFORM_SEED takes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.promises.year import Year
from tests.reference.conftest import ROOT

WHOLE = os.environ.get("KEYFORM_YEAR") == "whole"
PARALLELISM = int(os.environ.get("KEYFORM_PARALLELISM", "1"))  # with more, a seed does not tell all
SEED = int(os.environ.get("KEYFORM_SEED", "20261120"))


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", ROOT)


@pytest.mark.timeout(1800)
def test_a_year_of_bad_weather_costs_nobody_a_call(tmp_path: Path, figures: Figures) -> None:
    year = Year(tmp_path, SEED, whole=WHOLE, parallelism=PARALLELISM)
    try:
        for _ in range(1460 if WHOLE else 170):
            year.run()
            year.pass_time()
            if year.chance.random() < 0.1:
                year.ask()
        year.settle()
        figures("a year" if WHOLE else "six weeks", year.told_in_figures())
        assert not year.wrong, "\n".join(year.wrong[:10])
    finally:
        year.close()
