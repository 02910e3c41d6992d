"""The whole way with PostgreSQL and a bucket, whose network is cut in the middle of a job."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.maintenance.collector import Janitor
from api.settings import Settings
from api.store.blobs.open import open_store
from api.store.database import Database
from tests.acceptance import real_digits
from tests.acceptance.conftest import Service
from tests.acceptance.leaks import SMALL
from tests.chaos.proxy import Proxy
from tests.s3 import SECRET, S3Server
from tests.waiting import until


@pytest.fixture
def network(
    s3: S3Server, bucket: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    """Between the service and the bucket; ask for it before the service."""
    proxy = Proxy(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("ARTIFACTS_URL", bucket)
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    yield proxy
    proxy.close()


def test_a_job_goes_the_whole_way_through_a_bucket_that_is_away_for_a_while(
    network: Proxy, bucket: str, s3: S3Server, own_service: Service
) -> None:
    service = own_service
    name = bucket.split("/")[2]
    sent = {"file": ("mine.zip", real_digits.as_idx_zip())}
    response = service.http.post("/v1/datasets", files=sent)
    assert response.status_code == 201, response.text
    dataset = response.json()
    picture = f"{dataset['urls']['preview']}.png"
    assert service.http.get(picture).content.startswith(b"\x89PNG")
    job_id = service.submit(**{**SMALL, "dataset": dataset["id"], "epochs": 100})
    service.wait(job_id, "running", step=5)

    network.cut()
    readiness = service.http.get("/readyz")
    assert readiness.status_code == 503
    assert f"storage: cannot be written: {bucket} does not answer" in readiness.json()["detail"]
    # What was fetched before is verified and lies in the cache.
    assert service.http.get(picture).content.startswith(b"\x89PNG")
    assert service.http.get(f"/jobs/{job_id}").status_code == 200
    assert f"{bucket} does not answer" in service.http.get("/system").text
    wait_for_note(service, job_id)
    network.heal()
    job = service.wait(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 1), service.logs(job_id)
    assert service.http.get("/readyz").status_code == 200

    files = {entry["name"]: entry for entry in service.get(job["urls"]["artifacts"])["data"]}
    lif = files["lif.safetensors"]
    begin = service.http.get(lif["url"], headers={"Range": "bytes=0-99"})
    assert (begin.status_code, len(begin.content)) == (206, 100)
    rest = service.http.get(lif["url"], headers={"Range": "bytes=100-"})
    content = begin.content + rest.content
    assert hashlib.sha256(content).hexdigest() == lif["sha256"]
    tried = service.http.post(f"/v1/jobs/{job_id}/predict", json={"sample": 0})
    assert tried.status_code == 200, tried.text

    assert service.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    assert s3.keys(name) == []
    orphan = f"saf/{lif['sha256'][:2]}/{lif['sha256']}"
    s3.client.put_object(Bucket=name, Key=orphan, Body=content)
    assert collect(service.directory / "data") == {"file without row": len(content)}
    assert s3.keys(name) == []
    work = service.directory / "data" / "work"
    assert not list(work.glob("*/job_*"))
    log = service.log.read_text()
    for secret in (SECRET, "Signature=", "Traceback"):
        assert secret not in log


def wait_for_note(service: Service, job_id: str) -> None:
    def events() -> list[dict[str, Any]]:
        return list(service.get(f"/v1/jobs/{job_id}/events")["data"])

    def is_noted() -> bool:
        return any(e["data"].get("text", "").startswith("the job waits") for e in events())

    until(is_noted, said=events)


def collect(directory: Path) -> Counter[str]:
    """What `saf gc` removes, in bytes by kind."""
    time.sleep(1.1)  # S3 tells whole seconds
    settings = Settings(data_dir=directory, gc_grace_hours=0.00001)
    database = Database(settings.database)
    try:
        return Janitor(database, open_store(settings), settings).collect()
    finally:
        database.dispose()
