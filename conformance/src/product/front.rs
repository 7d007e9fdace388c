//! A front of a registry: answers in its place where a case says so, and passes on the rest.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::context::Result;

/// A request as it came.
#[derive(Debug)]
pub struct Request {
    /// The method and the path, without the query.
    pub asked: String,
    /// The lines of its head.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// What a header says.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        Some(found.next()?.1.trim())
    }
}

/// An answer in place of the registry's.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, `Name: value`.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

/// A front that listens. It ends with this.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Front {
    /// Listens on a free port of a loopback address before the registry with this name.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub fn start(
        address: IpAddr,
        registry: &str,
        answer: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Result<Self> {
        let port = registry
            .split(['/', ':'])
            .nth(1)
            .and_then(|port| port.parse().ok());
        let behind = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or_default()));
        let listener = TcpListener::bind((address, 0))?;
        let front = Self {
            address: listener.local_addr()?,
            ended: Arc::default(),
        };
        let ended = Arc::clone(&front.ended);
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    // A client that hangs up has what it wanted.
                    if let Err(error) = serve(stream, behind, answer.as_ref()) {
                        tracing::debug!(%error, "a request to a front broke off");
                    }
                });
            }
        });
        Ok(front)
    }

    /// Its host, with its port.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Has the listener look.
        if let Err(error) = TcpStream::connect(self.address) {
            tracing::debug!(%error, "a front ended before");
        }
    }
}

/// Serves the one request of a connection.
fn serve(
    mut client: TcpStream,
    behind: SocketAddr,
    answer: &dyn Fn(&Request) -> Option<Answer>,
) -> std::io::Result<()> {
    let request = read(&mut client)?;
    let Some(answer) = answer(&request) else {
        let mut registry = TcpStream::connect(behind)?;
        let (first, rest) = request
            .head
            .split_once("\r\n")
            .unwrap_or((&request.head, ""));
        write!(registry, "{first}\r\nConnection: close\r\n{rest}\r\n\r\n")?;
        registry.write_all(&request.body)?;
        return std::io::copy(&mut registry, &mut client).map(drop);
    };
    let Answer {
        status,
        headers,
        body,
    } = answer;
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )?;
    match request.asked.starts_with("HEAD ") {
        true => Ok(()),
        false => client.write_all(body.as_bytes()),
    }
}

fn read(client: &mut TcpStream) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let mut piece = [0; 4096];
        let count = client.read(&mut piece)?;
        // A client that tries TLS first (RFC 8446, 5.1, handshake) waits for an answer until it is hung up on.
        if count == 0 || (bytes.is_empty() && piece[0] == 0x16) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let asked = head.lines().next().unwrap_or_default();
    let asked: Vec<_> = asked.split([' ', '?']).take(2).collect();
    let mut request = Request {
        asked: asked.join(" "),
        head,
        body: bytes.split_off(end + 4),
    };
    let length = request.header("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let missing = length - request.body.len().min(length);
    let mut rest = vec![0; missing];
    client.read_exact(&mut rest)?;
    request.body.extend(rest);
    Ok(request)
}
