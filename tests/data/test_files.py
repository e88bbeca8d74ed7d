"""Where files are looked for, fetching from a local server, and the checks of their content."""

import gzip
import hashlib
import re

import pytest

from obverse.data.files import find_archives, find_folder

CONTENT = b"twenty-eight by twenty-eight"
HASHES = {"a.gz": hashlib.sha256(CONTENT).hexdigest()}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OBVERSE_DATA", raising=False)


def put(place, content=CONTENT, level=9):
    (place / "set").mkdir(parents=True, exist_ok=True)
    (place / "set" / "a.gz").write_bytes(gzip.compress(content, level))
    return place


def test_order_is_argument_then_environment_then_cache(tmp_path, monkeypatch):
    put(tmp_path / "cache" / "obverse")
    assert find_folder("set", ["a.gz"], None, source="") == tmp_path / "cache" / "obverse" / "set"
    monkeypatch.setenv("OBVERSE_DATA", str(put(tmp_path / "environment")))
    assert find_folder("set", ["a.gz"], None, source="") == tmp_path / "environment" / "set"
    assert find_folder("set", ["a.gz"], put(tmp_path / "given"), source="") == tmp_path / "given" / "set"
    assert find_folder("set", ["a.gz"], tmp_path / "nowhere", source="") == tmp_path / "environment" / "set"


def test_only_the_decompressed_content_counts(tmp_path):
    assert find_archives("set", HASHES, put(tmp_path, level=1), addresses=()) == [CONTENT]
    (tmp_path / "set" / "a.gz").unlink()
    (tmp_path / "set" / "a").write_bytes(CONTENT)
    assert find_archives("set", HASHES, tmp_path, addresses=()) == [CONTENT]


def test_fetches_into_the_cache_once_and_tries_the_next_address(tmp_path):
    server = put(tmp_path / "server")
    addresses = [(tmp_path / "missing").as_uri() + "/", (server / "set").as_uri() + "/"]
    assert find_archives("set", HASHES, None, addresses=addresses) == [CONTENT]
    assert [file.name for file in (tmp_path / "cache" / "obverse" / "set").iterdir()] == ["a.gz"]
    assert find_archives("set", HASHES, None, addresses=()) == [CONTENT]


def test_another_content_at_the_address_is_refused_and_not_kept(tmp_path):
    server = put(tmp_path / "server", b"something else")
    with pytest.raises(FileNotFoundError, match="another content than expected"):
        find_archives("set", HASHES, None, addresses=[(server / "set").as_uri() + "/"])
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("broken", [gzip.compress(b"something else"), b"not gzip", gzip.compress(CONTENT)[:-9]])
def test_local_file_with_another_content_is_named(tmp_path, broken):
    put(tmp_path)
    (tmp_path / "set" / "a.gz").write_bytes(broken)
    with pytest.raises(ValueError, match=r"set.a\.gz: expected content with SHA-256 .* delete the file"):
        find_archives("set", HASHES, tmp_path, addresses=())


def test_errors_say_what_to_put_where(tmp_path):
    where = re.escape(f"{tmp_path}/given, {tmp_path}/cache/obverse")
    with pytest.raises(FileNotFoundError, match=f"expected set/a.gz in one of {where}; .*no address.*OBVERSE_DATA"):
        find_archives("set", HASHES, tmp_path / "given", addresses=())
    with pytest.raises(FileNotFoundError, match=f"expected set/ with x, y in one of {where}; .*Get it from it"):
        find_folder("set", ["x", "y"], tmp_path / "given", source="it")
