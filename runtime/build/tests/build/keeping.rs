//! What the cache keeps, what it finds damaged, and what is left of builds that died.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use cowlab_build::{Remedy, advise};
use cowlab_runtime::build::CachePlace;
use cowlab_runtime::system::PruneOptions;

use crate::basics::Test;
use crate::fixture::Fixture;

pub(crate) const ALL: &[(&str, Test)] = &[
    ("equal_inputs_give_equal_digests", reproducible),
    ("a_missing_blob_is_made_again", missing_blob),
    ("a_layer_that_somebody_changed_is_made_again", changed_layer),
    ("a_cache_goes_to_another_root", exchanged_cache),
    ("advice_is_what_builds_showed", advice),
    ("two_builds_share_a_step", two_builds),
    ("stages_run_at_the_same_time", parallel_stages),
    ("prune_removes_what_no_image_needs", prune),
    ("a_killed_build_leaves_nothing", killed),
    ("a_moved_base_is_told", moved_base),
    ("a_cached_build_is_quick", cached_is_quick),
    ("a_linked_copy_outlives_its_base", linked_copy),
    ("triggers_are_executed_in_the_child", triggers),
    ("archives_are_unpacked", archives),
    ("what_is_ignored_is_not_there", ignored),
];

fn reproducible(f: &Fixture) {
    let text = "FROM base\nWORKDIR /a/b\nRUN echo x > /x && ln /x /y && mkdir /d && rm -r /tmp\nCOPY file /d/\nRUN --mount=type=cache,target=/c echo z > /d/z\n";
    f.write("file", "1");
    let mut options = f.options(text);
    options.epoch = Some(1_700_000_000);
    options.no_cache = true;
    let (first, _) = f.build_with(&options);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    f.write("file", "1");
    let (second, _) = f.build_with(&options);
    assert_eq!(first.id, second.id);
    let times = f.tree(&first, |root| {
        ["x", "d", "d/file", "d/z", "a", "a/b"]
            .map(|name| fs::metadata(root.join(name)).unwrap().mtime())
    });
    assert_eq!(times, [1_700_000_000; 6]);
    // Equal on every driver: the first one here says what the others have to give.
    let diff_ids: Vec<_> = first.layers[1..]
        .iter()
        .map(|layer| &layer.diff_id)
        .collect();
    crate::fixture::same_on_every_driver("reproducible", &format!("{diff_ids:?}"));
    f.assert_sound();
}

fn missing_blob(f: &Fixture) {
    let text = "FROM base\nRUN echo x > /x\n";
    let (image, _) = f.build(text);
    let blob = f.root.blobs().path(&image.layers[1].blob.parse().unwrap());
    fs::write(&blob, "short").unwrap();
    f.build(text);
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let (again, told) = f.build(text);
    assert_eq!(told.of("RUN"), ["CACHED"]);
    assert_eq!(again.id, image.id);
    f.assert_sound();
}

fn two_builds(f: &Fixture) {
    let text = "FROM base\nRUN sleep 1; cat /proc/sys/kernel/random/uuid > /x\n";
    let options = f.options(text);
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| f.build_with(&options));
        let two = scope.spawn(|| f.build_with(&options));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!(one.0.id, two.0.id);
    let mut told = [one.1.of("RUN"), two.1.of("RUN")].concat();
    told.sort_unstable();
    assert_eq!(told, ["CACHED", "DONE"]);
    f.assert_sound();
}

fn parallel_stages(f: &Fixture) {
    // Each waits for what the other makes, in a cache that both see: one after the other, neither would end.
    let meet = |own: &str, other: &str| {
        format!(
            "FROM base AS {own}\nRUN --mount=type=cache,target=/c touch /c/{own}; \
             i=0; while [ ! -e /c/{other} ] && [ $i -lt 600 ]; do i=$((i+1)); sleep 0.1; done; [ -e /c/{other} ] && echo {own} > /{own}\n"
        )
    };
    let text = meet("a", "b")
        + &meet("b", "a")
        + "FROM base AS unneeded\nRUN exit 1\n\
           FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n";
    let (image, _) = f.build(&text);
    assert_eq!(f.read(&image, "a") + &f.read(&image, "b"), "a\nb\n");
    let failing = "FROM base AS a\nRUN sleep 1; exit 4\nFROM base AS b\nRUN sleep 30\nFROM base\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let begin = Instant::now();
    assert!(f.fail(failing).contains("status 4"));
    assert!(begin.elapsed().as_secs() < 10, "the other stage is ended");
    f.assert_sound();
}

fn prune(f: &Fixture) {
    let mut options = f.options("FROM base AS a\nRUN --mount=type=cache,target=/c echo a > /a; echo c > /c/c\nFROM base\nCOPY --from=a /a /b\n");
    options.names = vec!["kept".parse().unwrap()];
    let (image, _) = f.build_with(&options);
    let used = f.root.disk_use().unwrap().build_cache;
    assert!(used.total >= 3 && used.active >= 1, "{used:?}");
    assert!(used.reclaimable.bytes.0 > 0);
    let pruned = f.root.prune_builds(PruneOptions::default()).unwrap();
    assert_eq!(pruned.dirs, ["/c"]);
    assert!(pruned.reclaimed > 0);
    assert_eq!(f.root.graph().layers().unwrap().len(), 2);
    assert_eq!(f.read(&image, "b"), "a\n");
    let (_, told) = f.build_with(&options);
    assert_eq!(told.of("COPY"), ["CACHED"], "its image has it");
    let all = PruneOptions { all: true };
    f.root.prune_builds(all).unwrap();
    assert!(f.root.graph().steps().unwrap().is_empty());
    f.assert_sound();
}

fn killed(f: &Fixture) {
    let text = "FROM base\nRUN echo x > /x\nRUN echo y > /y; sleep 100\n";
    let mut child = f.in_child(text);
    let steps = || f.root.graph().steps().unwrap().len();
    while steps() == 0 || f.containers() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    let (image, told) = f.build("FROM base\nRUN echo x > /x\nRUN echo y > /y\n");
    assert_eq!(told.of("RUN echo x"), ["CACHED"]);
    assert_eq!(f.read(&image, "y"), "y\n");
    f.assert_sound();
}

fn moved_base(f: &Fixture) {
    let text = "FROM base\nRUN echo x > /x\n";
    f.build(text);
    assert!(f.build(text).1.warnings.lock().unwrap().is_empty());
    let mut options = f.options("FROM base\nLABEL a=b\n");
    options.names = vec!["base".parse().unwrap()];
    f.build_with(&options);
    let (_, told) = f.build(text);
    let warnings = told.warnings.lock().unwrap();
    assert!(
        warnings.iter().any(|one| one.contains("another than")),
        "{warnings:?}"
    );
}

fn cached_is_quick(f: &Fixture) {
    for number in 0..200 {
        f.write(&format!("many/{number}"), &"x".repeat(number));
    }
    let mut text = "FROM base\nCOPY . /many\n".to_owned();
    for number in 0..18 {
        text.push_str(&format!("RUN echo {number} > /{number}\n"));
    }
    // So that what stat(2) tells counts.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let (first, _) = f.build(&text);
    let options = f.options(&text);
    let times: Vec<_> = (0..5)
        .map(|_| {
            let begin = Instant::now();
            let (again, told) = f.build_with(&options);
            let time = begin.elapsed();
            assert_eq!(again.id, first.id);
            assert!(
                told.of("")
                    .iter()
                    .all(|what| *what == "CACHED" || *what == "DONE")
            );
            time
        })
        .collect();
    let best = times.iter().min().unwrap();
    // A debug build on a busy machine: the budget is 50 ms for the whole command.
    assert!(best.as_millis() < 50, "{times:?}");
}

fn linked_copy(f: &Fixture) {
    f.write("file", "1");
    let text =
        |first: &str| format!("FROM base\nRUN echo {first} > /first\nCOPY --link file /dir/\n");
    f.build(&text("a"));
    let (image, told) = f.build(&text("b"));
    assert_eq!(
        (told.of("RUN"), told.of("COPY")),
        (vec!["DONE"], vec!["CACHED"])
    );
    assert_eq!(
        f.read(&image, "dir/file") + &f.read(&image, "first"),
        "1b\n"
    );
    f.assert_sound();
}

fn triggers(f: &Fixture) {
    f.write("file", "1");
    let mut options = f.options("FROM base\nONBUILD COPY file /\nONBUILD RUN cat /file > /copy\n");
    options.names = vec!["parent".parse().unwrap()];
    let (parent, _) = f.build_with(&options);
    assert_eq!(parent.layers.len(), 1);
    let (child, _) = f.build("FROM parent\nLABEL a=b\n");
    assert_eq!(f.read(&child, "copy"), "1");
    let text = serde_json::to_string(&f.root.configuration_of(&child).unwrap()).unwrap();
    assert!(!text.contains("OnBuild"), "{text}");
}

fn archives(f: &Fixture) {
    f.write("tree/a/file", "in the archive");
    f.write("plain.tar", "no archive");
    let context = f.path("context");
    for (name, flag) in [("x.tar", "-cf"), ("x.tar.gz", "-czf")] {
        let tar = cowlab_sys::Cmd::new("tar")
            .arg("-C")
            .arg(context.join("tree"));
        tar.arg(flag)
            .arg(context.join(name))
            .arg("a")
            .run()
            .unwrap();
    }
    let (image, _) = f.build(
        "FROM base\nADD x.tar /one\nADD --chown=5:6 x.tar.gz plain.tar /two/\nCOPY x.tar /three/\n",
    );
    assert_eq!(f.read(&image, "one/a/file"), "in the archive");
    assert_eq!(f.read(&image, "two/a/file"), "in the archive");
    assert_eq!(f.read(&image, "two/plain.tar"), "no archive");
    let owner = f.tree(&image, |root| {
        fs::metadata(root.join("two/a/file")).unwrap()
    });
    assert_eq!((owner.uid(), owner.gid()), (5, 6));
    let owner = f.tree(&image, |root| {
        fs::metadata(root.join("two/a/file")).unwrap()
    });
    assert_eq!((owner.uid(), owner.gid()), (5, 6));
    assert!(f.tree(&image, |root| root.join("three/x.tar").is_file()));
    f.assert_sound();
}

fn ignored(f: &Fixture) {
    for name in ["keep", "drop", "dir/drop", "dir/keep", "out/a", "out/in"] {
        f.write(name, name);
    }
    std::os::unix::net::UnixListener::bind(f.path("context/socket")).unwrap();
    f.write(".dockerignore", "**/drop\nout\n!out/in\n");
    let (image, _) = f.build("FROM base\nCOPY . /all\nCOPY --parents dir/keep /parents/\n");
    let has = f.tree(&image, |root| {
        let has = |name: &str| root.join(Path::new(name)).exists();
        [
            "all/keep",
            "all/drop",
            "all/dir/drop",
            "all/dir/keep",
            "all/out/a",
            "all/out/in",
            "all/socket",
            "parents/dir/keep",
        ]
        .map(has)
    });
    assert_eq!(has, [true, false, false, true, false, true, false, true]);
    assert!(f.fail("FROM base\nCOPY drop /\n").contains(".dockerignore"));
    f.assert_sound();
}

fn changed_layer(f: &Fixture) {
    let text = "FROM base\nRUN mkdir /d; echo x > /d/x; echo y > /y\nRUN cat /d/x > /z\n";
    let (image, _) = f.build(text);
    for damage in [
        (|root: &Path| fs::write(root.join("d/x"), "changed").unwrap()) as fn(&Path),
        |root| fs::remove_file(root.join("y")).unwrap(),
        |root| fs::write(root.join("d/new"), "").unwrap(),
    ] {
        damage(&f.own_part(&image, 1));
        let (again, told) = f.build(text);
        assert_eq!(told.of("RUN"), ["CACHED", "CACHED"]);
        assert_eq!(again.id, image.id);
        assert_eq!(f.read(&again, "d/x") + &f.read(&again, "y"), "x\ny\n");
        f.assert_sound();
    }
}

fn exchanged_cache(f: &Fixture) {
    f.write("file", "1");
    let text = "FROM base AS a\nRUN echo x > /x\nCOPY file /\nRUN true\nFROM base\nCOPY --from=a /x /file /y/\n";
    let place = CachePlace::Directory(f.path("cache"));
    let mut options = f.options(text);
    options.cache_to = vec![place.clone()];
    let (first, _) = f.build_with(&options);
    f.build_with(&options);
    let other = f.elsewhere();
    let mut options = other.options(text);
    options.cache_from = vec![place.clone()];
    let (second, told) = other.build_with(&options);
    assert_eq!(
        (told.of("RUN"), told.of("COPY")),
        (vec!["CACHED"; 2], vec!["CACHED"; 2]),
        "{told:?}"
    );
    assert_eq!(
        first.layers.last().unwrap().chain_id,
        second.layers.last().unwrap().chain_id
    );
    other.assert_sound();
    // A cache that is damaged, or not there, is told and not used.
    let third = f.elsewhere();
    for blob in fs::read_dir(f.path("cache/blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if bytes[0] == 0x1f {
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let mut options = third.options(text);
    options.cache_from = vec![place, CachePlace::Directory(f.path("none"))];
    let (_, told) = third.build_with(&options);
    assert_eq!(told.of("RUN echo"), ["DONE"]);
    assert!(told.warnings.lock().unwrap().len() >= 2, "{told:?}");
    third.assert_sound();
}

fn advice(f: &Fixture) {
    f.write("file", "1");
    let text = "FROM base\n\
         COPY file /file\n\
         RUN echo $((1)) > /same; mkdir -p /var/log; cat /proc/sys/kernel/random/uuid > /var/log/new\n\
         RUN cat /file > /copy\n\
         RUN chown 33 /file /bin/busybox\n\
         RUN rm /copy\n";
    f.build(text);
    f.write("file", "22");
    let options = f.options(text);
    let (built, _) = f.try_build(&options);
    let given = advise(&f.root, &options, &built.unwrap().steps).unwrap();
    let hints: Vec<_> = given
        .hints
        .iter()
        .map(|one| (one.remedy, one.line, one.other_line, one.bytes))
        .collect();
    assert!(
        hints
            .iter()
            .any(|one| (one.0, one.1, one.2) == (Remedy::Move, 3, 2)),
        "{given}"
    );
    assert!(
        !hints.iter().any(|one| (one.0, one.1) == (Remedy::Move, 4)),
        "{given}"
    );
    assert!(hints.contains(&(Remedy::CopyWithOwner, 5, 2, 2)), "{given}");
    assert!(hints.contains(&(Remedy::Merge, 6, 4, 2)), "{given}");
    let size = fs::metadata(crate::fixture::BUSYBOX).unwrap().len();
    let chown = given.copied.iter().find(|one| one.line == 5).unwrap();
    assert!(chown.bytes >= size, "{given}");
    // A build that runs nothing forgets nothing.
    let (built, _) = f.try_build(&options);
    let again = advise(&f.root, &options, &built.unwrap().steps).unwrap();
    assert_eq!(again, given);
}
