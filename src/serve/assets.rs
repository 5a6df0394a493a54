//! Assets of the pages: a style sheet, a script and an icon. They are separate files, so that the
//! Content-Security-Policy can forbid inline ones.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::LazyLock;

const FILES: [(&str, &str, &str); 3] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("assets/style.css"),
    ),
    (
        "live.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/live.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// ETags. Browsers revalidate an asset on each use and usually get 304.
static TAGS: LazyLock<[String; 3]> = LazyLock::new(|| {
    FILES.map(|(.., text)| format!("\"{}\"", blake3::hash(text.as_bytes()).to_hex()))
});

pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let mut files = FILES.iter().zip(TAGS.iter());
    let Some(((_, content_type, text), tag)) = files.find(|((file, ..), _)| *file == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let caching = [(CACHE_CONTROL, "no-cache"), (ETAG, tag.as_str())];
    if headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, *content_type)], *text).into_response()
}
