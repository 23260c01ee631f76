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

/// A body that records its data, up to a limit, so that it can be sent again from the beginning.
///
/// The copies of all attempts share one recording, and only the newest copy reads. An earlier copy may
/// still be uploading when the next attempt starts: it is woken, and its next read returns the error
/// [`Superseded`]. The next attempt reads the rest of the body from the source.
///
/// The limit applies to the bytes of data. Trailers are recorded too and don't count; empty frames
/// aren't recorded.
pub struct ReplayBody<B> {
    recording: Arc<Mutex<Recording<B>>>,
    /// The number of this copy, at most the recording's `newest`.
    copy: u64,
    /// The next recorded chunk to replay.
    position: usize,
    /// Whether the end of the body or its trailers were returned.
    done: bool,
}

struct Recording<B> {
    chunks: Vec<Bytes>,
    recorded: usize,
    limit: usize,
    /// The source's size hint before the first read.
    initial_hint: SizeHint,
    trailers: Option<HeaderMap>,
    source: Source<B>,
    newest: u64,
    /// The task that waits for the source. It is woken when a newer copy takes over, since the source
    /// then wakes only the newer copy's task.
    reader: Option<Waker>,
}

enum Source<B> {
    /// Not moved here yet: it is just being replaced in the request by a copy.
    Moving,
    /// There may be more to read, and everything read so far is recorded.
    Recorded(B),
    /// There may be more to read, but the limit was exceeded, and no other copy can be made.
    TooLong(B),
    /// Everything was read and is recorded.
    Ended,
    /// The source failed, or ended beyond the limit.
    Unrepeatable,
}

impl<B> ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Records a body from now on. Replaces it by a copy to send, which `wrap` converts into the body's
    /// type, and returns a copy to keep. Returns `None`, and leaves the body unchanged, if its size hint
    /// exceeds `limit` bytes.
    pub fn record(body: &mut B, limit: usize, wrap: impl FnOnce(Self) -> B) -> Option<Self> {
        let initial_hint = body.size_hint();
        if initial_hint.lower() > limit as u64 {
            return None;
        }
        let recording = Recording {
            chunks: Vec::new(),
            recorded: 0,
            limit,
            initial_hint,
            trailers: None,
            source: Source::Moving,
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
        recording.lock().source = Source::Recorded(source);
        Some(copy(0))
    }

    /// Returns a copy that reads from the beginning, and supersedes all earlier copies. Returns `None`
    /// if the body was longer than the limit, or its source failed.
    #[must_use]
    pub fn rewind(&self) -> Option<Self> {
        let mut recording = self.recording.lock();
        if matches!(recording.source, Source::TooLong(_) | Source::Unrepeatable) {
            return None;
        }
        recording.newest += 1;
        let copy = recording.newest;
        let superseded = recording.reader.take();
        drop(recording);
        if let Some(superseded) = superseded {
            superseded.wake();
        }
        Some(Self { recording: Arc::clone(&self.recording), copy, position: 0, done: false })
    }
}

impl<B> Recording<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Reads a frame from the source, and records it if it is within the limit.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (Source::Recorded(source) | Source::TooLong(source)) = &mut self.source else {
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
                self.source = Source::Unrepeatable;
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn end(&mut self) {
        let complete = matches!(self.source, Source::Recorded(_));
        self.source = if complete { Source::Ended } else { Source::Unrepeatable };
    }

    fn record(&mut self, frame: &Frame<Bytes>) {
        let complete = matches!(self.source, Source::Recorded(_));
        if let Some(data) = frame.data_ref() {
            self.recorded = self.recorded.saturating_add(data.len());
            if self.recorded > self.limit {
                self.stop_recording();
            } else if complete && !data.is_empty() {
                self.chunks.push(data.clone());
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = complete.then(|| trailers.clone());
            // Nothing follows trailers, and a reader may not poll again after them.
            self.end();
        }
    }

    fn stop_recording(&mut self) {
        // The reader polls the source only after all chunks.
        self.chunks = Vec::new();
        self.source = match std::mem::replace(&mut self.source, Source::Unrepeatable) {
            Source::Recorded(source) => Source::TooLong(source),
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
            Source::Moving => false,
            Source::Recorded(source) | Source::TooLong(source) => source.is_end_stream(),
            Source::Ended => self.done || recording.trailers.is_none(),
            Source::Unrepeatable => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let recording = self.recording.lock();
        let replayed: usize = recording.chunks.iter().skip(self.position).map(Bytes::len).sum();
        let rest = match &recording.source {
            Source::Moving => recording.initial_hint,
            Source::Recorded(source) | Source::TooLong(source) => source.size_hint(),
            Source::Ended | Source::Unrepeatable => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(replayed as u64));
        // With an exact length, HTTP/1 sends the body with a content length, which allows no trailers.
        // If the length wasn't known at first, there may be trailers until the source has ended.
        let no_trailers = matches!(recording.source, Source::Ended) && recording.trailers.is_none();
        let framed_as_before = recording.initial_hint.exact().is_some() || no_trailers;
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

/// The error of a body that a newer attempt sends now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded(());

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("superseded by a newer attempt, which sends the body of this request")
    }
}

impl Error for Superseded {}

/// A body that can be sent twice.
///
/// Implemented for bodies of plain bytes, and for streamed bodies of types that can wrap any other
/// body. Plain bytes are saved whole, whatever the limit: `Bytes` are shared, a `String` or `Vec` is
/// copied for each call.
#[diagnostic::on_unimplemented(
    message = "the body `{Self}` can't be sent twice as it is",
    label = "a retry doesn't know how to repeat this body",
    note = "tonic's and axum's bodies are known with the features `tonic` and `axum`, `Full` and `Empty` with `hyper-util`",
    note = "for another body add `.replay_body(MyBody::new)` to the retry layer, or collect it into `bytes::Bytes` first"
)]
pub trait RepeatableBody: Sized {
    /// The saved form of a body that is being sent.
    type SavedBody;

    /// Saves the body, up to `limit` bytes if it is streamed; see
    /// [`Replay::save`](super::Replay::save).
    fn save(&mut self, limit: usize) -> Option<Self::SavedBody>;

    /// Returns the body to send again; see [`Replay::restore`](super::Replay::restore).
    fn restore(saved: Self::SavedBody, last: bool) -> Option<(Self, Option<Self::SavedBody>)>;
}

macro_rules! by_clone {
    ($($body:ty $(where $param:ident $(: $bound:path)?)?;)*) => {$(
        impl$(<$param $(: $bound)?>)? RepeatableBody for $body {
            type SavedBody = Self;

            fn save(&mut self, _: usize) -> Option<Self> {
                Some(self.clone())
            }

            fn restore(saved: Self, last: bool) -> Option<(Self, Option<Self>)> {
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

/// For types that can wrap any body, such as a recording one.
#[cfg(any(feature = "tonic", feature = "axum", feature = "hyper-util"))]
macro_rules! by_recording {
    ($($body:ty: $wrap:path;)*) => {$(
        impl RepeatableBody for $body {
            type SavedBody = ReplayBody<Self>;

            fn save(&mut self, limit: usize) -> Option<Self::SavedBody> {
                ReplayBody::record(self, limit, $wrap)
            }

            fn restore(saved: Self::SavedBody, last: bool) -> Option<(Self, Option<Self::SavedBody>)> {
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
