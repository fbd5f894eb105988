//! `/files/…`: what was put there, given back as a static web server would (a page, a git repository).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::{Body, full, send, text};
use crate::lock;

/// Most files at once.
const MAX_FILES: usize = 1000;
/// Largest file.
const MAX_FILE: usize = 1 << 20;

/// The files by their name, in memory.
#[derive(Clone, Default)]
pub(super) struct Files(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Files {
    pub(super) async fn answer(&self, name: &str, request: Request<Incoming>) -> Response<Body> {
        if request.method() == Method::PUT {
            return self.put(name, request.into_body()).await;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "/files/NAME: GET, HEAD, PUT\n");
        }
        let found = lock(&self.0).get(name).cloned();
        match found {
            Some(file) => send(StatusCode::OK, kind(name), full(file)),
            None => text(StatusCode::NOT_FOUND, "no such file: PUT it first\n"),
        }
    }

    async fn put(&self, name: &str, body: Incoming) -> Response<Body> {
        let Ok(whole) = Limited::new(body, MAX_FILE).collect().await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the body ended early or is larger than 1 MiB\n");
        };
        let mut files = lock(&self.0);
        if files.len() >= MAX_FILES && !files.contains_key(name) {
            return text(StatusCode::INSUFFICIENT_STORAGE, "there are 1000 files already\n");
        }
        files.insert(name.to_owned(), whole.to_bytes());
        text(StatusCode::CREATED, "stored\n")
    }
}

fn kind(name: &str) -> &'static str {
    if name.ends_with(".html") { "text/html; charset=utf-8" } else { "application/octet-stream" }
}
