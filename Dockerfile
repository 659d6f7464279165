# By digest, so that the same commit always has the same base. Dependabot moves it. With the registry, since podman and buildah
# have no default.
FROM docker.io/library/python:3.14.7-slim@sha256:ce40764625a4ff50df3548277632e7f96c4e77fe75fa848aae9885476e7df5a4 AS base

# The wheel, and an environment that holds it and the pinned dependencies. Built in the place where it will run: the
# scripts of an environment name their interpreter by its path.
FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/build && python -m venv --without-pip /opt/rls
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
    && /opt/build/bin/pip --python /opt/rls/bin/python install --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/pip --python /opt/rls/bin/python install --no-deps --no-index /dist/*.whl \
    && /opt/rls/bin/rls version

FROM base
LABEL org.opencontainers.image.title="Istio Rate Limiter" \
      org.opencontainers.image.description="Envoy's RateLimitService v3" \
      org.opencontainers.image.licenses="Apache-2.0"
# Modules were compiled when they were installed; nothing needs to be written, so the root may be read-only.
ENV PATH="/opt/rls/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/rls /opt/rls
USER 65532:65532
WORKDIR /
# gRPC; HTTP: health, readiness, metrics, /json; admin, on the loopback address unless told otherwise
EXPOSE 8081 8080 6070
ENTRYPOINT ["rls"]
CMD ["serve"]
