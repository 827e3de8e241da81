# JupyterLab with the lessons, for any user id; the copies of the lessons are in /work.
#   docker build -t papers-cell-by-cell .
#   docker run --rm -p 8888:8888 -v "$PWD:/work" -u "$(id -u)" papers-cell-by-cell
# pip takes torch's build for GPUs, which is large. Where an index has the one for processors:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=ADDRESS -t papers-cell-by-cell .
FROM python:3.12-slim AS wheel
WORKDIR /project
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
# Seen by pip, which reads its options from the environment, if it was given.
ARG PIP_EXTRA_INDEX_URL
# First what changes least: this large layer stays as long as the pins do.
COPY requirements.txt /tmp/
RUN sed '/^-e/d' /tmp/requirements.txt > /tmp/pins.txt && \
    pip install --no-cache-dir -r /tmp/pins.txt
COPY --from=wheel /wheel /tmp/wheel
RUN pip install --no-cache-dir --no-deps /tmp/wheel/*.whl && mkdir -m 1777 /work

# Another user may be chosen when it runs; none of them needs a name or a home.
USER 1000
WORKDIR /work
EXPOSE 8888
CMD ["papers-cell-by-cell", "--ip=0.0.0.0", "--no-browser"]
