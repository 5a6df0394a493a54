//! What is refused before it is asked who it is: a page of somebody else that reaches for this server
//! through a browser.
//!
//! - **`Host`** must be a loopback name or stand in `serve.hosts`: a stranger's name that resolves to
//!   this machine (DNS rebinding) gets nothing.
//! - **`Origin`**, where a browser sends it, must be the page's own. Behind a proxy on another port that leaves
//!   the port out of `Host`, the browser must say itself that it is (`Sec-Fetch-ServerConfig`).
//! - What came through somebody else, by its headers, is not local, wherever it comes from.

use super::session::LoginSource;
use axum::http::header::{FORWARDED, HOST, ORIGIN, VIA};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use std::net::IpAddr;

/// A request that was let in, and from where it came.
#[derive(Clone, Debug)]
pub(super) struct RequestOrigin {
    /// Who is at the other end of the connection.
    pub(super) peer: IpAddr,
    /// For whom a proxy says that it asks; anybody can say so.
    forwarded_for: Option<IpAddr>,
    /// Whether it came from this machine itself, by a name of this machine.
    pub(super) is_local: bool,
    /// Whether the browser says that it talks to us by https.
    pub(super) is_https: bool,
}

impl RequestOrigin {
    /// By whom guesses are counted. Behind a proxy on this machine all come from loopback, and one that
    /// guesses must not lock out the others.
    pub(super) fn guesser(&self) -> LoginSource {
        let is_local = self.peer.to_canonical().is_loopback();
        LoginSource {
            address: self.forwarded_for.filter(|_| is_local).unwrap_or(self.peer),
            is_local,
        }
    }

    /// Who it is, for the record.
    pub(super) fn who(&self) -> String {
        match self.forwarded_for {
            None => format!("web from {}", self.peer),
            Some(client) => format!("web from {} for {client}", self.peer),
        }
    }
}

/// Why a request is not let in.
pub(super) type NotLetIn = (StatusCode, String);

/// Lets a request in, or says why not.
pub(super) fn let_in(
    head: &Parts,
    peer: IpAddr,
    hosts: &[String],
) -> Result<RequestOrigin, NotLetIn> {
    let host = host(head)?;
    let by_own_name = is_loopback(host.host());
    if !by_own_name && !stands_in(hosts, &host) {
        let said = format!(
            "This server does not answer to the name {}; if it should, add the name to serve.hosts.",
            host.host()
        );
        return Err((StatusCode::MISDIRECTED_REQUEST, said));
    }
    let is_https = check_origin(&head.headers, &host, hosts)?;
    let site = head.headers.get("sec-fetch-site");
    if !head.method.is_safe() && site.is_some_and(|site| site == "cross-site") {
        return Err(foreign());
    }
    // A proxy of old speaks HTTP/1.0 and may tell nothing else of itself; no browser does.
    let is_forwarded =
        head.version < Version::HTTP_11 || head.headers.keys().any(|name| forwards(name.as_str()));
    Ok(RequestOrigin {
        peer,
        forwarded_for: forwarded_for(&head.headers),
        is_local: by_own_name && peer.to_canonical().is_loopback() && !is_forwarded,
        is_https,
    })
}

/// The name by which it was asked: one, and the same wherever it is said.
fn host(head: &Parts) -> Result<Authority, NotLetIn> {
    let wrong = || {
        let said = "A request needs one Host header with a name.".to_owned();
        (StatusCode::BAD_REQUEST, said)
    };
    let mut said = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (said.next(), said.next()) else {
        return Err(wrong());
    };
    let host = authority(host).ok_or_else(wrong)?;
    match head.uri.authority() {
        Some(asked) if *asked != host => Err(wrong()),
        _ => Ok(host),
    }
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    let authority: Authority = value.to_str().ok()?.parse().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

fn is_loopback(name: &str) -> bool {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match bare.unwrap_or(name).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether a name is one of `serve.hosts`: with this port, or with any where none is written.
fn stands_in(hosts: &[String], asked: &Authority) -> bool {
    let is_it = |host: &String| {
        host.eq_ignore_ascii_case(asked.as_str()) || host.eq_ignore_ascii_case(asked.host())
    };
    hosts.iter().any(is_it)
}

/// Whether the page that asks is one of ours; says whether it was got by https.
fn check_origin(headers: &HeaderMap, host: &Authority, hosts: &[String]) -> Result<bool, NotLetIn> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(false);
    };
    let origin = origin.to_str().map_err(|_| foreign())?;
    let (scheme, rest) = origin.split_once("://").ok_or_else(foreign)?;
    let page: Authority = rest.parse().map_err(|_| foreign())?;
    // A proxy may have put another name into Host; the browser's own stands in the settings then.
    let is_named = hosts
        .iter()
        .any(|host| host.eq_ignore_ascii_case(page.as_str()));
    // It may have left out the port too. That the page came from the same port only the browser knows then;
    // something else may listen on another port of the name, and is sent the same cookies.
    let site = headers.get("sec-fetch-site");
    let is_same = site.is_some_and(|site| site == "same-origin") && stands_in(hosts, &page);
    let is_own = page == *host || is_named || is_same;
    if origins.next().is_some() || !is_own || !["http", "https"].contains(&scheme) {
        return Err(foreign());
    }
    Ok(scheme == "https")
}

fn foreign() -> NotLetIn {
    let said = "This was asked by a page of another site; ask from a page of this server.";
    (StatusCode::FORBIDDEN, said.to_owned())
}

/// Whether a header says that the request came through somebody else.
fn forwards(name: &str) -> bool {
    const NAMES: [&str; 7] = [
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-host",
        "true-client-ip",
        "cf-connecting-ip",
        "forwarded-for",
    ];
    name == FORWARDED || name == VIA || name.starts_with("x-forwarded") || NAMES.contains(&name)
}

/// What the nearest proxy says of whoever it asks for.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}
