"""What the server lets through, and what it answers."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("httpx2")

from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from ranet_jax.io.run_lengths import mask_of_run_lengths, unpack
from ranet_jax.studio import app as studio_app
from ranet_jax.studio import inspection
from ranet_jax.studio.app import make_app
from ranet_jax.studio.session import Session, pack_labels, unpack_labels

from .conftest import FRAMES, SIZE, TOKEN, square

HOST = "127.0.0.1:8765"
ORIGIN = f"http://{HOST}"


class Page:
    """A page that is open: its requests carry what a browser's would."""

    def __init__(self, client: TestClient, socket):
        self.client, self.socket = client, socket
        self.hello = socket.receive_json()

    def send(self, method: str, path: str, **more):
        headers = {"origin": ORIGIN, "x-page": self.hello["page"]}
        return self.client.request(method, f"/{TOKEN}/{path}", headers=headers, **more)

    def until(self, kind: str) -> dict:
        while True:
            message = self.socket.receive()
            text = message.get("text")
            if text is None:
                (length,) = struct.unpack(">I", message["bytes"][:4])
                text = message["bytes"][4 : 4 + length].decode()
            content = json.loads(text)
            if content["type"] == kind:
                return content


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    app = make_app(session, token=TOKEN, hosts=("127.0.0.1", "localhost"))
    with TestClient(app, base_url=ORIGIN) as made:
        yield made


@pytest.fixture
def page(client) -> Iterator[Page]:
    with client.websocket_connect(f"/{TOKEN}/api/live", headers={"origin": ORIGIN, "host": HOST}) as socket:
        yield Page(client, socket)


@pytest.fixture
def opened(session, page, project) -> Page:
    session.open(project)
    page.until("changed")
    return page


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", f"/{TOKEN.upper()}/api/state", "//"]
)
def test_without_the_token_nothing_is_served(client, path):
    answer = client.get(path)
    assert answer.status_code == 403
    assert "ranet-jax studio" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8765"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HOST}"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_from_elsewhere_nothing_is_served(client, headers):
    assert client.get(f"/{TOKEN}/", headers=headers).status_code == 403


def test_the_page_is_served_with_a_strict_policy(client):
    answer = client.get(f"/{TOKEN}/")
    assert answer.status_code == 200
    assert "<title>ranet-jax studio</title>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert TOKEN not in answer.text
    assert client.get(f"/{TOKEN}/static/main.js").status_code == 200


def test_changes_need_an_origin(client):
    assert client.post(f"/{TOKEN}/api/stop").status_code == 403


FOREIGN = ({"host": HOST}, {"host": HOST, "origin": "http://evil.example"}, {"host": "evil.example", "origin": ORIGIN})


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_websocket_is_refused(client, headers):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"/{TOKEN}/api/live", headers=headers):
        pass


def test_a_websocket_without_the_token_is_refused(client):
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/x/api/live", headers={"origin": ORIGIN, "host": HOST}),
    ):
        pass


def test_every_numeric_address_where_it_listens_on_all(session):
    app = make_app(session, token=TOKEN, hosts=("box",), any_address=True)
    with TestClient(app, base_url="http://192.168.1.7:80") as client:
        assert client.get(f"/{TOKEN}/api/state").status_code == 200
        assert client.get(f"/{TOKEN}/api/state", headers={"host": "evil.example"}).status_code == 403
        assert client.get(f"/{TOKEN}/api/state", headers={"host": "[::1]:80"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "static/../app.py",
        "static/%2e%2e/app.py",
        "static/..%2fapp.py",
        "api/exports/..%2fproject.json",
        "api/exports/%2e%2e%2fproject.json",
        "api/exports/project.json",
        "api/exports/%2fetc%2fpasswd",
    ],
)
def test_no_path_leads_out_of_the_project(opened, path):
    answer = opened.client.get(f"/{TOKEN}/{path}")
    assert answer.status_code in (400, 403, 404)
    assert "import" not in answer.text
    assert "frames" not in answer.text


def test_the_second_page_reads_only(client, opened):
    with client.websocket_connect(f"/{TOKEN}/api/live", headers={"origin": ORIGIN, "host": HOST}) as socket:
        second = Page(client, socket)
        assert (opened.hello["writer"], second.hello["writer"]) == (True, False)
        answer = second.send("POST", "api/objects")
        assert answer.status_code == 409
        assert "Another page" in answer.json()["error"]
        assert second.send("GET", "api/state").json()["project"]["objects"] == []
        opened.socket.close()
        assert second.until("writer") == {"type": "writer"}
        assert second.send("POST", "api/objects").status_code == 200


def test_marking_saving_and_reading_back(opened):
    assert opened.send("POST", "api/objects").json()["project"]["objects"][0]["id"] == 1
    marks = opened.send("PUT", "api/labels/4", content=pack_labels(square(4))).json()
    assert marks["given"] == [4]
    assert marks["record"]["areas"] == {"1": 576}
    back = unpack_labels(opened.send("GET", "api/labels/4").content, SIZE)
    assert (back == square(4)).all()
    assert opened.send("DELETE", "api/given/4").json()["given"] == []


def test_a_click_and_a_box(opened):
    opened.send("POST", "api/objects")
    for values in ({"positives": [[30, 30]]}, {"box": [14, 16, 46, 48]}):
        answer = opened.send("POST", "api/click", json={"frame": 10, "object": 1, **values})
        assert answer.status_code == 200, answer.text
        mask = unpack_labels(answer.content, SIZE)
        assert set(np.unique(mask)) == {0, 1}
        assert mask[30, 30]


@pytest.mark.parametrize(
    ("method", "path", "more", "message"),
    [
        ("PUT", "api/labels/4", {"content": b"rubbish"}, "damaged on its way"),
        ("PUT", "api/labels/4", {"content": zlib.compress(b"\1" * 10)}, "not of the video's size"),
        ("PUT", "api/labels/4", {"content": pack_labels(square(0, 9))}, "no object has the id 9"),
        ("PUT", "api/labels/40", {"content": pack_labels(square(0))}, "no frame 40"),
        ("GET", "api/frame/40", {}, "no frame 40"),
        ("POST", "api/click", {"content": b"{"}, "reload the page"),
        ("POST", "api/click", {"json": {"frame": 1.5}}, "whole number"),
        ("POST", "api/click", {"json": {"frame": 0, "object": 1, "positives": [[1]]}}, "2 numbers"),
        ("POST", "api/click", {"json": {"frame": 0, "object": 1, "positives": [[500, 1]]}}, "outside the frame"),
        ("POST", "api/track", {"json": {"direction": "up", "start": 0, "end": 1}}, "forward, backward or both"),
        ("POST", "api/track", {"json": {"direction": "forward", "start": 0, "end": 1}}, "nothing is marked"),
        ("POST", "api/export", {"json": {"kind": "exe", "start": 0, "end": 1}}, "no export 'exe'"),
        ("POST", "api/export", {"json": {"kind": "masks", "start": 0, "end": 1}}, "no frame of the span has a mask"),
        ("POST", "api/open", {"json": {"id": 99}}, "gone"),
        ("POST", "api/open", {"json": {"id": "../../etc"}}, "whole number"),
        ("PATCH", "api/objects/1", {"json": {"colour": "url(x)"}}, "#rrggbb"),
        ("PATCH", "api/objects/7", {"json": {"name": "x"}}, "no object 7"),
    ],
)
def test_wrong_requests_are_messages_and_change_nothing(opened, method, path, more, message):
    opened.send("POST", "api/objects")
    before = opened.send("GET", "api/state").json()["project"]
    answer = opened.send(method, path, **more)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert opened.send("GET", "api/state").json()["project"] == before


def test_more_than_a_label_map_is_not_taken(opened):
    assert opened.send("PUT", "api/labels/4", content=b"x" * 20_000).status_code == 413
    bomb = zlib.compress(bytes(50_000_000), 9)
    assert opened.send("PUT", "api/labels/4", content=bomb).status_code in (400, 413)


def test_tracking_tells_the_page(opened):
    opened.send("POST", "api/objects")
    opened.send("PUT", "api/labels/0", content=pack_labels(square(0)))
    assert opened.send("POST", "api/track", json={"direction": "forward", "start": 0, "end": 6}).status_code == 200
    frames = [opened.until("frame") for _ in range(7)]
    assert [message["index"] for message in frames] == list(range(7))
    assert frames[-1]["done"] == frames[-1]["total"] == 7
    assert opened.until("ended") == {"type": "ended", "finished": True}
    state = opened.send("GET", "api/state").json()
    assert [record["tracked"] for record in state["project"]["records"]] == [True] * 7 + [False] * (FRAMES - 7)
    assert state["tracking"] is False


def test_a_correction_stops_the_pass(opened, session):
    opened.send("POST", "api/objects")
    opened.send("PUT", "api/labels/0", content=pack_labels(square(0)))
    opened.send("POST", "api/track", json={"direction": "forward", "start": 0, "end": FRAMES - 1})
    opened.until("frame")
    answer = opened.send("POST", "api/track", json={"direction": "forward", "start": 0, "end": 3})
    assert "under way" in answer.json()["error"]
    opened.send("PUT", "api/labels/1", content=pack_labels(square(3)))
    assert not session.is_tracking
    assert opened.until("ended")["finished"] is False


def uploaded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_video_and_a_mask_are_uploaded(page, clip, session):
    answer = page.send("POST", "api/video?name=..%2F..%2Fmy%20cat.mp4", content=clip.read_bytes())
    assert answer.status_code == 200, answer.text
    project = answer.json()["project"]
    assert (project["name"], project["frames"]) == ("my-cat", FRAMES)
    assert session.project.folder == session.library.folder / "my-cat"
    answer = page.send("POST", "api/mask/3", content=uploaded(Image.fromarray(square(3, 5))))
    assert [entry["id"] for entry in answer.json()["project"]["objects"]] == [5]
    assert answer.json()["project"]["given"] == [3]
    assert answer.json()["recent"][0]["name"] == "my-cat"


@pytest.mark.parametrize("content", [b"", b"not a video", b"\0\0\0\x18ftypmp42" + bytes(400)])
def test_a_damaged_video_is_a_message_and_nothing_else(page, session, content):
    answer = page.send("POST", "api/video?name=film.mp4", content=content)
    assert answer.status_code == 400
    assert str(session.library.folder) not in answer.json()["error"]
    assert [path.name for path in session.library.folder.iterdir()] == []


def test_a_cut_off_video_is_a_message(page, session, clip):
    answer = page.send("POST", "api/video?name=film.mp4", content=clip.read_bytes()[:900])
    assert answer.status_code == 400
    assert [path.name for path in session.library.folder.iterdir()] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n broken", "mask"),
        (uploaded(Image.fromarray(np.ones((5, 5), np.uint8))), "5x5"),
        (uploaded(Image.fromarray(np.zeros(SIZE, np.uint8))), "empty"),
    ],
)
def test_a_wrong_mask_is_a_message_and_nothing_else(opened, content, message):
    before = opened.send("GET", "api/state").json()["project"]
    answer = opened.send("POST", "api/mask/0", content=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert opened.send("GET", "api/state").json()["project"] == before


def test_uploads_are_bounded(page, session, monkeypatch, clip):
    monkeypatch.setattr(studio_app.inspection, "MOST_VIDEO_BYTES", 1000)
    assert page.send("POST", "api/video?name=a.mp4", content=clip.read_bytes()).status_code == 413
    assert [path.name for path in session.library.folder.iterdir()] == []


def test_large_pictures_are_refused_before_they_are_decoded(tmp_path):
    path = tmp_path / "large.png"
    # A header that promises 100,000 x 100,000 pixels.
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(content)
    with pytest.raises(inspection.InputError):
        inspection.inspect_mask(path)


def test_exports(opened):
    opened.send("POST", "api/objects")
    for index in (0, 3):
        opened.send("PUT", f"api/labels/{index}", content=pack_labels(square(index)))

    def exported(kind: str) -> bytes:
        answer = opened.send("POST", "api/export", json={"kind": kind, "start": 0, "end": 9})
        assert answer.status_code == 200, answer.text
        return opened.client.get(f"/{TOKEN}/api/exports/{answer.json()['name']}").content

    with zipfile.ZipFile(io.BytesIO(exported("masks"))) as archive:
        assert archive.namelist() == ["00000.png", "00003.png"]
        image = Image.open(archive.open("00003.png"))
        assert image.mode == "P"
        assert (np.asarray(image) == square(3)).all()
    coco = json.loads(exported("coco"))
    assert len(coco["images"]) == 10
    counts = coco["annotations"][1]["segmentation"]["counts"]
    assert (mask_of_run_lengths(unpack(counts), SIZE) == (square(3) > 0)).all()
    with zipfile.ZipFile(io.BytesIO(exported("project"))) as archive:
        names = archive.namelist()
    assert {"project/project.json", "project/given/00000.png", "project/frames.jsonl"} <= set(names)
    assert exported("gif")[:6] == b"GIF89a"
    assert exported("webm")[:4] == b"\x1a\x45\xdf\xa3"
    require_h264(exported("overlay"))


def require_h264(content: bytes) -> None:
    import av

    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert len(list(container.decode(stream))) == 10


def test_nothing_is_open(page):
    assert page.send("GET", "api/state").json()["project"] is None
    assert "open one first" in page.send("GET", "api/frame/0").json()["error"]
    assert "open one first" in page.send("POST", "api/objects").json()["error"]
