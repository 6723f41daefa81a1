"""The HTTP API and the page: which request does what."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from smalti import memory
from smalti.errors import UserError
from smalti.studio import asked, openapi
from smalti.studio.asked import Completing, Decoding, Looking, Sampling
from smalti.studio.jobs import FEWER, Full, Job, Jobs, broken, said
from smalti.studio.limits import Limits
from smalti.studio.models import Models
from smalti.studio.openapi import Endpoint
from smalti.studio.runs import Runs
from smalti.studio.safety import Door, Guard, Refused
from smalti.studio.turns import Turns

T = TypeVar("T")
PAGE = Path(__file__).parent / "page"
_STATUS = {Full: 429, memory.OutOfMemory: 503}  # HTTP's, of what is not a mistake in the request


class Studio:
    """Answers requests. What takes long goes through `jobs`, what does not, at its turn, in one piece."""

    def __init__(self, models: Models, runs: Runs, limits: Limits, turns: Turns) -> None:
        self.models, self.runs, self.limits, self.turns = models, runs, limits, turns
        self.jobs = Jobs(limits, turns)

    def app(self, door: Door) -> Any:
        """Return the application, behind its door."""
        endpoints = self.endpoints()
        self.described = openapi.document(endpoints, self.limits)
        routes = [Route(one.path, one.call, methods=[one.method]) for one in endpoints]
        page = Mount("/", StaticFiles(directory=PAGE, html=True))
        handlers: Any = {UserError: _mistake, HTTPException: _http, Exception: _broken}
        app = Starlette(routes=[*routes, page], exception_handlers=handlers, lifespan=self._life)
        return Guard(app, door, _answer)

    def endpoints(self) -> list[Endpoint]:
        """Return all requests of the API."""
        stream, png, number = "text/event-stream", "image/png", openapi.WHOLE
        of_job, of_run = "/api/jobs/{id}", "/api/runs/{name}"
        codes = {"codes": openapi.TEXT, "columns": number}
        get, post = partial(Endpoint, method="GET"), partial(Endpoint, method="POST")
        begin = partial(post, gives=openapi.BEGUN, status=202)
        picture = openapi.record(image=openapi.PICTURE)
        return [
            get(path="/api/models", call=self.list_models, gives=openapi.several(openapi.MODEL)),
            get(path="/api/limits", call=self.tell_limits, gives=openapi.ANY),
            get(path="/api/openapi.json", call=self.describe, gives=openapi.ANY),
            begin(path="/api/sample", call=self.sample, takes=Sampling),
            begin(path="/api/complete", call=self.complete, takes=Completing),
            post(path="/api/encode", call=self.encode, takes=Looking, gives=openapi.CODES),
            post(path="/api/decode", call=self.decode, takes=Decoding, gives=picture),
            post(path="/api/reconstruct", call=self.reconstruct, takes=Looking, gives=picture),
            get(path="/api/codebook/{model}", call=self.codebook, kind=png, query=codes),
            get(
                path="/api/occurrences/{model}",
                call=self.occurrences,
                gives=openapi.OCCURRENCES,
                query={"code": number},
            ),
            get(path=of_job, call=self.tell_job, gives=openapi.JOB),
            Endpoint(method="DELETE", path=of_job, call=self.cancel_job, gives=openapi.JOB),
            get(path=f"{of_job}/events", call=self.job_events, gives=openapi.EVENTS, kind=stream),
            get(path=f"{of_job}/images/{{index:int}}.png", call=self.job_image, kind=png),
            get(path="/api/runs", call=self.list_runs, gives=openapi.several(openapi.RUN)),
            get(path=of_run, call=self.tell_run, gives=openapi.RUN_WHOLE),
            get(
                path=f"{of_run}/events",
                call=self.run_events,
                gives=openapi.RUN_EVENTS,
                kind=stream,
                query={"at": number},
            ),
            get(path=f"{of_run}/samples/{{step:int}}.png", call=self.run_sheet, kind=png),
        ]

    async def describe(self, request: Request) -> Response:
        """Return this description."""
        return JSONResponse(self.described)

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
        return await self._looked(request, Looking, "encoded")

    async def decode(self, request: Request) -> Response:
        """Return the image of codes."""
        return await self._looked(request, Decoding, "decoded")

    async def reconstruct(self, request: Request) -> Response:
        """Return an image as its codes tell it."""
        return await self._looked(request, Looking, "reconstructed")

    async def codebook(self, request: Request) -> Response:
        """Return what single codes decode to, as one PNG."""
        query = request.query_params
        wanted = _numbers("codes", query["codes"]) if "codes" in query else []
        columns = _number("columns", query["columns"]) if "columns" in query else None

        def work() -> bytes:
            from smalti.studio import looking

            return looking.pieces(self.models.get(request.path_params["model"]), wanted, columns)

        return Response(await self._in_turn(request, work), media_type="image/png")

    async def occurrences(self, request: Request) -> Response:
        """Return where a code occurs in the data set of --shards."""
        code = _number("code", request.query_params.get("code", ""))

        def work() -> dict[str, Any]:
            from smalti.pipeline import tokenizer_of
            from smalti.studio.occurrences import occurrences

            tokenizer = tokenizer_of(self.models.get(request.path_params["model"]))
            return occurrences(tokenizer, self.models.shards(tokenizer.fingerprint), code)

        return JSONResponse(await self._in_turn(request, work))

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
            remedy = "wait for its event" if job.ended is None else f"the job is {job.state}: draw it again"
            raise Refused(404, f"an image below {len(job.images)}", str(index), remedy)
        kept = {"cache-control": "private, max-age=86400, immutable"}
        return Response(job.images[index].png, media_type="image/png", headers=kept)

    async def list_runs(self, request: Request) -> Response:
        """Return the runs in the folder of --runs, the newest first."""
        return JSONResponse(await anyio.to_thread.run_sync(self.runs.list))

    async def tell_run(self, request: Request) -> Response:
        """Return a run's log, thinned out, its sample sheets and its alarms."""
        return JSONResponse(await anyio.to_thread.run_sync(self.runs.tell, request.path_params["name"]))

    async def run_events(self, request: Request) -> Response:
        """Tell what comes to a run's log and samples while it goes on.

        at: how far the log was read before, as the run says it.
        """
        name, last = request.path_params["name"], request.headers.get("last-event-id", "")
        at = int(last) if last.isdecimal() else _number("at", request.query_params.get("at", "0"))
        self.runs.check(name)
        return EventSourceResponse((event.sent() async for event in self.runs.follow(name, at)), ping=15)

    async def run_sheet(self, request: Request) -> Response:
        """Return the sample sheet of a step."""
        found = self.runs.sheet(request.path_params["name"], request.path_params["step"])
        if found is None:
            step = str(request.path_params["step"])[:20]
            raise Refused(404, "a step with samples", step, "see the run's sheets")
        return FileResponse(found)

    async def _begin(self, request: Request, into: type[Sampling]) -> Response:
        """Check a wish, which takes a turn, and make it a job."""
        wish, client = await self._wish(request, into), request.state.client
        self.jobs.check_room(client)

        def work() -> tuple[Callable[[Job], Iterator[object]], list[str]]:
            from smalti.studio import drawing, prepared

            model, read = self.models.pipeline(wish.model), prepared.Reader(self.jobs, self.models)
            with warnings.catch_warnings(record=True) as notes:  # of the process: only who has the turn warns
                warnings.simplefilter("always")
                made = drawing.Drawing(model, prepared.drawing(model, wish, read))
            return made, [str(note.message) for note in notes]

        drawing, notes = await self._in_turn(request, work)
        alone = wish.cancel_when_closed
        job = self.jobs.add(client, wish.model, wish.num, drawing, dies_alone=alone)
        return JSONResponse({"job": job.id, "notes": notes}, 202)

    async def _looked(self, request: Request, into: type[Any], how: str) -> Response:
        """Answer at once, by a function of looking.py, which comes with torch."""
        wish = await self._wish(request, into)

        def work() -> dict[str, Any]:
            from smalti.studio import looking, prepared

            read = prepared.Reader(self.jobs, self.models)
            found: dict[str, Any] = getattr(looking, how)(self.models.get(wish.model), wish, read)
            return found

        return JSONResponse(await self._in_turn(request, work))

    async def _wish(self, request: Request, into: type[T]) -> T:
        """Return what a request asks for; in a thread, as it may have megabytes."""
        body = await request.body()
        return await anyio.to_thread.run_sync(asked.read, body, into, self.limits)

    async def _in_turn(self, request: Request, work: Callable[[], T]) -> T:
        """Return what a piece of work gives, done when its client's turn comes."""
        if self.turns.waiting >= self.limits.queue:
            expected = f"at most {self.limits.queue} requests that wait"
            raise Full(expected, "more", "ask again in a moment")

        def done() -> T:
            with memory.needed("this request", FEWER):
                return work()

        return await asyncio.wrap_future(self.turns.call(request.state.client, done))

    def _job(self, request: Request) -> Job:
        found = self.jobs.find(request.path_params["id"])
        if found is None:
            raise Refused(404, "a job of this studio", "none, or one of long ago", "draw it again")
        return found

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self.jobs.close()


def _numbers(name: str, text: str) -> list[int]:
    """Return whole numbers between commas; UserError for others."""
    words = text.split(",")
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        got, remedy = text[:80] or "none", f"for example {name}=3,17"
        raise UserError(f"{name} as whole numbers between commas", got, remedy)
    return list(map(int, words))


def _number(name: str, text: str) -> int:
    """Return a whole number; UserError for another text, and for several."""
    found = _numbers(name, text)
    if len(found) > 1:
        raise UserError(f"one {name}", text[:80], f"for example {name}={found[0]}")
    return found[0]


def _answer(mistake: UserError, status: int) -> JSONResponse:
    return JSONResponse(said(mistake), status)


def _mistake(request: Request, mistake: Exception) -> Response:
    assert isinstance(mistake, UserError), "registered for it"
    status = next((status for kind, status in _STATUS.items() if isinstance(mistake, kind)), 400)
    return _answer(mistake, getattr(mistake, "status", status))


def _http(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException), "registered for it"
    got = f"{request.method} {request.url.path[:80]} ({problem.detail})"
    mistake = UserError("a request that the studio knows", got, "see /api/openapi.json")
    return JSONResponse(said(mistake), problem.status_code, headers=problem.headers)


def _broken(request: Request, problem: Exception) -> Response:
    return JSONResponse(broken(problem), 500)  # the server writes the traceback
