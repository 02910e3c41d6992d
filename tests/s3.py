"""A real S3 server for tests: moto's, over HTTP, in a process of its own that dies with pytest."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import botocore.session
from botocore.config import Config

from api.host.child import Child, plain_environment
from tests.answers import answers
from tests.waiting import until

KEY = "test-key-id"
SECRET = "test-secret-that-is-in-no-log"


class S3Server:
    """Keeps buckets in memory, on a port of its own."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with log.open("wb") as output:
            self._child = Child("s3", command, environment=plain_environment(), output=output)
            self._child.start()
        until(lambda: answers(f"{self.url}/moto-api/"), said=log.read_text)
        self.client = botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(max_pool_connections=20),
        )

    def environment(self, url: str = "") -> dict[str, str]:
        """What a program is told to find it, and nothing else; at another address if given."""
        return {
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def create_bucket(self, name: str) -> None:
        self.client.create_bucket(Bucket=name)

    def keys(self, bucket: str) -> list[str]:
        """Everything in a bucket."""
        found = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return [entry["Key"] for entry in found]

    def stop(self) -> None:
        self.client.close()
        self._child.kill()
