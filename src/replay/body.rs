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

/// A body that records, within a bound, what passes through it, so that it can
/// be sent again from its beginning.
///
/// One recording is shared by the copies of all attempts, and only the newest
/// copy reads: an earlier one, which may still be uploading when the next
/// attempt begins, gets the error [`Superseded`] at its next read, for which it
/// is woken. What the first attempt hadn't read yet the next one reads from the source.
///
/// The bound is on the body's bytes. Trailers are recorded besides; empty frames
/// aren't.
pub struct ReplayBody<B> {
    recording: Arc<Mutex<Recording<B>>>,
    /// Which copy this is; the newest one's number is the recording's.
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
    /// What the source said of its length when it was whole.
    whole: SizeHint,
    trailers: Option<HeaderMap>,
    source: Source<B>,
    newest: u64,
    /// Who waits for the source. When a newer copy takes it over, the source
    /// will wake only that one.
    reader: Option<Waker>,
}

enum Source<B> {
    /// It is about to come, once a copy has taken its place in the request.
    Coming,
    /// There may be more to read, and all that was read is recorded.
    More(B),
    /// There may be more to read, but the bound was passed: no copy follows.
    TooLong(B),
    /// All was read and is recorded.
    Ended,
    /// It failed, or ended past the bound.
    Spent,
}

impl<B> ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Records a body from now on: a copy to send takes its place, as a body that `wrap` makes of
    /// it, and one to keep is returned. `None`, and the body stays as it is, if it says that it is
    /// longer than `limit` bytes.
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

    /// A copy from the beginning, which fences off all earlier ones. `None` if
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
    /// Reads on from the source, and records what fits.
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
            // Nothing follows trailers, and who reads them may not ask again.
            self.end();
        }
    }

    fn stop_recording(&mut self) {
        // The reader is past all chunks, or it wouldn't have asked for more.
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
            // Read from the source, they must not come again from the recording.
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
        // With a length that wasn't known the first time, HTTP/1 would frame the body in another way,
        // which has no place for trailers; and there may be some as long as the source hasn't ended.
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

/// A newer attempt reads the body now; this copy must send no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded(());

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a newer attempt of this request sends its body now")
    }
}

impl Error for Superseded {}
