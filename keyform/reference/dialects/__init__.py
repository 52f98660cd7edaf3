"""The services that the reference service can stand in for, each in a file of its own.

What a vendor documents is spoken as documented. What no vendor documents (most management calls) is
keyform's own contract in the vendor's manner: its auth header, key format, kinds, scopes, statuses and
error envelope. The docstring of each file says which is which, and what had to be chosen because nothing is
known.
"""

from collections.abc import Callable, Mapping

from ..account import Account
from ..web import App
from . import climeter, devtune, millimetric, revenium, revkeen, unkey

BUILDERS: Mapping[str, Callable[[Account], App]] = {
    "revenium": revenium.build,
    "revkeen": revkeen.build,
    "millimetric": millimetric.build,
    "climeter": climeter.build,
    "devtune": devtune.build,
    "unkey": unkey.build,
}
