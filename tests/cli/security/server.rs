//! A hostile server: raw bytes over TCP, chosen by what is asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a request is answered with.
pub(crate) enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Closes the connection.
    Close,
    /// These bytes, and after them this piece, again and again, with this pause between.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

impl Reply {
    /// An answer with a status, a type and a body.
    pub(crate) fn of(status: &str, kind: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }

    pub(crate) fn json(body: impl AsRef<[u8]>) -> Self {
        Self::of("200 OK", "application/scim+json", body)
    }
}

/// One that runs until the test's runtime ends.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers `METHOD path` as `act` says.
    pub(crate) async fn start(act: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("has one");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let server = Self { address, heads };
        let (kept, act) = (server.heads.clone(), Arc::new(act));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kept.clone(), act.clone()));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("whole").clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
    act: Arc<impl Fn(&str) -> Reply>,
) {
    while let Some(head) = request(&mut stream).await {
        let line = head.lines().next().unwrap_or_default();
        let asked = line.rsplit_once(' ').map_or(line, |(asked, _)| asked);
        let reply = act(asked);
        heads.lock().expect("whole").push(head.to_lowercase());
        // The client may leave at any time, and is right to.
        let sent = match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await,
            Reply::Close => return,
            Reply::Endless(begin, piece, pause) => {
                endless(&mut stream, &begin, &piece, pause).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn endless(
    stream: &mut TcpStream,
    begin: &[u8],
    piece: &[u8],
    pause: Duration,
) -> std::io::Result<()> {
    stream.write_all(begin).await?;
    loop {
        stream.write_all(piece).await?;
        tokio::time::sleep(pause).await;
    }
}

/// Reads one request whole, and returns its head.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut said = Vec::new();
    let end = loop {
        if let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut said).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&said[..end]).into_owned();
    let length = head.to_lowercase();
    let length = length
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |number| number.parse().expect("a number"));
    while said.len() < end + 4 + length {
        if stream.read_buf(&mut said).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}
