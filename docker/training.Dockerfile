# syntax=docker/dockerfile:1
# Trains, compares and exports. Linux x86-64: pip brings the CUDA build of torch, which also runs on a CPU.
# Build: docker build -f docker/training.Dockerfile -t zoo-training .
# Use:   docs/deploy.md
FROM python:3.12-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE registry.yaml ./
COPY zoo zoo
COPY cli cli
COPY plugins plugins
RUN pip install --no-cache-dir ".[train,dicom,parquet,sign]"
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/project MPLCONFIGDIR=/tmp
WORKDIR /project
RUN chown 10001:10001 /project
USER 10001:10001
ENTRYPOINT ["zoo"]
CMD ["doctor"]
