use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::verdict;
use crate::verdict::{Cause, Class};

type BoxError = Box<dyn Error + Send + Sync>;

/// An error that says nothing, about another.
#[derive(Debug)]
struct Failed(Option<BoxError>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it failed")
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|error| error as _)
    }
}

fn failed(error: impl Into<BoxError>) -> Failed {
    Failed(Some(error.into()))
}

fn meaning(error: &(dyn Error + 'static)) -> (Class, Cause) {
    let verdict = verdict(error);
    (verdict.class(), verdict.cause())
}

const NOT_CONNECTED: (Class, Cause) = (Class::NotSent, Cause::Connect);
const BROKEN: (Class, Cause) = (Class::Transient, Cause::Connection);
const TIMED_OUT: (Class, Cause) = (Class::Transient, Cause::Timeout);
const UNKNOWN: (Class, Cause) = (Class::Transient, Cause::Unknown);
const LIMITED_HERE: (Class, Cause) = (Class::Local, Cause::LocalLimit);

fn overloaded() -> tower::load_shed::error::Overloaded {
    tower::load_shed::error::Overloaded::new()
}

#[test]
fn what_is_not_known_may_have_been_processed() {
    assert_eq!(meaning(&Failed(None)), UNKNOWN);
    assert_eq!(meaning(&failed("why")), UNKNOWN);
    assert_eq!(meaning(&fmt::Error), UNKNOWN);
    assert_eq!(verdict(&Failed(None)).hint(), crate::hint::Hint::NONE);
}

#[test]
fn kinds_of_io() {
    let rows = [
        (ErrorKind::ConnectionRefused, NOT_CONNECTED),
        (ErrorKind::HostUnreachable, NOT_CONNECTED),
        (ErrorKind::NetworkUnreachable, NOT_CONNECTED),
        (ErrorKind::NetworkDown, NOT_CONNECTED),
        (ErrorKind::AddrNotAvailable, NOT_CONNECTED),
        (ErrorKind::AddrInUse, NOT_CONNECTED),
        (ErrorKind::TimedOut, TIMED_OUT),
        (ErrorKind::ConnectionReset, BROKEN),
        (ErrorKind::ConnectionAborted, BROKEN),
        (ErrorKind::BrokenPipe, BROKEN),
        (ErrorKind::UnexpectedEof, BROKEN),
        (ErrorKind::NotFound, UNKNOWN),
        (ErrorKind::InvalidData, UNKNOWN),
        (ErrorKind::Other, UNKNOWN),
    ];
    for (kind, expected) in rows {
        assert_eq!(meaning(&io::Error::from(kind)), expected, "{kind}");
        assert_eq!(meaning(&io::Error::new(kind, "why")), expected, "{kind}, with words");
        assert_eq!(meaning(&failed(io::Error::from(kind))), expected, "{kind}, wrapped");
    }
}

#[test]
fn what_an_io_error_is_made_of_is_seen() {
    // `source` would skip the inner error itself.
    assert_eq!(meaning(&io::Error::other(overloaded())), LIMITED_HERE);
    assert_eq!(meaning(&io::Error::other(failed(overloaded()))), LIMITED_HERE);
    let nested = io::Error::other(io::Error::other(io::Error::from(ErrorKind::ConnectionRefused)));
    assert_eq!(meaning(&nested), NOT_CONNECTED);
    // It is more precise than the kind of the error around it.
    let reset = || io::Error::from(ErrorKind::ConnectionReset);
    assert_eq!(meaning(&io::Error::new(ErrorKind::ConnectionRefused, reset())), BROKEN);
    assert_eq!(meaning(&io::Error::new(ErrorKind::TimedOut, failed(reset()))), BROKEN);
    let refused = io::Error::from(ErrorKind::ConnectionRefused);
    assert_eq!(meaning(&io::Error::new(ErrorKind::TimedOut, refused)), NOT_CONNECTED);
}

#[tokio::test(start_paused = true)]
async fn timeouts() {
    assert_eq!(meaning(&tower::timeout::error::Elapsed::new()), TIMED_OUT);
    #[allow(clippy::disallowed_methods)] // for the error alone
    let elapsed = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await;
    assert_eq!(meaning(&elapsed.unwrap_err()), TIMED_OUT);
}

#[test]
fn a_decision_of_this_side_is_final() {
    assert_eq!(meaning(&overloaded()), LIMITED_HERE);
    assert_eq!(meaning(&failed(failed(overloaded()))), LIMITED_HERE);
}

#[test]
fn a_chain_is_followed_far_but_not_forever() {
    #[derive(Debug)]
    struct Circle;
    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round and round")
        }
    }
    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }
    assert_eq!(meaning(&Circle), UNKNOWN);

    let mut error: BoxError = Box::new(io::Error::from(ErrorKind::ConnectionRefused));
    for _ in 0..50 {
        error = Box::new(failed(error));
    }
    assert_eq!(meaning(&*error), NOT_CONNECTED);
}

#[cfg(feature = "tonic")]
mod of_tonic {
    use std::sync::Arc;

    use tonic::{Code, Status};

    use super::*;
    use crate::verdict::GrpcCode;

    fn status(code: Code, source: impl Error + Send + Sync + 'static) -> Status {
        let mut status = Status::new(code, "");
        status.set_source(Arc::new(source));
        status
    }

    #[test]
    fn a_status_of_the_servers_means_its_code() {
        let means = |code| meaning(&Status::new(code, "")).0;
        assert_eq!(means(Code::ResourceExhausted), Class::Throttled);
        assert_eq!(means(Code::Unauthenticated), Class::CredentialRejected);
        assert_eq!(means(Code::InvalidArgument), Class::Rejected);
        assert_eq!(means(Code::Unavailable), Class::Transient);
        let found = meaning(&failed(io::Error::other(Status::not_found(""))));
        assert_eq!(found, (Class::Rejected, Cause::Grpc(GrpcCode::NotFound)));
    }

    #[test]
    fn a_status_carries_its_hint() {
        let mut status = Status::unavailable("");
        status.metadata_mut().insert("grpc-retry-pushback-ms", "250".parse().unwrap());
        let seen = verdict(&status);
        assert_eq!(seen.class(), Class::Overloaded);
        assert_eq!(seen.hint().retry_after, Some(Duration::from_millis(250)));

        let mut status = Status::resource_exhausted("");
        status.metadata_mut().insert("retry-after", "2".parse().unwrap());
        assert_eq!(verdict(&status).hint().retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_status_made_on_this_side_means_what_it_was_made_of() {
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(meaning(&status(Code::Unknown, refused)), NOT_CONNECTED);
        let timeout = status(Code::Cancelled, tonic::TimeoutExpired(()));
        assert_eq!(meaning(&timeout), TIMED_OUT);
        assert_eq!(meaning(&status(Code::Unavailable, overloaded())), LIMITED_HERE);
        let unknown = status(Code::Unavailable, failed("why"));
        assert_eq!(meaning(&unknown), (Class::Transient, Cause::Grpc(GrpcCode::Unavailable)));
        // The server's status inside the one that tonic copied it to.
        let copied = Status::from_error(Box::new(failed(Status::not_found(""))));
        assert_eq!(meaning(&copied), (Class::Rejected, Cause::Grpc(GrpcCode::NotFound)));
    }

    #[test]
    fn connecting_is_never_sending() {
        for kind in [ErrorKind::TimedOut, ErrorKind::ConnectionReset, ErrorKind::InvalidData] {
            let error = tonic::ConnectError(Box::new(io::Error::from(kind)));
            assert_eq!(meaning(&failed(error)), NOT_CONNECTED);
        }
        // Of a timeout without tonic's channel around it that can't be said.
        let error = failed(io::Error::new(ErrorKind::TimedOut, "connecting, maybe"));
        assert_eq!(meaning(&error), TIMED_OUT);
    }
}

#[cfg(any(feature = "hyper-util", feature = "tonic"))]
mod of_hyper {
    use std::convert::Infallible;

    use ::hyper::client::conn::{http1, http2};
    use ::hyper::service::service_fn;
    use ::hyper_util::rt::{TokioExecutor, TokioIo};
    use bytes::Bytes;
    use h2::Reason;
    use http::{Request, Response};
    use http_body_util::Empty;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const CLOSED: (Class, Cause) = (Class::NotSent, Cause::Connection);

    fn request() -> Request<Empty<Bytes>> {
        Request::new(Empty::new())
    }

    async fn connected()
    -> (http1::SendRequest<Empty<Bytes>>, tokio::task::JoinHandle<()>, DuplexStream) {
        let (near, far) = duplex(1024);
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.with_upgrades().await) });
        (sender, driver, far)
    }

    #[tokio::test]
    async fn a_request_for_a_connection_that_is_gone_was_not_sent() {
        let (mut sender, driver, far) = connected().await;
        drop(far);
        driver.await.unwrap();
        let error = sender.ready().await.unwrap_err();
        assert!(error.is_closed());
        assert_eq!(meaning(&error), CLOSED);
        let error = sender.send_request(request()).await.unwrap_err();
        assert!(error.is_canceled());
        assert_eq!(meaning(&error), CLOSED);
    }

    #[tokio::test]
    async fn a_request_still_in_the_queue_was_not_sent() {
        let (mut sender, _driver, far) = connected().await;
        // Taken into the queue at once, and the connection ends before it gets there.
        let call = sender.send_request(request());
        drop(far);
        let error = call.await.unwrap_err();
        assert!(error.is_canceled(), "{error:?}");
        assert_eq!(meaning(&error), CLOSED);
    }

    #[tokio::test]
    async fn a_request_that_is_under_way_may_have_been_processed() {
        let (mut sender, _driver, mut far) = connected().await;
        let call = sender.send_request(request());
        let server = async {
            far.read_u8().await.unwrap();
            drop(far);
        };
        let (error, ()) = tokio::join!(call, server);
        let error = error.unwrap_err();
        assert!(error.is_incomplete_message());
        assert_eq!(meaning(&error), BROKEN);
    }

    #[tokio::test]
    async fn a_connection_without_a_driver_is_no_fault_of_the_request() {
        let (mut sender, driver, mut far) = connected().await;
        let call = sender.send_request(request());
        let stop = async {
            far.read_u8().await.unwrap();
            driver.abort();
        };
        let (error, ()) = tokio::join!(call, stop);
        let error = error.unwrap_err();
        assert!(error.is_user(), "what hyper makes of it");
        assert_eq!(meaning(&error), BROKEN);
    }

    #[tokio::test]
    async fn an_upgrade_that_is_canceled_is_no_request_that_is() {
        let (near, mut far) = duplex(1024);
        let (upgrades, mut upgrade) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |request| {
            upgrades.send(::hyper::upgrade::on(request)).unwrap();
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let server = ::hyper::server::conn::http1::Builder::new();
        let driver = tokio::spawn(server.serve_connection(TokioIo::new(near), service));
        let request = b"GET / HTTP/1.1\r\nhost: us\r\nconnection: upgrade\r\nupgrade: it\r\n\r\n";
        far.write_all(request).await.unwrap();
        let upgrade = upgrade.recv().await.unwrap();
        driver.abort();
        let error = upgrade.await.unwrap_err();
        assert!(error.is_canceled(), "what hyper makes of it");
        assert_eq!(meaning(&error), BROKEN);
    }

    #[tokio::test]
    async fn how_a_connection_breaks_is_no_proof_of_not_connecting() {
        // As TCP does when its packets have not come through for long.
        for (kind, expected) in [
            (ErrorKind::HostUnreachable, BROKEN),
            (ErrorKind::ConnectionRefused, BROKEN),
            (ErrorKind::TimedOut, TIMED_OUT),
        ] {
            let io = tokio_test::io::Builder::new()
                .write(b"GET / HTTP/1.1\r\n\r\n")
                .read_error(kind.into())
                .build();
            let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
            tokio::spawn(connection);
            let error = sender.send_request(request()).await.unwrap_err();
            assert_eq!(meaning(&error), expected, "{error:?}");
            assert_eq!(meaning(&failed(error)), expected);
        }
    }

    #[tokio::test]
    async fn a_request_that_http2_does_not_allow() {
        let (near, _far) = duplex(1024);
        let exec = TokioExecutor::new();
        let (mut sender, connection) = http2::handshake(exec, TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        // Without a scheme and a host.
        let mut request = request();
        *request.version_mut() = http::Version::HTTP_2;
        let error = sender.send_request(request).await.unwrap_err();
        assert_eq!(meaning(&error).0, Class::Rejected, "{error:?}");
    }

    #[test]
    fn only_the_peer_can_refuse_a_stream() {
        for reason in [Reason::REFUSED_STREAM, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
            assert_eq!(meaning(&h2::Error::from(reason)), BROKEN);
            assert_eq!(meaning(&io::Error::other(h2::Error::from(reason))), BROKEN);
        }
    }
}
