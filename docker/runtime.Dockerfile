# syntax=docker/dockerfile:1
# Runs an exported model on a CPU: no torch, no compiler, no shell script, not root, nothing written.
# Build: docker build -f docker/runtime.Dockerfile -t zoo-runtime .
# Use:   docs/deploy.md
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE registry.yaml ./
COPY zoo zoo
COPY cli cli
COPY plugins plugins
RUN python -m venv /opt/zoo && /opt/zoo/bin/pip install --no-cache-dir ".[serve,sign,dicom]"

FROM python:3.12-slim
COPY --from=build /opt/zoo /opt/zoo
ENV PATH=/opt/zoo/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /images
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["python", "-m", "zoo.edge"]
CMD ["--help"]
