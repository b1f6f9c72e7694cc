# The engine in a container: docker build -t esp-engine . && docker run esp-engine run windows/digits_camera --brokers HOST:PORT
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY esp esp
COPY windows windows
RUN python -m venv /opt/esp && /opt/esp/bin/pip install --no-cache-dir '.[avro,protobuf]'

FROM python:3.12-slim
RUN useradd --system --create-home --uid 10001 esp \
    && mkdir -p /var/lib/esp /var/cache/esp /srv/esp \
    && chown esp /var/lib/esp /var/cache/esp
COPY --from=build /opt/esp /opt/esp
COPY windows /srv/esp/windows
WORKDIR /srv/esp
USER esp
# checkpoints and deployed models live in /var/lib/esp, compiled kernels in /var/cache/esp: keep both in volumes
ENV PATH=/opt/esp/bin:$PATH ESP_CACHE_DIR=/var/cache/esp PYTHONUNBUFFERED=1
# for the CPU that builds; another one compiles at its first start, into the volume
RUN esp warmup
VOLUME ["/var/lib/esp", "/var/cache/esp"]
EXPOSE 8088
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8088/healthz', timeout=3)"]
ENTRYPOINT ["esp"]
CMD ["run", "windows/digits_camera", "--listen", "0.0.0.0:8088", "--state", "/var/lib/esp"]
