"""Who may ask, and what is answered: the whole application in this process, its workers beside it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")

from starlette.testclient import TestClient

from actsmith.app.guard import MOST_BODY
from actsmith.app.runs import Watched
from actsmith.app.server import STATIC, Playground, make_app

PORT = 8090
HEADER = {"X-Actsmith": "1"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text('{"task": {"name": "digits"}}')
    app = make_app(Playground([Watched(folder)], seconds={"function": 60.0, "place": 1.0}), PORT)
    with TestClient(app, f"http://127.0.0.1:{PORT}", headers=HEADER) as found:
        yield found


def ask(client: TestClient, job: str, **arguments: Any) -> Any:
    return client.post(f"/api/{job}", json=arguments)


def test_the_page_and_its_parts_are_given_out(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    for file in STATIC.rglob("*.*"):
        answer = client.get(f"/static/{file.relative_to(STATIC).as_posix()}")
        assert answer.status_code == 200
        assert len(file.read_text().splitlines()) < 400
        assert "http://" not in answer.text.replace("http://www.w3.org", "")  # nothing from elsewhere
        assert "https://" not in answer.text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert client.get("/static/../server.py").status_code == 404


def test_a_view_is_answered(client: TestClient) -> None:
    found = ask(client, "function", formula="x*sigmoid(b*x)", values={"b": 1.5}).json()
    assert found["formula"]["parameters"][0]["value"] == 1.5
    assert found["milliseconds"] > 0


def test_a_figure_is_a_pdf_under_the_same_guard(client: TestClient) -> None:
    answer = ask(client, "figure", formula="x*sigmoid(b*x)", values={"b": 1.5})
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content.startswith(b"%PDF-")
    assert "no information" in ask(client, "figure", formula="3").json()["error"]
    refused = client.post("/api/figure", json={"formula": "relu"}, headers={"X-Actsmith": "0"})
    assert refused.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", ""])
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    for method in (client.get, client.post):
        assert method("/", headers={"host": host}).status_code == 421


def test_own_names_are_answered(client: TestClient) -> None:
    for name in ("localhost", "LOCALHOST", "[::1]", "127.0.0.1"):
        assert client.get("/api/start", headers={"host": f"{name}:{PORT}"}).status_code == 200
    assert client.get("/", headers={"origin": f"http://localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:80"},
     {"origin": f"https://127.0.0.1:{PORT}"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}],
)  # fmt: skip
def test_other_origins_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/start", headers=headers).status_code == 403
    assert client.post("/api/stop", headers=headers).status_code == 403


def test_a_post_without_the_header_is_refused(client: TestClient) -> None:
    for value in ("", "0"):
        assert client.post("/api/function", json={"formula": "relu"}, headers={"X-Actsmith": value}).status_code == 403
    assert client.put("/api/function").status_code == 405
    assert client.options("/api/function").status_code == 405  # what a page elsewhere would have to ask first


def test_too_much_is_refused(client: TestClient) -> None:
    assert client.post("/api/function", content=b"x" * (MOST_BODY + 1)).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(MOST_BODY // 65536 + 2):
            yield b"x" * 65536

    assert client.post("/api/function", content=pieces()).status_code == 413  # no length was announced


@pytest.mark.parametrize(
    "formula", ["__import__('os').system('ls')", "x**9**9**9", "(" * 999, "<script>", "x.real", ""]
)
def test_hostile_formulas_are_refused_at_once(client: TestClient, formula: str) -> None:
    began = time.monotonic()
    answer = ask(client, "function", formula=formula)
    assert "formula" in answer.json()["error"]
    assert time.monotonic() - began < 5  # a second on a machine that does nothing else


def test_what_takes_long_is_ended_and_the_next_is_answered() -> None:
    """A twentieth of a second is too little for this formula on any machine."""
    slow = "sin(40*x)*sin(30*x)/(x + sin(7*x)) + sin(5*x)/(2 + cos(x))"
    app = make_app(Playground(seconds={"function": 60.0, "place": 0.05}), PORT)
    with TestClient(app, f"http://127.0.0.1:{PORT}", headers=HEADER) as client:
        assert "was ended" in client.post("/api/place", json={"formula": slow}).json()["error"]
        assert ask(client, "function", formula="relu").json()["formula"]["name"] == "relu"


@pytest.mark.parametrize("content", [b"[", b"[1]", b'{"no name": 1}', b"[" * 100_000])
def test_what_is_no_request_is_refused(client: TestClient, content: bytes) -> None:
    assert client.post("/api/function", content=content).status_code == 400
    assert client.post("/api/rm", content=b"{}").status_code == 404


def test_samples_become_a_law(client: TestClient, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).laplace(size=5000))
    found = client.post("/api/law", content=(tmp_path / "a.npy").read_bytes()).json()
    assert ask(client, "function", formula="gelu", law=found["law"]).json()["law"]["spec"] == found["spec"]
    assert "numpy.save" in client.post("/api/law", content=b"abc").json()["error"]


def test_runs_are_shown(client: TestClient) -> None:
    assert client.get("/api/start").json()["model"] is None
    (run,) = client.get("/api/runs").json()["runs"]
    assert run["kind"] == "search on digits"


def test_a_training_streams_and_can_be_stopped(client: TestClient) -> None:
    begin = {"formula": "gelu", "scene": "function", "width": 8, "depth": 2, "seeds": 2}
    assert ask(client, "train", **begin, epochs=2).status_code == 200
    assert "one is running" in ask(client, "train", **begin, epochs=2).json()["error"]
    events = [
        json.loads(line[6:]) for line in client.get("/api/progress").text.splitlines() if line.startswith('data: {"')
    ]
    assert events[0]["scene"] == "function"
    assert {event["activation"] for event in events if "epoch" in event} == {"yours", "relu", "gelu"}
    assert all(event["score"][1] <= event["score"][0] <= event["score"][2] for event in events if "epoch" in event)
    assert events[-1]["done"]["failed"] == {}
    assert ask(client, "train", formula="gelu", scene="moon").status_code == 200
    assert "expected a scene" in client.get("/api/progress").text
    assert ask(client, "train", **begin, epochs=400).status_code == 200
    client.post("/api/stop")
    assert "stopped" in client.get("/api/progress").text
