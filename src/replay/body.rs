use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::error::BoxError;
use crate::sync::Mutex;

/// A body that records, up to a bound, what passes through it, so that it can
/// be sent again from its beginning.
///
/// The copies of all attempts share one recording, and only the newest copy reads. An earlier
/// copy may still be uploading when the next attempt begins: it is woken, and its next read
/// returns the error [`Superseded`]. What the earlier attempts hadn't read yet, the next one reads from
/// the source.
///
/// The bound is on the bytes of data. Trailers are recorded too and don't count; empty frames
/// aren't recorded.
pub struct ReplayBody<B> {
    recording: Arc<Mutex<Recording<B>>>,
    /// The number of this copy. The newest copy's is the recording's `newest`.
    copy: u64,
    /// The next recorded chunk to replay.
    position: usize,
    /// Whether the trailers have been replayed.
    done: bool,
}

struct Recording<B> {
    chunks: Vec<Bytes>,
    recorded: usize,
    limit: usize,
    /// What the source said about its length before anything was read.
    whole: SizeHint,
    trailers: Option<HeaderMap>,
    source: Source<B>,
    newest: u64,
    /// The task that waits for the source. It must be woken when a newer copy takes over, as the
    /// source then wakes only that copy's task.
    reader: Option<Waker>,
}

enum Source<B> {
    /// Not there yet: a copy is just taking its place in the request.
    Coming,
    /// There may be more to read, and all that was read is recorded.
    More(B),
    /// There may be more to read, but the bound was passed, and no other copy can be made.
    TooLong(B),
    /// All was read and is recorded.
    Ended,
    /// It failed, or ended previous the bound.
    Spent,
}

impl<B> ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Records a body from now on. Replaces it by a copy to send, which `wrap` makes into a body, and
    /// returns a copy to keep. Returns `None`, and leaves the body as it is, if its size hint says
    /// that it is longer than `limit` bytes.
    pub fn record(body: &mut B, limit: usize, wrap: impl FnOnce(Self) -> B) -> Option<Self> {
        let whole = body.size_hint();
        if whole.lower() > limit as u64 {
            return None;
        }
        let recording = Recording {
            chunks: Vec::new(),
            recorded: 0,
            limit,
            whole,
            trailers: None,
            source: Source::Coming,
            newest: 1,
            reader: None,
        };
        let recording = Arc::new(Mutex::new(recording));
        let copy = |number| Self {
            recording: Arc::clone(&recording),
            copy: number,
            position: 0,
            done: false,
        };
        let source = std::mem::replace(body, wrap(copy(1)));
        recording.lock().source = Source::More(source);
        Some(copy(0))
    }

    /// Returns a copy that reads from the beginning, and fences off all earlier copies. `None` if
    /// the body was longer than the bound, or its source failed.
    #[must_use]
    pub fn rewind(&self) -> Option<Self> {
        let mut recording = self.recording.lock();
        if matches!(recording.source, Source::TooLong(_) | Source::Spent) {
            return None;
        }
        recording.newest += 1;
        let copy = recording.newest;
        let fenced_off = recording.reader.take();
        drop(recording);
        if let Some(fenced_off) = fenced_off {
            fenced_off.wake();
        }
        Some(Self { recording: Arc::clone(&self.recording), copy, position: 0, done: false })
    }
}

impl<B> Recording<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Reads a frame from the source, and records it if it fits.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (Source::More(source) | Source::TooLong(source)) = &mut self.source else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(source).poll_frame(cx) else {
            match &mut self.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                reader => *reader = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        match frame {
            Some(Ok(frame)) => {
                let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                self.record(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.source = Source::Spent;
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn end(&mut self) {
        let whole = matches!(self.source, Source::More(_));
        self.source = if whole { Source::Ended } else { Source::Spent };
    }

    fn record(&mut self, frame: &Frame<Bytes>) {
        let whole = matches!(self.source, Source::More(_));
        if let Some(data) = frame.data_ref() {
            self.recorded = self.recorded.saturating_add(data.len());
            if self.recorded > self.limit {
                self.stop_recording();
            } else if whole && !data.is_empty() {
                self.chunks.push(data.clone());
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = whole.then(|| trailers.clone());
            // Nothing follows trailers, and the reader may not ask again after them.
            self.end();
        }
    }

    fn stop_recording(&mut self) {
        // The reader has read all chunks, or it wouldn't have asked for more.
        self.chunks = Vec::new();
        self.source = match std::mem::replace(&mut self.source, Source::Spent) {
            Source::More(source) => Source::TooLong(source),
            source => source,
        };
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut recording = this.recording.lock();
        if recording.newest != this.copy {
            return Poll::Ready(Some(Err(Superseded(()).into())));
        }
        if let Some(chunk) = recording.chunks.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if let Source::Ended = recording.source {
            let trailers = recording.trailers.clone().filter(|_| !this.done);
            this.done = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(recording.poll_source(cx));
        if let Some(Ok(frame)) = &frame {
            this.position = recording.chunks.len();
            // Trailers that were read from the source must not be replayed from the recording.
            this.done |= frame.is_trailers();
        } else {
            this.done = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let recording = self.recording.lock();
        if recording.newest != self.copy || self.position < recording.chunks.len() {
            return false;
        }
        match &recording.source {
            Source::Coming => false,
            Source::More(source) | Source::TooLong(source) => source.is_end_stream(),
            Source::Ended => self.done || recording.trailers.is_none(),
            Source::Spent => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let recording = self.recording.lock();
        let replayed: usize = recording.chunks.iter().skip(self.position).map(Bytes::len).sum();
        let rest = match &recording.source {
            Source::Coming => recording.whole,
            Source::More(source) | Source::TooLong(source) => source.size_hint(),
            Source::Ended | Source::Spent => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(replayed as u64));
        // If the length wasn't known the first time, but is now, HTTP/1 would send the body with a
        // content length, which leaves no place for trailers. As long as the source hasn't ended,
        // there may be some.
        let no_trailers = matches!(recording.source, Source::Ended) && recording.trailers.is_none();
        let framed_as_before = recording.whole.exact().is_some() || no_trailers;
        let upper = rest.upper().filter(|_| framed_as_before);
        if let Some(upper) = upper.and_then(|upper| upper.checked_add(replayed as u64)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").field("copy", &self.copy).finish_non_exhaustive()
    }
}

/// A newer attempt reads the body now, and this copy must not be sent any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded(());

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a newer attempt of this request sends its body now")
    }
}

impl Error for Superseded {}

/// A body that can be sent twice.
///
/// Implemented for bodies that are plain bytes, and for streamed bodies of types that can wrap any
/// other body. Plain bytes are saved whole, whatever the limit: `Bytes` are
/// shared, a `String` or `Vec` is copied for each call.
#[diagnostic::on_unimplemented(
    message = "the body `{Self}` can't be sent twice as it is",
    label = "a retry doesn't know how to repeat this body",
    note = "tonic's and axum's bodies are known with the features `tonic` and `axum`, `Full` and `Empty` with `hyper-util`",
    note = "for another body add `.replay_body(MyBody::new)` to the retry layer, or collect it into `bytes::Bytes` first"
)]
pub trait RepeatableBody: Sized {
    /// What is saved of the body while it is being sent.
    type SavedRequest;

    /// Returns what is needed to send the body again, up to `limit` bytes if it is
    /// streamed; see [`Replay::keep`](super::Replay::keep).
    fn keep(&mut self, limit: usize) -> Option<Self::SavedRequest>;

    /// Returns the body once more; see [`Replay::again`](super::Replay::again).
    fn again(saved: Self::SavedRequest, last: bool) -> Option<(Self, Option<Self::SavedRequest>)>;
}

macro_rules! by_clone {
    ($($body:ty $(where $param:ident $(: $bound:path)?)?;)*) => {$(
        impl$(<$param $(: $bound)?>)? RepeatableBody for $body {
            type SavedRequest = Self;

            fn keep(&mut self, _: usize) -> Option<Self> {
                Some(self.clone())
            }

            fn again(saved: Self, last: bool) -> Option<(Self, Option<Self>)> {
                Some(if last { (saved, None) } else { (saved.clone(), Some(saved)) })
            }
        }
    )*};
}

by_clone! {
    ();
    Bytes;
    &'static str;
    &'static [u8];
    String;
    Vec<u8>;
}

#[cfg(feature = "hyper-util")]
by_clone! {
    http_body_util::Full<D> where D: Clone;
    http_body_util::Empty<D> where D;
}

/// For types of which any body can be made: a recording body becomes one of them again.
#[cfg(any(feature = "tonic", feature = "axum", feature = "hyper-util"))]
macro_rules! by_recording {
    ($($body:ty: $wrap:path;)*) => {$(
        impl RepeatableBody for $body {
            type SavedRequest = super::ReplayBody<Self>;

            fn keep(&mut self, limit: usize) -> Option<Self::SavedRequest> {
                super::ReplayBody::record(self, limit, $wrap)
            }

            fn again(saved: Self::SavedRequest, last: bool) -> Option<(Self, Option<Self::SavedRequest>)> {
                let body = saved.rewind()?;
                Some(($wrap(body), (!last).then_some(saved)))
            }
        }
    )*};
}

#[cfg(feature = "tonic")]
by_recording! {
    tonic::body::Body: tonic::body::Body::new;
}

#[cfg(feature = "axum")]
by_recording! {
    axum_core::body::Body: axum_core::body::Body::new;
}

#[cfg(feature = "hyper-util")]
by_recording! {
    http_body_util::combinators::BoxBody<Bytes, BoxError>: http_body_util::combinators::BoxBody::new;
    http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>: http_body_util::combinators::UnsyncBoxBody::new;
}
