//! A resolver that tests speak for.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use tollgate_edge::{BoxFuture, Resolver};

/// Answers by name: one after the other, the last one for ever. What nobody set does not exist.
#[derive(Default)]
pub struct TestResolver {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl TestResolver {
    /// `name` has these addresses from now on.
    pub fn set<const N: usize>(&self, name: &str, addresses: [[u8; 4]; N]) {
        self.answers.lock().unwrap().insert(name.to_owned(), VecDeque::from([to_ips(&addresses)]));
    }

    /// The same, of either family.
    pub fn answer(&self, name: &str, addresses: Vec<IpAddr>) {
        self.answers.lock().unwrap().insert(name.to_owned(), VecDeque::from([addresses]));
    }

    /// And these, once each answer before has been given.
    pub fn then<const N: usize>(&self, name: &str, addresses: [[u8; 4]; N]) {
        self.answers.lock().unwrap().entry(name.to_owned()).or_default().push_back(to_ips(&addresses));
    }

    /// How often any name was looked up.
    pub fn asked_in_all(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// How often `name` was looked up.
    pub fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|n| *n == name).count()
    }
}

fn to_ips(addresses: &[[u8; 4]]) -> Vec<IpAddr> {
    addresses.iter().map(|a| IpAddr::from(*a)).collect()
}

impl Resolver for TestResolver {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let found = answers
            .get_mut(name)
            .and_then(|queue| if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() });
        Box::pin(async move { found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)) })
    }
}
