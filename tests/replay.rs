//! Repeated bodies: the data of each copy.

#![cfg(feature = "retry")]

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::poll_fn;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::replay::{BodyReplay, HttpReplay, ReplayBody, Superseded};
use tower_upstream::retry::RetryBuilder;
use tower_upstream::retry::{Backoff, Budget, Decision, RetryBudget, StopReason};
use tower_upstream::{BoxError, RetryLayer, cause_ref};

/// The result of a read from a source.
#[derive(Clone, Debug)]
enum Step {
    Data(Vec<u8>),
    Trailers(&'static str),
    Fails,
    /// Pending once.
    Waits,
    /// The length is known from here on.
    Learns,
}

use Step::{Data, Fails, Learns, Trailers, Waits};

/// A body that follows a script, and panics if it is read after its end.
#[derive(Debug)]
struct Source {
    steps: VecDeque<Step>,
    /// Whether it knows its length and its end.
    knows: bool,
    over: bool,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Source {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps = steps.into_iter().collect();
        Self { steps, knows: true, over: false, waker: Arc::default() }
    }

    fn unknown_length(self) -> Self {
        Self { knows: false, ..self }
    }

    fn left(&self) -> u64 {
        let lengths = self.steps.iter().map(|step| match step {
            Data(data) => data.len() as u64,
            _ => 0,
        });
        lengths.sum()
    }
}

impl Body for Source {
    // Data of two chunks.
    type Data = bytes::buf::Chain<Bytes, Bytes>;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        assert!(!self.over, "read after its end");
        while let Some(Learns) = self.steps.front() {
            self.knows = true;
            self.steps.pop_front();
        }
        let step = self.steps.pop_front();
        self.over = matches!(step, None | Some(Fails | Trailers(_)));
        Poll::Ready(match step {
            None | Some(Learns) => None,
            Some(Data(data)) => {
                let mut data = Bytes::from(data);
                let front = data.split_to(data.len() / 2);
                Some(Ok(Frame::data(front.chain(data))))
            }
            Some(Trailers(value)) => Some(Ok(Frame::trailers(trailers(value)))),
            Some(Fails) => Some(Err(std::io::ErrorKind::BrokenPipe.into())),
            Some(Waits) => {
                *self.waker.lock().unwrap() = Some(cx.waker().clone());
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.knows && (self.over || self.steps.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        if self.knows { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("checksum".parse().unwrap(), HeaderValue::from_static(value))])
}

fn data(text: &str) -> Step {
    Data(text.into())
}

type Copies = (ReplayBody<Source>, ReplayBody<Source>);

/// Returns the copy to send and the one to keep, if the source is within the limit.
fn try_record(mut source: Source, limit: usize) -> Option<Copies> {
    let mut first = None;
    let take = |copy| {
        first = Some(copy);
        Source::new([])
    };
    let kept = ReplayBody::record(&mut source, limit, take)?;
    Some((first.unwrap(), kept))
}

fn record(source: Source, limit: usize) -> Copies {
    try_record(source, limit).unwrap()
}

/// Reads one frame from a body that is never pending.
fn frame(body: &mut ReplayBody<Source>) -> Option<Result<Frame<Bytes>, BoxError>> {
    match task::spawn(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).poll() {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("it waits"),
    }
}

/// Reads to the end, and returns the data and the trailers.
fn read(body: &mut ReplayBody<Source>) -> Result<(Vec<u8>, Option<HeaderMap>), BoxError> {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = frame(body) {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => {
                assert!(trailers.is_none(), "trailers twice");
                trailers = frame.into_trailers().ok();
            }
        }
    }
    assert!(frame(body).is_none(), "a frame after the end");
    Ok((bytes, trailers))
}

fn text(body: &mut ReplayBody<Source>) -> String {
    String::from_utf8(read(body).unwrap().0).unwrap()
}

fn is_superseded(body: &mut ReplayBody<Source>) -> bool {
    let error = frame(body).unwrap().unwrap_err();
    cause_ref::<Superseded>(&*error).is_some()
}

#[test]
fn rewind_starts_at_the_beginning() {
    let (mut first, kept) = record(Source::new([data("one "), data("two")]), 7);
    assert_eq!(text(&mut first), "one two");
    for _ in 0..3 {
        assert_eq!(text(&mut kept.rewind().unwrap()), "one two");
    }
}

#[test]
fn rewind_reads_the_rest_from_the_source() {
    let (mut first, kept) = record(Source::new([data("one "), data("two "), data("three")]), 100);
    assert_eq!(frame(&mut first).unwrap().unwrap().into_data().unwrap(), "one ");
    let mut second = kept.rewind().unwrap();
    assert_eq!(frame(&mut second).unwrap().unwrap().into_data().unwrap(), "one ");
    assert_eq!(frame(&mut second).unwrap().unwrap().into_data().unwrap(), "two ");
    assert_eq!(text(&mut kept.rewind().unwrap()), "one two three");
}

#[test]
fn rewind_unread_body_is_whole() {
    let (first, kept) = record(Source::new([data("one "), Trailers("x")]), 100);
    drop(first);
    let (bytes, seen) = read(&mut kept.rewind().unwrap()).unwrap();
    assert_eq!((&*bytes, seen), (&b"one "[..], Some(trailers("x"))));
}

#[test]
fn superseded_copy_fails() {
    let (mut first, kept) = record(Source::new([data("one "), data("two")]), 100);
    frame(&mut first).unwrap().unwrap();
    let mut second = kept.rewind().unwrap();
    assert!(is_superseded(&mut first) && is_superseded(&mut first));
    let mut third = kept.rewind().unwrap();
    assert!(is_superseded(&mut first) && is_superseded(&mut second));
    assert_eq!(text(&mut third), "one two");
    // Also at its end: it must not look like a whole body.
    let _fourth = kept.rewind().unwrap();
    assert!(!third.is_end_stream());
    assert!(is_superseded(&mut third));
}

#[test]
fn superseded_copy_is_never_at_its_end() {
    let (mut first, kept) = record(Source::new([data("one"), Trailers("x")]), 100);
    _ = kept.rewind().unwrap();
    assert!(!first.is_end_stream() && !kept.is_end_stream());
    assert!(is_superseded(&mut first));
    let (first, kept) = record(Source::new([]), 100);
    assert!(first.is_end_stream());
    _ = kept.rewind().unwrap();
    assert!(!first.is_end_stream());
}

/// The source wakes only the task that read it last. Without a wake, a superseded copy would never end,
/// nor would its connection.
#[test]
fn superseded_copy_is_woken() {
    let source = Source::new([data("one "), Waits, data("two")]);
    let waker = Arc::clone(&source.waker);
    let (mut first, kept) = record(source, 100);
    frame(&mut first).unwrap().unwrap();
    let mut waiting = task::spawn(first);
    assert_pending!(waiting.enter(|cx, body| body.poll_frame(cx)));
    let mut second = kept.rewind().unwrap();
    assert!(waiting.is_woken());
    let frame = waiting.enter(|cx, body| body.poll_frame(cx));
    assert!(matches!(frame, Poll::Ready(Some(Err(error))) if error.is::<Superseded>()));
    assert_eq!(text(&mut second), "one two");
    assert!(waker.lock().unwrap().is_some());
}

#[test]
fn copy_moved_between_tasks_wakes_the_last_task() {
    let (first, kept) = record(Source::new([Waits, Waits, data("one")]), 100);
    let mut first = Some(first);
    let mut here = task::spawn(());
    let mut there = task::spawn(());
    for task in [&mut here, &mut there] {
        let body = first.as_mut().unwrap();
        assert_pending!(task.enter(|cx, _| Pin::new(body).poll_frame(cx)));
    }
    _ = kept.rewind();
    assert!(!here.is_woken() && there.is_woken());
}

#[test]
fn limit_is_inclusive() {
    for cap in [6, 7] {
        let source = Source::new([data("abc"), data("def")]).unknown_length();
        let (mut first, kept) = record(source, cap);
        assert_eq!(text(&mut first), "abcdef");
        assert_eq!(text(&mut kept.rewind().unwrap()), "abcdef");
    }
    let (mut first, kept) = record(Source::new([]).unknown_length(), 0);
    assert_eq!(text(&mut first), "");
    assert_eq!(text(&mut kept.rewind().unwrap()), "");
}

#[test]
fn limit_exceeded_sends_the_whole_body_once() {
    let steps = [data("abc"), data("def"), data(""), data("ghi"), Trailers("x")];
    let (mut first, kept) = record(Source::new(steps).unknown_length(), 5);
    frame(&mut first).unwrap().unwrap();
    assert!(kept.rewind().is_some());

    let steps = [data("abc"), data("def"), data(""), data("ghi"), Trailers("x")];
    let (mut first, kept) = record(Source::new(steps).unknown_length(), 5);
    frame(&mut first).unwrap().unwrap();
    frame(&mut first).unwrap().unwrap();
    assert!(kept.rewind().is_none());
    let (rest, seen) = read(&mut first).unwrap();
    assert_eq!((&*rest, seen), (&b"ghi"[..], Some(trailers("x"))));
    assert!(kept.rewind().is_none() && first.is_end_stream());
}

#[test]
fn limit_exceeded_frees_the_recording() {
    let steps = [data("abc"), data("def"), data("ghi")];
    let (mut first, _kept) = record(Source::new(steps).unknown_length(), 5);
    let recorded = frame(&mut first).unwrap().unwrap().into_data().unwrap();
    assert!(!recorded.is_unique());
    let too_much = frame(&mut first).unwrap().unwrap().into_data().unwrap();
    let rest = frame(&mut first).unwrap().unwrap().into_data().unwrap();
    assert!(recorded.is_unique() && too_much.is_unique() && rest.is_unique());
}

#[test]
fn limit_exceeded_by_a_later_copy() {
    let (mut first, kept) = record(Source::new([data("abc"), data("def")]).unknown_length(), 5);
    frame(&mut first).unwrap().unwrap();
    let mut second = kept.rewind().unwrap();
    assert_eq!(text(&mut second), "abcdef");
    assert!(kept.rewind().is_none());
}

#[test]
fn limit_below_size_hint_is_not_recorded() {
    let mut source = Source::new([data("abc"), data("def")]);
    let kept = ReplayBody::record(&mut source, 5, |_| panic!("it is wrapped"));
    assert!(kept.is_none());
    assert_eq!(source.steps.len(), 2);
}

#[test]
fn wrapped_copy_has_the_size_hint_of_the_source() {
    let mut source = Source::new([data("abc"), data("def")]);
    let kept = ReplayBody::record(&mut source, 6, |copy| {
        assert_eq!(copy.size_hint().exact(), Some(6));
        assert!(!copy.is_end_stream());
        Source::new([])
    });
    assert!(kept.is_some());
    assert!(source.steps.is_empty(), "the wrapped copy replaces the source");
}

#[test]
fn failed_source_cannot_be_rewound() {
    let (mut first, kept) = record(Source::new([data("abc"), Fails]), 5);
    frame(&mut first).unwrap().unwrap();
    let error = frame(&mut first).unwrap().unwrap_err();
    assert!(error.is::<std::io::Error>());
    assert!(frame(&mut first).is_none());
    assert!(kept.rewind().is_none());
}

#[test]
fn trailers_are_returned_once_per_copy() {
    let (mut first, kept) = record(Source::new([data("abc"), Trailers("x")]), 100);
    let all = (b"abc".to_vec(), Some(trailers("x")));
    assert_eq!(read(&mut first).unwrap(), all);
    assert_eq!(read(&mut kept.rewind().unwrap()).unwrap(), all);
}

/// hyper sends a body of known length over HTTP/1 with a `Content-Length`, and no trailers.
#[test]
fn size_hint_with_trailers_is_exact_only_if_source_was() {
    for knows in [true, false] {
        let source = Source::new([data("abc"), Trailers("x")]);
        let source = if knows { source } else { source.unknown_length() };
        let (mut first, kept) = record(source, 100);
        assert_eq!(first.size_hint().exact().is_some(), knows);
        read(&mut first).unwrap();
        assert_eq!(kept.rewind().unwrap().size_hint().exact().is_some(), knows);
    }
}

/// A source whose length is known late may still have trailers.
#[test]
fn size_hint_learned_late_leaves_room_for_trailers() {
    let steps = [data("abc"), Learns, data("def"), data("ghi"), Trailers("x")];
    let (mut first, kept) = record(Source::new(steps).unknown_length(), 100);
    for _ in 0..2 {
        frame(&mut first).unwrap().unwrap();
    }
    let mut again = kept.rewind().unwrap();
    assert_eq!(again.size_hint().exact(), None);
    assert_eq!(read(&mut again).unwrap(), (b"abcdefghi".to_vec(), Some(trailers("x"))));
}

/// HTTP/2 stops reading at the trailers, without polling for the end.
#[test]
fn trailers_are_replayed_without_reading_past_them() {
    let (mut first, kept) = record(Source::new([data("abc"), Trailers("x")]), 100);
    frame(&mut first).unwrap().unwrap();
    assert!(frame(&mut first).unwrap().unwrap().is_trailers());
    assert!(first.is_end_stream());
    let again = read(&mut kept.rewind().unwrap()).unwrap();
    assert_eq!(again, (b"abc".to_vec(), Some(trailers("x"))));
}

#[test]
fn empty_frames_pass_unrecorded() {
    let steps = std::iter::repeat_n(data(""), 10_000).chain([data("abc")]);
    let (mut first, kept) = record(Source::new(steps).unknown_length(), 3);
    let mut frames = 0;
    while let Some(Ok(_)) = frame(&mut first) {
        frames += 1;
    }
    assert_eq!(frames, 10_001);
    let mut second = kept.rewind().unwrap();
    let first_frame = frame(&mut second).unwrap().unwrap();
    assert_eq!(first_frame.into_data().unwrap(), "abc");
}

#[test]
fn replay_body_is_send_if_its_source_is() {
    fn goes<T: Send + Sync>() {}
    // `BoxBody` requires `Sync`, which few bodies are.
    goes::<ReplayBody<http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>>>();
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let frame = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 1..5).prop_map(Data),
        1 => Just(Data(Vec::new())),
    ];
    let end = proptest::option::weighted(0.4, Just(Trailers("end")));
    (proptest::collection::vec(frame, 0..8), end).prop_map(|(mut frames, end)| {
        frames.extend(end);
        frames
    })
}

/// Checks the size hint and `is_end_stream` before each frame.
fn read_and_check(body: &mut ReplayBody<Source>, most: usize, exact: bool) -> (Vec<u8>, bool) {
    let (mut bytes, mut trailers) = (Vec::new(), false);
    let mut said = Vec::new();
    for _ in 0..most {
        said.push((bytes.len(), body.size_hint()));
        let ended = body.is_end_stream();
        let Some(frame) = frame(body) else { break };
        assert!(!ended, "a frame after the end");
        match frame.unwrap().into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(_) => trailers = true,
        }
    }
    if most == usize::MAX {
        assert!(body.is_end_stream());
        for (before, hint) in said {
            let left = (bytes.len() - before) as u64;
            assert!(hint.lower() <= left && hint.upper().is_none_or(|upper| upper >= left));
            assert!(!exact || hint.exact() == Some(left), "{hint:?}, but {left}");
        }
    }
    (bytes, trailers)
}

proptest! {
    #[test]
    fn rewind_any_sequence_returns_the_whole_body(
        steps in steps(), knows in any::<bool>(), limit in 0..24usize,
        reads in proptest::collection::vec(0..12usize, 0..4),
    ) {
        let source = || {
            let source = Source::new(steps.clone());
            if knows { source } else { source.unknown_length() }
        };
        let length = usize::try_from(source().left()).unwrap();
        let whole: Vec<u8> = steps.iter().flat_map(|step| match step {
            Data(data) => data.clone(),
            _ => Vec::new(),
        }).collect();
        let ends = steps.iter().any(|step| matches!(step, Trailers(_)));

        let recorded = try_record(source(), limit);
        prop_assert_eq!(recorded.is_none(), knows && length > limit);
        let Some((mut copy, kept)) = recorded else { return Ok(()) };
        for most in reads {
            let (read, _) = read_and_check(&mut copy, most, knows);
            prop_assert!(whole.starts_with(&read));
            let again = kept.rewind();
            prop_assert_eq!(again.is_none(), read.len() > limit);
            match again {
                Some(again) => copy = again,
                None => return Ok(()),
            }
        }
        let (read, trailers) = read_and_check(&mut copy, usize::MAX, knows);
        prop_assert_eq!(read, whole);
        prop_assert_eq!(trailers, ends);
        prop_assert_eq!(kept.rewind().is_none(), length > limit);
    }
}

/// The final status, the body of each attempt, and the reason for the last decision.
type Sent = Arc<Mutex<Vec<Bytes>>>;

#[derive(Clone, Default)]
struct Seen {
    sent: Sent,
    stopped: Arc<Mutex<Option<StopReason>>>,
}

/// Sends `body` through `layer` to a client that reads all of it with `read`, and responds twice with
/// 503, then with 200.
async fn send<L, B, F>(
    layer: impl FnOnce(RetryBuilder) -> L,
    body: B,
    read: impl Fn(B) -> F + Clone + Send + 'static,
) -> (u16, Vec<Bytes>, Option<StopReason>)
where
    L: Layer<tower::util::BoxCloneSyncService<Request<B>, Response<()>, BoxError>>,
    L::Service: tower::Service<Request<B>, Response = Response<()>, Error = BoxError>,
    F: Future<Output = Result<Bytes, BoxError>> + Send + 'static,
    B: Send + 'static,
{
    let seen = Seen::default();
    let observer = {
        let stopped = Arc::clone(&seen.stopped);
        observer_fn(move |event: &Event<'_>| {
            if let Event::RetryDecided(event) = event
                && let Decision::Stop(reason) = event.decision
            {
                *stopped.lock().unwrap() = Some(reason);
            }
        })
    };
    let sent = Arc::clone(&seen.sent);
    let read = Arc::new(Mutex::new(read));
    let client = service_fn(move |request: Request<B>| {
        let (sent, read) = (Arc::clone(&sent), read.lock().unwrap().clone());
        async move {
            let (head, body) = request.into_parts();
            assert_eq!((head.method.as_str(), head.uri.path()), ("PUT", "/things"));
            assert_eq!(head.headers["x-name"], "value");
            let body = read(body).await?;
            let mut sent = sent.lock().unwrap();
            sent.push(body);
            let status = if sent.len() < 3 { 503 } else { 200 };
            Ok::<_, BoxError>(Response::builder().status(status).body(())?)
        }
    });
    let client = tower::util::BoxCloneSyncService::new(client);
    let service = layer(RetryLayer::builder().observer(observer)).layer(client);
    let request = Request::put("/things").header("x-name", "value").body(body).unwrap();
    let status = service.oneshot(request).await.unwrap().status().as_u16();
    let sent = seen.sent.lock().unwrap().clone();
    let stopped = *seen.stopped.lock().unwrap();
    (status, sent, stopped)
}

async fn collect<B>(body: B) -> Result<Bytes, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    Ok(body.collect().await.map_err(Into::into)?.to_bytes())
}

fn thrice(text: &'static str) -> (u16, Vec<Bytes>, Option<StopReason>) {
    (200, vec![Bytes::from_static(text.as_bytes()); 3], None)
}

#[tokio::test(start_paused = true)]
async fn plain_bodies_are_repeated() {
    let same = |layer: RetryBuilder| layer.build().unwrap();
    assert_eq!(send(same, (), async |()| Ok(Bytes::new())).await, thrice(""));
    assert_eq!(send(same, Bytes::from("text"), async |body| Ok(body)).await, thrice("text"));
    assert_eq!(
        send(same, "text", async |body: &str| Ok(body.to_owned().into())).await,
        thrice("text")
    );
    assert_eq!(
        send(same, b"text".as_slice(), async |body: &[u8]| Ok(body.to_owned().into())).await,
        thrice("text")
    );
    assert_eq!(send(same, "text".to_owned(), collect).await, thrice("text"));
    assert_eq!(
        send(same, b"text".to_vec(), async |body: Vec<u8>| Ok(body.into())).await,
        thrice("text")
    );
}

#[cfg(feature = "hyper-util")]
#[tokio::test(start_paused = true)]
async fn http_body_util_bodies_are_repeated() {
    use http_body_util::{Empty, Full};

    let same = |layer: RetryBuilder| layer.build().unwrap();
    assert_eq!(send(same, Full::<Bytes>::from("text"), collect).await, thrice("text"));
    assert_eq!(send(same, Empty::<Bytes>::new(), collect).await, thrice(""));
    let boxed = || Full::<Bytes>::from("text").map_err(BoxError::from);
    assert_eq!(send(same, boxed().boxed(), collect).await, thrice("text"));
    assert_eq!(send(same, boxed().boxed_unsync(), collect).await, thrice("text"));
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn axum_body_is_repeated() {
    use axum::body::Body;

    assert_eq!(
        send(|layer: RetryBuilder| layer.build().unwrap(), Body::from("text"), collect).await,
        thrice("text")
    );
    assert_eq!(
        send(|layer: RetryBuilder| layer.build().unwrap(), Body::empty(), collect).await,
        thrice("")
    );
    let stream = futures_util::stream::iter(["te", "xt"].map(Ok::<_, std::convert::Infallible>));
    assert_eq!(
        send(|layer: RetryBuilder| layer.build().unwrap(), Body::from_stream(stream), collect)
            .await,
        thrice("text")
    );
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn tonic_body_is_repeated() {
    use tonic::body::Body;

    let body = Body::new(http_body_util::Full::<Bytes>::from("text"));
    assert_eq!(
        send(|layer: RetryBuilder| layer.build().unwrap(), body, collect).await,
        thrice("text")
    );
    assert_eq!(
        send(|layer: RetryBuilder| layer.build().unwrap(), Body::empty(), collect).await,
        thrice("")
    );
}

/// A custom body that can hold any other.
struct Mine(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>);

impl Mine {
    fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Box::pin(
            body.map_err(Into::into)
                .map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
        ))
    }
}

impl Body for Mine {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[tokio::test(start_paused = true)]
async fn custom_body_is_repeated() {
    let source = Source::new([data("te"), data(""), data("xt"), Trailers("x")]);
    let wrapping = |layer: RetryBuilder| layer.replay_body(Mine::new).build().unwrap();
    assert_eq!(send(wrapping, Mine::new(source), collect).await, thrice("text"));
}

#[tokio::test(start_paused = true)]
async fn body_over_limit_is_sent_once() {
    let once = |text: &'static str| (503, vec![Bytes::from(text)], Some(StopReason::NotReplayable));
    let wrapping = |layer: RetryBuilder| {
        let replay = BodyReplay::new(|body: ReplayBody<Mine>| Mine::new(body)).limit(3);
        layer.replay(replay).build().unwrap()
    };
    // Known from its size hint, and detected only while it is sent.
    let source = || Source::new([data("te"), data("xt")]);
    assert_eq!(send(wrapping, Mine::new(source()), collect).await, once("text"));
    let unknown = Mine::new(source().unknown_length());
    assert_eq!(send(wrapping, unknown, collect).await, once("text"));
    #[cfg(feature = "axum")]
    {
        let limited =
            |layer: RetryBuilder| layer.replay(HttpReplay::new().limit(3)).build().unwrap();
        let body = axum::body::Body::from("text");
        assert_eq!(send(limited, body, collect).await, once("text"));
    }
    _ = HttpReplay::new();
}

/// A client whose readiness fails twice, first in `poll_ready` and then in the call.
#[cfg(feature = "axum")]
#[derive(Clone)]
struct Unready<S> {
    inner: S,
    failures: Arc<Mutex<u32>>,
}

#[cfg(feature = "axum")]
impl<S, Req> tower::Service<Req> for Unready<S>
where
    S: tower::Service<Req, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut failures = self.failures.lock().unwrap();
        *failures += 1;
        if *failures <= 2 {
            Poll::Ready(Err("not ready".into()))
        } else {
            self.inner.poll_ready(cx)
        }
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.inner.call(request)
    }
}

/// The body can't be sent twice, but was never sent.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn body_over_limit_is_retried_if_never_sent() {
    let unready = tower::layer::layer_fn(|inner| Unready { inner, failures: Arc::default() });
    let limited = |layer: RetryBuilder| {
        let retry = layer.replay(HttpReplay::new().limit(3)).build().unwrap();
        tower::ServiceBuilder::new().layer(retry).layer(unready).into_inner()
    };
    let outcome = send(limited, axum::body::Body::from("text"), collect).await;
    let sent = vec![Bytes::from("text")];
    assert_eq!(outcome, (503, sent, Some(StopReason::MaxAttempts)));
}

#[tokio::test(start_paused = true)]
async fn body_not_replayable_costs_no_budget() {
    let budget = Arc::new(RetryBudget::new().ratio(0.0).per_second(0.0).reserve(1));
    let shared: Arc<dyn Budget> = budget.clone();
    let limited = |layer: RetryBuilder| {
        layer
            .budget(shared)
            .replay(BodyReplay::new(|body: ReplayBody<Mine>| Mine::new(body)).limit(3))
            .build()
            .unwrap()
    };
    let source = Source::new([data("te"), data("xt")]).unknown_length();
    let (_, sent, stopped) = send(limited, Mine::new(source), collect).await;
    assert_eq!((sent.len(), stopped), (1, Some(StopReason::NotReplayable)));
    assert_eq!(budget.remaining(), 1);
}

#[tokio::test(start_paused = true)]
async fn upload_dropped_by_timeout_is_repeated_whole() {
    let source = Source::new([data("te"), Waits, data("xt")]).unknown_length();
    let hasty = |layer: RetryBuilder| {
        layer
            .attempt_timeout(Duration::from_secs(1))
            .backoff(Backoff::constant(Duration::ZERO))
            .replay_body(Mine::new)
            .build()
            .unwrap()
    };
    // The first attempt waits for a body that never wakes it, until its timeout.
    assert_eq!(send(hasty, Mine::new(source), collect).await, thrice("text"));
}

#[tokio::test(start_paused = true)]
async fn upload_outliving_its_attempt_is_superseded() {
    // The first response arrives while the connection still holds the body, as with HTTP/2.
    let uploads: Arc<Mutex<Vec<Mine>>> = Arc::default();
    let first = Arc::clone(&uploads);
    let client = service_fn(move |request: Request<Mine>| {
        let first = Arc::clone(&first);
        async move {
            if first.lock().unwrap().is_empty() {
                let mut body = request.into_body();
                body.frame().await.unwrap()?;
                first.lock().unwrap().push(body);
                return Ok::<_, BoxError>(Response::builder().status(503).body(Bytes::new())?);
            }
            let mut upload = pin!(first.lock().unwrap().pop().unwrap());
            let error = upload.frame().await.unwrap().unwrap_err();
            assert!(cause_ref::<Superseded>(&*error).is_some());
            Ok(Response::new(collect(request.into_body()).await?))
        }
    });
    let service = RetryLayer::builder().replay_body(Mine::new).build().unwrap().layer(client);
    let source = Source::new([data("te"), data("xt")]);
    let request = Request::put("/").body(Mine::new(source)).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().into_body(), "text");
}

#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn reqwest_requests_are_repeated_with_any_body() {
    use http_body_util::BodyExt as _;

    async fn collect(mut request: reqwest::Request) -> Result<Bytes, BoxError> {
        assert_eq!(request.url().path(), "/things");
        let body = request.body_mut().take().ok_or("a body")?;
        Ok(body.collect().await?.to_bytes())
    }

    let streamed = || {
        let pieces = ["te", "xt"].map(Ok::<_, std::convert::Infallible>);
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
    };
    let sized = || http_body_util::Full::new(Bytes::from("text"));
    let rows = [
        (reqwest::Body::from("text"), 0, 3),
        (streamed(), 4, 3),
        (streamed(), 3, 1),
        (reqwest::Body::wrap(sized()), 4, 3),
        (reqwest::Body::wrap(sized()), 3, 1),
    ];
    for (body, limit, attempts) in rows {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&sent);
        let client = service_fn(move |request: reqwest::Request| {
            let collected = Arc::clone(&collected);
            async move {
                let body = collect(request).await?;
                collected.lock().unwrap().push(body);
                Ok::<_, BoxError>(Response::builder().status(503).body(())?)
            }
        });
        let mut request =
            reqwest::Request::new(http::Method::PUT, "http://host/things".parse().unwrap());
        *request.body_mut() = Some(body);
        let layer = RetryLayer::builder().replay(HttpReplay::new().limit(limit)).build().unwrap();
        let response = layer.layer(client).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(*sent.lock().unwrap(), vec!["text"; attempts]);
    }
}
