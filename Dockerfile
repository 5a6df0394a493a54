# The daemon:                            docker build -t omni-user-sync \
#                                            --build-arg REVISION="$(git rev-parse --short=12 HEAD)" .
# A mock Omni server for experiments:    docker build -t omni-user-sync-sandbox --target sandbox .

# Both use the same Debian release: a binary built on a newer one does not run on an older one.
ARG RUST_IMAGE=rust:1.95-trixie
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13

# A layer with the dependencies, which is cached until Cargo.toml or Cargo.lock changes.
FROM ${RUST_IMAGE} AS dependencies
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches benches
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked --no-default-features \
    && cargo clean --release --package omni-user-sync \
    && rm -r src

FROM dependencies AS build-sandbox
COPY . .
# The mock server need not be fast, and builds in a fraction of the time without optimisation.
RUN cargo build --release --locked \
        --config profile.release.package.omni-user-sync.opt-level=0 \
        --config profile.release.package.omni-user-sync.codegen-units=16

FROM ${RUNTIME_IMAGE} AS sandbox
LABEL org.opencontainers.image.title="omni-user-sync sandbox" \
      org.opencontainers.image.description="A mock Omni server for omni-user-sync" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build-sandbox /build/target/release/omni-user-sync /usr/local/bin/
COPY --from=dependencies /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532
EXPOSE 8787
ENTRYPOINT ["/usr/local/bin/omni-user-sync"]
CMD ["sandbox", "--listen", "0.0.0.0:8787", "--users", "200"]

FROM dependencies AS build
COPY . .
# The commit, for `--version` and the metrics.
ARG REVISION=""
RUN BUILD_COMMIT=${REVISION} cargo build --release --locked --no-default-features \
    && mkdir /state

FROM ${RUNTIME_IMAGE} AS daemon
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="omni-user-sync" \
      org.opencontainers.image.description="Syncs users and user attributes in an Omni organisation from a CSV file" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /build/target/release/omni-user-sync /usr/local/bin/
# The certificate authorities, regardless of the base image.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY deploy/docker/config.toml /etc/omni-user-sync/
COPY --from=build --chown=65532:65532 /state /var/lib/omni-user-sync
USER 65532:65532
VOLUME /var/lib/omni-user-sync
EXPOSE 8080
# The daemon is ready once it has read the roster and all users in Omni: about 5,500 per minute at the default
# limit, so 300,000 take an hour. The first check that passes ends the start period.
HEALTHCHECK --interval=30s --timeout=6s --start-period=1h --retries=3 \
    CMD ["/usr/local/bin/omni-user-sync", "health"]
# Without a shell, so that signals reach the daemon itself.
ENTRYPOINT ["/usr/local/bin/omni-user-sync"]
CMD ["run"]
