"""The reference key service: a small, real service that speaks keyform's key-service contract.

It can also speak as the services in DIALECTS do: `create_app(data, service="millimetric")` serves one at `/`,
`create_app(data, services=DIALECTS)` serves each under `/NAME/` beside keyform's contract at `/`.

It stays an honest counterpart of the client by importing nothing from the rest of keyform.
"""

DIALECTS: tuple[str, ...] = ("revenium", "revkeen", "millimetric", "climeter", "devtune", "unkey")
"""The services it can stand in for."""
