# ranet-jax on a CPU, from its wheel, as an ordinary user:
#
#     docker build -t ranet-jax .
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/videos" ranet-jax segment walk.mp4 --mask first.png --out masks
#
# On a GPU: --build-arg JAX="jax[cuda13]", and --gpus all to run.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG JAX=jax
# OpenCV's wheel needs these two.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels/*.whl /wheels/
RUN wheel="$(ls /wheels/*.whl)" && pip install --no-cache-dir "${wheel}[studio]" "${JAX}" && rm -r /wheels
RUN useradd --create-home tracker && mkdir /videos /cache && chmod 1777 /videos /cache
# Compiled programs are kept where any user may write; a volume at /cache keeps them between runs.
ENV JAX_COMPILATION_CACHE_DIR=/cache
USER tracker
WORKDIR /videos
ENTRYPOINT ["ranet-jax"]
CMD ["--help"]
