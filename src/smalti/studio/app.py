"""The HTTP API and the page: which request does what."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from smalti.errors import UserError
from smalti.studio import asked
from smalti.studio.asked import Completing, Decoding, Looking, Sampling
from smalti.studio.jobs import Full, Job, Jobs, broken, said
from smalti.studio.limits import Limits
from smalti.studio.models import Models
from smalti.studio.safety import Door, Guard, Refused
from smalti.studio.turns import Turns

T = TypeVar("T")
PAGE = Path(__file__).parent / "page"
_THREADS = 16  # that wait for a turn to answer at once


class Studio:
    """Answers requests. What takes long goes through `jobs`, what does not, at its turn, in a thread."""

    def __init__(self, models: Models, limits: Limits = Limits()) -> None:  # noqa: B008  frozen
        self.models, self.limits, self.turns = models, limits, Turns()
        self.jobs = Jobs(limits, self.turns)
        self._threads = anyio.CapacityLimiter(_THREADS)

    def app(self, door: Door) -> Any:
        """Return the application, behind its door."""
        routes = [
            Route("/api/models", self.list_models, methods=["GET"]),
            Route("/api/limits", self.tell_limits, methods=["GET"]),
            Route("/api/sample", self.sample, methods=["POST"]),
            Route("/api/complete", self.complete, methods=["POST"]),
            Route("/api/encode", self.encode, methods=["POST"]),
            Route("/api/decode", self.decode, methods=["POST"]),
            Route("/api/reconstruct", self.reconstruct, methods=["POST"]),
            Route("/api/codebook/{model}", self.codebook, methods=["GET"]),
            Route("/api/jobs/{id}", self.tell_job, methods=["GET"]),
            Route("/api/jobs/{id}", self.cancel_job, methods=["DELETE"]),
            Route("/api/jobs/{id}/events", self.job_events, methods=["GET"]),
            Route("/api/jobs/{id}/images/{index:int}.png", self.job_image, methods=["GET"]),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ]
        handlers: Any = {UserError: _mistake, HTTPException: _http, Exception: _broken}
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._life)
        return Guard(app, door, _answer)

    async def list_models(self, request: Request) -> Response:
        """Return the opened models, when they are loaded."""
        return JSONResponse(await anyio.to_thread.run_sync(self.models.told))

    async def tell_limits(self, request: Request) -> Response:
        """Return how much one request may ask for."""
        return JSONResponse(vars(self.limits))

    async def sample(self, request: Request) -> Response:
        """Begin to draw new images."""
        return await self._begin(request, Sampling)

    async def complete(self, request: Request) -> Response:
        """Begin to draw a part of an image anew."""
        return await self._begin(request, Completing)

    async def encode(self, request: Request) -> Response:
        """Return the codes of an image, and how likely each is."""
        wish = asked.read(await request.body(), Looking, self.limits)
        return JSONResponse(await self._in_turn(request, lambda: self._look("encoded", wish, self._read)))

    async def decode(self, request: Request) -> Response:
        """Return the image of codes."""
        wish = asked.read(await request.body(), Decoding, self.limits)
        return JSONResponse(await self._in_turn(request, lambda: self._look("decoded", wish)))

    async def reconstruct(self, request: Request) -> Response:
        """Return an image as its codes tell it."""
        wish = asked.read(await request.body(), Looking, self.limits)
        return JSONResponse(
            await self._in_turn(request, lambda: self._look("reconstructed", wish, self._read))
        )

    async def codebook(self, request: Request) -> Response:
        """Return what single codes decode to, as one PNG."""
        query = request.query_params
        wanted = _numbers("codes", query.get("codes", ""))
        columns = _numbers("columns", query["columns"])[0] if "columns" in query else None

        def work() -> bytes:
            from smalti.studio import looking

            return looking.pieces(self.models.get(request.path_params["model"]), wanted, columns)

        return Response(await self._in_turn(request, work), media_type="image/png")

    async def tell_job(self, request: Request) -> Response:
        """Return how far a job is."""
        return JSONResponse(self._job(request).told())

    async def cancel_job(self, request: Request) -> Response:
        """End a job."""
        job = self._job(request)
        self.jobs.cancel(job)
        return JSONResponse(job.told())

    async def job_events(self, request: Request) -> Response:
        """Tell what happens to a job, from its beginning or from where a listener was cut off."""
        job, last = self._job(request), request.headers.get("last-event-id", "0")
        number = int(last) if last.isdecimal() else 0
        fresh, is_over = job.channel.after(number)
        if is_over and not fresh:
            return Response(status_code=204)  # on which browsers stop asking

        async def tell() -> AsyncIterator[dict[str, str]]:
            try:
                async for event in job.channel.listen(number):
                    yield event.sent()
            finally:
                if job.dies_alone and not job.channel.listeners:
                    self.jobs.cancel(job)

        return EventSourceResponse(tell(), ping=15)

    async def job_image(self, request: Request) -> Response:
        """Return an image of a job, a PNG with its metadata."""
        job, index = self._job(request), request.path_params["index"]
        if index >= len(job.images):
            raise Refused(404, f"an image below {len(job.images)}", str(index), "wait for its event")
        kept = {"cache-control": "private, max-age=86400, immutable"}
        return Response(job.images[index].png, media_type="image/png", headers=kept)

    async def _begin(self, request: Request, into: type[Sampling]) -> Response:
        """Check a wish, which takes a turn, and make it a job."""
        wish, client = asked.read(await request.body(), into, self.limits), request.state.client
        self.jobs.check_room(client)

        def work() -> Callable[[Job], None]:
            from smalti.studio import drawing, prepared

            model = self.models.pipeline(wish.model)
            return drawing.Drawing(model, prepared.drawing(model, wish, self.limits, self._read))

        drawing = await self._in_turn(request, work)
        alone = wish.cancel_when_closed
        job = self.jobs.add(client, wish.model, wish.num, drawing, dies_alone=alone)
        return JSONResponse({"job": job.id}, 202)

    async def _in_turn(self, request: Request, work: Callable[[], T]) -> T:
        """Return what a piece of work gives, done in a thread when its client's turn comes."""
        if self._threads.statistics().tasks_waiting >= self.limits.queue:
            expected = f"at most {self.limits.queue} requests that wait"
            raise Full(expected, "more", "ask again in a moment")

        def taken() -> T:
            with self.turns.taken(request.state.client):
                return work()

        return await anyio.to_thread.run_sync(taken, limiter=self._threads)

    def _look(self, how: str, wish: Any, *read: Any) -> dict[str, Any]:
        from smalti.studio import looking

        found: dict[str, Any] = getattr(looking, how)(self.models.get(wish.model), wish, self.limits, *read)
        return found

    def _job(self, request: Request) -> Job:
        found = self.jobs.find(request.path_params["id"])
        if found is None:
            raise Refused(404, "a job of this studio", "none, or one of long ago", "draw it again")
        return found

    def _read(self, url: str) -> Any:
        """Return the image that a text in a request means: a data URL, or an image that a job drew."""
        from smalti.studio.prepared import Given

        if not url.startswith("/api/jobs/"):
            return Given(asked.image(url, self.limits))
        id, _, name = url.removeprefix("/api/jobs/").partition("/images/")
        job, index = self.jobs.find(id), name.removesuffix(".png")
        if job is None or not index.isdecimal() or int(index) >= len(job.images):
            raise UserError("an image that a job of this studio drew", url[:80], "send it as a data URL")
        drawn, tokenizer = job.images[int(index)], self.models.pipeline(job.model).tokenizer
        return Given(asked.image(asked.as_url(drawn.png), self.limits), drawn.codes, tokenizer.fingerprint)

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self.jobs.close()


def _numbers(name: str, text: str) -> list[int]:
    """Return whole numbers between commas; UserError for others."""
    words = [word for word in text.split(",") if word]
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise UserError(f"{name} as whole numbers between commas", text[:80], f"for example {name}=3,17")
    return list(map(int, words))


def _answer(mistake: UserError, status: int) -> JSONResponse:
    return JSONResponse(said(mistake), status)


def _mistake(request: Request, mistake: Exception) -> Response:
    assert isinstance(mistake, UserError), "registered for it"
    status = 429 if isinstance(mistake, Full) else getattr(mistake, "status", 400)
    return _answer(mistake, status)


def _http(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException), "registered for it"
    got = f"{request.method} {request.url.path[:80]} ({problem.detail})"
    mistake = UserError("a request that the studio knows", got, "see /api/openapi.json")
    return JSONResponse(said(mistake), problem.status_code, headers=problem.headers)


def _broken(request: Request, problem: Exception) -> Response:
    return JSONResponse(broken(problem), 500)
