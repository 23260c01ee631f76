//! Servers that fail on purpose, on the loopback. They end with the test's runtime.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

async fn serve<F, Fut>(talk: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(talk(socket));
        }
    });
    address
}

/// A port on which nobody listens: bound, so that nobody else will, and kept.
pub(super) fn refusing() -> SocketAddr {
    let socket = Box::leak(Box::new(TcpSocket::new_v4().unwrap()));
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.local_addr().unwrap()
}

/// Accepts, and hangs up.
pub(super) async fn closing() -> SocketAddr {
    serve(async |socket| {
        drop(socket);
        Ok(())
    })
    .await
}

/// Accepts, and never says a word.
pub(super) async fn silent() -> SocketAddr {
    serve(|mut socket| async move {
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
        Ok(())
    })
    .await
}

/// Reads the head of a request, replies with these bytes, and hangs up.
pub(super) async fn answering(reply: impl Into<Vec<u8>>) -> SocketAddr {
    let reply = reply.into();
    serve(move |mut socket| {
        let reply = reply.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await?);
            }
            socket.write_all(&reply).await?;
            socket.shutdown().await
        }
    })
    .await
}

/// An HTTP/2 server that replies the head of a request, on this stream, with
/// these frames, and then hangs up or not.
///
/// Frames by hand, to say what a proper server wouldn't.
pub(super) async fn http2(
    frames: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static,
    hangs_up: bool,
) -> SocketAddr {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    serve(move |mut socket| {
        let frames = frames.clone();
        async move {
            let mut preface = [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()];
            socket.read_exact(&mut preface).await?;
            socket.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
            loop {
                let mut head = [0; 9];
                socket.read_exact(&mut head).await?;
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                socket.read_exact(&mut payload).await?;
                let is_ack = head[4] & 1 == 1;
                match head[3] {
                    SETTINGS if !is_ack => {
                        socket.write_all(&[0, 0, 0, SETTINGS, 1, 0, 0, 0, 0]).await?;
                    }
                    HEADERS => {
                        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                        socket.write_all(&frames(stream)).await?;
                        if hangs_up {
                            return socket.shutdown().await;
                        }
                    }
                    _ => {}
                }
            }
        }
    })
    .await
}

/// `RST_STREAM`.
pub(super) fn reset(reason: h2::Reason) -> impl Fn(u32) -> Vec<u8> + Clone {
    move |stream| {
        let mut frame = vec![0, 0, 4, 3, 0];
        frame.extend(stream.to_be_bytes());
        frame.extend(u32::from(reason).to_be_bytes());
        frame
    }
}

/// `GOAWAY`, naming the last stream that is processed. A client's first is 1.
pub(super) fn go_away(last: u32, reason: h2::Reason) -> impl Fn(u32) -> Vec<u8> + Clone {
    move |_| {
        let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
        frame.extend(last.to_be_bytes());
        frame.extend(u32::from(reason).to_be_bytes());
        frame
    }
}

/// `HEADERS` with nothing but a status of 200, and a body to follow.
pub(super) fn ok(stream: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 1, 1, 4];
    frame.extend(stream.to_be_bytes());
    frame.push(0x88);
    frame
}

/// No frames at all.
pub(super) fn nothing(_stream: u32) -> Vec<u8> {
    Vec::new()
}
