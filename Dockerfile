# One image for API and worker.
#
#   docker build --target cpu --build-arg TORCH_INDEX_URL=… -t saf-service:cpu .
#   docker build --target gpu -t saf-service:gpu .
#   docker build --target readers -t saf-service:readers .   # cpu, and the readers of NIR
#
# TORCH_INDEX_URL: a package index with CPU builds of torch (PyTorch names it on its page "Get
# started"). Without it the target cpu works too, with some gigabytes of CUDA libraries in it that
# it does not use.

ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    SAF_DATA_DIR=/data \
    ARTIFACTS_URL=/artifacts
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data saf \
    && install --directory --owner saf --group saf --mode 0750 /data /artifacts
# Long trainings compile their scan (docs/decisions/012-a-compiled-scan.md).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.lock ./
COPY service/pyproject.toml service/
# The dependencies are a layer of their own: a change of the code does not install them again.
RUN python -c "import tomllib; p = tomllib.load(open('service/pyproject.toml', 'rb'))['project']; print(*(r for r in p['dependencies'] + p['optional-dependencies']['s3'] if not r.startswith('saf-snn')), sep='\n')" \
    > requirements.txt
# Networks are compiled for browsers without a C library; of zig, those are 175 MB.

FROM base AS cpu-dependencies
ARG TORCH_INDEX_URL=
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
        pip install --no-deps --index-url "$TORCH_INDEX_URL" "$(grep '^torch==' requirements.lock)"; \
    fi \
    && pip install -c requirements.lock -r requirements.txt hatchling \
    && rm -r /usr/local/lib/python3*/site-packages/ziglang/lib/libc

FROM base AS gpu-dependencies
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install -c requirements.lock -r requirements.txt hatchling \
    && rm -r /usr/local/lib/python3*/site-packages/ziglang/lib/libc

FROM cpu-dependencies AS guide
COPY . .
RUN pip install -c requirements.lock --no-build-isolation -e . -e './service[docs]' \
    && python -m sphinx -q -W -E -d /tmp/doctrees docs api/built/guide

FROM cpu-dependencies AS cpu
COPY . .
COPY --from=guide /app/api/built api/built
RUN pip install --no-deps --no-build-isolation . ./service
USER saf
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["saf", "web", "--host", "0.0.0.0", "--port", "8000"]

# Workers whose exports to NIR are replayed: the environments of `saf readers`, made beforehand.
FROM cpu AS readers
USER root
ENV SAF_READERS=/opt/readers \
    SAF_READERS_INSTALL=0
RUN saf readers install
USER saf
HEALTHCHECK NONE
CMD ["python", "-m", "worker"]

FROM gpu-dependencies AS gpu
COPY . .
RUN pip install --no-deps --no-build-isolation . ./service
USER saf
WORKDIR /data
# For workers: the API needs no GPU.
HEALTHCHECK NONE
CMD ["python", "-m", "worker"]
