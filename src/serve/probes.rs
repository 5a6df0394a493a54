//! `/metrics`, `/healthz`, `/readyz`.

use crate::metrics::Metrics;
use crate::status::Status;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4";

/// The data of the probes.
#[derive(Clone, Debug)]
pub struct Probes {
    /// The status of the daemon.
    pub status: Status,
    /// Its metrics.
    pub metrics: Metrics,
}

impl Probes {
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(self)
    }
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], probes.metrics.render())
}

async fn healthz(State(probes): State<Probes>) -> Response {
    if probes.status.is_alive() {
        "alive\n".into_response()
    } else {
        let reason = "the run loop is stuck\n";
        (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
    }
}

async fn readyz(State(probes): State<Probes>) -> Response {
    match probes.status.readiness(chrono::Utc::now()) {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
