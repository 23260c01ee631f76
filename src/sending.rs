//! The future of a layer that sends a call at once, later, or not at all.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::error::BoxError;

pin_project! {
    /// How far a call has got; `F` is the inner service's future.
    #[project = Project]
    pub(crate) enum Sending<F, H, W> {
        // Waiting for the answer, which `held` takes in.
        Sent { #[pin] future: F, held: H },
        // `None` once it has answered.
        Unsent { unsent: Option<Unsent<W>> },
    }
}

/// A call that isn't sent, or not yet.
pub(crate) enum Unsent<W> {
    /// Boxed: it is rare, and holds the request, which would make every call's future as large.
    Waiting(Box<W>),
    /// Turned away: answers at the first poll.
    Refused(BoxError),
}

/// What a call holds from being sent until its future is dropped.
pub(crate) trait Held<Res> {
    /// Takes in the answer in place: it is large, and each move would copy it.
    fn answered(&mut self, response: &mut Res);

    /// Takes in an error, and hands it back.
    fn failed(&mut self, error: BoxError) -> BoxError;
}

/// A call that waits to be sent.
pub(crate) trait Waits: Sized {
    /// The inner service's future, which waits for the answer.
    type Future;
    /// What the call holds once it is sent.
    type Held;
    /// The permission to send it.
    type Pass;

    fn poll_pass(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Pass, BoxError>>;

    fn send(self, pass: Self::Pass) -> Sent<Self>;
}

impl<F, H, W> Sending<F, H, W> {
    #[inline]
    pub(crate) fn sent(future: F, held: H) -> Self {
        Self::Sent { future, held }
    }

    pub(crate) fn waiting(waiting: W) -> Self {
        Self::Unsent { unsent: Some(Unsent::Waiting(Box::new(waiting))) }
    }

    #[inline]
    pub(crate) fn refused(error: BoxError) -> Self {
        Self::Unsent { unsent: Some(Unsent::Refused(error)) }
    }
}

impl<F, H, W, Res, E> Future for Sending<F, H, W>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
    H: Held<Res>,
    W: Waits<Future = F, Held = H>,
{
    type Output = Result<Res, BoxError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                Project::Sent { future, held } => {
                    let mut answer = future.poll(cx);
                    if let Poll::Ready(Ok(response)) = &mut answer {
                        held.answered(response);
                    }
                    return answer.map_err(|error| held.failed(error.into()));
                }
                Project::Unsent { unsent } => {
                    let (future, held) = ready!(poll_sent(unsent, cx))?;
                    self.set(Self::Sent { future, held });
                }
            }
        }
    }
}

/// What a call that waited turns into when it is sent.
pub(crate) type Sent<W> = (<W as Waits>::Future, <W as Waits>::Held);

/// Sends a call as soon as it may be sent. Kept out of line: most calls were sent before the first
/// poll.
#[cold]
fn poll_sent<W: Waits>(
    place: &mut Option<Unsent<W>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Sent<W>, BoxError>> {
    // Polling it after its end is the caller's mistake, as with every future.
    let mut waiting = match place.take().expect("polled after it was done") {
        Unsent::Waiting(waiting) => waiting,
        Unsent::Refused(error) => return Poll::Ready(Err(error)),
    };
    let Poll::Ready(pass) = waiting.poll_pass(cx) else {
        *place = Some(Unsent::Waiting(waiting));
        return Poll::Pending;
    };
    Poll::Ready(pass.map(|pass| waiting.send(pass)))
}
