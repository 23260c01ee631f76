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
    bytes::Bytes;
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
    http_body_util::combinators::BoxBody<bytes::Bytes, crate::BoxError>: http_body_util::combinators::BoxBody::new;
    http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, crate::BoxError>: http_body_util::combinators::UnsyncBoxBody::new;
}
