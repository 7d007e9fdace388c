//! What instructions do, and what the cache keeps of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::fixture::Fixture;

/// A test.
pub(crate) type Test = fn(&Fixture);

pub(crate) const ALL: &[(&str, Test)] = &[
    (
        "a_build_runs_copies_and_configures",
        runs_copies_and_configures,
    ),
    ("a_second_build_runs_nothing", second_build_runs_nothing),
    ("a_changed_source_invalidates_from_there", changed_source),
    ("a_failed_step_leaves_no_layer", failed_step),
    ("bad_input_is_named", bad_input),
];

fn runs_copies_and_configures(f: &Fixture) {
    f.write("a/one", "1");
    f.write("a/two", "2");
    f.write("file", "content");
    symlink("file", f.path("context/link")).unwrap();
    let (image, told) = f.build(
        "FROM base AS first\n\
         ENV GREETING=hello\n\
         WORKDIR /work\n\
         RUN echo $GREETING > greeting && echo told && rm /tmp -r\n\
         COPY --chown=web file link ./\n\
         COPY a /work/a\n\
         COPY a/t* /other/\n\
         FROM base\n\
         COPY --from=first /work /from\n\
         USER web\n\
         EXPOSE 80\n\
         LABEL x=y\n\
         CMD [\"sh\"]\n",
    );
    assert!(told.output().contains("told"), "{told:?}");
    assert_eq!(f.read(&image, "/from/greeting"), "hello\n");
    assert_eq!(f.read(&image, "/from/link"), "content");
    assert_eq!(f.read(&image, "/from/a/two"), "2");
    let owner = f.tree(&image, |root| {
        std::fs::metadata(root.join("from/file")).unwrap()
    });
    assert_eq!((owner.uid(), owner.gid()), (33, 34));
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.user().as_deref(), Some("web"));
    assert_eq!(config.cmd().as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.config.history().as_ref().unwrap().len(), 6);
    f.assert_sound();
}

fn second_build_runs_nothing(f: &Fixture) {
    f.write("file", "content");
    std::fs::set_permissions(f.path("context/file"), PermissionsExt::from_mode(0o640)).unwrap();
    let text = "FROM base\nRUN echo x > /x\nCOPY file /\nWORKDIR /a/b\nRUN true > /dev/null\n";
    let (first, told) = f.build(text);
    assert_eq!(told.of("RUN"), ["DONE", "DONE"]);
    let (second, told) = f.build(text);
    assert_eq!(first.id, second.id);
    for begin in ["RUN", "COPY", "WORKDIR"] {
        assert!(
            told.of(begin).iter().all(|what| *what == "CACHED"),
            "{told:?}"
        );
    }
    assert_eq!(first.layers.len(), 4, "{:?}", first.config.history());
    f.assert_sound();
}

fn changed_source(f: &Fixture) {
    f.write("a", "1");
    f.write("b", "1");
    let text = "FROM base\nCOPY a /\nRUN cat a > c\nCOPY b /\nRUN cat b > d\n";
    f.build(text);
    f.write("b", "2");
    let (image, told) = f.build(text);
    assert_eq!(told.of("COPY a"), ["CACHED"]);
    assert_eq!(told.of("RUN cat a"), ["CACHED"]);
    assert_eq!(told.of("COPY b"), ["DONE"]);
    assert_eq!(told.of("RUN cat b"), ["DONE"]);
    assert_eq!(f.read(&image, "d"), "2");
    // A time is no content.
    f.write("b", "2");
    let (_, told) = f.build(text);
    assert_eq!(told.of("COPY b"), ["CACHED"]);
    f.assert_sound();
}

fn failed_step(f: &Fixture) {
    let text = "FROM base\nRUN echo x > /x\nRUN echo why >&2; exit 3\n";
    let (built, told) = f.try_build(&f.options(text));
    let error = built.unwrap_err().to_string();
    assert!(
        error.contains("Dockerfile:3") && error.contains("status 3"),
        "{error}"
    );
    assert!(told.output().contains("why"));
    let (_, told) = f.try_build(&f.options(text));
    assert_eq!(told.of("RUN echo x"), ["CACHED"]);
    assert_eq!(f.root.graph().steps().unwrap().len(), 1);
    assert_eq!(f.root.graph().layers().unwrap().len(), 2);
    f.assert_sound();
}

fn bad_input(f: &Fixture) {
    symlink("/etc/passwd", f.path("context/out")).unwrap();
    symlink("loop", f.path("context/loop")).unwrap();
    let from = "FROM base\n";
    for (line, expected) in [
        ("COPY none /", "there is no `none` in the build context"),
        ("COPY ../../etc/passwd /", "there is no `etc/passwd`"),
        ("COPY out /", "there is no `out`"),
        ("COPY loop /", "leads in a circle"),
        ("COPY --chown=nobody2 . /", "does not know it"),
        ("COPY out /bin/sh/x", "Dockerfile:2"),
        ("RUN [\"nosuch\"]", "no program `nosuch`"),
    ] {
        let error = f.fail(&format!("{from}{line}\n"));
        assert!(error.contains(expected), "{line}: {error}");
        assert!(error.contains("Dockerfile:2"), "{line}: {error}");
    }
    f.assert_sound();
}
