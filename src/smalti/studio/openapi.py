"""The description of the API, made of the table of its requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smalti import __version__, config
from smalti.studio.limits import Limits

Schema = Mapping[str, Any]


def record(**of: Schema) -> dict[str, Any]:
    """Return the schema of an object that has these keys."""
    return {"type": "object", "properties": of, "required": list(of)}


def several(of: Schema) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": of}


def _or_null(of: Schema) -> dict[str, Any]:
    return {"anyOf": [of, {"type": "null"}]}


TEXT, WHOLE, NUMBER, TRUTH, ANY = (
    {"type": kind} for kind in ("string", "integer", "number", "boolean", "object")
)
GRID = several(several(WHOLE))
PICTURE = {"type": "string", "description": "A PNG as a data URL, or null."}
MISTAKE = record(expected=TEXT, got=TEXT, remedy=TEXT)
CODES = record(codes=GRID, nats=_or_null(several(several(NUMBER))))
EXAMPLE = record(image=PICTURE, size=several(WHOLE), cells=GRID)
OCCURRENCES = record(count=WHOLE, images=WHOLE, of=WHOLE, examples=several(EXAMPLE))
BEGUN = record(job=TEXT, notes=several(TEXT))
IMAGE = record(index=WHOLE, url=TEXT, seed=WHOLE, metadata=ANY, order=GRID)
JOB = record(
    job=TEXT,
    model=TEXT,
    state={"enum": ["queued", "running", "done", "failed", "cancelled"]},
    num=WHOLE,
    images=several(IMAGE),
)
CONDITION = record(keyword=TEXT, kind=TEXT, classes=_or_null(several(TEXT)), can_be_left_out=TRUTH, told=TEXT)
MODEL = record(
    name=TEXT,
    kind={"enum": ["generator", "tokenizer"]},
    about=TEXT,
    fingerprint=TEXT,
    metrics=ANY,
    factor=WHOLE,
    codebook_size=WHOLE,
    channels=WHOLE,
    content=TEXT,
    conditions=several(CONDITION),
    sizes=GRID,
    any_size=TRUTH,
    can=several(TEXT),
    options=ANY,
    example=_or_null(ANY),
)
RUN = record(name=TEXT, kind=TEXT, step=WHOLE, steps=WHOLE, state=TEXT, updated=NUMBER, alarms=WHOLE)
SHEET = record(step=WHOLE, url=TEXT)
RUN_WHOLE = record(
    **{
        **RUN["properties"],
        "alarms": several(ANY),
        "lines": several(ANY),
        "sheets": several(SHEET),
        "at": WHOLE,
    }
)
EVENTS = {
    "type": "string",
    "description": "Server-sent events. queued {place}; progress {index, cells, of, left_seconds, preview}; "
    "image, as in a job; then one of done {seconds}, failed {expected, got, remedy}, cancelled {}. An answer "
    "with status 204 says that all of them were heard.",
}
RUN_EVENTS = {
    "type": "string",
    "description": "Server-sent events: line, as in the log; sheet {step, url}; again {}: it begins anew.",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A request that the studio answers."""

    method: str
    path: str  # as the router takes it: {index:int}
    call: Callable[..., Any]  # whose docstring says what it does
    takes: type[Any] | None = None  # settings of the body
    gives: Schema | None = None  # of the answer in JSON; None: another kind
    kind: str = "application/json"  # of the answer
    status: int = 200
    query: Mapping[str, Schema] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return the operation as the document has it."""
        summary, _, more = (self.call.__doc__ or "").strip().partition("\n")
        names = [part.strip("{}").partition(":")[0::2] for part in self._parts()]
        known = [_parameter("path", name, WHOLE if kind == "int" else TEXT) for name, kind in names]
        known += [_parameter("query", name, schema) for name, schema in self.query.items()]
        content = {self.kind: {"schema": self.gives or {"type": "string", "format": "binary"}}}
        found = {
            "summary": summary,
            "description": " ".join(more.split()),
            "parameters": known,
            "responses": {
                str(self.status): {"description": summary, "content": content},
                "default": {"$ref": "#/components/responses/Mistake"},
            },
        }
        if self.takes is not None:
            schema = {"$ref": f"#/components/schemas/{self.takes.__name__}"}
            found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        return found

    @property
    def plain(self) -> str:
        """Return the path without the types of its parts."""
        return self.path.replace(":int", "").replace(":path", "")

    def _parts(self) -> list[str]:
        pieces = self.path.replace(".png", "").split("/")
        return [piece for piece in pieces if piece.startswith("{")]


def document(endpoints: Sequence[Endpoint], limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI document of all of them."""
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.plain, {})[one.method.lower()] = one.described()
    schemas: dict[str, Any] = {"Mistake": MISTAKE}
    for takes in {one.takes for one in endpoints if one.takes is not None}:
        found = config.json_schema(takes, "#/components/schemas/{model}")
        schemas |= {**found.pop("$defs", {}), takes.__name__: found}
    told = (
        "Draws images with models that are opened here. Whatever is wrong comes back as a Mistake: 400, 401 "
        "without the token, 403 from another page, 404, 413 where it is too large, 429 where too many wait. "
        f"A request has {limits.upload_bytes} bytes at most, the images in it {limits.upload_pixels} pixels; "
        "images are data URLs, data:image/png;base64,..., or the url of an image that a job drew."
    )
    mistake = {"application/json": {"schema": {"$ref": "#/components/schemas/Mistake"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "smalti studio", "version": __version__, "description": told},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {"Mistake": {"description": "What is wrong.", "content": mistake}},
        },
    }


def _parameter(place: str, name: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}
