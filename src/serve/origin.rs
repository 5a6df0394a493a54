//! Checks of `Host` and `Origin`, before authentication. They stop pages of other sites from reaching
//! this server through a browser.
//!
//! - **`Host`** must be a loopback name or listed in `serve.hosts`. This prevents DNS rebinding: a
//!   foreign name that resolves to this machine is rejected.
//! - **`Origin`**, if the browser sends it, must be the origin of this server. A proxy on another port
//!   may omit the port from `Host`; then `Sec-Fetch-Site` must be `same-origin`.
//! - A page of another site may link here (`Sec-Fetch-Dest: document`), and can't make a browser request anything else.
//! - A request with the headers of a proxy never counts as local.
//! - **`serve.user_header`** of a request through a proxy names the user for history and log. It gives no permission.

use super::session::LoginSource;
use crate::model::{is_control_or_bidi, trim};
use axum::http::header::{FORWARDED, HOST, ORIGIN, VIA};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use std::net::IpAddr;

/// The maximum length of the name of a user, in bytes.
const MAX_USER: usize = 200;

/// The origin of an accepted request.
#[derive(Clone, Debug)]
pub(super) struct RequestOrigin {
    /// The address of the peer of the connection.
    pub(super) peer: IpAddr,
    /// The client that a proxy names. Not trustworthy: any client can send the header.
    forwarded_for: Option<IpAddr>,
    /// The user that a proxy names. It gives no permission.
    user: Option<String>,
    /// Whether the request came from this machine without a proxy, by a name of this machine.
    pub(super) is_local: bool,
    /// Whether the browser uses HTTPS.
    pub(super) is_https: bool,
}

impl RequestOrigin {
    /// The source by which failed logins are counted. Behind a proxy on this machine, every peer is
    /// loopback, and one attacker must not lock out the other clients.
    pub(super) fn login_source(&self) -> LoginSource {
        let is_local = self.peer.to_canonical().is_loopback();
        LoginSource {
            address: self.forwarded_for.filter(|_| is_local).unwrap_or(self.peer),
            is_local,
        }
    }

    /// A description of the client, for history and logs.
    pub(super) fn describe(&self) -> String {
        let who = match &self.user {
            None => "web".into(),
            Some(user) => format!("{user} via proxy"),
        };
        match self.forwarded_for {
            None => format!("{who} from {}", self.peer),
            Some(client) => format!("{who} from {} for {client}", self.peer),
        }
    }
}

/// Why a request is rejected.
#[derive(Debug)]
pub(super) struct OriginError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

/// Checks the origin of a request.
pub(super) fn check(
    head: &Parts,
    peer: IpAddr,
    hosts: &[String],
    user_header: Option<&str>,
) -> Result<RequestOrigin, OriginError> {
    let host = parse_host(head)?;
    let is_loopback_name = is_loopback(host.host());
    if !is_loopback_name && !is_listed(hosts, &host) {
        let message = format!(
            "This server does not accept the host name {}. To allow it, add it to serve.hosts.",
            host.host()
        );
        return Err(OriginError {
            status: StatusCode::MISDIRECTED_REQUEST,
            message,
        });
    }
    let is_https = check_origin(&head.headers, &host, hosts)?;
    let site = head.headers.get("sec-fetch-site");
    let target = head.headers.get("sec-fetch-dest");
    let is_link = head.method.is_safe() && target.is_none_or(|target| target == "document");
    if site.is_some_and(|site| site == "cross-site") && !is_link {
        return Err(cross_site());
    }
    // An old proxy speaks HTTP/1.0 and may send no other header that shows it. Browsers never do.
    let is_forwarded = head.version < Version::HTTP_11
        || head
            .headers
            .keys()
            .any(|name| is_proxy_header(name.as_str()));
    let user = match user_header.filter(|_| is_forwarded) {
        Some(name) => proxy_user(&head.headers, name)?,
        None => None,
    };
    Ok(RequestOrigin {
        peer,
        user,
        forwarded_for: forwarded_for(&head.headers),
        is_local: is_loopback_name && peer.to_canonical().is_loopback() && !is_forwarded,
        is_https,
    })
}

/// The host name: exactly one, and the same in the header and in the request line.
fn parse_host(head: &Parts) -> Result<Authority, OriginError> {
    let invalid = || OriginError {
        status: StatusCode::BAD_REQUEST,
        message: "The request must have exactly one valid Host header.".to_owned(),
    };
    let mut headers = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (headers.next(), headers.next()) else {
        return Err(invalid());
    };
    let host = parse_authority(host).ok_or_else(invalid)?;
    match head.uri.authority() {
        Some(in_uri) if *in_uri != host => Err(invalid()),
        _ => Ok(host),
    }
}

fn parse_authority(value: &HeaderValue) -> Option<Authority> {
    let authority: Authority = value.to_str().ok()?.parse().ok()?;
    is_host_and_port(&authority).then_some(authority)
}

/// Whether an authority is a host and at most a port. The parser takes `[::1].evil` and `user@host` too.
fn is_host_and_port(authority: &Authority) -> bool {
    match authority.as_str().strip_prefix(authority.host()) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())),
        None => false,
    }
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

/// Whether a name is in `serve.hosts`. An entry without a port covers every port.
fn is_listed(hosts: &[String], name: &Authority) -> bool {
    let matches = |host: &String| {
        host.eq_ignore_ascii_case(name.as_str()) || host.eq_ignore_ascii_case(name.host())
    };
    hosts.iter().any(matches)
}

/// Checks that the request comes from a page of this server. Returns whether that page uses HTTPS.
fn check_origin(
    headers: &HeaderMap,
    host: &Authority,
    hosts: &[String],
) -> Result<bool, OriginError> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(false);
    };
    let origin = origin.to_str().map_err(|_| cross_site())?;
    let (scheme, rest) = origin.split_once("://").ok_or_else(cross_site)?;
    let page: Authority = rest.parse().map_err(|_| cross_site())?;
    if !is_host_and_port(&page) {
        return Err(cross_site());
    }
    // A proxy may have replaced Host. Then the name that the browser uses is in the settings.
    let is_named = hosts
        .iter()
        .any(|host| host.eq_ignore_ascii_case(page.as_str()));
    // A proxy may also have removed the port. Then only the browser knows whether the page has the
    // same origin: another server on another port of this name receives the same cookies.
    let site = headers.get("sec-fetch-site");
    let is_same = site.is_some_and(|site| site == "same-origin") && is_listed(hosts, &page);
    let is_own = page == *host || is_named || is_same;
    if origins.next().is_some() || !is_own || !["http", "https"].contains(&scheme) {
        return Err(cross_site());
    }
    Ok(scheme == "https")
}

fn cross_site() -> OriginError {
    OriginError {
        status: StatusCode::FORBIDDEN,
        message: "Rejected: the request comes from a page of another site.".to_owned(),
    }
}

/// Whether a header shows that the request came through a proxy.
fn is_proxy_header(name: &str) -> bool {
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

/// The user that a proxy names, once at most: a proxy that adds a header to that of the client does not overwrite it.
fn proxy_user(headers: &HeaderMap, name: &str) -> Result<Option<String>, OriginError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let user = std::str::from_utf8(value.as_bytes()).ok().map(trim);
    let user = user.filter(|user| user.len() <= MAX_USER && !user.chars().any(is_control_or_bidi));
    match (user, values.next()) {
        (Some(user), None) => Ok(Some(user.to_owned()).filter(|user| !user.is_empty())),
        _ => Err(OriginError {
            status: StatusCode::BAD_REQUEST,
            message: format!(
                "The header {name} (serve.user_header) must occur once, with at most {MAX_USER} bytes and without \
                 control characters. Let the proxy overwrite it."
            ),
        }),
    }
}

/// The client that the nearest proxy names.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}
