"""The web page and its API, as a browser, a program and an attacker meet them."""

import asyncio
import base64
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import HTTPException, Request

import serve
from chromium import chromium
from hostile import corpus
from inference import web
from inference.classifier import Classifier
from photos.faults import PhotoError
from stage import StageError
from tiny_bundle import LABELS, SIDE
from tiny_cars import car, put
from tiny_photos import encode, picture, webp_claiming
from tiny_project import SRC

pytestmark = pytest.mark.xdist_group("keras")

HOSTS = serve.LOOPBACK


@pytest.fixture(scope="module")
def address(classifier) -> Iterator[str]:
    """A running server of this process."""
    config = uvicorn.Config(web.create_app(classifier, hosts=HOSTS), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def upload(*photos: bytes) -> list[tuple]:
    return [("photo", (f"{number}.jpg", data)) for number, data in enumerate(photos)]


def ask(address: str, *photos: bytes) -> httpx.Response:
    return httpx.post(f"{address}/api/predict", files=upload(*photos), timeout=60)


def test_a_photo_gets_label_decision_and_overlay(address: str, classifier):
    answer = ask(address, car(3), car(0))
    assert answer.status_code == 200
    seat, audi = answer.json()["photos"]
    assert (seat["label"], seat["make"], seat["decision"]) == (LABELS[3].label, "Šeat", "auto")
    assert audi["label"] == "Audi One"
    expected = classifier.probabilities([classifier.read(car(3)).image])[0].max()
    assert seat["confidence"] == pytest.approx(expected, abs=1e-5)
    head, _, data = seat["overlay"].partition(",")
    assert head == "data:image/png;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (SIDE, SIDE, 3)


def test_the_overlay_lights_where_the_network_saw_its_class_and_nowhere_else(address: str):
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    red, blue, green = photo[:, :8], photo[:, 8:16], photo[:, 16:]
    # Red speaks for the first class, but more is green; what is dark speaks for none.
    red[:], blue[:], green[:] = (200, 40, 40), (0, 0, 60), (40, 200, 40)
    (found,) = ask(address, encode(photo, ".png")).json()["photos"]
    assert found["label"] == LABELS[2].label
    data = base64.b64decode(found["overlay"].partition(",")[2])
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    light = picture.mean(axis=2)[16]
    assert light[28] > light[3] + 30 > light[12] + 60
    assert picture[16, 28, 0] > picture[16, 28, 2] + 30  # warm, where the photo is green


def test_fifty_requests_at_once_lose_none(address: str):
    wanted = [number % 5 for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda index: ask(address, car(index)), wanted))
    assert [answer.json()["photos"][0]["label"] for answer in answers] == [
        LABELS[index].label for index in wanted
    ]


def test_every_hostile_file_is_a_4xx_with_its_reason(address: str, tmp_path: Path):
    """Each has the outcome that it has in the split stage, but for what only split forbids."""
    files = [one for one in corpus(tmp_path) if not callable(one.make)]
    bad = [one for one in files if one.outcome]
    good = [one for one in files if not one.outcome]
    assert len(bad) > 50
    for status, some in ((422, bad), (200, good)):
        for start in range(0, len(some), web.MAX_PHOTOS):
            part = some[start : start + web.MAX_PHOTOS]
            answer = ask(address, *(hostile.make for hostile in part))
            found = [one.get("error", {}).get("reason", "") for one in answer.json()["photos"]]
            assert found == [hostile.outcome for hostile in part], [one.path for one in part]
            assert answer.status_code == status
            assert str(tmp_path) not in answer.text


def test_a_detector_that_is_gone_is_told_as_such(address: str, classifier, monkeypatch):
    def gone(*_: object, **__: object):
        raise StageError("preprocess.crop.detector.path: cannot read it")

    monkeypatch.setattr(type(classifier), "read", gone)
    answer = ask(address, car(0))
    assert answer.status_code == 503
    assert answer.json()["error"]["reason"] == "not-ready"
    assert "detector" not in answer.text  # nor where it should be


def test_too_little_memory_for_a_photo_is_no_fault_of_the_photo(
    address: str, classifier, monkeypatch, capsys
):
    def full(*_: object, **__: object) -> None:
        raise PhotoError("out-of-memory", "not enough memory to prepare it")

    with monkeypatch.context() as patch:
        patch.setattr(type(classifier), "read", full)
        answer = ask(address, car(0))
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "not-ready")
    assert "serve: not enough memory to prepare it" in capsys.readouterr().err
    assert ask(address, car(0)).status_code == 200


def test_too_little_memory_for_the_network_is_told_as_such(address: str, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise RuntimeError("OOM when allocating tensor")

    with monkeypatch.context() as patch:
        patch.setattr(web.Explainer, "look", full)
        answer = ask(address, car(0))
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "not-ready")
    assert "serve: not enough memory (OOM when" in capsys.readouterr().err
    assert ask(address, car(0)).status_code == 200


def test_one_webp_that_may_have_large_tables_is_read_at_a_time(
    classifier, monkeypatch: pytest.MonkeyPatch
):
    """A picture of a few hundred kilobytes may make libwebp take more than a gigabyte."""
    at_once, most, meeting = [], [], threading.Barrier(4)

    def alone(*_: object) -> None:
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.05)
        at_once.pop()

    for ending, prepare in ((".webp", alone), (".png", lambda *_: meeting.wait(60))):
        monkeypatch.setattr(type(classifier.preparation), "prepare", prepare)
        photo = encode(picture(1), ending)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(classifier.read, [photo] * 4))
    assert most == [1, 1, 1, 1]


def test_one_bad_photo_does_not_spoil_the_others(address: str):
    answer = ask(address, car(0), b"")
    assert answer.status_code == 200
    good, bad = answer.json()["photos"]
    assert (good["label"], good["crop"]) == ("Audi One", "none")
    assert bad["error"]["reason"] == "empty"


@pytest.mark.parametrize(
    ("charset", "name"),
    [("utf-7", b"+2AA-.jpg"), ("unicode_escape", b"\\ud800"), ("utf-8", b"n" * 999)],
)
def test_no_name_of_a_file_is_more_than_a_name(address: str, charset: str, name: bytes):
    head = b'--B\r\nContent-Disposition: form-data; name="photo"; filename="%b"\r\n\r\n' % name
    kind = {"content-type": f"multipart/form-data; boundary=B; charset={charset}"}
    body = head + car(0) + b"\r\n--B--\r\n"
    answer = httpx.post(f"{address}/api/predict", content=body, headers=kind, timeout=30)
    assert answer.status_code == 200
    (photo,) = answer.json()["photos"]
    assert photo["label"] == "Audi One"
    assert len(photo["name"]) <= web.MAX_NAME


def test_more_pixels_than_a_phone_has_are_not_decoded(address: str):
    (photo,) = ask(address, webp_claiming(8000, 8000)).json()["photos"]
    assert photo["error"]["reason"] == "too-large"
    assert "at most 50000000" in photo["error"]["detail"]


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "no-form"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "bad-form"),
        ({"content": b"x", "headers": {"content-type": "Multipart/Form-Data"}}, 400, "bad-form"),
        ({"files": upload(*[b""] * 17)}, 400, "bad-form"),
        ({"data": {"photo": "text"}, "files": {}}, 415, "no-form"),
        ({"files": {"photo": (None, "one.jpg")}}, 400, "no-photo"),
        ({"files": {"photo": ("", b"")}}, 400, "no-photo"),
        ({"files": upload(bytes(web.MAX_PHOTO_BYTES + 1))}, 413, "too-large"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(address: str, request_, status: int, reason: str):
    answer = httpx.post(f"{address}/api/predict", timeout=30, **request_)
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (status, reason)
    if reason == "no-photo":  # as from curl without the @, and from an input without a choice
        assert error["detail"].endswith("; send files: curl -F photo=@one.jpg")


def test_no_room_for_an_upload_is_told_to_both_sides(address: str, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    answer = ask(address, bytes(2_000_000))  # more than is held in memory
    assert (answer.status_code, answer.json()["error"]["reason"]) == (507, "no-room")
    assert "serve: cannot keep an upload: " in capsys.readouterr().err


def test_a_body_without_end_is_broken_off(address: str, monkeypatch):
    monkeypatch.setattr(web, "MAX_BODY_BYTES", 100_000)
    sent = 0

    def endless():
        nonlocal sent
        yield b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        while sent < 50_000_000:
            sent += 10_000
            yield bytes(10_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    try:
        answer = httpx.post(f"{address}/api/predict", content=endless(), headers=headers)
        assert answer.status_code == 413
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        pass  # the server hung up while we were still sending
    assert 100_000 <= sent < 50_000_000
    assert httpx.get(f"{address}/health").status_code == 200


def test_an_announced_giant_is_refused_at_once(address: str):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("line", "headers", "most", "status"),
    [
        ("POST /api/predict", "Content-Type: text/plain", 64, 415),
        ("POST /api/predict", "Sec-Fetch-Site: cross-site", 64, 403),
        ("POST /api/predict", "Transfer-Encoding: chunked", 0, 503),
        ("PUT /api/predict", "", 64, 405),
        ("POST /api/other", "", 64, 404),
        ("GET /health", "", 64, 200),
        ("POST /api/predict", "Host: evil.example", 64, 400),
    ],
)
def test_a_body_that_nobody_wants_is_not_read_without_end(
    address: str, monkeypatch, line: str, headers: str, most: int, status: int
):
    """Neither bound of a body holds for what the server would only read to drop it."""
    monkeypatch.setattr(web, "MAX_UPLOADS", most)
    host, port = address.removeprefix("http://").split(":")
    lines = [f"{line} HTTP/1.1", *headers.splitlines()]
    lines += ["Host: localhost"] if "Host:" not in headers else []
    lines += ["Content-Length: 1000000"] if "Transfer" not in headers else []
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        text = connection.recv(100_000)
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"0")  # else it hangs up on who sends nothing at all
            while connection.recv(100_000):  # until the server closes
                pass
    assert text.startswith(b"HTTP/1.1 %d" % status)
    assert b"content-security-policy" in text


def test_a_connection_serves_one_request_after_another(address: str):
    with httpx.Client(base_url=address, timeout=60) as client:
        for answer in (
            client.get("/health"),
            client.post("/api/predict", files=upload(car(0))),
            client.post("/api/predict", files=upload(b"")),
        ):
            assert "connection" not in answer.headers


def test_photos_that_wait_for_a_reader_are_not_held_in_memory(address: str, monkeypatch):
    """Else 64 uploads of 64 MiB each could take 4 GiB."""
    busy, go_on, size = threading.Semaphore(0), threading.Event(), 3_000_000

    def read(_, data: bytes, **__) -> None:
        busy.release()
        go_on.wait(30)
        raise PhotoError("damaged", f"{len(data)} bytes")

    monkeypatch.setattr(Classifier, "read", read)
    photos = [bytes(size)] * web.MAX_PHOTOS
    requests = web.READERS // web.READERS_EACH  # that keep all readers busy
    with ThreadPoolExecutor(requests) as pool:
        tracemalloc.start()
        try:
            asked = [pool.submit(ask, address, *photos) for _ in range(requests)]
            for _ in range(web.READERS):
                assert busy.acquire(timeout=30)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            go_on.set()
        answers = [one.result().json()["photos"] for one in asked]
    for told in answers:
        assert [photo["error"]["detail"] for photo in told] == [f"{size} bytes"] * web.MAX_PHOTOS
    assert held < 2 * web.READERS * size


def until(done: Callable[[], bool]) -> None:
    late = time.monotonic() + 30
    while not done():
        assert time.monotonic() < late, "it never came about"
        time.sleep(0.01)


def has_room(address: str) -> bool:
    """Whether the server takes an upload now: then it refuses one for being no form."""
    answer = httpx.post(f"{address}/api/predict", content=b"x", timeout=30)
    return answer.status_code == 415


def files_in(folder: Path) -> list[str]:
    """The files of a folder that this process has open, also those without a name."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(one.readlink()))
    return [name for name in found if name.startswith(f"{folder}/")]


def test_who_leaves_before_the_answer_makes_room_for_others(
    address: str, monkeypatch, tmp_path: Path
):
    busy, go_on, read = threading.Semaphore(0), threading.Event(), []

    def slow(_, data: bytes, **__) -> None:
        read.append(len(data))
        busy.release()
        go_on.wait(60)
        raise PhotoError("damaged", "")

    monkeypatch.setattr(Classifier, "read", slow)
    monkeypatch.setattr(web, "MAX_UPLOADS", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    photos = [bytes(1_100_000)] * web.MAX_PHOTOS  # more than is held in memory
    request = httpx.Request("POST", address, files=upload(*photos))
    head = [f"{name}: {value}" for name, value in request.headers.items()]
    host, port = address.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            lines = ["POST /api/predict HTTP/1.1", *head, "", ""]
            connection.sendall("\r\n".join(lines).encode() + request.read())
            for _ in range(web.READERS_EACH):
                assert busy.acquire(timeout=30)
            assert not has_room(address)
            assert len(files_in(tmp_path)) == web.MAX_PHOTOS
        until(lambda: has_room(address))
        assert files_in(tmp_path) == []
    finally:
        go_on.set()
    assert ask(address, b"").status_code == 422
    assert read == [1_100_000] * web.READERS_EACH + [0]  # the photos that waited were not read


def test_no_task_is_left_of_an_upload_answered_or_broken_off():
    began = asyncio.Event()

    async def receive() -> dict:
        await began.wait()
        return {"type": "http.disconnect"}

    async def work(seconds: float) -> list[dict]:
        await asyncio.sleep(seconds)
        return [{}]

    async def answer_and_break_off() -> None:
        request = Request({"type": "http"}, receive)
        assert await web.unless_gone(request, work(0)) == [{}]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        began.set()
        with pytest.raises(HTTPException, match="broken-off"):
            await web.unless_gone(request, work(60))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(answer_and_break_off())


@contextlib.contextmanager
def unread_answer(address: str) -> Iterator[httpx.Response]:
    """An answer of which only the head is read, in a system that keeps little of the rest."""
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)]
    with (
        httpx.Client(transport=httpx.HTTPTransport(socket_options=small), timeout=30) as client,
        client.stream("POST", f"{address}/api/predict", files=upload(car(0))) as answer,
    ):
        yield answer


def test_an_answer_counts_until_it_is_read(address: str, monkeypatch):
    """Else who reads none could make the server keep any number of them."""
    picture = "x" * 16_000_000  # more than the systems at both ends keep
    monkeypatch.setattr(web, "as_url", lambda _: picture)
    monkeypatch.setattr(web, "MAX_UPLOADS", 1)
    with unread_answer(address) as answer:
        assert answer.status_code == 200
        time.sleep(0.2)
        assert not has_room(address)
        (photo,) = json.loads(answer.read())["photos"]
    assert photo["overlay"] == picture
    until(lambda: has_room(address))


def test_an_answer_that_nobody_reads_is_broken_off(address: str, monkeypatch):
    monkeypatch.setattr(web, "as_url", lambda _: "x" * 16_000_000)
    monkeypatch.setattr(web, "MAX_UPLOADS", 1)
    monkeypatch.setattr(web, "ANSWER_SECONDS", 0.2)
    with unread_answer(address) as answer:
        until(lambda: has_room(address))
        with pytest.raises(httpx.RemoteProtocolError):  # the server hung up
            answer.read()


def test_an_upload_that_trickles_in_is_hung_up_on(address: str, monkeypatch):
    monkeypatch.setattr(web, "UPLOAD_SECONDS", 0.2)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        with connection.makefile("rb") as answer:
            text = answer.read()  # until the server closes
    assert text.startswith(b"HTTP/1.1 408")
    assert b"too-slow" in text


def test_a_foreign_host_name_is_refused(address: str):
    for path in ("/", "/health", "/api/predict"):
        answer = httpx.get(f"{address}{path}", headers={"host": "evil.example"})
        assert answer.status_code == 400
    for name in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        answer = httpx.get(f"{address}/health", headers={"host": name})
        assert answer.json()["status"] == "ok"


def test_the_page_runs_no_code_but_its_own(address: str):
    page = httpx.get(address)
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-cache"  # so a new server's page is seen at once
    assert " on" not in page.text.replace(" once", "").replace(" one", "").replace(" or", "")
    for path in ("/../serve.py", "/%2e%2e/web.py", "/docs", "/openapi.json", "/..%2fweb.py"):
        assert httpx.get(address + path).status_code in (400, 404)


def test_a_photo_costs_one_pass_and_few_cost_few(classifier, monkeypatch):
    passes, plain = [], web.Explainer.look

    def counted(explainer: web.Explainer, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        passes.append(len(images))
        return plain(explainer, images)

    monkeypatch.setattr(web.Explainer, "look", counted)
    photos = [classifier.read(car(number % 4)) for number in range(9)]
    batcher = web.Batcher(classifier)
    told = [
        [found.verdict.candidates[0].label for found in batcher.answer(photos[:count])]
        for count in (1, 2, 9)
    ]
    assert passes == [1, 8, 32]
    assert told == [[LABELS[number % 4].label for number in range(count)] for count in (1, 2, 9)]


def test_one_request_leaves_readers_to_others(address: str, monkeypatch):
    reading, most, plain = set(), [], Classifier.read

    def counted(classifier: Classifier, data: bytes, **options):
        me = object()
        reading.add(me)
        most.append(len(reading))
        time.sleep(0.02)
        try:
            return plain(classifier, data, **options)
        finally:
            reading.remove(me)

    monkeypatch.setattr(Classifier, "read", counted)
    answer = httpx.post(f"{address}/api/predict", files=upload(*[car(1)] * 6))
    assert [photo["label"] for photo in answer.json()["photos"]] == [LABELS[1].label] * 6
    assert max(most) == web.READERS_EACH < web.READERS


def test_who_leaves_early_harms_nobody_and_costs_nothing(classifier, monkeypatch):
    plain, passes = web.Batcher.answer, []

    def counted(batcher: web.Batcher, photos: list) -> list[web.Answer]:
        passes.append(len(photos))
        return plain(batcher, photos)

    async def leave_and_ask() -> web.Answer:
        batcher = web.Batcher(classifier)
        photo = classifier.read(car(2))
        gone = asyncio.create_task(batcher.ask(photo))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        worker = asyncio.create_task(batcher.run())
        await asyncio.sleep(0)  # a batch of which all are gone
        answer = await asyncio.wait_for(batcher.ask(photo), 60)
        worker.cancel()
        return answer

    monkeypatch.setattr(web.Batcher, "answer", counted)
    assert asyncio.run(leave_and_ask()).verdict.candidates[0].label == LABELS[2].label
    assert passes == [1]


def test_a_fault_of_the_network_is_told_to_who_asked_and_the_next_is_answered(
    classifier, monkeypatch
):
    faults, plain = [RuntimeError("a fault")], web.Explainer.look

    def once(*arguments) -> tuple[np.ndarray, np.ndarray]:
        if faults:
            raise faults.pop()
        return plain(*arguments)

    async def ask_twice() -> web.Answer:
        batcher = web.Batcher(classifier)
        worker = asyncio.create_task(batcher.run())
        photo = classifier.read(car(2))
        with pytest.raises(RuntimeError, match="a fault"):
            await asyncio.wait_for(batcher.ask(photo), 10)
        answer = await asyncio.wait_for(batcher.ask(photo), 60)
        worker.cancel()
        return answer

    monkeypatch.setattr(web.Explainer, "look", once)
    assert asyncio.run(ask_twice()).verdict.candidates[0].label == LABELS[2].label


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[object]:
    with chromium(tmp_path / "chromium", "window-size=1000,800") as browser:
        yield browser


DROP = """
const transfer = new DataTransfer();
const bytes = Uint8Array.from(atob(arguments[0]), (sign) => sign.charCodeAt(0));
transfer.items.add(new File([bytes], "<img src=x onerror=alert(1)>.png"));
document.getElementById("drop").dispatchEvent(
  new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""


def test_from_an_empty_browser_to_a_prediction(browser, address: str, tmp_path: Path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    def headings() -> list[str]:
        return [found.text for found in browser.find_elements(By.CSS_SELECTOR, "article h2")]

    put(tmp_path, a_png=3)
    browser.get(address)
    browser.find_element(By.ID, "choose").send_keys(str(tmp_path / "a.png"))
    wait = WebDriverWait(browser, 30)
    wait.until(lambda _: headings() == [LABELS[3].label])
    browser.execute_script(DROP, base64.b64encode(car(2)).decode())
    wait.until(lambda _: len(headings()) == 2)
    assert headings()[0] == LABELS[2].label  # shown as text, not run as a script
    decision = browser.find_element(By.CSS_SELECTOR, ".decision").text
    assert decision == "tag make and model"
    wide = "return [...document.querySelectorAll('.overlay')].map((one) => one.naturalWidth)"
    wait.until(lambda _: browser.execute_script(wide) == [SIDE, SIDE])
    assert browser.title == "Vehicle make and model"
    browser.set_window_size(500, 800)  # as narrow as a headless window can be
    assert browser.execute_script("return document.body.scrollWidth <= innerWidth")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_lost_answer_names_what_a_person_can_do(browser, address: str, tmp_path: Path):
    """A browser is not told why: the server may have hung up on a slow upload, or be gone."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    put(tmp_path, a_png=3)
    browser.get(address)
    browser.execute_script("window.fetch = () => Promise.reject(new TypeError('network'))")
    browser.find_element(By.ID, "choose").send_keys(str(tmp_path / "a.png"))
    words = "it may take 2 minutes, so send fewer photos at once."
    status = browser.find_element(By.ID, "status")
    WebDriverWait(browser, 30).until(lambda _: status.text.endswith(words))
    assert status.text.startswith("No answer came. The server may be down or busy")


@pytest.mark.parametrize(
    "name",
    ["*cars", "http://cars.example", "cars.example:80", "", "ü..x", "straße.example"],
)
def test_what_is_no_host_name_is_told_at_once(name: str, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["serve.py", "--name", name])
    with pytest.raises(SystemExit) as stopped:
        serve.main()
    assert stopped.value.code == 2
    assert "expected a host name" in capsys.readouterr().err


def test_a_name_is_known_as_browsers_send_it():
    names = ["müller.example", "*.MÜLLER.example", "cars.example", "xn--strae-oqa.example", "[::1]"]
    assert [serve.as_sent(name) for name in names] == [
        "xn--mller-kva.example",
        "*.xn--mller-kva.example",
        *names[2:],
    ]


def test_no_host_is_not_every_host(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["serve.py", "--host", ""])
    with pytest.raises(SystemExit) as stopped:
        serve.main()
    assert stopped.value.code == 2
    assert "--host: expected an address, found nothing" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["ü..x", "a" * 64 + ".example", "\udcff"])
def test_what_is_no_host_is_one_line(host: str):
    with pytest.raises(StageError, match=r"cannot be used \(.+\); give another --port or --host"):
        serve.listen(host, 0)


def test_it_listens_on_this_machine_alone_unless_told_otherwise(monkeypatch):
    asked = []

    def listen(*address: object) -> None:
        asked.append(address)
        raise StageError("enough")

    monkeypatch.setattr(serve, "listen", listen)
    monkeypatch.setattr("sys.argv", ["serve.py"])
    with pytest.raises(StageError, match="enough"):
        serve.main()
    assert asked == [("127.0.0.1", 8000)]


def test_a_real_server_starts_answers_and_ends_well(bundle, tmp_path: Path):
    command = [sys.executable, str(SRC / "serve.py"), "--bundle", str(bundle)]
    with serve.listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        refused = subprocess.run(
            [*command, "--port", port], text=True, capture_output=True, timeout=120
        )
    assert refused.returncode == 1
    assert "cannot be used (Address already in use); give another --port" in refused.stderr
    assert "Traceback" not in refused.stderr
    command += ["--port", "0", "--name", "cars.example"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    late = threading.Timer(120, process.kill)
    late.start()
    try:
        said = next((line for line in process.stderr if line.startswith("serve: http")), "")
        assert said, "it never began to serve"
        address = f"http://127.0.0.1:{int(said.rpartition(':')[2])}"
        assert ask(address, car(0)).status_code == 200
        for name, status in (("cars.example", 200), ("evil.example", 400)):
            answer = httpx.get(f"{address}/health", headers={"host": name})
            assert answer.status_code == status
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        process.wait(30)
    finally:
        late.cancel()
        process.kill()
    assert "Traceback" not in said
    assert process.returncode in (0, -signal.SIGTERM)


def test_a_page_of_another_site_is_refused_before_its_photos_are_read(address: str):
    for headers, status in (
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": address}, 200),
        ({"origin": "http://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": address}, 200),
    ):
        answer = httpx.post(
            f"{address}/api/predict", files=upload(car(0)), headers=headers, timeout=30
        )
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/health", 200),
        ("GET", "/api/predict", 405),
        ("GET", "/api/other", 404),
        ("GET", "/other", 404),
        ("POST", "/health", 405),
    ],
)
def test_the_api_answers_in_one_form(address: str, method: str, path: str, status: int):
    answer = httpx.request(method, address + path)
    assert answer.status_code == status
    if method != "HEAD":
        assert set(answer.json()["error"]) == {"reason", "detail"}
    if path == "/api/predict":
        assert answer.headers["allow"] == "POST"


def test_the_page_knows_what_the_server_takes():
    script = (web.PAGE / "app.js").read_text()
    limits = dict(re.findall(r"const (MOST_\w+) = (\d+)", script))
    assert int(limits["MOST_PHOTOS"]) == web.MAX_PHOTOS
    assert int(limits["MOST_PHOTO_BYTES"]) * 2**20 == web.MAX_PHOTO_BYTES
    assert int(limits["MOST_BYTES"]) * 2**20 < web.MAX_BODY_BYTES
    assert int(limits["MOST_MINUTES"]) * 60 == web.UPLOAD_SECONDS
    words = "up to 16 at once, 16 MiB each and 60 MiB together"
    page = (web.PAGE / "index.html").read_text()
    assert words in page
    table = (SRC.parent / "docs/use.md").read_text()
    for row in (
        f"| {web.MAX_PHOTOS} photos at once |",
        f"| {web.MAX_PHOTO_BYTES >> 20} MiB a photo; {web.MAX_BODY_BYTES >> 20} MiB a request (",
        f"| {web.UPLOAD_SECONDS:g} s for a request's body to arrive |",
        f"| {web.MAX_PHOTO_PIXELS // 1_000_000} million pixels a photo |",
        f"| {web.MAX_UPLOADS} requests with photos at the same time",
        f"| {web.ANSWER_SECONDS:g} s for that answer to be read |",
    ):
        assert row in table
    # By name, so that Safari converts what phones take (HEIC), which it does not for image/*.
    assert 'accept="image/jpeg,image/png,image/webp"' in page


def test_more_uploads_than_fit_are_sent_away(address: str, monkeypatch):
    monkeypatch.setattr(web, "MAX_UPLOADS", 0)
    answer = ask(address, car(0))
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "busy")
    assert httpx.get(f"{address}/health").status_code == 200


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.2", "127.0.0.2"),
        ("0.0.0.0", "localhost"),  # noqa: S104 (for a moment)
    ],
)
def test_the_address_that_is_printed_is_one_that_answers(host: str, shown: str):
    with serve.listen(host, 0) as listening:
        assert serve.address_of(listening) == (shown, listening.getsockname()[1])


def test_one_port_serves_one_model():
    refused = pytest.raises(StageError, match="Address already in use")
    with serve.listen("127.0.0.1", 0) as first, refused:
        serve.listen("127.0.0.1", first.getsockname()[1])
