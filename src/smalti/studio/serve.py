"""Starting the studio: a port, the models in the background, the page in a browser."""

import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from smalti.errors import UserError, optional
from smalti.studio import safety
from smalti.studio.limits import Limits
from smalti.studio.models import Models, named
from smalti.studio.runs import Runs


def serve(
    paths: Sequence[Path],
    say: Callable[[str], object],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    token: str | None = None,
    runs: Path | None = None,
    opens: bool = True,
) -> None:
    """Serve the page and the API until interrupted. say: tells a person a line.

    paths: models, those that ship where there are none. port: 0 for any that is free. token: made where
    others can reach this host and none is given. runs: a folder of trainings to look at. opens: also opens
    the page in the person's browser. UserError for a port that is taken, and for what is no model.
    """
    for package in ("starlette", "uvicorn", "sse_starlette"):
        optional(package, extra="studio")
    models, trainings = Models(named(paths)), Runs(runs)
    listening = _listen(host, port)
    loading = threading.Thread(target=_load, args=(models, say), daemon=True)
    loading.start()  # torch comes in while the web server does

    import uvicorn

    from smalti.studio.app import Studio

    if token is not None or not safety.is_loopback(host):
        token = safety.new_token() if token is None else safety.checked(token)
    limits, port = Limits(), listening.getsockname()[1]
    door = safety.Door(host, port, token, limits.upload_bytes)
    how = uvicorn.Config(
        Studio(models, trainings, limits).app(door), log_level="warning", server_header=False
    )
    say(f"the studio is at {door.address} (Ctrl-C ends it)")
    if opens:
        webbrowser.open(door.address)
    uvicorn.Server(how).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound; UserError where it cannot be."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        got = f"{host}:{port} ({reason})"
        raise UserError("a port that is free", got, "give another --port, or 0 for any") from None


def _load(models: Models, say: Callable[[str], object]) -> None:
    try:
        models.load()
    except UserError as mistake:
        say(f"smalti: {mistake}")
