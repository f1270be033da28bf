//! Answers scrapes over HTTP: many at once, each within its time, and none in the way of another.
//!
//! hyper reads the requests, in whatever pieces they come, and bounds their heads. A page that some browser has open must not
//! read what listens on the loopback device, by a name of its own for that address: there `Host` has to be an address or
//! `localhost`.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Scrapers at once; who comes after that waits until one of them has had its time.
const SCRAPERS: usize = 256;
/// A request has so long to come, and the whole of it, with its answer, twice as long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes and lines of a request's head.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_LINES: usize = 64;
/// After nobody could be let in, for want of descriptors: they come back when somebody leaves.
const PAUSE: Duration = Duration::from_millis(100);

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers whoever `accept` lets in, with what `render` gives.
pub(super) async fn serve(
    address: SocketAddr,
    accept: impl AsyncFn() -> io::Result<TcpStream>,
    render: impl Fn() -> String + Send + Sync + 'static,
) -> Infallible {
    let render = Arc::new(render);
    let places = Arc::new(Semaphore::new(SCRAPERS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok(scraper) = accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let render = Arc::clone(&render);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let answer = answer(&request, address, &*render);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEAD_LINES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(scraper), answer);
            // An answer that could not be sent matters to nobody but its scraper.
            let _ = timeout(PATIENCE * 2, connection).await;
            drop(place);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    address: SocketAddr,
    render: &impl Fn() -> String,
) -> Response<Full<Bytes>> {
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let (status, content, text) = if !is_meant(host, address.ip()) {
        (StatusCode::FORBIDDEN, "text/plain", "ask by the address, or as localhost\n".to_owned())
    } else if request.method() != Method::GET {
        (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned())
    } else if request.uri().path() != "/metrics" {
        (StatusCode::NOT_FOUND, "text/plain", "the metrics are at /metrics\n".to_owned())
    } else {
        (StatusCode::OK, CONTENT, render())
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// Whether a request with this `Host` is for us. What listens on an address of the network is open to the network.
fn is_meant(host: Option<&[u8]>, address: IpAddr) -> bool {
    if !address.is_loopback() {
        return true;
    }
    let Some(host) = host.and_then(|host| std::str::from_utf8(host).ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::TcpStream as Scraper;

    use super::*;
    use crate::sink::metrics::listen;

    fn start() -> SocketAddr {
        listen("127.0.0.1:0".parse().unwrap(), || "metrics\n# EOF\n".to_owned()).unwrap()
    }

    fn scrape(address: SocketAddr, pieces: &[&str]) -> String {
        let mut scraper = Scraper::connect(address).unwrap();
        for piece in pieces {
            scraper.write_all(piece.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut answer = String::new();
        scraper.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn whoever_is_idle_is_in_nobodys_way() {
        let address = start();
        let idle: Vec<Scraper> = (0..50).map(|_| Scraper::connect(address).unwrap()).collect();
        assert!(scrape(address, &["GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"]).ends_with("# EOF\n"));
        // None of them had to go before it.
        for mut idle in idle {
            idle.set_nonblocking(true).unwrap();
            assert_eq!(idle.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_request_may_come_in_pieces() {
        let answer =
            scrape(start(), &["GE", "T /met", "rics?x=1 HTTP/1.1\r\nHo", "st: 127.0.0.1:9\r", "\n\r\n"]);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("# EOF\n"), "{answer}");
    }

    #[test]
    fn anything_else_is_refused() {
        let address = start();
        let status = |request: &str| scrape(address, &[request])[9..12].to_owned();
        assert_eq!(status("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "404");
        assert_eq!(status("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), "405");
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"), "403");
        assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), "403");
        assert_eq!(status("\x16\x03\x01 no http\r\n\r\n"), "400");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES + 1024));
        assert_eq!(&scrape(start(), &[&endless])[9..12], "431");
        let lines = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(HEAD_LINES + 1));
        assert_eq!(&scrape(start(), &[&lines])[9..12], "431");
    }

    #[test]
    fn only_what_is_on_the_loopback_device_asks_for_whom_a_request_is() {
        let on = |address: &str, host: &str| is_meant(Some(host.as_bytes()), address.parse().unwrap());
        for host in ["localhost", "LOCALHOST:9100", "127.0.0.1:9100", "[::1]:9100", "192.0.2.7"] {
            assert!(on("127.0.0.1", host) && on("::1", host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:9100", "[evil]"] {
            assert!(!on("127.0.0.1", host) && on("0.0.0.0", host), "{host}");
        }
        assert!(!is_meant(None, "127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn without_descriptors_it_waits_and_does_not_spin() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = Cell::new(0);
        let accept = async || {
            asked.set(asked.get() + 1);
            Err(io::Error::from_raw_os_error(libc::EMFILE))
        };
        let served = async { serve("127.0.0.1:1".parse().unwrap(), accept, String::new).await };
        assert!(runtime.block_on(async { timeout(PAUSE * 3, served).await }).is_err());
        assert!((2..=4).contains(&asked.get()), "{}", asked.get());
    }
}
