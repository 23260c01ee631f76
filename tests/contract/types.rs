//! A layer names no type of a request, a response or an error: it goes over
//! whatever there is, and replies with `BoxError`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;

use tower::util::{BoxCloneService, ServiceFn};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_upstream::cause_ref;

use crate::clock::at_once;
use crate::layers::Subject;
use crate::upstream::{Failure, Request, Response, Upstream, request};

contracts! { layers_and_states_over_anything:
    over_http_that_cannot_fail,
    over_http_with_an_error_of_its_own,
    over_http_with_a_boxed_error,
    over_a_service_that_can_be_sent_but_not_shared,
    over_a_service_that_can_not_be_sent,
}
contracts! { layers_over_anything:
    over_another_protocol_that_cannot_fail,
    over_another_protocol_with_an_error_of_its_own,
    over_another_protocol_with_a_boxed_error,
    over_another_protocol_whose_replies_can_not_be_sent,
}

/// A layer that makes a client of `S`.
trait Over<S, Req, Res>:
    Layer<S, Service: Service<Req, Response = Res, Error = BoxError> + Clone>
{
}

impl<L, S, Req, Res> Over<S, Req, Res> for L where
    L: Layer<S, Service: Service<Req, Response = Res, Error = BoxError> + Clone>
{
}

/// A `service_fn` whose type has a name.
type Fn<Req, Res, E> = ServiceFn<fn(Req) -> Ready<Result<Res, E>>>;

type Text = http::Response<&'static str>;
type Http<E> = Fn<Request, Text, E>;

fn reply(_: Request) -> Text {
    http::Response::new("reply")
}

fn http_reply<L, E>(
    layer: L,
    f: fn(Request) -> Ready<Result<Text, E>>,
) -> Result<&'static str, BoxError>
where
    L: Over<Http<E>, Request, Text>,
{
    let client = layer.layer(service_fn(f));
    at_once(client.clone().oneshot(request())).map(http::Response::into_body)
}

async fn over_http_that_cannot_fail<S>()
where
    S: Subject<Layer: Over<Http<Infallible>, Request, Text>>,
{
    let answered = http_reply(S::new().layer(), |request| ready(Ok(reply(request))));
    assert_eq!(answered.expect("a reply"), "reply");
}

async fn over_http_with_an_error_of_its_own<S>()
where
    S: Subject<Layer: Over<Http<Failure>, Request, Text>>,
{
    let answered = http_reply(S::new().layer(), |request| ready(Ok(reply(request))));
    assert_eq!(answered.expect("a reply"), "reply");
}

async fn over_http_with_a_boxed_error<S>()
where
    S: Subject<Layer: Over<Http<BoxError>, Request, Text>>,
{
    let answered = http_reply(S::new().layer(), |request| ready(Ok(reply(request))));
    assert_eq!(answered.expect("a reply"), "reply");
}

type NotSync = BoxCloneService<Request, Response, Failure>;

async fn over_a_service_that_can_be_sent_but_not_shared<S>()
where
    S: Subject<
        Layer: Over<NotSync, Request, Response>
                   + Layer<NotSync, Service: Service<Request, Future: Send> + Send>,
    >,
{
    fn can_be_sent<T: Send>(value: T) -> T {
        value
    }
    let upstream = Upstream::new();
    let mut client = can_be_sent(S::new().layer().layer(NotSync::new(upstream.client())));
    let future = can_be_sent(at_once(client.ready()).expect("ready").call(request()));
    assert!(at_once(future).is_ok());
}

type LocalFuture = Pin<Box<dyn Future<Output = Result<http::Response<Rc<str>>, Failure>>>>;
type Local = ServiceFn<fn(http::Request<()>) -> LocalFuture>;

/// As on a `LocalSet`, where nothing needs to be `Send`.
async fn over_a_service_that_can_not_be_sent<S>()
where
    S: Subject<Layer: Over<Local, http::Request<()>, http::Response<Rc<str>>>>,
{
    let serve: fn(http::Request<()>) -> LocalFuture = |_| {
        let reply = Rc::from("reply");
        Box::pin(async { Ok(http::Response::new(reply)) })
    };
    let client = S::new().layer().layer(service_fn(serve));
    let answered = at_once(client.oneshot(http::Request::new(())));
    assert_eq!(&**answered.expect("a reply").body(), "reply");
}

/// A service that doubles a number, or not.
type Double<E> = Fn<u32, u64, E>;

fn doubled<L, E>(layer: &L, f: fn(u32) -> Ready<Result<u64, E>>) -> Result<u64, BoxError>
where
    L: Over<Double<E>, u32, u64>,
{
    at_once(layer.layer(service_fn(f)).clone().oneshot(21))
}

async fn over_another_protocol_that_cannot_fail<S>()
where
    S: Subject<Plain: Over<Double<Infallible>, u32, u64>>,
{
    let doubled = doubled(&S::plain(), |number| ready(Ok(u64::from(number) * 2)));
    assert_eq!(doubled.expect("a reply"), 42);
}

async fn over_another_protocol_with_an_error_of_its_own<S>()
where
    S: Subject<Plain: Over<Double<Failure>, u32, u64>>,
{
    let error = doubled(&S::plain(), |number| ready(Err(Failure(number.into()))));
    let error = error.expect_err("its own error");
    assert_eq!(*error.downcast::<Failure>().expect("unchanged"), Failure(21));
}

async fn over_another_protocol_with_a_boxed_error<S>()
where
    S: Subject<Plain: Over<Double<BoxError>, u32, u64>>,
{
    let error = doubled(&S::plain(), |number| ready(Err(Failure(number.into()).into())));
    let error = error.expect_err("its own error");
    assert_eq!(cause_ref::<Failure>(&*error), Some(&Failure(21)));
}

async fn over_another_protocol_whose_replies_can_not_be_sent<S>()
where
    S: Subject<Plain: Over<Fn<u32, Rc<str>, Infallible>, u32, Rc<str>>>,
{
    let serve: fn(u32) -> Ready<Result<Rc<str>, Infallible>> = |_| ready(Ok("reply".into()));
    let answered = at_once(S::plain().layer(service_fn(serve)).oneshot(1));
    assert_eq!(&*answered.expect("a reply"), "reply");
}
