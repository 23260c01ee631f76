//! The upload: several chunks, without a known length.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

pub(crate) const LENGTH: usize = 1024 * 1024;
const PIECE: usize = 16 * 1024;
pub(crate) const SUM: &str = "x-sum";

/// Returns the chunks, all different.
pub(crate) fn pieces() -> impl Iterator<Item = Vec<u8>> + Send + Sync + 'static {
    (0..LENGTH / PIECE)
        .map(|number| (0..PIECE).map(|at| b'a' + ((number * 7 + at) % 26) as u8).collect())
}

pub(crate) fn whole() -> Vec<u8> {
    pieces().flatten().collect()
}

/// Returns a stream of the chunks that yields to other tasks between them.
pub(crate) fn slowly() -> impl Stream<Item = Vec<u8>> + Send + Sync + 'static {
    stream::iter(pieces()).then(|piece| async {
        tokio::task::yield_now().await;
        piece
    })
}

/// Returns the upload as a body, with trailers.
pub(crate) fn body()
-> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static {
    let frames = slowly().map(|piece| Ok(Frame::data(Bytes::from(piece))));
    let mut trailers = HeaderMap::new();
    trailers.insert(SUM, HeaderValue::from_static("7"));
    // An async block must be pinned to be polled.
    Box::pin(StreamBody::new(frames).with_trailers(std::future::ready(Some(Ok(trailers)))))
}
