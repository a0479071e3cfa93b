"""`actsmith app` refuses in one line what it cannot serve."""

import socket
import sys
from pathlib import Path

import pytest

from actsmith.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "0"], "--port: got 0; expected 1 to 65535"),
        (["--example", "a.npy"], "--example: there is no model to give it to; expected --model, too"),
        (
            ["--runs", "nowhere"],
            "--runs: no folder 'nowhere'; give the folder of a search or a reproduction, or a storage",
        ),
        (["--runs", "sqlite:///a.db"], "storage: sqlite: got a storage that is not used here: SQLite loses writers"),
        (["--model", "no_such_module:net"], "model no_such_module:net: no module 'no_such_module'"),
    ],
)
def test_what_cannot_be_served(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["app", "--no-browser", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--no-browser", "--port", str(port)]) == 2
    assert f"--port: {port} is not to be had" in capsys.readouterr().err


def test_without_the_extra_it_says_which(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["app", "--no-browser"]) == 2
    assert capsys.readouterr().err == "actsmith app: uvicorn is missing; pip install 'actsmith[app]'\n"
