//! Bodies that are sent again: what comes out of each copy, and when.

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

/// What a source does when it is read.
#[derive(Clone, Debug)]
enum Step {
    Data(Vec<u8>),
    Trailers(&'static str),
    Fails,
    /// Makes the reader wait once.
    Waits,
    /// Knows its length from here on.
    Learns,
}

use Step::{Data, Fails, Learns, Trailers, Waits};

/// A body that follows a script, and panics when it is read after its end.
#[derive(Debug)]
struct Source {
    steps: VecDeque<Step>,
    /// Whether it knows its length, and that it is at its end.
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
    // Data in two chunks, to check that both are taken.
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

/// Returns the copy to send and the one to keep, if the source fits.
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

/// Reads one frame from a body that never waits.
fn frame(body: &mut ReplayBody<Source>) -> Option<Result<Frame<Bytes>, BoxError>> {
    match task::spawn(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).poll() {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("it waits"),
    }
}

/// Reads to the end: what came as data, and as trailers.
fn read(body: &mut ReplayBody<Source>) -> Result<(Vec<u8>, Option<HeaderMap>), BoxError> {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = frame(body) {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => {
                assert!(trailers.is_none(), "trailers came twice");
                trailers = frame.into_trailers().ok();
            }
        }
    }
    assert!(frame(body).is_none(), "it went on after its end");
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
fn each_copy_begins_at_the_beginning() {
    let (mut first, kept) = record(Source::new([data("one "), data("two")]), 7);
    assert_eq!(text(&mut first), "one two");
    for _ in 0..3 {
        assert_eq!(text(&mut kept.rewind().unwrap()), "one two");
    }
}

#[test]
fn what_the_first_copy_left_the_next_one_reads() {
    let (mut first, kept) = record(Source::new([data("one "), data("two "), data("three")]), 100);
    assert_eq!(frame(&mut first).unwrap().unwrap().into_data().unwrap(), "one ");
    let mut second = kept.rewind().unwrap();
    assert_eq!(frame(&mut second).unwrap().unwrap().into_data().unwrap(), "one ");
    assert_eq!(frame(&mut second).unwrap().unwrap().into_data().unwrap(), "two ");
    assert_eq!(text(&mut kept.rewind().unwrap()), "one two three");
}

#[test]
fn a_body_that_was_answered_before_it_was_read_is_whole() {
    let (first, kept) = record(Source::new([data("one "), Trailers("x")]), 100);
    drop(first);
    let (bytes, seen) = read(&mut kept.rewind().unwrap()).unwrap();
    assert_eq!((&*bytes, seen), (&b"one "[..], Some(trailers("x"))));
}

#[test]
fn an_earlier_copy_is_fenced_off() {
    let (mut first, kept) = record(Source::new([data("one "), data("two")]), 100);
    frame(&mut first).unwrap().unwrap();
    let mut second = kept.rewind().unwrap();
    assert!(is_superseded(&mut first) && is_superseded(&mut first));
    let mut third = kept.rewind().unwrap();
    assert!(is_superseded(&mut first) && is_superseded(&mut second));
    assert_eq!(text(&mut third), "one two");
    // Also at its end, where it might otherwise pass for a whole body.
    let _fourth = kept.rewind().unwrap();
    assert!(!third.is_end_stream());
    assert!(is_superseded(&mut third));
}

#[test]
fn a_fenced_copy_never_says_that_it_is_at_its_end() {
    let (mut first, kept) = record(Source::new([data("one"), Trailers("x")]), 100);
    _ = kept.rewind().unwrap();
    assert!(!first.is_end_stream() && !kept.is_end_stream());
    assert!(is_superseded(&mut first));
    let (first, kept) = record(Source::new([]), 100);
    assert!(first.is_end_stream());
    _ = kept.rewind().unwrap();
    assert!(!first.is_end_stream());
}

/// The source wakes only the task that read it last. A copy that waited before
/// would otherwise wait for ever, and its connection with it.
#[test]
fn a_copy_that_waits_is_woken_when_it_is_fenced_off() {
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
fn who_moves_between_tasks_is_woken_where_it_is() {
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
fn the_cap_itself_still_fits() {
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
fn past_the_cap_a_body_is_sent_once_and_whole() {
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
fn past_the_cap_nothing_is_held_on_to() {
    let steps = [data("abc"), data("def"), data("ghi")];
    let (mut first, _kept) = record(Source::new(steps).unknown_length(), 5);
    let recorded = frame(&mut first).unwrap().unwrap().into_data().unwrap();
    assert!(!recorded.is_unique());
    let too_much = frame(&mut first).unwrap().unwrap().into_data().unwrap();
    let rest = frame(&mut first).unwrap().unwrap().into_data().unwrap();
    assert!(recorded.is_unique() && too_much.is_unique() && rest.is_unique());
}

#[test]
fn a_later_copy_may_pass_the_cap_too() {
    let (mut first, kept) = record(Source::new([data("abc"), data("def")]).unknown_length(), 5);
    frame(&mut first).unwrap().unwrap();
    let mut second = kept.rewind().unwrap();
    assert_eq!(text(&mut second), "abcdef");
    assert!(kept.rewind().is_none());
}

#[test]
fn a_body_that_says_it_is_longer_is_left_alone() {
    let mut source = Source::new([data("abc"), data("def")]);
    let kept = ReplayBody::record(&mut source, 5, |_| panic!("it is wrapped"));
    assert!(kept.is_none());
    assert_eq!(source.steps.len(), 2);
}

#[test]
fn who_wraps_a_recording_learns_how_long_it_is() {
    let mut source = Source::new([data("abc"), data("def")]);
    let kept = ReplayBody::record(&mut source, 6, |copy| {
        assert_eq!(copy.size_hint().exact(), Some(6));
        assert!(!copy.is_end_stream());
        Source::new([])
    });
    assert!(kept.is_some());
    assert!(source.steps.is_empty(), "what was wrapped is in the source's place");
}

#[test]
fn a_failing_source_ends_the_body_for_good() {
    let (mut first, kept) = record(Source::new([data("abc"), Fails]), 5);
    frame(&mut first).unwrap().unwrap();
    let error = frame(&mut first).unwrap().unwrap_err();
    assert!(error.is::<std::io::Error>());
    assert!(frame(&mut first).is_none());
    assert!(kept.rewind().is_none());
}

#[test]
fn trailers_come_once_a_copy() {
    let (mut first, kept) = record(Source::new([data("abc"), Trailers("x")]), 100);
    let all = (b"abc".to_vec(), Some(trailers("x")));
    assert_eq!(read(&mut first).unwrap(), all);
    assert_eq!(read(&mut kept.rewind().unwrap()).unwrap(), all);
}

/// hyper sends a body that knows its length over HTTP/1 with a `Content-Length`, and then no trailers.
#[test]
fn a_copy_with_trailers_knows_its_length_only_if_the_source_did() {
    for knows in [true, false] {
        let source = Source::new([data("abc"), Trailers("x")]);
        let source = if knows { source } else { source.unknown_length() };
        let (mut first, kept) = record(source, 100);
        assert_eq!(first.size_hint().exact().is_some(), knows);
        read(&mut first).unwrap();
        assert_eq!(kept.rewind().unwrap().size_hint().exact().is_some(), knows);
    }
}

/// A source that learns late how much is left may still have trailers.
#[test]
fn a_copy_of_a_source_that_learns_its_length_leaves_room_for_trailers() {
    let steps = [data("abc"), Learns, data("def"), data("ghi"), Trailers("x")];
    let (mut first, kept) = record(Source::new(steps).unknown_length(), 100);
    for _ in 0..2 {
        frame(&mut first).unwrap().unwrap();
    }
    let mut again = kept.rewind().unwrap();
    assert_eq!(again.size_hint().exact(), None);
    assert_eq!(read(&mut again).unwrap(), (b"abcdefghi".to_vec(), Some(trailers("x"))));
}

/// HTTP/2 stops reading at the trailers, without asking for the end behind them.
#[test]
fn trailers_come_again_where_the_end_behind_them_was_never_read() {
    let (mut first, kept) = record(Source::new([data("abc"), Trailers("x")]), 100);
    frame(&mut first).unwrap().unwrap();
    assert!(frame(&mut first).unwrap().unwrap().is_trailers());
    assert!(first.is_end_stream());
    let again = read(&mut kept.rewind().unwrap()).unwrap();
    assert_eq!(again, (b"abc".to_vec(), Some(trailers("x"))));
}

#[test]
fn empty_frames_pass_and_take_no_space() {
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
fn it_can_go_wherever_its_source_can() {
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

/// Before each frame: what a copy says of what is to come must be true.
fn read_and_check(body: &mut ReplayBody<Source>, most: usize, exact: bool) -> (Vec<u8>, bool) {
    let (mut bytes, mut trailers) = (Vec::new(), false);
    let mut said = Vec::new();
    for _ in 0..most {
        said.push((bytes.len(), body.size_hint()));
        let ended = body.is_end_stream();
        let Some(frame) = frame(body) else { break };
        assert!(!ended, "a frame came after the end");
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
    fn every_copy_is_the_whole_body(
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

/// Through the layer: every attempt's body, and the reason why there was no further one.
type Sent = Arc<Mutex<Vec<Bytes>>>;

#[derive(Clone, Default)]
struct Seen {
    sent: Sent,
    stopped: Arc<Mutex<Option<StopReason>>>,
}

/// Sends `body` through `layer` to a client that reads all of it with `read`,
/// and answers twice with 503, then with 200.
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
async fn plain_bodies_are_sent_again() {
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
async fn the_bodies_of_http_body_util_are_sent_again() {
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
async fn axums_body_is_sent_again() {
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
async fn tonics_body_is_sent_again() {
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

/// A body of one's own that can hold any other.
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
async fn a_body_of_ones_own_is_sent_again() {
    let source = Source::new([data("te"), data(""), data("xt"), Trailers("x")]);
    let wrapping = |layer: RetryBuilder| layer.replay_body(Mine::new).build().unwrap();
    assert_eq!(send(wrapping, Mine::new(source), collect).await, thrice("text"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_sent_once() {
    let once = |text: &'static str| (503, vec![Bytes::from(text)], Some(StopReason::NotReplayable));
    let wrapping = |layer: RetryBuilder| {
        let replay = BodyReplay::new(|body: ReplayBody<Mine>| Mine::new(body)).limit(3);
        layer.replay(replay).build().unwrap()
    };
    // Known from its size hint, and found out only while it is sent.
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

/// A client that fails to get ready for the first two attempts, each in its own way.
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

/// It can't be sent twice, but it wasn't sent even once.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_survives_a_client_that_fails_to_get_ready() {
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
async fn what_cannot_be_sent_again_costs_no_budget() {
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
async fn an_attempt_that_is_given_up_while_it_uploads_leaves_a_whole_body() {
    let source = Source::new([data("te"), Waits, data("xt")]).unknown_length();
    let hasty = |layer: RetryBuilder| {
        layer
            .attempt_timeout(Duration::from_secs(1))
            .backoff(Backoff::constant(Duration::ZERO))
            .replay_body(Mine::new)
            .build()
            .unwrap()
    };
    // The first attempt waits for a body that wakes nobody, until it is given up.
    assert_eq!(send(hasty, Mine::new(source), collect).await, thrice("text"));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_outlives_its_attempt_takes_nothing_from_the_next() {
    // The first attempt is answered early, with its body still in other hands,
    // as an HTTP/2 connection's are.
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
async fn reqwests_requests_are_sent_again_whatever_their_body() {
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
        let answer = layer.layer(client).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(*sent.lock().unwrap(), vec!["text"; attempts]);
    }
}
