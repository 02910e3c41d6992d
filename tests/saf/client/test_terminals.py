"""Files and terminals in encodings of their own: what is read, and what is printed."""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
from pathlib import Path

import pytest

from saf.cli.specification import SpecificationError, read
from tests.api.conftest import Server
from tests.saf.client.test_surroundings import nothing_set, saf

__all__ = ["nothing_set"]


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-16-le", b""),
        ("utf-32-le", codecs.BOM_UTF32_LE),
    ],
)
def test_a_specification_is_read_in_the_encoding_that_it_was_saved_in(
    tmp_path: Path, encoding: str, mark: bytes
) -> None:
    file = tmp_path / "spec.json"
    file.write_bytes(mark + json.dumps({"name": "größe"}, ensure_ascii=False).encode(encoding))
    assert read(file, {}, ()) == {"name": "größe"}
    piped = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from saf.cli.specification import read; from pathlib import Path; "
            "print(ascii(read(Path('-'), {}, ())))",
        ],
        input=file.read_bytes(),
        capture_output=True,
    )
    assert piped.stdout.decode().strip() == ascii({"name": "größe"}), piped.stderr
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SpecificationError, match=r"no text|no JSON"):
        read(file, {}, ())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_name_is_printed_on_any_terminal_and_json_loses_nothing(
    shared: Server, encoding: str
) -> None:
    name = f"größe → 数据 {encoding}"
    job = shared.submit(name=name)["id"]
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for command in (["list"], ["show", job]):
        done = saf("--url", shared.address, *command, **environment)
        assert done.returncode == 0, done.stderr
        assert job.encode() in done.stdout
    told = json.loads(saf("--url", shared.address, "show", job, "--json", **environment).stdout)
    assert told["name"] == name
