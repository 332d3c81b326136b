# docker build --build-arg TORCH_INDEX=<index of PyTorch's CPU wheels> -t rnp .
# docker run -p 127.0.0.1:8501:8501 -v rnp:/data rnp              # the dashboard
# docker run -v "$PWD":/work:ro -v rnp:/data rnp scan /work/model.pth --clean /work/clean.npz --out run
FROM python:3.11-slim
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 RNP_HOME=/data/home
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 fonts-dejavu-core \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home rnp \
 && install --directory --owner=rnp /data
WORKDIR /app
COPY requirements.txt pyproject.toml README.md ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0 \
 && pip install -r requirements.txt
COPY rnp_core ./rnp_core
COPY dashboard ./dashboard
COPY benchmarks ./benchmarks
COPY assets ./assets
RUN pip install --no-deps -e .
USER rnp
WORKDIR /data
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://localhost:8501/api/v1/health', timeout=5)"]
ENTRYPOINT ["rnp"]
CMD ["dashboard", "--host", "0.0.0.0"]
