//! Between clients and servers: loopback sockets, or memory.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tower::Service;

#[derive(Clone)]
pub(crate) enum Network {
    Sockets,
    Memory(Memory),
}

/// Who listens where.
type Memory = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<DuplexStream>>>>;

/// How much is under way on a connection in memory, in bytes.
const IN_FLIGHT: usize = 64 * 1024;

impl Network {
    pub(crate) fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// A place where one can listen. Until somebody does, connections are refused.
    pub(crate) fn place(&self, name: &str) -> io::Result<Place> {
        Ok(match self {
            Self::Sockets => {
                let reserved = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
                Place::Port { address: reserved.local_addr()?, reserved: Some(reserved) }
            }
            Self::Memory(memory) => Place::Name { name: name.to_owned(), memory: memory.clone() },
        })
    }

    async fn connect(self, authority: String) -> io::Result<Link> {
        Ok(match self {
            Self::Sockets => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Link(TokioIo::new(Box::new(stream)))
            }
            Self::Memory(memory) => {
                let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
                let memory = memory.lock().unwrap();
                let listening = memory.get(&authority).is_some_and(|to| to.send(theirs).is_ok());
                if !listening {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                Link(TokioIo::new(Box::new(ours)))
            }
        })
    }
}

/// A connector for hyper-util's client.
impl Service<Uri> for Network {
    type Response = Link;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        Box::pin(self.clone().connect(authority))
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

pub(crate) enum Place {
    /// `reserved` keeps the port while nobody listens: it could else be given to a client's
    /// connection.
    Port {
        address: SocketAddr,
        reserved: Option<TcpSocket>,
    },
    Name {
        name: String,
        memory: Memory,
    },
}

impl Place {
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Port { address, .. } => address.to_string(),
            Self::Name { name, .. } => name.clone(),
        }
    }

    /// Listens, until the listener is dropped.
    pub(crate) fn listen(&mut self) -> io::Result<Listener> {
        Ok(match self {
            Self::Port { address, reserved } => {
                let socket = reserved.take().map_or_else(|| bind(*address), Ok)?;
                Listener::Port(socket.listen(1024)?)
            }
            Self::Name { name, memory } => {
                let (connect, connections) = mpsc::unbounded_channel();
                memory.lock().unwrap().insert(name.clone(), connect);
                Listener::Name(connections)
            }
        })
    }

    /// Nobody listens any more. Called when the listener is gone.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if let Self::Port { address, reserved } = self {
            *reserved = Some(bind(*address)?);
        }
        Ok(())
    }
}

pub(crate) enum Listener {
    Port(TcpListener),
    Name(mpsc::UnboundedReceiver<DuplexStream>),
}

impl Listener {
    pub(crate) async fn accept(&mut self) -> io::Result<Link> {
        Ok(Link(TokioIo::new(match self {
            Self::Port(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Name(connections) => {
                let gone = || io::Error::from(io::ErrorKind::NotConnected);
                Box::new(connections.recv().await.ok_or_else(gone)?)
            }
        })))
    }
}

/// One end of a connection.
pub(crate) struct Link(TokioIo<Box<dyn Stream>>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
