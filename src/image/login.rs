//! As whom registries are asked.

use std::fmt;

/// What proves who somebody is. Its parts are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user; empty without one.
    pub username: String,
    /// The password.
    pub password: String,
    /// A token that stands for user and password; empty without one.
    pub identity_token: String,
}

impl Login {
    /// Whether nobody is meant.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Login(nobody)" } else { "Login(…)" })
    }
}

/// The logins that come with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logins {
    /// The one for every registry that is asked.
    pub everywhere: Option<Login>,
    /// Those of single registries, or of namespaces in them. If there are any, the host's own are
    /// not looked at.
    pub named: Vec<(String, Login)>,
}

/// The keys under which a login for `name`, a registry or a repository, may be filed, the most
/// precise first.
pub fn login_keys(name: &str) -> impl Iterator<Item = String> {
    let mut next = Some(name);
    std::iter::from_fn(move || {
        let name = next?;
        next = name.rsplit_once('/').map(|(parent, _)| parent);
        Some(login_key(name))
    })
}

/// The one form of a key: URLs are their host, and Docker's registry has one name.
pub fn login_key(key: &str) -> String {
    let stripped = key.strip_prefix("http://").unwrap_or(key);
    let stripped = stripped.strip_prefix("https://").unwrap_or(stripped);
    let is_url = stripped.len() != key.len();
    let name = if is_url { stripped.split('/').next().unwrap_or_default() } else { stripped };
    match name {
        "registry-1.docker.io" | "index.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

impl Logins {
    /// The login for `name`, a registry or a repository. `None`: the host's own is to be used.
    pub fn find(&self, name: &str) -> Option<Login> {
        if let Some(login) = &self.everywhere {
            return Some(login.clone());
        }
        self.of(name)
    }

    /// As [`find`](Self::find), of those that are not for every registry.
    pub fn of(&self, name: &str) -> Option<Login> {
        if self.named.is_empty() {
            return None;
        }
        let of = |key: String| self.named.iter().find(|(name, _)| login_key(name) == key);
        Some(login_keys(name).find_map(of).map(|(_, login)| login.clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str) -> Login {
        Login { username: username.into(), password: "secret".into(), ..Login::default() }
    }

    #[test]
    fn the_longest_name_wins() {
        let named = [
            ("quay.io", "a"),
            ("quay.io/org", "b"),
            ("https://index.docker.io/v1/", "c"),
            ("http://127.0.0.1:5000", "d"),
        ];
        let logins = Logins {
            everywhere: None,
            named: named.map(|(name, user)| (name.into(), login(user))).into(),
        };
        for (name, user) in [
            ("quay.io", "a"),
            ("quay.io/other/x", "a"),
            ("quay.io/org", "b"),
            ("quay.io/org/x/y", "b"),
            ("quay.io/organ", "a"),
            ("docker.io/library/x", "c"),
            ("127.0.0.1:5000", "d"),
            ("127.0.0.1:5001", ""),
        ] {
            assert_eq!(logins.find(name).unwrap().username, user, "{name}");
        }
        assert_eq!(Logins::default().find("quay.io"), None);
        let everywhere = Logins { everywhere: Some(login("e")), ..logins };
        assert_eq!(everywhere.find("quay.io").unwrap().username, "e");
    }

    #[test]
    fn secrets_are_not_printed() {
        let logins = Logins { everywhere: Some(login("user")), named: Vec::new() };
        let text = format!("{logins:?}");
        assert!(!text.contains("secret") && !text.contains("user\""), "{text}");
    }
}
