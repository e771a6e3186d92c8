//! Prometheus's `round_robin_dns`: of a name's addresses each new connection takes the next, so that many clients spread over all the
//! servers behind a name. One that does not answer is passed over, as ever.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Who knows a name's addresses.
pub(super) trait Names: Send + Sync + 'static {
    fn addresses(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;
}

/// The system does.
pub(super) struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            // The port is the client's business.
            Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect())
        })
    }
}

pub(super) struct RoundRobin<N> {
    names: Arc<N>,
    turn: AtomicUsize,
}

impl<N: Names> RoundRobin<N> {
    /// Begins anywhere: edges that start together shall not all take the first address.
    pub(super) fn new(names: N) -> RoundRobin<N> {
        RoundRobin {
            names: Arc::new(names),
            turn: AtomicUsize::new(RandomState::new().build_hasher().finish() as usize),
        }
    }
}

impl<N: Names> Resolve for RoundRobin<N> {
    fn resolve(&self, name: Name) -> Resolving {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let found = self.names.addresses(name.as_str().to_owned());
        Box::pin(async move {
            let mut addresses = found.await?;
            // Name servers mix them too; the turn only goes round in a fixed order.
            addresses.sort_unstable();
            addresses.dedup();
            if !addresses.is_empty() {
                let first = turn % addresses.len();
                addresses.rotate_left(first);
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Three;

    impl Names for Three {
        fn addresses(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
            assert_eq!(name, "hub.test");
            let given = ["10.0.0.3:0", "10.0.0.1:0", "10.0.0.2:0", "10.0.0.1:0"];
            let given = given.map(|address| address.parse().unwrap()).to_vec();
            Box::pin(async { Ok(given) })
        }
    }

    #[tokio::test]
    async fn each_connection_takes_the_next_address_and_has_the_others_in_reserve() {
        let names = RoundRobin::new(Three);
        let mut firsts = Vec::new();
        for _ in 0..6 {
            let found = names.resolve("hub.test".parse().unwrap()).await.unwrap();
            let found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            assert_eq!(found.len(), 3);
            firsts.push(found[0].clone());
        }
        assert_eq!(firsts[..3], firsts[3..]);
        let mut each = firsts[..3].to_vec();
        each.sort_unstable();
        assert_eq!(each, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    }

    #[tokio::test]
    async fn the_system_knows_names() {
        let names = RoundRobin::new(SystemNames);
        let found = names.resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.into_iter().all(|address| address.ip().is_loopback()));
    }
}
