"""What the README and the help of the commands show is run as it stands."""

import re
import shlex
from pathlib import Path

import polars as pl
import pytest
from tests.support.live_server import live_server

from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

USAGE = """order,customer,cards,at
ORDER-1,Customer_GUID,3,2024-05-01T10:00:00Z
ORDER-2,Customer_GUID,1,2024-05-02T10:00:00Z
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The `tallybook` commands of the README in their order, without `serve`: the test has its own server."""
    text = "".join(blocks("")).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("tallybook ")]
    return [line[1:] for line in lines if line[1] != "serve"]


@pytest.fixture
def address():
    with live_server() as address:
        yield address


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that has the examples and somebody's usage."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "usage.csv").write_text(USAGE)
    pl.read_csv(tmp_path / "usage.csv", try_parse_dates=True).write_parquet(tmp_path / "usage.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_readme_work(folder, address, monkeypatch, capsys):
    monkeypatch.setenv("TALLYBOOK_SERVER", address)
    shown = {}
    for command in commands():
        assert run(command) is ExitCode.OK, (command, capsys.readouterr().err)
        shown[command[0]] = capsys.readouterr().out
    assert list(shown) == [
        *(
            "quote",
            "determinants",
            "apply",
            "predict",
            "ingest",
            "charges",
            "explain",
            "simulate",
            "sandbox",
            "readings",
        ),
    ]
    # Two of four cards are two cents cheaper each
    assert "-0.04" in shown["simulate"]
    assert Path("change.png").stat().st_size > 3_000
    assert "tbs_" in shown["sandbox"]
    assert "-19,955.50 USD" in shown["quote"]
    assert "three_highest_days" in shown["determinants"]
    assert "stored at sequence" in shown["determinants"]
    assert "2,928 readings stored" in shown["readings"]
    assert "0.07 EUR without tax, 0.01 tax (NL), 0.08 EUR in all" in shown["predict"]
    assert "2 stored, 0 duplicates" in shown["ingest"]
    assert "0.28 without tax, 0.06 tax, 0.34 EUR" in shown["charges"]
    assert "quantity 0 -> 3" in shown["explain"]


def test_the_python_of_the_readme_works(folder, address, monkeypatch, capsys):
    monkeypatch.setenv("TALLYBOOK_SERVER", address)
    assert run(["apply", "examples/cards/catalog.yaml"]) is ExitCode.OK
    capsys.readouterr()
    [snippet] = blocks("python")
    assert "with Client() as client:" in snippet
    exec(snippet.replace("Client()", f'Client("{address}")'), {})
    out = capsys.readouterr().out
    assert out.startswith("2 0 ")
    assert "0.21" in out


def test_every_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
