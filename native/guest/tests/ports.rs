//! The Ports service against real sockets.

mod common;

use common::Guest;
use exai_guest::proto::port_frame::Frame;
use exai_guest::proto::{PortConnect, PortFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::test;
use tonic::Code;

fn frame(frame: Frame) -> PortFrame {
    PortFrame { frame: Some(frame) }
}

fn connect(port: u16) -> PortFrame {
    frame(Frame::Connect(PortConnect { port: port.into() }))
}

#[test]
async fn bytes_and_half_closes_go_both_ways() {
    let mut client = Guest::start().client().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        // Ends with the client's half-close; the answer comes after it.
        socket.read_to_end(&mut all).await.unwrap();
        all.reverse();
        socket.write_all(&all).await.unwrap();
    });
    let frames = vec![connect(port), frame(Frame::Data("abc".into())), frame(Frame::Data(vec![b'x'; 200_000].into()))];
    let mut stream = client.ports.connect(tokio_stream::iter(frames)).await.unwrap().into_inner();
    assert!(matches!(stream.message().await.unwrap().unwrap().frame, Some(Frame::Connected(_))));
    let mut answer = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        let Some(Frame::Data(data)) = message.frame else { panic!("only data follows") };
        assert!(data.len() <= 65536);
        answer.extend_from_slice(&data);
    }
    assert_eq!((answer.len(), &answer[200_000..]), (200_003, &b"cba"[..]));
    server.await.unwrap();
}

#[test]
async fn refusals_have_codes() {
    let mut client = Guest::start().client().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut code = async |first| client.ports.connect(tokio_stream::iter(vec![first])).await.unwrap_err().code();
    assert_eq!(code(connect(port)).await, Code::Unavailable);
    assert_eq!(code(connect(0)).await, Code::InvalidArgument);
    assert_eq!(code(frame(Frame::Data("x".into()))).await, Code::InvalidArgument);
}

#[test]
async fn a_client_that_goes_away_closes_the_connection() {
    let mut client = Guest::start().client().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(connect(port)).await.unwrap();
    let stream = client.ports.connect(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    drop((stream, sender, client));
    let read = tokio::time::timeout(std::time::Duration::from_secs(5), socket.read(&mut [0; 8])).await;
    assert!(matches!(read.expect("closed in time"), Ok(0) | Err(_)));
}
