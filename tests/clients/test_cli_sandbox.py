"""`tallybook sandbox` against a real server, and other commands in a sandbox."""

import json

import pytest
from tests.support.live_server import live_server

from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run

CATALOG = "customers: [{id: acme}]"
CHANGED = "customers: [{id: acme}, {id: globe}]"


@pytest.fixture
def tallybook(tmp_path, capsys):
    """Run `tallybook`; (exit code, standard output, standard error)."""
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    (tmp_path / "changed.yaml").write_text(CHANGED)
    with live_server() as address:

        def call(*arguments):
            texts = [str(tmp_path / each) if each.endswith(".yaml") else each for each in arguments]
            code = run([*texts, "--server", address])
            written = capsys.readouterr()
            return code, written.out, written.err

        assert call("apply", "catalog.yaml")[0] is ExitCode.OK
        yield call


def test_a_sandbox_from_its_making_to_its_end(tallybook):
    # Given a sandbox
    code, out, _ = tallybook("sandbox", "create", "--name", "next year", "--hours", "0.5", "--json")
    assert code is ExitCode.OK
    made = json.loads(out)
    token, sandbox_id = made["access_token"], made["sandbox"]["sandbox_id"]
    assert token.startswith("tbs_")
    # When a command has its token as the key, then it works in it
    assert tallybook("apply", "changed.yaml", "--key", token)[0] is ExitCode.OK
    assert "globe" in tallybook("apply", "changed.yaml", "--dry-run")[1]
    # And it is listed and shown without its token
    for arguments in (("list",), ("show", sandbox_id)):
        code, out, _ = tallybook("sandbox", *arguments, "--json")
        (shown,) = map(json.loads, out.splitlines())
        assert code is ExitCode.OK
        assert shown["display_name"] == "next year"
        assert int(shown["stored_bytes"]) > 0
        assert "access_token" not in shown
        assert token not in tallybook("sandbox", *arguments)[1]
    # And gone once it is deleted
    assert tallybook("sandbox", "delete", sandbox_id)[0] is ExitCode.OK
    assert tallybook("sandbox", "list", "--json")[1] == ""
    code, _, error = tallybook("events", "--key", token)
    assert code is ExitCode.NOT_ALLOWED
    assert "SANDBOX_EXPIRED" in error
    code, _, error = tallybook("sandbox", "show", sandbox_id)
    assert code is ExitCode.FAILURE_FOUND
    assert sandbox_id in error


def test_a_person_is_shown_the_token_once(tallybook):
    code, out, _ = tallybook("sandbox", "create")
    assert code is ExitCode.OK
    assert "its key, which is not shown again:" in out
    assert out.splitlines()[-1].startswith("tbs_")
    code, out, _ = tallybook(
        "sandbox", "delete", next(word for word in out.split() if word.startswith("sbx_")), "--json"
    )
    assert code is ExitCode.OK
    assert json.loads(out)["sandbox_id"].startswith("sbx_")


@pytest.mark.parametrize("hours", ["0", "169", "soon"])
def test_a_wrong_time_is_refused(tallybook, hours):
    assert tallybook("sandbox", "create", "--hours", hours)[0] is ExitCode.USAGE
