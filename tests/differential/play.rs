//! Playing requests on both sides and judging the answers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::accepted::Accepted;
use crate::compare::{Difference, differences};
use crate::normal::{mask, normal};
use crate::pair::{Answer, Pair, Request};
use crate::support::http::PREFIX;

/// The scenario while it is played.
pub(crate) struct Play {
    pub(crate) pair: Pair,
    accepted: Accepted,
    /// Distinct requests so far.
    requests: BTreeSet<String>,
    /// How the stores differed after the last request.
    apart: Vec<Difference>,
    report: String,
}

impl Play {
    /// Two fresh sides.
    pub(crate) fn new() -> Self {
        let mut play = Self {
            pair: Pair::new(),
            accepted: Accepted::read(),
            requests: BTreeSet::new(),
            apart: Vec::new(),
            report: String::new(),
        };
        play.compare_stores("the beginning");
        play
    }

    /// `GET` of a libpod route.
    pub(crate) fn get(&mut self, route: &str) {
        self.send("GET", route, b"");
    }

    /// `GET` of each.
    pub(crate) fn get_all<const N: usize>(&mut self, routes: [&str; N]) {
        routes.iter().for_each(|route| self.get(route));
    }

    /// `POST` to a libpod route, without a body.
    pub(crate) fn post(&mut self, route: &str) {
        self.send("POST", route, b"");
    }

    /// `DELETE` of a libpod route.
    pub(crate) fn delete(&mut self, route: &str) {
        self.send("DELETE", route, b"");
    }

    /// Any method and body.
    pub(crate) fn send(&mut self, method: &str, route: &str, body: &[u8]) {
        self.request(
            route,
            &Request {
                method: method.to_owned(),
                target: format!("{PREFIX}{route}"),
                body: body.to_vec(),
                ..Request::default()
            },
        )
    }

    /// A path that is not below the usual prefix.
    pub(crate) fn raw(&mut self, method: &str, path: &str) {
        self.request(
            path,
            &Request { method: method.to_owned(), target: path.to_owned(), ..Request::default() },
        );
    }

    /// Any request, called `route` in the report.
    pub(crate) fn request(&mut self, route: &str, request: &Request) {
        self.request_remembering(route, request, &[]);
    }

    /// As [`Self::request`]; what stands at these places of the answers, `(name, JSON pointer)`,
    /// differs by its nature, and is called `$name` from now on.
    pub(crate) fn request_remembering(
        &mut self,
        route: &str,
        request: &Request,
        symbols: &[(&str, &str)],
    ) {
        let name = format!("{} {route}", request.method);
        let mut hint = name.clone();
        if !request.body.is_empty() {
            let digest = crate::support::archive::sha256(&request.body);
            write!(hint, " {digest}").unwrap();
        }
        self.requests.insert(format!("{hint} {:?}", request.headers));
        let (ours, theirs) = self.pair.send(request);
        for (symbol, pointer) in symbols {
            let text = |answer: &Answer| {
                let document = answer.as_ref().ok()?.json();
                let text = document.pointer(pointer)?.as_str()?.to_owned();
                Some(text.trim_start_matches("sha256:").to_owned())
            };
            match (text(&ours), text(&theirs)) {
                (Some(ours), Some(theirs)) => self.pair.remember(symbol, &ours, &theirs),
                (ours, theirs) => panic!("{name}: no {pointer}: {ours:?}, {theirs:?}"),
            }
        }
        let (mine, other) = self.pair.masks();
        let found = differences(&normal(&ours, &mine), &normal(&theirs, &other));
        self.judge(&name, found);
        self.compare_stores(&name);
    }

    /// Looks at the files: no request may change the stores in different ways.
    fn compare_stores(&mut self, after: &str) {
        let (mine, other) = self.pair.masks();
        let (mut ours, mut theirs) = (self.pair.ours.records(), self.pair.theirs.records());
        mask(&mut ours, &mine);
        mask(&mut theirs, &other);
        let mut apart = differences(&ours, &theirs);
        apart.iter_mut().for_each(|it| it.place.insert_str(0, "store "));
        let new = apart.iter().filter(|it| !self.apart.contains(it)).cloned().collect();
        self.apart = apart;
        self.judge(after, new);
    }

    fn judge(&mut self, request: &str, mut found: Vec<Difference>) {
        found.retain(|difference| !self.accepted.explains(request, difference));
        if !found.is_empty() {
            writeln!(self.report, "{request}").unwrap();
            for difference in found {
                writeln!(self.report, "{difference}").unwrap();
            }
        }
    }

    /// The end: nothing unexplained, nothing explained that was not there, and enough of it.
    pub(crate) fn finish(self, at_least: usize) {
        println!("{} requests", self.requests.len());
        let unused = self.accepted.unused();
        assert!(
            self.report.is_empty() && unused.is_empty(),
            "\nunexplained differences:\n{}\naccepted, but not seen:\n{}",
            self.report,
            unused.join("\n")
        );
        assert!(self.requests.len() >= at_least, "only {} requests", self.requests.len());
    }
}
