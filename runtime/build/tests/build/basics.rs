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
    ("mounts_are_no_part_of_a_layer", mounts),
    ("a_bind_of_the_context_is_part_of_the_key", bind_is_in_key),
    ("secrets_are_in_no_layer", secrets),
    ("here_documents_are_files_and_scripts", here_documents),
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
        ("FROM --platform=linux/s390x base", "this machine's"),
        ("RUN [\"nosuch\"]", "no program `nosuch`"),
    ] {
        let error = f.fail(&format!("{from}{line}\n"));
        assert!(error.contains(expected), "{line}: {error}");
        assert!(error.contains("Dockerfile:2"), "{line}: {error}");
    }
    f.assert_sound();
}

fn mounts(f: &Fixture) {
    f.write("src/file", "of the context");
    let text = "FROM base AS made\n\
         RUN mkdir /out && echo made > /out/made\n\
         FROM base\n\
         RUN --mount=type=bind,source=src,target=/src \
             --mount=type=bind,from=made,source=/out,target=/out,rw \
             --mount=type=cache,target=/cache \
             --mount=type=tmpfs,target=/memory \
             cat /src/file /out/made > /all; echo x > /out/new; echo x > /memory/x; \
             echo kept >> /cache/lines; if echo x > /src/new; then exit 9; fi\n\
         RUN --mount=type=cache,target=/cache cat /cache/lines > /cached\n";
    let (image, told) = f.build(text);
    assert_eq!(f.read(&image, "all"), "of the contextmade\n", "{told:?}");
    assert_eq!(f.read(&image, "cached"), "kept\n");
    let left = f.tree(&image, |root| {
        ["src", "out", "cache", "memory"].map(|name| root.join(name).exists())
    });
    assert_eq!(left, [false; 4]);
    assert!(!f.path("context/src/new").exists());
    let dirs = f.root.cache_dirs().unwrap();
    assert_eq!(dirs.len(), 1);
    assert_eq!(dirs[0].id, "/cache");
    f.assert_sound();
}

fn bind_is_in_key(f: &Fixture) {
    f.write("file", "1");
    f.write(".dockerignore", "secret\n");
    f.write("secret", "1");
    let text = "FROM base\nRUN --mount=target=/src cp /src/file /copy; ls -a /src > /list\n";
    let (image, told) = f.build(text);
    assert!(!f.read(&image, "list").contains("secret"), "{told:?}");
    f.write("secret", "2");
    assert_eq!(f.build(text).1.of("RUN"), ["CACHED"]);
    f.write("file", "2");
    let (image, told) = f.build(text);
    assert_eq!(told.of("RUN"), ["DONE"]);
    assert_eq!(f.read(&image, "copy"), "2");
    f.assert_sound();
}

fn secrets(f: &Fixture) {
    std::fs::write(f.path("secret"), "hidden").unwrap();
    let text = "FROM base\n\
         RUN --mount=type=secret,id=key cat /run/secrets/key; stat -c %a /run/secrets/key\n\
         RUN --mount=type=secret,id=key,env=KEY echo \"env $KEY\"\n";
    let mut options = f.options(text);
    let secret = cowlab_build::Secret::File(f.path("secret"));
    options.secrets.insert("key".to_owned(), secret);
    let (image, told) = f.build_with(&options);
    assert_eq!(told.output(), "hidden400\nenv hidden\n");
    assert_eq!(image.layers.len(), 1, "{:?}", image.config.history());
    let missing = "FROM base\nRUN --mount=type=secret,id=none,required=true true\n";
    assert!(f.fail(missing).contains("no secret `none`"));
    f.assert_sound();
}

fn here_documents(f: &Fixture) {
    let text = "FROM base\nENV NAME=x\n\
         RUN <<EOF\necho one > /one\necho $NAME > /two\nEOF\n\
         RUN <<EOF\n#!/bin/cat\nhello\nEOF\n\
         COPY --chmod=640 <<here <<'quoted' /files/\nname $NAME\nhere\nname $NAME\nquoted\n";
    let (image, told) = f.build(text);
    assert!(told.output().contains("hello"), "{told:?}");
    assert_eq!(f.read(&image, "two"), "x\n");
    assert_eq!(f.read(&image, "files/here"), "name x\n");
    assert_eq!(f.read(&image, "files/quoted"), "name $NAME\n");
    f.assert_sound();
}
