//! The clients that people have, with credentials: absolute-form HTTP, CONNECT and SOCKS5.
//!
//! curl, Python and Node are always driven; wget, Java, git and Chromium where they are installed.

#![allow(clippy::unwrap_used, clippy::panic)] // all of this is a test: to fail is to tell

use std::path::Path;
use std::process::Command;

use tollgate_tests::clients::{Story, client, fine, installed, program};
use tollgate_tests::local_run::{Curl, curl, ended};
use tollgate_tests::workspace;

/// What each case of a program downloads.
const DOWNLOAD: u64 = 300_000;

fn source(name: &str) -> std::path::PathBuf {
    workspace::root().join("tests/clients").join(name)
}

fn came_out(answer: &Curl) {
    assert!(answer.status == 200 && answer.body.contains(r#""country":"nl""#), "{answer:?}");
}

#[test]
fn curl_asks_tunnels_uploads_and_speaks_socks() {
    let story = Story::of("curl");
    let (http, socks, ca) = (story.http(), story.socks(), story.ca().to_str().unwrap());
    came_out(&curl(&["-x", &http, "http://origin.test/ip"]));
    came_out(&curl(&["-x", &http, "-p", "http://origin.test/ip"]));
    came_out(&curl(&["-x", &http, "--cacert", ca, "https://origin.test/ip"]));
    came_out(&curl(&["-x", &http, "--proxy-anyauth", "--cacert", ca, "https://origin.test/ip"]));
    came_out(&curl(&["-x", &socks, "http://origin.test/ip"]));
    came_out(&curl(&["-x", &socks, "--cacert", ca, "https://origin.test/ip"]));

    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "0123456789abcdef".repeat(131_072); // 2 MiB
    std::fs::write(file.path(), &text).unwrap();
    let body = format!("@{}", file.path().display());
    for proxy in [&http, &socks] {
        for expect in ["Expect: 100-continue", "Expect:"] {
            let echoed =
                curl(&["-x", proxy, "-H", expect, "--cacert", ca, "--data-binary", &body, "https://origin.test/echo"]);
            assert!(echoed.status == 200 && echoed.body == text, "{} {:?}", echoed.status, echoed.code);
            let echoed = curl(&["-x", proxy, "-H", expect, "--data-binary", &body, "http://origin.test/echo"]);
            assert!(echoed.status == 200 && echoed.body == text, "{} {:?}", echoed.status, echoed.code);
        }
    }

    let wrong = curl(&["-x", &story.wrong("http"), "http://origin.test/ip"]);
    assert_eq!((wrong.status, wrong.code), (407, Some(0)), "{wrong:?}");
    let wrong = curl(&["-x", &story.wrong("socks5h"), "http://origin.test/ip"]);
    assert_eq!(wrong.code, Some(97), "curl's word for a refused SOCKS handshake: {wrong:?}");
    story.metered(16 * text.len() as u64);
}

#[test]
fn wget_asks_and_tunnels() {
    let Some(wget) = program("wget") else { return };
    let story = Story::of("wget");
    let ask = |more: &[&str], url: &str| {
        let mut command = client(&wget);
        command
            .args(["--no-config", "-q", "-O", "-", "-t", "1", "-T", "60", "-e", "use_proxy=yes"])
            .args(more)
            .arg(url);
        fine(ended(&mut command))
    };
    let plain = format!("http_proxy=http://{}", story.run.addr("gateway"));
    let (user, password) =
        (format!("--proxy-user={}", story.user()), format!("--proxy-password={}", story.run.password()));
    let got = ask(&["-e", &plain, &user, &password], "http://origin.test/ip");
    assert!(got.contains(r#""country":"nl""#), "{got}");
    let (tls, ca) = (format!("https_proxy={}", story.http()), format!("--ca-certificate={}", story.ca().display()));
    let got = ask(&["-e", &tls, &ca], "https://origin.test/ip");
    assert!(got.contains(r#""country":"nl""#), "{got}");
    story.metered(100);
}

#[test]
fn python_libraries_ask_tunnel_and_speak_socks() {
    let python = installed().join("python/bin/python");
    let story = Story::of("python");
    let cases = [
        "requests http",
        "requests connect",
        "requests socks5h http",
        "requests socks5h https",
        "httpx http",
        "httpx connect",
        "httpx socks5h https",
        "aiohttp http",
        "aiohttp connect",
        "pysocks",
        "wrong password",
    ];
    story.passes(client(python).arg(source("python/clients.py")), &cases);
    story.metered(10 * DOWNLOAD);
}

#[test]
fn node_libraries_ask_tunnel_speak_socks_and_open_web_sockets() {
    let modules = installed().join("node/node_modules");
    let story = Story::of("node");
    let cases = [
        "http absolute-form",
        "undici http",
        "undici https",
        "https-proxy-agent",
        "socks-proxy-agent http",
        "socks-proxy-agent https",
        "ws connect",
        "wss connect",
        "wss socks5h",
    ];
    story.passes(client("node").env("NODE_PATH", modules).arg(source("node/clients.js")), &cases);
    story.metered(6 * DOWNLOAD);
}

#[test]
fn java_asks_tunnels_and_speaks_socks() {
    let Some(java) = program("java") else { return };
    let story = Story::of("java");
    let mut command = client(java);
    command.arg("-Djdk.http.auth.tunneling.disabledSchemes=").arg(source("java/Client.java"));
    story.passes(&mut command, &["java http", "java connect", "java socks5"]);
    story.metered(3 * DOWNLOAD);
}

#[test]
fn chromium_loads_pages_and_opens_a_web_socket() {
    let Some(chromium) = program("chromium") else { return };
    let modules = installed().join("node/node_modules");
    let story = Story::of("chromium");
    let mut command = client("node");
    command.env("NODE_PATH", modules).env("BROWSER", chromium).arg(source("node/chromium.js"));
    story.passes(&mut command, &["chromium http", "chromium connect", "chromium wss"]);
    story.metered(2 * DOWNLOAD);
}

/// git as on a machine that nobody has configured.
fn git(at: &Path, ca: &Path) -> Command {
    let mut command = client("git");
    command.current_dir(at).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSL_CAINFO", ca);
    command
}

/// The files below `at`, by their path from there.
fn files(at: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path(), &format!("{name}/"), found),
            false => found.push(name),
        }
    }
}

#[test]
fn git_clones_over_http_connect_and_socks() {
    if program("git").is_none() {
        return;
    }
    let story = Story::of("git");
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    let git = |args: &[&str]| fine(ended(git(at, story.ca()).args(args)));
    let _ = git(&["init", "-q", "work"]);
    std::fs::write(at.join("work/story.txt"), "once upon a time\n").unwrap();
    let _ = git(&["-C", "work", "add", "."]);
    let author = ["-c", "user.name=Tests", "-c", "user.email=tests@example.test"];
    let _ = git(&[&["-C", "work"][..], &author, &["commit", "-q", "-m", "Begin"]].concat());
    let _ = git(&["clone", "-q", "--bare", "--template=", "work", "repo.git"]);
    let _ = git(&["-C", "repo.git", "update-server-info"]);

    // A repository is files to whoever serves it.
    let mut names = Vec::new();
    files(&at.join("repo.git"), "", &mut names);
    assert!(names.iter().any(|n| n == "info/refs"), "{names:?}");
    for name in &names {
        let (file, url) = (at.join("repo.git").join(name), format!("http://origin.test/files/repo.git/{name}"));
        let put = curl(&["-x", &story.http(), "-T", file.to_str().unwrap(), &url]);
        assert_eq!(put.status, 201, "{put:?}");
    }
    for (proxy, scheme) in [(story.http(), "http"), (story.http(), "https"), (story.socks(), "https")] {
        let (config, url) = (format!("http.proxy={proxy}"), format!("{scheme}://origin.test/files/repo.git"));
        let _ = git(&["-c", &config, "clone", "-q", &url, "clone"]);
        assert_eq!(std::fs::read_to_string(at.join("clone/story.txt")).unwrap(), "once upon a time\n");
        std::fs::remove_dir_all(at.join("clone")).unwrap();
    }
    story.metered(1000);
}
