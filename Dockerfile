# The image of Lathe: server, worker and command.
#   docker build -t lathe .
#   docker run -p 127.0.0.1:50051:50051 -v lathe:/var/lib/lathe -v ./token:/run/secrets/lathe-token:ro lathe \
#     --listen 0.0.0.0:50051 --allow-plaintext --auth-token-file /run/secrets/lathe-token
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY scripts/packages.txt scripts/
RUN apt-get update \
 && awk '$1 == "build" {print $2}' scripts/packages.txt | grep -vE '^(libgtest-dev|libgmock-dev|libbenchmark-dev)$' \
    | DEBIAN_FRONTEND=noninteractive xargs apt-get install -y -qq --no-install-recommends \
 && rm -rf /var/lib/apt/lists/*
COPY CMakeLists.txt CMakePresets.json LICENSE ./
COPY cmake cmake
COPY proto proto
COPY common common
COPY worker worker
COPY server server
COPY client client
# The compiler cache outlives the layer: an image built again after a change compiles that change alone.
# LANG is part of what it goes by.
ENV CCACHE_DIR=/var/cache/ccache CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1 LANG=C.UTF-8
ARG LATHE_WERROR=OFF
RUN --mount=type=cache,target=/var/cache/ccache \
    cmake --preset release -DLATHE_BUILD_TESTS=OFF -DLATHE_BUILD_BENCH=OFF -DLATHE_WERROR=$LATHE_WERROR \
 && cmake --build build/release \
 && cmake --install build/release --prefix /opt/lathe --component runtime --strip

FROM debian:bookworm-slim AS lathe
COPY scripts/packages.txt /tmp/
RUN apt-get update \
 && awk '$1 == "run" {print $2}' /tmp/packages.txt \
    | DEBIAN_FRONTEND=noninteractive xargs apt-get install -y -qq --no-install-recommends \
 && rm -rf /var/lib/apt/lists/* /tmp/packages.txt \
 && useradd --system --uid 10001 --home-dir /var/lib/lathe --create-home lathe \
 && install -d -o lathe -g lathe /var/cache/lathe
COPY --from=build /opt/lathe /usr/local
USER lathe
WORKDIR /var/lib/lathe
VOLUME /var/lib/lathe
EXPOSE 50051 9464
# Beyond loopback the server asks for a token; see docs/operations.md.
ENTRYPOINT ["/usr/local/bin/lathed"]
CMD ["--data-dir", "/var/lib/lathe"]
