use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::classify::Outcome;
use crate::verdict::Verdict;

/// A body whose beginning may have been read. Its reader still receives all of it.
///
/// Frames, trailers, errors and the size hint are those of the inner body.
pub struct PeekBody<B: Body> {
    read: VecDeque<Result<Frame<Bytes>, B::Error>>,
    /// The part of the limit that is used.
    used: usize,
    /// `None` once the body has ended or failed.
    rest: Option<B>,
}

impl<B: Body + Unpin> PeekBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { read: VecDeque::new(), used: 0, rest: Some(body) }
    }

    /// Reads up to `limit` bytes. An empty frame counts as one byte, since their number is unbounded.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        while self.used < limit {
            let Some(frame) = ready!(self.poll_rest(cx)) else { break };
            let data = frame.as_ref().ok().and_then(Frame::data_ref);
            self.used = self.used.saturating_add(data.map_or(0, Bytes::len).max(1));
            self.read.push_back(frame);
        }
        Poll::Ready(())
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        // Nothing follows trailers, and a body may panic if it is polled after its end or an error.
        if frame
            .as_ref()
            .is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers) || frame.is_err())
        {
            self.rest = None;
        }
        let whole = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(whole))))
    }

    fn data(&self) -> impl Iterator<Item = &Bytes> {
        self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref())
    }

    /// Returns the data that was read, as one buffer.
    pub(super) fn bytes(&self) -> Bytes {
        let mut data = self.data();
        match (data.next(), data.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only.clone(),
            _ => self
                .data()
                .fold(BytesMut::new(), |mut all, data| {
                    all.extend_from_slice(data);
                    all
                })
                .freeze(),
        }
    }

    /// Returns the trailers, if they were read.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.read.back()?.as_ref().ok()?.trailers_ref()
    }
}

impl<B: Body + Unpin> Body for PeekBody<B>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.poll_rest(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.data().map(|data| data.len() as u64).sum();
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B: Body + Default + Unpin> Default for PeekBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: Body> fmt::Debug for PeekBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekBody").field("frames_read", &self.read.len()).finish_non_exhaustive()
    }
}

/// The head of a response, and the beginning of its body.
#[derive(Clone, Copy)]
pub struct BodyPrefix<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl<'a> BodyPrefix<'a> {
    pub(super) const fn new(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { status, headers, body }
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the body, or its beginning if it exceeds the limit.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Returns the verdict on the head alone.
    pub fn verdict(&self) -> Verdict {
        Outcome::head(self.status, self.headers).verdict()
    }
}

impl fmt::Debug for BodyPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and body can hold secrets.
        f.debug_struct("BodyPrefix").field("status", &self.status).finish_non_exhaustive()
    }
}
