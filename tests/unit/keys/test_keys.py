"""API keys: a token opens its book until it is revoked, at once and from wherever that is done."""

from __future__ import annotations

import itertools
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from tallybook_server.keys import ApiKey, ApiKeys, KeysError, UnknownKeyError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite"


def open_keys(path: Path) -> ApiKeys:
    """Keys under a clock that counts 100, 200, ... microseconds."""
    return ApiKeys(path, itertools.count(100, 100).__next__)


@pytest.fixture
def keys(path: Path) -> Iterator[ApiKeys]:
    with closing(open_keys(path)) as opened:
        yield opened


def test_a_token_opens_its_book(keys: ApiKeys) -> None:
    _, ours = keys.create("ours")
    _, theirs = keys.create("theirs")
    assert [keys.book_of(token) for token in (ours, theirs, ours)] == ["ours", "theirs", "ours"]


def test_a_token_is_256_random_bits_behind_a_prefix(keys: ApiKeys) -> None:
    tokens = [keys.create("book")[1] for _ in range(50)]
    assert all(re.fullmatch(r"tb_[A-Za-z0-9_-]{43}", token) for token in tokens)
    assert len(set(tokens)) == 50


@pytest.mark.parametrize("wrong", ["", "tb_", "{}x", "x{}", "{} ", "tb_" + "A" * 43, "\udce9"])
def test_any_other_token_opens_nothing(keys: ApiKeys, wrong: str) -> None:
    _, token = keys.create("book")
    assert keys.book_of(wrong.format(token)) is None
    assert keys.book_of(token.upper()) is None


def test_the_file_holds_no_token(keys: ApiKeys, path: Path) -> None:
    _, token = keys.create("book")
    assert keys.book_of(token) == "book"
    for file in path.parent.iterdir():
        assert token.encode() not in file.read_bytes()
        assert token.removeprefix("tb_").encode() not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_list_shows_who_made_which_key_when(keys: ApiKeys) -> None:
    first, _ = keys.create("a")
    second, _ = keys.create("b")
    keys.revoke(first.key_id)
    assert keys.list() == [ApiKey(first.key_id, "a", 100, 300), ApiKey(second.key_id, "b", 200, None)]
    assert first.key_id != second.key_id


def test_a_revoked_key_opens_nothing_though_it_was_just_used(keys: ApiKeys) -> None:
    key, token = keys.create("book")
    _, other = keys.create("book")
    assert keys.book_of(token) == "book"
    keys.revoke(key.key_id)
    assert keys.book_of(token) is None
    assert keys.book_of(other) == "book"


def test_revoking_again_keeps_the_first_time(keys: ApiKeys) -> None:
    key, _ = keys.create("book")
    assert [keys.revoke(key.key_id).revoked_time_us, keys.revoke(key.key_id).revoked_time_us] == [200, 200]


def test_revoking_what_is_not_there(keys: ApiKeys, path: Path) -> None:
    with pytest.raises(UnknownKeyError, match=re.escape(f"{path}: no key has the id 'key_0'")):
        keys.revoke("key_0")


def test_keys_outlive_the_server(path: Path) -> None:
    with closing(open_keys(path)) as keys:
        key, token = keys.create("book")
        gone, revoked = keys.create("book")
        keys.revoke(gone.key_id)
    with closing(open_keys(path)) as keys:
        assert [keys.book_of(token), keys.book_of(revoked)] == ["book", None]
        assert keys.list()[0] == key


def test_whether_any_key_was_ever_made(keys: ApiKeys) -> None:
    assert not keys.any_created()
    key, _ = keys.create("book")
    keys.revoke(key.key_id)
    assert keys.any_created()


def test_another_process_creates_and_revokes_beside_the_server(keys: ApiKeys, path: Path) -> None:
    key, token = keys.create("book")
    assert keys.book_of(token) == "book"
    command = (
        "import sys; from pathlib import Path; from tallybook_server.keys import ApiKeys\n"
        "keys = ApiKeys(Path(sys.argv[1]), lambda: 7)\n"
        "keys.revoke(sys.argv[2]); print(keys.create('other')[1])"
    )
    arguments = [sys.executable, "-c", command, str(path), key.key_id]
    search_path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    created = subprocess.run(arguments, env=search_path, check=True, capture_output=True, text=True).stdout.strip()
    assert [keys.book_of(token), keys.book_of(created)] == [None, "other"]


def test_many_threads_ask_while_keys_are_revoked(keys: ApiKeys) -> None:
    made = [keys.create("book") for _ in range(20)]
    revoked: set[str] = set()
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(50):
            for key, token in made:
                was_revoked = key.key_id in revoked
                if was_revoked and keys.book_of(token) is not None:
                    wrong.append(key.key_id)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for key, _ in made[:10]:
        keys.revoke(key.key_id)
        revoked.add(key.key_id)
    for asker in askers:
        asker.join()
    assert wrong == []
    assert [keys.book_of(token) for _, token in made] == [None] * 10 + ["book"] * 10


def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(KeysError, match="not a file of keys"):
        open_keys(path)
    assert path.read_bytes() == before


def test_a_file_of_another_format_is_refused(path: Path) -> None:
    open_keys(path).close()
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("user_version", 2)
    with pytest.raises(KeysError, match="another release"):
        open_keys(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"tb_secret\n" * 1000)
    with pytest.raises(KeysError, match=re.escape(str(path))):
        open_keys(path)
