# The daemon:                            docker build -t omni-user-sync \
#                                            --build-arg REVISION="$(git rev-parse --short=12 HEAD)" .
# A stand-in for Omni, to try it on:     docker build -t omni-user-sync-sandbox --target sandbox .

# One Debian for both: what is built on a newer one does not run on an older.
ARG RUST_IMAGE=rust:1.95-trixie
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13

# The dependencies are a layer of their own: it stays while Cargo.toml and Cargo.lock do.
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
# A stand-in need not be fast: without the optimiser it is built in a fraction of the time.
RUN cargo build --release --locked \
        --config profile.release.package.omni-user-sync.opt-level=0 \
        --config profile.release.package.omni-user-sync.codegen-units=16

FROM ${RUNTIME_IMAGE} AS sandbox
LABEL org.opencontainers.image.title="omni-user-sync sandbox" \
      org.opencontainers.image.description="A stand-in for Omni, to try omni-user-sync on" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build-sandbox /build/target/release/omni-user-sync /usr/local/bin/
COPY --from=dependencies /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532
EXPOSE 8787
ENTRYPOINT ["/usr/local/bin/omni-user-sync"]
CMD ["sandbox", "--listen", "0.0.0.0:8787", "--users", "200"]

FROM dependencies AS build
COPY . .
# The commit that it is built of, for `--version` and the metrics.
ARG REVISION=""
RUN OMNI_USER_SYNC_COMMIT=${REVISION} cargo build --release --locked --no-default-features \
    && mkdir /state

FROM ${RUNTIME_IMAGE} AS daemon
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="omni-user-sync" \
      org.opencontainers.image.description="Keeps the users of an Omni organisation and their attributes as a CSV says" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /build/target/release/omni-user-sync /usr/local/bin/
# The certificate authorities, whatever the base image has.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY deploy/docker/config.toml /etc/omni-user-sync/
COPY --from=build --chown=65532:65532 /state /var/lib/omni-user-sync
USER 65532:65532
VOLUME /var/lib/omni-user-sync
EXPOSE 8080
# Ready is who has read the roster and all of Omni's users: at the default limit some 5,500 a minute, so that
# 300,000 take an hour. One check that passes ends this time.
HEALTHCHECK --interval=30s --timeout=6s --start-period=1h --retries=3 \
    CMD ["/usr/local/bin/omni-user-sync", "health"]
# No shell between: a stop reaches the daemon itself.
ENTRYPOINT ["/usr/local/bin/omni-user-sync"]
CMD ["run"]
