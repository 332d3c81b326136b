# docker build --build-arg TORCH_INDEX=<index of PyTorch's CPU wheels> -t rnp .
FROM python:3.11-slim
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
RUN useradd --create-home rnp
WORKDIR /app
COPY requirements.txt pyproject.toml README.md ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0 \
 && pip install -r requirements.txt
COPY rnp_core ./rnp_core
COPY assets ./assets
RUN pip install --no-deps -e .
USER rnp
HEALTHCHECK --interval=60s --timeout=20s CMD ["rnp", "demo"]
ENTRYPOINT ["rnp"]
CMD ["--help"]
