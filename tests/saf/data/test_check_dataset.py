"""The process that checks uploads, run as the server runs it."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saf.data import load

Files = dict[str, bytes]
Pack = Callable[[Mapping[str, bytes], str], Path]


def check(upload: Path, *options: str) -> tuple[dict[str, Any], Path]:
    output, result = upload.parent / "canonical", upload.parent / "result.json"
    command = [sys.executable, "-m", "saf.processes.check_dataset", str(upload), str(output)]
    done = subprocess.run(
        [*command, "--result", str(result), *options], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return json.loads(result.read_text(encoding="utf-8")), output


def test_a_good_upload_becomes_a_canonical_file_with_its_summary(
    mnist: Callable[..., Files], pack: Pack
) -> None:
    bounds = ("--max-memory-bytes", str(4 * 2**30), "--max-seconds", "60")
    verdict, output = check(pack(mnist(), "tar.gz"), "--format", "idx", *bounds)
    content = output.read_bytes()
    assert verdict["ok"] is True
    assert verdict["sha256"] == hashlib.sha256(content).hexdigest()
    assert verdict["bytes"] == len(content)
    assert verdict["summary"] == load(output).summary()


def test_what_is_odd_about_an_upload_is_in_its_summary(
    npz: Callable[..., Path],
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 5, 6), np.uint8)
    verdict, _ = check(npz(x_train=x, x_test=x[:4]))
    found = verdict["summary"]["findings"]
    assert found[0]["code"] == "test_in_training"
    assert found[0]["message"].startswith("all 4 of 4 test samples are also training samples")


def test_a_bad_upload_becomes_a_problem_with_a_hint_and_no_file(
    mnist: Callable[..., Files], pack: Pack
) -> None:
    files = mnist()
    del files["t10k-labels-idx1-ubyte"]
    verdict, output = check(pack(files, "zip"))
    assert verdict["ok"] is False
    (problem,) = verdict["problems"]
    assert "lacks the test labels" in problem["message"]
    assert problem["hint"]
    assert not output.exists()


def test_too_little_memory_is_a_problem_and_not_a_crash(pack: Pack) -> None:
    rows = np.zeros((30_000, 3072), np.uint8)
    batch = pickle.dumps({"data": rows, "labels": [0, 1] * 15_000})
    upload = pack({"data_batch_1": batch, "test_batch": batch}, "tar")
    verdict, output = check(upload, "--max-memory-bytes", str(150 * 2**20))
    (problem,) = verdict["problems"]
    assert "needs more memory than the 150.0 MiB allowed" in problem["message"]
    assert problem["limit"] == "max_memory_bytes"
    assert not output.exists()


def test_too_much_time_is_a_problem_and_not_a_crash(png: Callable[..., bytes], pack: Pack) -> None:
    blob = png(np.zeros((128, 128, 3), np.uint8))
    folders = ("train/a", "train/b", "test/a", "test/b")
    files = {f"{folder}/{index}.png": blob for folder in folders for index in range(5_000)}
    verdict, output = check(pack(files, "tar"), "--max-seconds", "1")
    assert "longer than 1 s of processor time" in verdict["problems"][0]["message"]
    assert not output.exists()
