"""The command line itself: its verbs, its help, its exit statuses, and what it loads."""

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import actsmith.cli
from actsmith.cli import main, parser, verbs
from actsmith.errors import ActsmithError, NumericsError

FOLDER = Path(actsmith.cli.__file__).parent


def test_every_file_of_the_folder_is_a_verb() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "common", "completion"}
    assert len(verbs()) == len(files) >= 9
    assert list(verbs()) == sorted(verbs())


def test_a_new_file_is_a_new_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "hello.py").write_text(
        'NAME, HELP, EXAMPLES = "hello", "Say so.", ("hello you",)\n'
        'def options(parser): parser.add_argument("who")\n'
        'def run(request): print("hello", request.who); return 3\n'
    )
    monkeypatch.setattr(actsmith.cli, "__path__", [*actsmith.cli.__path__, str(tmp_path)])
    verbs.cache_clear()
    try:
        assert main(["hello", "you"]) == 3
    finally:
        verbs.cache_clear()
    assert capsys.readouterr().out == "hello you\n"


@pytest.mark.parametrize("name", list(verbs()))
def test_the_examples_of_a_verb_are_command_lines_of_it(name: str) -> None:
    verb = verbs()[name]
    assert verb.EXAMPLES
    for example in verb.EXAMPLES:
        assert parser().parse_args(shlex.split(example)).verb == name
    assert verb.HELP.endswith(".")


def test_the_first_examples_parse() -> None:
    for example in actsmith.cli.FIRST:
        parser().parse_args(shlex.split(example))


@pytest.mark.parametrize("name", list(verbs()))
def test_help_shows_the_examples(name: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(f"  actsmith {example}" in out for example in verbs()[name].EXAMPLES)


def test_without_a_verb_there_is_help(capsys) -> None:
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(name in out for name in verbs())
    assert "examples:" in out


def test_an_unknown_verb_shows_near_matches(capsys) -> None:
    assert main(["analyse", "relu"]) == 2
    assert capsys.readouterr().err == (
        "actsmith: there is no verb 'analyse'; did you mean analyze? See `actsmith --help`.\n"
    )
    assert main(["anlyze", "gelu"]) == 2
    assert "did you mean analyze?" in capsys.readouterr().err
    assert main(["zzz"]) == 2
    assert "expected analyze, app, bench, " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["analyze"], ["analyze", "relu", "--unknown"], ["--unknown"]])
def test_argument_errors_exit_with_status_2(capsys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [(ActsmithError("no"), 2), (NumericsError("no"), 1), (KeyboardInterrupt(), 1)],
)
def test_what_fails_gives_one_line_and_its_status(monkeypatch, capsys, error: BaseException, status: int) -> None:
    def run(request: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(verbs()["list"], "run", run)
    assert main(["list"]) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("actsmith list: ")


def test_times() -> None:
    from actsmith.trials.setup import duration

    assert [duration(t, "budget") for t in (None, "90", "90s", "10m", "2h", "1d")] == [None, 90, 90, 600, 7200, 86400]
    with pytest.raises(ActsmithError, match="--trial-timeout: got 'soon'; expected a time such as"):
        duration("soon", "--trial-timeout")


def test_start_loads_little() -> None:
    """`--help` needs neither torch nor sympy nor numpy; `analyze` needs no torch."""
    code = "import sys, actsmith.cli as c\ntry: c.main(%s)\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    for arguments, absent in ((["--help"], ("torch", "sympy", "numpy")), (["analyze", "gelu", "--json"], ("torch",))):
        done = subprocess.run([sys.executable, "-c", code % arguments], capture_output=True, text=True, check=True)
        for module in absent:
            assert f"'{module}'" not in done.stdout


def test_help_is_quick() -> None:
    """The best of three, since other work may share the machine."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "actsmith", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_verbs_options_and_names(shell: str, capsys) -> None:
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as stop:
        main(["--print-completion", shell])
    out, err = capsys.readouterr()
    assert (stop.value.code, err) == (0, "")
    assert all(word in out for word in (*verbs(), "--law", "--html", "gelu_tanh"))
    if shell == "bash" and shutil.which("bash"):
        asked = 'COMP_WORDS=(actsmith analyze gelu_t); COMP_CWORD=2; _shtab_actsmith; echo "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", f"{out}\n{asked}"], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "gelu_tanh"


def test_completion_without_its_package_or_for_another_shell_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    for shell, said in (("bash", "pip install 'actsmith[completion]'"), ("fish", "got 'fish'; expected bash or zsh")):
        with pytest.raises(SystemExit) as stop:
            main(["--print-completion", shell])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
