# The web page and API, predict and export, for a machine without a GPU:
#   docker build -t vehicle . && docker run --rm -p 127.0.0.1:8000:8000 vehicle
FROM python:3.11-slim-bookworm

# What OpenCV's wheel expects of the system.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt

COPY src src
COPY models/vehicle models/vehicle
COPY models/calibration.json models/calibration.json

# A checkout made under a strict umask cannot be read by others.
RUN chmod -R a+rX src models
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin vehicle
USER 10001
EXPOSE 8000
# Not by urllib, which would ask a proxy that the container was given.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import sys, http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
# A container's own loopback cannot be reached; which of the host's addresses can is up to -p.
CMD ["python", "src/serve.py", "--host", "0.0.0.0"]
