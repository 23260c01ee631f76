//! tonic's generated client, with a stream of messages.

use futures_util::StreamExt;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceBuilder;
use tower_upstream::retry::StopReason;
use tower_upstream::{PeekLayer, RetryLayer};

use crate::greeter::GreetRequest;
use crate::greeter::greeter_client::GreeterClient;
use crate::server::Reply::{Fails, FailsEarly};
use crate::server::{Received, Server};
use crate::{RAISED_CAP, retry, upload};

fn message(piece: Vec<u8>) -> GreetRequest {
    GreetRequest { name: String::from_utf8(piece).unwrap() }
}

/// Returns the upload in gRPC's framing: a flag, a length, and the message.
fn whole() -> Received {
    let mut framed = Vec::new();
    for piece in upload::pieces() {
        let message = message(piece).encode_to_vec();
        framed.push(0);
        framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend(message);
    }
    Received::of(&framed, None)
}

fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy()
}

async fn greet_all(layer: RetryLayer, server: &Server) -> tonic::Code {
    let channel = ServiceBuilder::new().layer(layer).service(channel(server));
    let messages = upload::slowly().map(message);
    match GreeterClient::new(channel).greet_all(messages).await {
        Ok(_) => tonic::Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn tonic_generated_client_repeats_a_stream() {
    let server = Server::start(&[Fails, Fails]).await;
    let (layer, stopped) = retry(Some(RAISED_CAP));
    assert_eq!(greet_all(layer, &server).await, tonic::Code::Ok);
    assert_eq!(server.received(), vec![Some(whole()); 3]);
    assert_eq!(*stopped.lock().unwrap(), None);

    let server = Server::start(&[FailsEarly]).await;
    let (layer, _) = retry(Some(RAISED_CAP));
    assert_eq!(greet_all(layer, &server).await, tonic::Code::Ok);
    assert_eq!(server.received(), [None, Some(whole())]);

    let server = Server::start(&[Fails]).await;
    let (layer, stopped) = retry(None);
    assert_eq!(greet_all(layer, &server).await, tonic::Code::Unavailable);
    assert_eq!(server.received(), [Some(whole())]);
    assert_eq!(*stopped.lock().unwrap(), Some(StopReason::NotReplayable));
}

#[tokio::test]
async fn tonic_generated_client_with_peek_receives_all() {
    let server = Server::start(&[]).await;
    let peek = PeekLayer::builder().grpc_unary().build().unwrap();
    let channel =
        ServiceBuilder::new().layer(RetryLayer::new()).layer(peek).service(channel(&server));
    let reply = GreeterClient::new(channel).greet(message(b"me".into())).await.unwrap();
    assert_eq!(reply.into_inner().message, "");
}
