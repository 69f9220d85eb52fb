# syntax=docker/dockerfile:1
# Trains, compares, exports, and predicts over many machines. Linux x86-64: pip brings the CUDA build of torch, which also runs on a CPU.
# Build: docker build -f docker/training.Dockerfile -t zoo-training .
# Use:   docs/deploy.md
FROM python:3.12-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE registry.yaml ./
COPY zoo zoo
COPY cli cli
COPY plugins plugins
# Ray with its job server, which KubeRay asks (docs/scale/kubernetes/predict.yaml).
RUN pip install --no-cache-dir ".[train,dicom,parquet,sign,scale]" "ray[default]==2.60.0"
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/project MPLCONFIGDIR=/tmp
WORKDIR /project
RUN chown 10001:10001 /project
USER 10001:10001
ENTRYPOINT ["zoo"]
CMD ["doctor"]
