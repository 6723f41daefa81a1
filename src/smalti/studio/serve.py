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
    if token is not None or not safety.is_loopback(host):
        token = safety.new_token() if token is None else safety.checked(token)
    models, trainings, limits = Models(named(paths)), Runs(runs), Limits()
    with _listen(host, port) as listening:
        loading = threading.Thread(target=models.load, daemon=True)
        loading.start()  # torch, beside the web server

        import uvicorn

        from smalti.studio.app import Studio

        door = safety.Door(host, listening.getsockname()[1], token, limits.upload_bytes)
        app = Studio(models, trainings, limits).app(door)
        how = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(how)

        def end_without_models() -> None:
            loading.join()
            if models.problem is not None:
                server.should_exit = True

        threading.Thread(target=end_without_models, daemon=True).start()
        say(f"the studio is at {door.address} (Ctrl-C ends it)")
        if opens:
            webbrowser.open(door.address)
        server.run(sockets=[listening])
    if models.problem is not None:
        raise models.problem


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound; UserError where it cannot be."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as problem:
        got = f"{host}:{port} ({problem.strerror})"
        raise UserError("a port that is free", got, "give another --port, or 0 for any") from None
