//! A web server of a few lines, which does what a test says: also what no server should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// What somebody asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Writes an answer; the connection is closed after it.
pub(crate) type Answer = dyn Fn(&Request, &mut dyn Write) + Send + Sync;

/// Serves as long as the test runs.
pub(crate) struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&Request, &mut dyn Write) + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(answer), None)
    }

    /// Answers everything with one content.
    pub(crate) fn of(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        Self::new(move |_, out| ok(out, "", &content))
    }

    /// Answers at another address of this machine.
    pub(crate) fn at(
        host: &str,
        answer: impl Fn(&Request, &mut dyn Write) + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(host, Arc::new(answer), None)
    }

    fn start(answer: Arc<Answer>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self::start_at("127.0.0.1", answer, tls)
    }

    fn start_at(host: &str, answer: Arc<Answer>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log, tls) = (Arc::clone(&answer), Arc::clone(&log), tls.clone());
                thread::spawn(move || serve(stream.unwrap(), tls, &answer, &log));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Request {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    answer: &Arc<Answer>,
    log: &Mutex<Vec<Request>>,
) {
    match tls {
        None => {
            let mut out = stream.try_clone().unwrap();
            if let Some(request) = read(stream, log) {
                answer(&request, &mut out);
            }
        }
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            if let Some(request) = read(&mut stream, log) {
                answer(&request, &mut stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    }
}

fn read(from: impl Read, log: &Mutex<Vec<Request>>) -> Option<Request> {
    let mut lines = BufReader::new(from).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let lines = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty());
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    });
    let headers = headers.collect();
    let request = Request { path, headers };
    log.lock().unwrap().push(request.clone());
    Some(request)
}

/// A whole answer. The other end may have gone.
pub(crate) fn ok(out: &mut dyn Write, headers: &str, content: &[u8]) {
    let length = content.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n");
    let _ = out.write_all(head.as_bytes());
    let _ = out.write_all(content);
    let _ = out.flush();
}

/// An answer without content.
pub(crate) fn bare(out: &mut dyn Write, status: &str, headers: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n");
    let _ = out.write_all(head.as_bytes());
}

/// An answer that does not say how long it is.
pub(crate) fn chunked(out: &mut dyn Write, content: &[u8]) {
    let _ = out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in content.chunks(10_000) {
        let _ = write!(out, "{:x}\r\n", chunk.len());
        let _ = out.write_all(chunk);
        let _ = out.write_all(b"\r\n");
    }
    let _ = out.write_all(b"0\r\n\r\n");
}

/// A server with a certificate, and the authority to trust, in PEM.
pub(crate) fn secure(
    answer: impl Fn(&Request, &mut dyn Write) + Send + Sync + 'static,
) -> (Server, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let server = Server::start(Arc::new(answer), Some(Arc::new(config)));
    (server, authority.as_ref().pem())
}
