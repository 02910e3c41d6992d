"""The store that the settings name."""

from __future__ import annotations

from urllib.parse import urlsplit

from api.settings import Settings
from api.store.blobs.base import ArtifactStore


def open_store(settings: Settings) -> ArtifactStore:
    """The store that the settings name. ValueError, in one line, for an address of no kind."""
    scheme = urlsplit(settings.artifacts).scheme
    if scheme == "s3":
        from api.store.blobs.cache import Cache

        try:  # not at the top: it loads a library that only this needs
            from api.store.blobs.s3 import BucketStore
        except ImportError as error:
            raise ValueError(
                "ARTIFACTS_URL is s3://…, for which botocore is missing: pip install "
                "'saf-service[s3]', in a checkout sh scripts/install s3"
            ) from error
        cache = Cache(settings.data_dir.absolute() / "cache", settings.cache_max_bytes)
        return BucketStore(settings.artifacts, cache)
    if scheme not in ("", "file"):
        raise ValueError(
            f"ARTIFACTS_URL has the scheme {scheme!r}; give a directory that the API and all "
            "workers share, plain or as file:///…, or s3://BUCKET/PREFIX"
        )
    from api.store.blobs.directory import DirectoryStore

    return DirectoryStore(settings.artifacts)
