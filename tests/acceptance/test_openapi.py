"""Requests made from the OpenAPI document, right ones and wrong ones, against a server process.

`SAF_SCHEMATHESIS_EXAMPLES=500 python -m pytest tests/acceptance/test_openapi.py` is a long run:
so many requests for each operation, from another seed each time.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.local.valkey import EmbeddedBroker
from tests.browser.service import Service
from tests.waiting import PATIENCE

EXAMPLES = int(os.environ.get("SAF_SCHEMATHESIS_EXAMPLES", "0"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)


@pytest.mark.timeout(900 + 60 * EXAMPLES)
def test_every_answer_is_one_that_the_document_describes(tmp_path: Path) -> None:
    """No 500, no status or content type that is not documented, no body off its schema."""
    with EmbeddedBroker(tmp_path / "broker") as broker:
        settings = {
            "SAF_DATA_DIR": str(tmp_path),
            "BROKER_URL": broker.url,
            "SAF_JOBS_QUEUED_PER_USER": "0",
            "SAF_JOBS_PER_USER_HOUR": "0",
        }
        web = ["uvicorn", "--factory", "api.main:create_app", "--log-level", "warning"]
        server = Service(tmp_path, web, settings)
        try:
            found = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "run"),
                    f"{server.url}/openapi.json",
                    # Never ends; tests/api/jobs/test_live.py reads it.
                    *("--exclude-path", "/v1/stream"),
                    *("--max-examples", str(EXAMPLES or 3)),
                    *("--seed", str(random.randrange(2**32) if EXAMPLES else 1)),
                    *("--phases", "coverage,fuzzing", "--checks", ",".join(CHECKS)),
                    *("--request-timeout", str(int(PATIENCE)), "--continue-on-failure"),
                    *("--suppress-health-check", "all", "--warnings", "off"),
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                env={
                    **os.environ,
                    "NO_COLOR": "1",
                    "COLUMNS": "200",
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                    "SCHEMATHESIS_HOOKS": "tests.acceptance.openapi_hooks",
                },
            )
            assert found.returncode == 0, found.stdout[-20_000:] + found.stderr
        finally:
            server.close()
    cases = re.search(r"(\d+) generated", found.stdout)
    assert cases is not None, found.stdout[-2000:]
    assert int(cases[1]) > 500, found.stdout[-2000:]
    print(found.stdout[found.stdout.index("SUMMARY") :])
