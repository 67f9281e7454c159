//! Addresses of `--listen`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket at this absolute path.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

/// Why an address cannot be listened on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Neither form.
    #[error("address {0:?} is neither unix:///path nor tcp://IP:PORT")]
    Form(String),
    /// It can be reached from outside.
    #[error(
        "{0} is not a loopback address: anyone who reaches it would own the store, \
         as requests are not authenticated (--allow-unauthenticated-tcp permits it)"
    )]
    NotLoopback(SocketAddr),
}

impl Listen {
    /// Reads `unix:///path` or `tcp://IP:PORT`; `localhost` stands for 127.0.0.1. Addresses that
    /// can be reached from outside need `allow_any`.
    pub fn parse(text: &str, allow_any: bool) -> Result<Self, ListenError> {
        let form = || ListenError::Form(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            return match path {
                "/" => Err(form()),
                path if path.starts_with('/') => Ok(Self::Unix(path.into())),
                _ => Err(form()),
            };
        }
        let address = text.strip_prefix("tcp://").ok_or_else(form)?;
        let address = match address.strip_prefix("localhost:") {
            Some(port) => {
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().map_err(|_| form())?)
            }
            None => address.parse().map_err(|_| form())?,
        };
        if !address.ip().is_loopback() && !allow_any {
            return Err(ListenError::NotLoopback(address));
        }
        Ok(Self::Tcp(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |text: &str| Listen::Tcp(text.parse().unwrap());
        for (text, listen) in [
            ("unix:///run/x.sock", Listen::Unix("/run/x.sock".into())),
            ("tcp://127.0.0.1:80", tcp("127.0.0.1:80")),
            ("tcp://127.8.0.1:0", tcp("127.8.0.1:0")),
            ("tcp://localhost:80", tcp("127.0.0.1:80")),
            ("tcp://[::1]:80", tcp("[::1]:80")),
        ] {
            assert_eq!(Listen::parse(text, false), Ok(listen), "{text}");
        }
        for text in [
            "",
            "/run/x.sock",
            "unix://x.sock",
            "unix:///",
            "tcp://",
            "tcp://:80",
            "tcp://host:80",
            "tcp://localhost:",
            "tcp://127.0.0.1",
            "http://127.0.0.1:80",
        ] {
            assert_eq!(Listen::parse(text, true), Err(ListenError::Form(text.into())), "{text}");
        }
    }

    #[test]
    fn only_loopback_without_the_flag() {
        for text in ["tcp://0.0.0.0:80", "tcp://192.0.2.1:80", "tcp://[::]:80"] {
            assert!(matches!(Listen::parse(text, false), Err(ListenError::NotLoopback(_))));
            assert!(matches!(Listen::parse(text, true), Ok(Listen::Tcp(_))), "{text}");
        }
    }
}
