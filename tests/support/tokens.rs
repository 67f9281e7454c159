//! A token service for `docker-registry`: who is asked for a token gives one that says what its bearer
//! may do, signed by a key that the registry knows.
//!
//! Everybody may pull, except from repositories below `private/`. [`USER`] may do everything.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::registry::{PASSWORD, USER};
use super::tool::{command, run};
use super::web::{Asked, Reply, Web};

/// Who signs the tokens.
pub(crate) const ISSUER: &str = "token-service";
/// For whom they are.
pub(crate) const SERVICE: &str = "the registry";
/// What [`USER`] may show instead of his password.
pub(crate) const REFRESH_TOKEN: &str = "refresh-token-of-somebody";

/// A running token service.
pub(crate) struct Tokens {
    web: Web,
    expired: Arc<AtomicUsize>,
}

struct Signer {
    key: EcdsaKeyPair,
    /// The certificate, as a token names it.
    certificate: String,
    expired: Arc<AtomicUsize>,
}

impl Tokens {
    /// A service whose certificate is `tokens.crt` in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        std::fs::write(dir.join("tokens.key"), pkcs8.as_ref()).unwrap();
        for arguments in [
            "req -x509 -key tokens.key -keyform DER -days 3650 -subj /CN=tokens -out tokens.crt",
            "x509 -in tokens.crt -outform DER -out tokens.der",
        ] {
            run(command("openssl", arguments.split(' ')).current_dir(dir));
        }
        let certificate = STANDARD.encode(std::fs::read(dir.join("tokens.der")).unwrap());
        let expired = Arc::new(AtomicUsize::new(0));
        let signer = Signer { key, certificate, expired: Arc::clone(&expired) };
        Self { web: Web::serve(move |asked| signer.answer(asked)), expired }
    }

    /// Where it is asked.
    pub(crate) fn realm(&self) -> String {
        self.web.url("/token")
    }

    /// The next `count` tokens are those of an hour ago, which the registry does not take.
    pub(crate) fn expire_next(&self, count: usize) {
        self.expired.store(count, Ordering::SeqCst);
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.web.seen()
    }
}

impl Signer {
    fn answer(&self, asked: &Asked) -> Reply {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        if path != "/token" {
            return Reply::new("404 Not Found", "", "");
        }
        let form = if asked.method == "POST" { &*asked.body } else { query };
        let fields = fields(form);
        let field = |name: &str| {
            fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
        };
        let known = match (&*asked.method, field("grant_type"), asked.header("authorization")) {
            ("GET", _, None) => false,
            ("GET", _, Some(basic)) => {
                let expected = STANDARD.encode(format!("{USER}:{PASSWORD}"));
                if basic != format!("Basic {expected}") {
                    return unauthorized();
                }
                true
            }
            ("POST", "refresh_token", _) if field("refresh_token") == REFRESH_TOKEN => true,
            ("POST", "password", _)
                if (field("username"), field("password")) == (USER, PASSWORD) =>
            {
                true
            }
            _ => return unauthorized(),
        };
        if field("service") != SERVICE {
            return Reply::new("400 Bad Request", "", r#"{"details":"no such service"}"#);
        }
        let scopes = fields.iter().filter(|(key, _)| key == "scope");
        let scopes = scopes.flat_map(|(_, value)| value.split(' '));
        let access: Vec<Value> = scopes.filter_map(|scope| granted(scope, known)).collect();
        let token = self.sign(&access, if known { USER } else { "" });
        let mut answer = match &*asked.method {
            "GET" => json!({"token": token}),
            _ => json!({"access_token": token, "scope": field("scope")}),
        };
        answer["expires_in"] = json!(300);
        if known && field("offline_token") == "true" {
            answer["refresh_token"] = json!(REFRESH_TOKEN);
        }
        Reply::ok(answer.to_string())
    }

    fn sign(&self, access: &[Value], subject: &str) -> String {
        let less = |count: usize| count.checked_sub(1);
        let expired = self.expired.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let begin = if expired { now - 3600 } else { now - 10 };
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "jti": format!("{now}"),
            "iat": begin, "nbf": begin, "exp": begin + 310, "access": access,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// What is allowed of `type:name:actions`; names may have a colon.
fn granted(scope: &str, known: bool) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let public = kind == "repository" && !name.starts_with("private/");
    let allowed = |action: &&str| known || (public && *action == "pull");
    let actions: Vec<&str> = actions.split(',').filter(allowed).collect();
    Some(json!({"type": kind, "name": name, "actions": actions}))
}

fn unauthorized() -> Reply {
    Reply::new("401 Unauthorized", "", r#"{"details":"incorrect username or password"}"#)
}

fn fields(form: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned()
    };
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
