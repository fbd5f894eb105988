use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_engine::Engine;

use crate::table::{create, get, put};

fn over_http(address: &str, key: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(key, "secret", None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn a_served_engine_is_the_same_database() {
    let engine = Engine::memory().unwrap();
    let (listener, address) = listener().await;
    let server = engine.serve(listener);
    create(&engine.client()).await;
    put(&over_http(&address, "any"), "a", 3).await;
    assert_eq!(get(&engine.client(), "a").await, Some(3));
    server.abort();
}

#[tokio::test]
async fn behind_a_key_only_its_holder_is_served() {
    let engine = Engine::memory().unwrap();
    let (listener, address) = listener().await;
    let server = engine.serve_with_key(listener, "AKIDRANDOM".to_owned().into());
    let holder = over_http(&address, "AKIDRANDOM");
    create(&holder).await;
    put(&holder, "a", 3).await;
    assert_eq!(get(&engine.client(), "a").await, Some(3));

    for key in ["AKIDRANDO", "AKIDRANDOMX", "akidrandom"] {
        let refused = over_http(&address, key).list_tables().send().await.unwrap_err();
        assert_eq!(refused.code(), Some("UnrecognizedClientException"), "{key}");
    }
    let raw = |request: &'static str| {
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    };
    let get = raw("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(get.starts_with("HTTP/1.1 404"), "{get}");
    let unsigned = raw("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    assert!(unsigned.contains("UnrecognizedClientException"), "{unsigned}");
    let huge = raw(concat!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999999\r\n",
        "authorization: AWS4-HMAC-SHA256 Credential=AKIDRANDOM/20260101/us-east-1/dynamodb/aws4_request\r\n",
        "x-amz-target: DynamoDB_20120810.ListTables\r\n\r\n",
    ))
    .await;
    assert!(huge.contains("16 MiB"), "{huge}");
    assert!(huge.contains("SerializationException"), "{huge}");

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
}
