"""A small web page and JSON API around a classifier.

Every upload is untrusted: its size is counted while it arrives, photos are read by the same code as
training photos, and any fault in one is a 4xx answer with a reason code. If the server is busy it
answers 503, if it has no room for an upload 507.
"""

import asyncio
import base64
import contextlib
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.classifier import BATCH_SIZE, LESS, SIZES, Classifier, Verdict
from model.gradcam import Explainer
from model.runtime import computing
from photos.faults import PhotoError
from photos.prepare import Prepared
from scoring.gallery import overlay
from stage import StageError

PAGE = Path(__file__).parent / "page"
MAX_PHOTOS = 16
MAX_PHOTO_BYTES = 16 * 2**20
MAX_BODY_BYTES = 64 * 2**20
MAX_NAME = 255
TOP = 5
MAX_PHOTO_PIXELS = 50_000_000
"""Pixels of a large phone's photo; bounds the time and memory that decoding may take."""
UPLOAD_SECONDS = 120.0
"""The longest that a request's body may take to arrive."""
ANSWER_SECONDS = 120.0
"""The longest that a client may take to read the answer about its photos."""
PIECE = 2**16
"""The bytes of an answer that are sent at a time."""
MAX_UPLOADS = 64
"""The most requests with photos at the same time; bounds their memory."""
READERS = 4
"""The most photos decoded at the same time; bounds their memory."""
READERS_EACH = 2
"""The most of them that one request has, so that others get their turn."""
SEND_FILES = "send files: curl -F photo=@one.jpg"

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # else browsers keep the page of an older version for days
}


class Answer(NamedTuple):
    """The verdict on a photo, and where the network looked: float32 ``(height, width)``."""

    verdict: Verdict
    heat: np.ndarray


class Batcher:
    """Collects the photos of all waiting requests and runs the network on them together."""

    def __init__(self, classifier: Classifier):
        self._classifier, self._explainer = classifier, Explainer(classifier.network)
        self._waiting: asyncio.Queue[tuple[Prepared, asyncio.Future]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)

    async def ask(self, photo: Prepared) -> Answer:
        """Returns the answer for a prepared photo, once its batch is done."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((photo, future))
        return await future

    async def run(self) -> None:
        """Works until cancelled; an exception of the network goes to the requests of that batch."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < BATCH_SIZE and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            batch = [(photo, future) for photo, future in batch if not future.done()]
            if not batch:  # all who asked are gone
                continue
            photos = [photo for photo, _ in batch]
            try:
                answers = await loop.run_in_executor(self._thread, self.answer, photos)
            except Exception as error:
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():  # the request is gone
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    @computing(LESS)
    def answer(self, photos: Sequence[Prepared]) -> list[Answer]:
        """The answers for photos, in order; up to ``BATCH_SIZE``.

        Raises:
            StageError: there is too little memory.

        """
        images = self._classifier.filled([photo.image for photo in photos])
        logits, maps = (found[: len(photos)] for found in self._explainer.look(images))
        probabilities = self._classifier.calibrated(logits)
        crops = [{photo.crop} for photo in photos]
        verdicts = self._classifier.verdicts(probabilities, top=TOP, crops=crops)
        heats = self._explainer.heat(maps, probabilities.argmax(axis=1))
        return [Answer(*pair) for pair in zip(verdicts, heats, strict=True)]


class UploadLimit:
    """Breaks off a request whose body is too large or too slow, without waiting for all of it."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        seen, arrived = 0, not has_body
        deadline = asyncio.get_running_loop().time() + UPLOAD_SECONDS

        async def counted() -> Message:
            nonlocal seen, arrived
            try:
                async with asyncio.timeout_at(None if arrived else deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"the upload took longer than {UPLOAD_SECONDS:g} s"
                raise refusal(408, "too-slow", detail) from None
            arrived = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                raise refusal(413, "too-large", f"more than {MAX_BODY_BYTES:,} bytes")
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if not arrived:  # hang up, else the rest would be read and dropped
                    extra.append((b"connection", b"close"))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, counted, guarded)


class PiecewiseJSON(JSONResponse):
    """JSON whose sending lasts until its client has read nearly all of it, or the time is over.

    uvicorn takes any whole answer at once and keeps it until the client reads it, but of one in
    pieces it takes no more while 64 KiB wait. It hangs up on an answer that ends too early.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def piecewise(message: Message) -> None:
            body = message.pop("body", b"")
            for start in range(0, len(body), PIECE):
                await send({**message, "body": body[start : start + PIECE], "more_body": True})
            await send(message)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await super().__call__(scope, receive, piecewise)


def refusal(status: int, reason: str, detail: str) -> HTTPException:
    return HTTPException(status, {"reason": reason, "detail": detail})


def create_app(classifier: Classifier, *, hosts: Sequence[str]) -> FastAPI:
    """Builds the application, which answers only requests whose ``Host`` is one of ``hosts``.

    This refuses pages of other sites that rebind their name to this machine's address.
    """
    batcher = Batcher(classifier)
    height, width = classifier.preparation.shape
    blank = Prepared(np.zeros((height, width, 3), np.uint8), "none", width, height, None)
    for size in SIZES:  # so that no request waits for compilation
        batcher.answer([blank] * size)
    readers = ThreadPoolExecutor(READERS)
    uploads = 0

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(batcher.run())
        yield
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker

    # No interactive documentation: its page loads scripts from elsewhere.
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(UploadLimit)  # added last, so around all others

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        detail = error.detail
        if isinstance(detail, str):  # not from refusal()
            detail = {"reason": detail.lower().replace(" ", "-"), "detail": detail}
        return JSONResponse({"error": detail}, error.status_code, error.headers)

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> dict:
        return {"status": "ok", "classes": len(classifier.labels)}

    async def one_of_few(request: Request) -> AsyncIterator[None]:
        # Forms on other sites can post here without a preflight, and would keep this machine busy.
        if is_from_elsewhere(request.headers):
            detail = "a page of another site may not send photos here; a proxy must not change Host"
            raise refusal(403, "other-site", detail)
        nonlocal uploads
        if uploads >= MAX_UPLOADS:
            raise refusal(503, "busy", f"{uploads} uploads are at work; send these again later")
        uploads += 1
        try:
            yield
        finally:
            uploads -= 1

    # In the scope of the request, so until the answer is sent: it takes memory too.
    @app.post("/api/predict", dependencies=[Depends(one_of_few, scope="request")])
    async def predict(request: Request) -> JSONResponse:
        form = await read_form(request)
        try:
            results = await unless_gone(request, answers(photos_of(form)))
        except StageError as error:  # a detector's file has gone, or memory has become short
            print(f"serve: {error}", file=sys.stderr, flush=True)
            detail = (
                "photos cannot be looked at here for now; what is missing is in the server's log"
            )
            raise refusal(503, "not-ready", detail) from None
        finally:
            await form.close()
        faults = [result for result in results if "error" in result]
        return PiecewiseJSON({"photos": results}, 422 if len(faults) == len(results) else 200)

    async def answers(photos: Sequence[UploadFile]) -> list[dict]:
        turns = asyncio.Semaphore(READERS_EACH)
        return await asyncio.gather(*(answer(photo, turns) for photo in photos))

    def read(upload: UploadFile) -> Prepared:
        # Read only now, so that at most READERS photos are held whole in memory.
        try:
            return classifier.read(upload.file.read(), pixels=MAX_PHOTO_PIXELS)
        except PhotoError as error:
            if error.reason != "out-of-memory":
                raise
            raise StageError(error.detail) from None  # it may be sent again, so it is no fault

    async def answer(upload: UploadFile, turns: asyncio.Semaphore) -> dict:
        # A client may choose an encoding whose decoded name no JSON can hold.
        name = (upload.filename or "").encode("utf-8", "replace").decode()[:MAX_NAME]
        loop = asyncio.get_running_loop()
        try:
            async with turns:
                photo = await loop.run_in_executor(readers, read, upload)
            found = await batcher.ask(photo)
        except PhotoError as error:
            return {"name": name, "error": {"reason": error.reason, "detail": error.detail}}
        picture = as_url(overlay(photo.image, found.heat))
        told = found.verdict.as_dict()
        return {"name": name, "crop": photo.crop, **told, "overlay": picture}

    @app.api_route("/api/{name:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
    async def unknown(name: str) -> None:
        if name == "predict":
            raise HTTPException(405, headers={"allow": "POST"})
        raise HTTPException(404)

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site sent this; other programs say nothing.

    Browsers send ``Sec-Fetch-Site`` only to addresses that they trust (https, localhost), and
    ``Origin`` to all (Fetch Standard, Fetch Metadata Request Headers).
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("none", "same-origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


async def read_form(request: Request) -> FormData:
    """Reads a multipart form; its photos wait in memory or, above 1 MiB, in a temporary file.

    Raises:
        HTTPException: 4xx if it is too large, too slow, or no multipart form; 507 if there is no
            room for it here.

    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > MAX_BODY_BYTES:
        raise refusal(413, "too-large", f"at most {MAX_BODY_BYTES:,} bytes at once")
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise refusal(415, "no-form", "expected multipart/form-data with photos in fields 'photo'")
    try:
        return await request.form(max_files=MAX_PHOTOS, max_fields=0)
    except HTTPException:
        raise
    except OSError as error:  # from the temporary files in which larger photos wait
        print(f"serve: cannot keep an upload: {error}", file=sys.stderr, flush=True)
        raise refusal(507, "no-room", "the server has no room for an upload now") from None
    except StarletteHTTPException as error:  # from the form's parser
        if error.detail.startswith("Too many fields"):  # the parser counts only text as fields
            raise refusal(400, "no-photo", f"a field holds text; {SEND_FILES}") from None
        detail = f"{error.detail} (at most {MAX_PHOTOS} photos)"
        raise refusal(400, "bad-form", detail) from None
    except ClientDisconnect:
        raise refusal(400, "broken-off", "the upload broke off") from None
    except Exception:  # also from the form's parser, which raises several kinds
        raise refusal(400, "bad-form", "the form cannot be read") from None


async def unless_gone(request: Request, work: Coroutine[None, None, list[dict]]) -> list[dict]:
    """Returns what ``work`` does, or cancels it if the client leaves: nobody waits for it any more.

    The request's body must have been read.

    Raises:
        HTTPException: 400 if the client has left; nobody reads it.

    """

    async def leaving() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = working, _ = asyncio.create_task(work), asyncio.create_task(leaving())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise refusal(400, "broken-off", "the client has left")
        return working.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def photos_of(form: FormData) -> list[UploadFile]:
    """The files of a form.

    Raises:
        HTTPException: 4xx if there is none, or one is too large.

    """
    # A file input in which no file was chosen is sent without a name, and empty.
    files = [upload for _, upload in form.multi_items() if upload.filename or upload.size]
    if not files:
        raise refusal(400, "no-photo", f"the form holds no file; {SEND_FILES}")
    if max(upload.size for upload in files) > MAX_PHOTO_BYTES:
        raise refusal(413, "too-large", f"a photo of more than {MAX_PHOTO_BYTES:,} bytes")
    return files


def as_url(picture: np.ndarray) -> str:
    """A uint8 RGB picture as a PNG data URL."""
    data = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(data).decode()
