//! The built edge, as an instance on AWS runs it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::cloud::Cloud;
use crate::workspace;

/// Name under which the cloud writes down what the edge asks.
pub const EDGE: &str = "edge";

/// A running edge. It is killed when this is dropped.
pub struct EdgeProcess {
    child: Child,
    gateway: SocketAddr,
    admin: SocketAddr,
}

impl EdgeProcess {
    /// Starts it over this account with its journal in `data`, and waits until it is ready.
    ///
    /// # Panics
    /// If it ends, or is not ready within half a minute.
    pub async fn start(cloud: &Arc<Cloud>, data: &Path) -> Self {
        let (gateway, admin) = (free(), free());
        let output = |name: &str| cloud.template().text(&cloud.template().document()["Outputs"][name]["Value"]);
        let child = Command::new(workspace::binary("tollgate-edge", "tollgate-edge"))
            .env_clear()
            .envs(cloud.credentials(EDGE).await)
            .env("TOLLGATE_EDGE_ID", "edge1")
            .env("TOLLGATE_EDGE_DATA_DIR", data)
            .env("TOLLGATE_EDGE_LISTEN", gateway.to_string())
            .env("TOLLGATE_EDGE_ADMIN", admin.to_string())
            .env("TOLLGATE_EDGE_WORKERS", "1")
            .env("TOLLGATE_EDGE_LINGER_S", "0")
            .env("TOLLGATE_EDGE_DRAIN_S", "5")
            // The simulator's gateway is on loopback.
            .env("TOLLGATE_EDGE_DIAL_ALLOW", "127.0.0.0/8")
            // As an operator reads them off the stack.
            .env("TOLLGATE_TABLE_PREFIX", output("TablePrefix"))
            .env("TOLLGATE_ASSIGN_FUNCTION", output("AssignFunctionName"))
            .env("TOLLGATE_PEPPER_SECRET", output("PepperSecret"))
            .env("TOLLGATE_SECRET_PREFIX", output("SecretPrefix"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(data.join("log")).map_or_else(|_| Stdio::null(), Stdio::from))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("tollgate-edge: {e}"));
        let mut edge = Self { child, gateway, admin };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..600 {
            if let Some(status) = edge.child.try_wait().unwrap() {
                let log = std::fs::read_to_string(data.join("log")).unwrap_or_default();
                panic!("the edge ended: {status}\n{log}");
            }
            let answer = http.get(format!("http://{}/readyz", edge.admin)).send().await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return edge;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the edge is not ready");
    }

    /// A client that goes through the edge as this proxy user.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn client(&self, user: &str, password: &str) -> reqwest::Client {
        let proxy = reqwest::Proxy::all(format!("http://{}", self.gateway)).unwrap().basic_auth(user, password);
        reqwest::Client::builder().proxy(proxy).build().unwrap()
    }

    /// A client that says no name: its source address is all it shows.
    ///
    /// # Panics
    /// If a client cannot be made.
    #[must_use]
    pub fn nameless(&self) -> reqwest::Client {
        let proxy = reqwest::Proxy::all(format!("http://{}", self.gateway)).unwrap();
        reqwest::Client::builder().proxy(proxy).build().unwrap()
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// If it does not end well.
    pub async fn stop(mut self) {
        let id = self.child.id().expect("a running edge").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        assert!(self.child.wait().await.unwrap().success(), "the edge ends well");
    }

    /// Kills it without a word.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
