"""Starting the studio: a port, the models in the background, the page in a browser."""

import errno
import os
import socket
import webbrowser
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from smalti.errors import UserError, optional
from smalti.studio import safety
from smalti.studio.limits import Limits
from smalti.studio.models import Models, named
from smalti.studio.runs import Runs
from smalti.studio.turns import Turns


def serve(
    paths: Sequence[Path],
    say: Callable[[str], object],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    token: str | None = None,
    runs: Path | None = None,
    shards: Sequence[Path] = (),
    opens: bool = True,
) -> None:
    """Serve the page and the API until interrupted. say: tells a person a line.

    paths: models, those that ship where there are none. port: 0 for any that is free. token: made where
    others can reach this host and none is given. runs: a folder of trainings to look at. shards: folders
    of token shards, to look where codes occur. opens: also opens the page in the person's browser. UserError
    for a port that is taken, and for what is no model or holds no shards.
    """
    for package in ("starlette", "uvicorn", "sse_starlette"):
        optional(package, extra="studio")
    if token is not None or not safety.is_loopback(host):
        token = safety.new_token() if token is None else safety.checked(token)
    for folder in shards:  # before the address is told, and without torch, which reads them in the end
        if not (folder / "index.json").is_file():
            remedy = "smalti encode TOKENIZER IMAGES OUT makes one"
            raise UserError("a folder of token shards", str(folder), remedy)
    models, trainings, limits = Models(named(paths), shards), Runs(runs), Limits()
    with listen(host, port) as listening:
        turns = Turns()
        loading = turns.call("", models.load)  # torch, beside the web server

        import uvicorn

        from smalti.studio.app import Studio

        door = safety.Door(host, listening.getsockname()[1], token, limits.upload_bytes)
        app = Studio(models, trainings, limits, turns).app(door)
        how = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(how)

        def end_without_models(loaded: "Future[None]") -> None:
            if models.problem is not None:
                server.should_exit = True

        loading.add_done_callback(end_without_models)
        say(f"the studio is at {door.address} (Ctrl-C ends it)")
        if opens:
            webbrowser.open(door.address)
        server.run(sockets=[listening])
        turns.close()
    if models.problem is not None:
        raise models.problem


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that waits for connections; UserError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # TCP by number: for others' connections asyncio sets no TCP_NODELAY, and each answer takes 40 ms
    # (github.com/Kludex/uvicorn/issues/3149)
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would share a port with another program
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
        return listening
    except OSError as problem:
        listening.close()
        if isinstance(problem, socket.gaierror) or problem.errno == errno.EADDRNOTAVAIL:
            expected = "a host that is an address of this machine"
            raise UserError(expected, host, "give 127.0.0.1, or 0.0.0.0 for all of them") from None
        got = f"{host}:{port} ({problem.strerror})"
        raise UserError("a port that is free", got, "give another --port, or 0 for any") from None
