"""The server: HTTP and one WebSocket around a `Session`. Every handler checks its input and calls one method."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ranet_jax.errors import InputError
from ranet_jax.studio import exports, inspection
from ranet_jax.studio.security import Guard
from ranet_jax.studio.session import Session, new_temporary

STATIC = Path(__file__).parent / "static"
READ_ONLY = "Another page has this project open, so this one only shows it: close the other one to work here."
MOST_JSON_BYTES = 1024**2
NO_STORE = {"cache-control": "no-store"}

Handler = Callable[[Request], Awaitable[Response]]


class _Refused(Exception):
    """What a request asks for may not be, with the status to say so."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def make_app(session: Session, *, token: str, hosts: tuple[str, ...], any_address: bool = False) -> ASGIApp:
    """The application.

    Args:
        session: what it serves.
        token: see `Guard`, as the two that follow.
        hosts: likewise.
        any_address: likewise.
    """
    handlers = _Handlers(session)
    routes = [
        Route("/", handlers.index),
        Route("/api/state", handlers.state),
        Route("/api/open", _changes(session, handlers.open_recent), methods=["POST"]),
        Route("/api/video", _changes(session, handlers.upload_video), methods=["POST"]),
        Route("/api/mask/{index:int}", _changes(session, handlers.upload_mask), methods=["POST"]),
        Route("/api/frame/{index:int}", handlers.frame),
        Route("/api/thumbnail/{index:int}", handlers.thumbnail),
        Route("/api/labels/{index:int}", handlers.labels),
        Route("/api/labels/{index:int}", _changes(session, handlers.save_labels), methods=["PUT"]),
        Route("/api/given/{index:int}", _changes(session, handlers.forget_given), methods=["DELETE"]),
        Route("/api/objects", _changes(session, handlers.add_object), methods=["POST"]),
        Route("/api/objects/{id:int}", _changes(session, handlers.change_object), methods=["PATCH"]),
        Route("/api/objects/{id:int}", _changes(session, handlers.delete_object), methods=["DELETE"]),
        Route("/api/encode/{index:int}", handlers.encode, methods=["POST"]),
        Route("/api/click", handlers.click, methods=["POST"]),
        Route("/api/track", _changes(session, handlers.track), methods=["POST"]),
        Route("/api/stop", _changes(session, handlers.stop), methods=["POST"]),
        Route("/api/tour", handlers.tour, methods=["POST"]),
        Route("/api/export", _changes(session, handlers.export), methods=["POST"]),
        Route("/api/exports/{name}", handlers.download),
        WebSocketRoute("/api/live", session.pages.serve),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(session.close)

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={InputError: _input_error, _Refused: _refused, ClientDisconnect: _gone},
    )
    return Guard(app, token=token, hosts=hosts, any_address=any_address)


async def _input_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400, headers=NO_STORE)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, _Refused)
    return JSONResponse({"error": str(error)}, status_code=error.status, headers=NO_STORE)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


def _changes(session: Session, handler: Handler) -> Handler:
    """For what changes something: only the page that may write gets through."""

    async def guarded(request: Request) -> Response:
        if not session.pages.is_writer(request.headers.get("x-page", "")):
            raise _Refused(409, READ_ONLY)
        return await handler(request)

    return guarded


class _Handlers:
    """One method for each address."""

    def __init__(self, session: Session):
        self._session = session

    async def index(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=NO_STORE)

    async def state(self, request: Request) -> Response:
        return await self._state()

    async def open_recent(self, request: Request) -> Response:
        number = _whole((await _json(request)).get("id"), "id")
        await run_in_threadpool(self._session.open_recent, number)
        return await self._state()

    async def upload_video(self, request: Request) -> Response:
        name = request.query_params.get("name", "video")
        async with _received(request, self._session.library.folder, inspection.MOST_VIDEO_BYTES) as path:
            await run_in_threadpool(self._session.adopt_video, path, name)
        return await self._state()

    async def upload_mask(self, request: Request) -> Response:
        index = self._index(request)
        folder = self._session.project.folder / "cache"
        async with _received(request, folder, inspection.MOST_MASK_BYTES) as path:
            await run_in_threadpool(self._session.adopt_mask, path, index)
        return await self._state()

    async def frame(self, request: Request) -> Response:
        index, exact = self._index(request), request.query_params.get("exact") == "1"
        data, is_exact = await run_in_threadpool(self._session.pictures.picture, index, exact=exact)
        headers = {"x-exact": "1" if is_exact else "0", **NO_STORE}
        return Response(data, media_type="image/jpeg", headers=headers)

    async def thumbnail(self, request: Request) -> Response:
        data = await run_in_threadpool(self._session.pictures.thumbnail, self._index(request))
        return Response(data, media_type="image/jpeg", headers=NO_STORE)

    async def labels(self, request: Request) -> Response:
        data = await run_in_threadpool(self._session.packed_labels, self._index(request))
        return Response(data, media_type="application/octet-stream", headers=NO_STORE)

    async def save_labels(self, request: Request) -> Response:
        height, width = self._session.project.frames.size
        # Compressed data of this format is hardly ever longer than what it holds.
        packed = await _body(request, height * width + height * width // 100 + 1024)
        index = self._index(request)
        await run_in_threadpool(self._session.save_labels, index, packed)
        return JSONResponse(await run_in_threadpool(self._session.project.marks, index))

    async def forget_given(self, request: Request) -> Response:
        index = self._index(request)
        await run_in_threadpool(self._session.forget_given, index)
        return JSONResponse(await run_in_threadpool(self._session.project.marks, index))

    async def add_object(self, request: Request) -> Response:
        values = await _json(request)
        await run_in_threadpool(self._session.project.add_object, name=values.get("name"))
        return await self._state()

    async def change_object(self, request: Request) -> Response:
        values = await _json(request)
        await run_in_threadpool(self._session.project.change_object, request.path_params["id"], **values)
        return await self._state()

    async def delete_object(self, request: Request) -> Response:
        await run_in_threadpool(self._session.delete_object, request.path_params["id"])
        return await self._state()

    async def encode(self, request: Request) -> Response:
        await run_in_threadpool(self._session.encode, self._index(request))
        return Response(status_code=204)

    async def click(self, request: Request) -> Response:
        values = await _json(request)
        index, id = _whole(values.get("frame"), "frame"), _whole(values.get("object"), "object")
        self._check_index(index)
        positives, negatives = (_points(values.get(key, []), key) for key in ("positives", "negatives"))
        box = None if values.get("box") is None else tuple(_numbers(values["box"], 4, "box"))
        trusted = bool(values.get("trusted"))
        data = await run_in_threadpool(self._session.click, index, id, positives, negatives, box, trusted)
        return Response(data, media_type="application/octet-stream", headers=NO_STORE)

    async def track(self, request: Request) -> Response:
        values = await _json(request)
        direction = values.get("direction")
        if direction not in ("forward", "backward", "both"):
            raise InputError("the direction of tracking is forward, backward or both")
        start, end = _whole(values.get("start"), "start"), _whole(values.get("end"), "end")
        self._check_index(start)
        await run_in_threadpool(self._session.track, direction, start, end)
        return JSONResponse({})

    async def stop(self, request: Request) -> Response:
        await run_in_threadpool(self._session.stop)
        return await self._state()

    async def tour(self, request: Request) -> Response:
        await run_in_threadpool(self._session.library.remember_tour)
        return JSONResponse({})

    async def export(self, request: Request) -> Response:
        values = await _json(request)
        start, end = _whole(values.get("start"), "start"), _whole(values.get("end"), "end")
        self._check_index(start)
        self._check_index(end)
        path = await run_in_threadpool(self._session.export, str(values.get("kind")), start, end)
        return JSONResponse({"name": path.name})

    async def download(self, request: Request) -> Response:
        path = exports.exported_file(self._session.project, request.path_params["name"])
        return FileResponse(path, filename=path.name, headers=NO_STORE)

    async def _state(self) -> Response:
        return JSONResponse(await run_in_threadpool(self._session.state), headers=NO_STORE)

    def _index(self, request: Request) -> int:
        index: int = request.path_params["index"]
        self._check_index(index)
        return index

    def _check_index(self, index: int) -> None:
        count = len(self._session.project.frames)
        if not 0 <= index < count:
            raise InputError(f"there is no frame {index}: the video has frames 0 to {count - 1}")


async def _body(request: Request, most: int) -> bytes:
    """What a request holds, of at most so many bytes."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _Refused(413, "this is more than is taken at once")
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request) -> dict[str, Any]:
    try:
        values = json.loads(await _body(request, MOST_JSON_BYTES) or b"{}")
    except ValueError as error:
        raise InputError("this request is damaged: reload the page") from error
    if not isinstance(values, dict):
        raise InputError("this request is damaged: reload the page")
    return values


@contextlib.asynccontextmanager
async def _received(request: Request, folder: Path, most: int) -> AsyncIterator[Path]:
    """The file that a request holds, for as long as the block lasts; it may be moved away."""
    path = new_temporary(folder)
    size = 0
    try:
        with path.open("xb") as file:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _Refused(413, f"the file is larger than {most // 1024**2} MiB: make it smaller")
                await run_in_threadpool(file.write, part)
        if not size:
            raise InputError("the file is empty: choose another")
        yield path
    finally:
        path.unlink(missing_ok=True)


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} is a whole number")
    return value


def _numbers(value: Any, count: int, name: str) -> list[float]:
    good = isinstance(value, list) and len(value) == count
    if not good or not all(isinstance(x, int | float) and abs(x) < 1e6 for x in value):
        raise InputError(f"{name} is {count} numbers")
    return [float(x) for x in value]


def _points(value: Any, name: str) -> list[tuple[float, float]]:
    if not isinstance(value, list) or len(value) > 1000:
        raise InputError(f"{name} is a list of points")
    return [(x, y) for x, y in (_numbers(point, 2, name) for point in value)]
