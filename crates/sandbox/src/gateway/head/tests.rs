use std::net::Ipv4Addr;

use super::*;

fn parse(head: &str) -> Option<RequestHead> {
    RequestHead::parse(head.as_bytes())
}

#[test]
fn what_could_be_read_two_ways_is_refused() {
    for head in [
        "CONNECT origin.test HTTP/1.1\r\n\r\n",
        "CONNECT :443 HTTP/1.1\r\n\r\n",
        "CONNECT origin.test:99999 HTTP/1.1\r\n\r\n",
        "GET /ip HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        "GET https://origin.test/ HTTP/1.1\r\n\r\n",
        "GET http:// HTTP/1.1\r\n\r\n",
        "GET http://u@origin.test/ HTTP/1.1\r\n\r\n",
        "POST http://o.test/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST http://o.test/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "POST http://o.test/ HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        "POST http://o.test/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        assert!(parse(head).is_none(), "{head}");
    }
}

#[test]
fn the_origin_gets_no_word_that_is_meant_for_the_proxy() {
    let head = parse(
        "GET http://origin.test?q=1 HTTP/1.1\r\nHost: origin.test\r\nProxy-Authorization: Basic x\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nProxy-Connection: keep-alive\r\nAccept: */*\r\n\r\n",
    )
    .unwrap();
    assert_eq!((head.host.as_str(), head.port), ("origin.test", 80));
    assert_eq!(
        String::from_utf8(head.for_origin()).unwrap(),
        "GET /?q=1 HTTP/1.1\r\nHost: origin.test\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn keep_alive_follows_version_and_options() {
    let wants = |head: &str| parse(head).unwrap().wants_keep_alive();
    assert!(wants("GET http://o.test/ HTTP/1.1\r\n\r\n"));
    assert!(!wants("GET http://o.test/ HTTP/1.0\r\n\r\n"));
    assert!(wants("GET http://o.test/ HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n"));
    assert!(!wants("GET http://o.test/ HTTP/1.1\r\nConnection: close\r\n\r\n"));
}

#[test]
fn a_response_to_head_has_no_body_and_names_the_exit() {
    let request = parse("HEAD http://o.test/ HTTP/1.1\r\n\r\n").unwrap();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
    let response = ResponseHead::parse(head, &request).unwrap();
    assert_eq!(response.framing(), Framing::Length(0));
    assert_eq!(
        String::from_utf8(response.for_client(Ipv4Addr::new(203, 0, 113, 7), true)).unwrap(),
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-brd-ip: 203.0.113.7\r\nConnection: keep-alive\r\n\r\n"
    );
}

#[tokio::test]
async fn a_head_arrives_in_pieces_and_leaves_the_rest() {
    let mut source = tokio::io::join(&b"\r\n\r\nbody"[..], tokio::io::sink());
    let mut buffer = b"GET x HTTP/1.1".to_vec();
    let head = read_head(&mut source, &mut buffer).await.unwrap().unwrap();
    assert_eq!((head.as_slice(), buffer.as_slice()), (&b"GET x HTTP/1.1\r\n\r\n"[..], &b"body"[..]));

    let mut endless = tokio::io::repeat(b'a');
    assert!(matches!(read_head(&mut endless, &mut Vec::new()).await, Err(HeadError::TooLarge)));
}
