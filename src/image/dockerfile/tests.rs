use std::error::Error as _;

use super::*;

fn changed(changes: &[&str]) -> Result<serde_json::Value, InstructionError> {
    let changes: Vec<_> = changes.iter().map(|&change| change.to_owned()).collect();
    let mut config = DockerConfig::default();
    apply(&changes, &mut config)?;
    let mut value = serde_json::to_value(&config).unwrap();
    // What nothing was said about is left out.
    let members = value.as_object_mut().unwrap();
    members.retain(|_, member| !member.is_null() && *member != false && *member != "");
    Ok(value)
}

#[test]
fn configs() {
    for (changes, config) in [
        (&[][..], "{}"),
        (&["CMD ls -l"], r#"{"Cmd":["/bin/sh","-c","ls -l"]}"#),
        (&["CMD=ls"], r#"{"Cmd":["/bin/sh","-c","ls"]}"#),
        (&["cmd [\"ls\",\"-l\"] and more"], r#"{"Cmd":["ls","-l"]}"#),
        (&["CMD []"], r#"{"Cmd":[]}"#),
        (&["CMD"], r#"{"Cmd":["/bin/sh","-c"]}"#),
        (&["CMD [\"a\""], r#"{"Cmd":["/bin/sh","-c","[\"a\""]}"#),
        (&["CMD c", "ENTRYPOINT [\"e\"]"], r#"{"Cmd":["/bin/sh","-c","c"],"Entrypoint":["e"]}"#),
        (&["CMD []", "ENTRYPOINT e x"], r#"{"Entrypoint":["/bin/sh","-c","e x"]}"#),
        (&["ENV A=1 B='2 3' C=\"4 $D\\\"\"", "ENV A=5"], r#"{"Env":["A=5","B=2 3","C=4 \""]}"#),
        (&["ENV A b  c"], r#"{"Env":["A=b  c"]}"#),
        (&["ENV A=x\\ y B="], r#"{"Env":["A=x y","B="]}"#),
        (&["ENV=A=1"], r#"{"Env":["A=1"]}"#),
        (
            &["ENV A=${B:-c} D=${E} F=$ G=${H:+i} J=${K#l}"],
            r#"{"Env":["A=c","D=","F=$","G=","J="]}"#,
        ),
        (&["LABEL \"a b\"=c d='e'", "LABEL f g h"], r#"{"Labels":{"a b":"c","d":"e","f":"g h"}}"#),
        (
            &["EXPOSE 80 53/udp abc", "EXPOSE 80/tcp"],
            r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{},"abc/tcp":{}}}"#,
        ),
        (&["VOLUME /a /b", "VOLUME [\"/c d\"]"], r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#),
        (
            &["USER me:us", "WORKDIR a/../b/", "WORKDIR c"],
            r#"{"User":"me:us","WorkingDir":"/b/c"}"#,
        ),
        (&["WORKDIR /a//b/"], r#"{"WorkingDir":"/a//b"}"#),
        (&["WORKDIR /"], r#"{"WorkingDir":"/"}"#),
        (&["STOPSIGNAL SIGHUP"], r#"{"StopSignal":"SIGHUP"}"#),
        (&["SHELL [\"/bin/zsh\",\"-c\"]"], r#"{"Shell":["/bin/zsh","-c"]}"#),
        (&["ONBUILD RUN x  y", "onbuild CMD [\"z\"]"], r#"{"OnBuild":["RUN x  y","CMD [\"z\"]"]}"#),
        (&["HEALTHCHECK NONE"], r#"{"Healthcheck":{"Test":["NONE"]}}"#),
        (
            &["HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD curl x"],
            r#"{"Healthcheck":{"Test":["CMD-SHELL","curl x"],"Interval":90000000000,"Timeout":1500000000,"Retries":3}}"#,
        ),
        (&["HEALTHCHECK CMD [\"a\"]"], r#"{"Healthcheck":{"Test":["CMD","a"]}}"#),
        (&["MAINTAINER me", "ARG x=1", "FROM y", "FROM y AS z"], "{}"),
        (&["# a comment\nUSER a\n\n  USER b "], r#"{"User":"b"}"#),
        (&["CMD a \\\n  b \\\n# no\nc"], r#"{"Cmd":["/bin/sh","-c","a b c"]}"#),
    ] {
        let expected: serde_json::Value = serde_json::from_str(config).unwrap();
        assert_eq!(changed(changes).unwrap(), expected, "{changes:?}");
    }
}

#[test]
fn words() {
    for (change, context, cause) in [
        ("BOGUS foo", "processing", "did not understand change instruction \"BOGUS foo\""),
        ("RUN x", "processing", "Please provide a source image with `from` prior to run"),
        ("ADD a b", "processing", "ADD/COPY not supported as changes"),
        ("COPY a", "processing", "COPY requires at least two arguments"),
        ("STOPSIGNAL FOO", "processing", "Invalid signal: FOO"),
        ("USER", "processing", "USER requires exactly one argument"),
        ("ENV", "processing", "ENV requires at least one argument"),
        ("VOLUME", "processing", "VOLUME requires at least one argument"),
        ("VOLUME [\" \"]", "processing", "Volume specified can not be an empty string"),
        ("SHELL x", "processing", "SHELL requires the arguments to be in JSON form"),
        ("HEALTHCHECK CMD", "processing", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK x", "processing", "Unknown type \"X\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --x=1 CMD a", "processing", "flag provided but not defined: -x"),
        ("ONBUILD FROM x", "processing", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD", "resolving", "ONBUILD requires at least one argument"),
        (
            "ENV A='b",
            "resolving",
            "unexpected end of statement while looking for matching single-quote",
        ),
        ("LABEL A=${b", "resolving", "Missing ':' or '#' or '%' or '/' in substitution: ${b"),
    ] {
        let error = changed(&["USER fine", change]).unwrap_err();
        assert_eq!(error.to_string(), format!("{context} change {change:?}"));
        assert_eq!(error.source().unwrap().to_string(), cause);
    }
    let error = changed(&["ENV a", "USER b"]).unwrap_err();
    assert_eq!(error.to_string(), "parsing change set ENV a\nUSER b");
    assert_eq!(error.source().unwrap().to_string(), "ENV must have two arguments");
    let error = changed(&["CMD [1]"]).unwrap_err();
    let text = "when using JSON array syntax, arrays must be comprised of strings only";
    assert_eq!(error.source().unwrap().to_string(), text);
}

proptest::proptest! {
    #[test]
    fn any_text_is_harmless(changes in proptest::collection::vec("(ENV|CMD|LABEL|EXPOSE|HEALTHCHECK|ONBUILD|WORKDIR|USER|[a-z]*)[ =]?\\PC*", 0..4)) {
        let changes: Vec<_> = changes.iter().map(String::as_str).collect();
        let _ = changed(&changes);
    }
}
