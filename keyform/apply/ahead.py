"""Looking ahead without planning."""

from __future__ import annotations

from datetime import datetime

from keyform.apply.now import sight_now
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic
from keyform.engine.calendar import Calendar, calendar
from keyform.engine.listings import about_listings
from keyform.engine.options import Options
from keyform.engine.planner import after_moves


def calendar_now(ws: Workspace, until: datetime) -> tuple[Calendar, tuple[Diagnostic, ...], bool]:
    """What is to come until then, what there is to tell, and whether every listing could be read as a whole.
    Writes nothing, takes no lock, and leaves the stores alone. Raises ``KeyformError``."""
    sight, told = sight_now(ws, Options(), stores=False)
    whole = all(view.listing.complete for view in sight.services.values())
    return calendar(after_moves(sight), until), (*told, *about_listings(sight)), whole
