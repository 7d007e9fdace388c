//! What hands and scripts that know docker ask of lists: formats, filters, labels.

use serde_json::{Value, json};

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/lists-in-json-have-dockers-members",
        spec: "`--format json` of ps, images, volume ls and history prints an object a line, with docker's members, and `table` columns under docker's names.",
        see: &["docs.docker.com, docker container ls, --format"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(lists_in_json_have_dockers_members),
        ..super::BASE
    },
    Case {
        id: "runtime/plain-fields-of-templates",
        spec: "A template of --format prints fields, labels and `json` of them as Go does; a field that is not there is refused by its name, and so is what is no field.",
        see: &["docs.docker.com, Format command and log output"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(plain_fields_of_templates),
        ..super::BASE
    },
    Case {
        id: "runtime/ps-lists-what-filters-say",
        spec: "`ps` lists the containers that fulfil its conditions: several of one name mean or, those on labels and of several names mean and; a state counts whether it runs or not.",
        see: &["docs.docker.com, docker container ls, --filter"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(ps_lists_what_filters_say),
        ..super::BASE
    },
    Case {
        id: "runtime/images-and-volumes-are-filtered-and-pruned",
        spec: "`images`, `volume ls` and the prunes take docker's conditions on names, labels, ages and use, and refuse others by name, with those that there are.",
        see: &[
            "docs.docker.com, docker image ls, --filter",
            "docs.docker.com, docker volume prune, --filter",
        ],
        catalogue: &["S18"],
        impact: Impact::DataLoss,
        run: Some(images_and_volumes_are_filtered_and_pruned),
        ..super::BASE
    },
    Case {
        id: "runtime/labels-of-images-files-and-flags",
        spec: "A container has the labels of its image, over them those of --label-file, and over these those of --label; `commit` hands them on.",
        see: &["docs.docker.com, docker container run, --label, --label-file"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        run: Some(labels_of_images_files_and_flags),
        ..super::BASE
    },
    Case {
        id: "runtime/files-of-labels-are-as-written",
        spec: "A file of labels has a name and all that follows `=` a line, a label without a value has an empty one, and a blank in a name is refused.",
        see: &["docs.docker.com, docker container run, --label-file"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        run: Some(files_of_labels_are_as_written),
        ..super::BASE
    },
    Case {
        id: "runtime/what-is-left-out-of-docker-says-so",
        spec: "A verb or a flag of docker's that is left out is refused by its name, with the reason and what to do instead, before anything is made: with 125 by run, else with 2.",
        see: &["docs.docker.com, docker container run, Exit status"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        run: Some(what_is_left_out_says_so),
        ..super::BASE
    },
    Case {
        id: "runtime/flags-without-an-effect-are-taken",
        spec: "Flags of docker's that turn off what is not here are taken, exec reads files of variables, and --net is --network.",
        see: &["docs.docker.com, docker container run, docker container exec"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        run: Some(flags_without_an_effect_are_taken),
        ..super::BASE
    },
    Case {
        id: "runtime/bash-completes-commands-and-flags",
        spec: "What `completion bash` prints is read by bash without a word, and completes verbs, verbs below verbs, flags, and the values that a flag has.",
        see: &[
            "bash(1), Programmable Completion",
            "docs.docker.com, docker CLI completion",
        ],
        catalogue: &["S06"],
        impact: Impact::Cosmetic,
        run: Some(bash_completes_commands_and_flags),
        ..super::BASE
    },
    Case {
        id: "runtime/completions-and-man-pages-of-every-command",
        spec: "There are completions for bash, zsh, fish, elvish and powershell, and a man page of every command that `--help` lists.",
        see: &["man-pages(7)"],
        catalogue: &["S06"],
        impact: Impact::Cosmetic,
        run: Some(completions_and_man_pages),
        ..super::BASE
    },
];

/// A line of a list in JSON.
fn line(product: &Product, words: &[&str]) -> Result<Value> {
    let out = product.ok(&[words, &["--format", "json"]].concat())?;
    match out.lines().next() {
        Some(line) => Ok(serde_json::from_str(line)?),
        None => Err(Difference::new(words.join(" "), "lines", "some", "none")),
    }
}

fn lists_in_json_have_dockers_members(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let create = ["create", "--name", "con", "-l", "a=b", "-v", "data:/m"];
    let id = product.ok(&[&create[..], &[BASE, "sleep", "1000"]].concat())?;
    for (words, members) in [
        (
            &["ps", "-a", "--no-trunc"][..],
            json!({"ID": id, "Image": BASE, "Command": "\"sleep 1000\"", "Names": "con", "Labels": "a=b", "State": "created",
                "Status": "Created", "Mounts": "data", "LocalVolumes": "1", "Networks": "none", "Ports": ""}),
        ),
        (&["images"], json!({"Repository": BASE, "Tag": "latest"})),
        (
            &["volume", "ls"],
            json!({"Name": "data", "Driver": "local", "Scope": "local", "Labels": ""}),
        ),
        (&["history", BASE], json!({"CreatedBy": "Imported"})),
        (&["layer", "ls"], json!({"Parent": "<base>", "Images": "1"})),
        (
            &["system", "df"],
            json!({"Type": "Images", "TotalCount": "1", "Active": "1"}),
        ),
    ] {
        let found = line(&product, words)?;
        for (name, wanted) in members.as_object().into_iter().flatten() {
            let what = format!("{} {name}", words.join(" "));
            expect(what, "value", wanted, &found[name])?;
        }
    }
    let whole = product.ok(&["images", "--format", "json"])?;
    product.says(&["images", "--format", "{{json .}}"], &whole)?;
    let table = [
        "ps",
        "-a",
        "--format",
        "table {{.Names}}\\t{{.Label \"a\"}}",
    ];
    product.says(&table, "NAMES   a\ncon     b")?;
    product.says(&["ps", "--format", "table {{.Names}}"], "NAMES")?;
    let both = product.run(&["ps", "-aq", "--no-trunc", "--format", "{{.Names}}"])?;
    expect(
        "-q beside --format",
        "output",
        &format!("{id}\n"),
        &both.out,
    )?;
    product.says(&["images", "-q", "--format", "{{.Tag}}"], "latest")
}

fn plain_fields_of_templates(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let create = [
        "create", "--name", "con", "-l", "a.b/c=d", "-e", "A=1", "-v", "data:/m",
    ];
    let id = product.ok(&[&create[..], &[BASE, "sleep", "1000"]].concat())?;
    for (template, wanted) in [
        ("{{.Id}} {{.State.Status}}", format!("{id} created")),
        ("{{index .Config.Labels \"a.b/c\"}}", "d".to_owned()),
        ("{{json .Config.Labels}}", "{\"a.b/c\":\"d\"}".to_owned()),
        ("{{.Args}}{{.State.ExitCode}}", "[1000]0".to_owned()),
        (
            "{{.Config.Cmd}}{{.Config.Entrypoint}}",
            "[sleep 1000][]".to_owned(),
        ),
        ("{{index .Mounts 0 \"Destination\"}}", "/m".to_owned()),
    ] {
        product.says(&["inspect", "--format", template, "con"], &wanted)?;
        product.says(&["container", "inspect", "-f", template, "con"], &wanted)?;
    }
    let place = product.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"])?;
    product.says(&["inspect", "-f", "{{.Mountpoint}}", "data"], &place)?;
    let image = product.ok(&["image", "inspect", "-f", "{{.Id}}", BASE])?;
    product.says(&["images", "--no-trunc", "--format", "{{.ID}}"], &image)?;
    let empty = "{{.Config.Entrypoint}}{{.Config.Labels}}{{.Config.User}}";
    product.says(&["inspect", "-f", empty, BASE], "[]map[]")?;
    let driver = context.entry().name;
    product.says(&["info", "-f", "{{.Driver}}"], driver)?;
    product.says(
        &["ps", "-a", "--format", "{{.Names}}\\t{{.State}}"],
        "con\tcreated",
    )?;
    let refused = |words: &[&str], word: &str| product.run(words)?.refused(2, word);
    refused(&["inspect", "-f", "{{.Stat}}", "con"], "State")?;
    refused(&["ps", "--format", "{{.Id}}"], "ID, Image")?;
    for template in [
        "{{range .Mounts}}{{.}}{{end}}",
        "{{.Id | json}}",
        "{{join .Args \"\"}}",
    ] {
        refused(
            &["inspect", "-f", template, "con"],
            "is not supported in a template",
        )?;
    }
    Ok(())
}

/// Flags of `ps`, and the containers that it lists with them.
const LISTED: &[(&[&str], &str)] = &[
    (&[], "one"),
    (&["-a"], "four three two one"),
    (&["-l"], "four"),
    (&["-n", "2"], "four three"),
    (&["-n", "1", "-f", "name=^t"], "three"),
    (&["-a", "-f", "label=a=1"], "four two one"),
    (&["-a", "-f", "label=a", "-f", "label=b=2"], "four two"),
    (&["-a", "-f", "name=^/t"], "three two"),
    (&["-a", "-f", "name=one", "-f", "name=wo$"], "two one"),
    (
        &["-f", "status=exited", "-f", "status=running"],
        "three one",
    ),
    (&["-f", "status=created"], "four two"),
    (&["-a", "-f", "exited=3"], "three"),
    (&["-a", "-f", "exited=0"], ""),
    (&["-a", "-f", "before=three"], "two one"),
    (&["-a", "-f", "since=one", "-f", "before=four"], "three two"),
    (&["-a", "-f", "ancestor=other"], "four three two one"),
    (&["-a", "-f", "ancestor=made"], "four"),
    (&["-a", "-f", "ancestor=none"], ""),
    (&["-a", "-f", "volume=data"], "one"),
    (&["-f", "volume=/m", "-f", "network=none"], "one"),
    (&["-a", "-f", "network=host"], ""),
];

fn ps_lists_what_filters_say(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["tag", BASE, "other"])?;
    let make = |verb: &[&str], rest: &[&str]| product.ok(&[verb, rest].concat());
    make(
        &["run", "-d", "--name", "one", "-l", "a=1"],
        &["-v", "data:/m", BASE, "sleep", "1000"],
    )?;
    make(
        &["create", "--name", "two", "-l", "a=1", "-l", "b=2"],
        &[BASE, "true"],
    )?;
    product
        .run(&[
            "run", "--name", "three", "-l", "a=3", BASE, "sh", "-c", "exit 3",
        ])?
        .refused(3, "")?;
    product.ok(&["commit", "two", "made"])?;
    make(&["create", "--name", "four"], &["made", "true"])?;
    let id = product.ok(&["inspect", "-f", "{{.Id}}", "three"])?;
    let id = format!("id={}", &id[..12]);
    product.says(&["ps", "-a", "-f", &id, "--format", "{{.Names}}"], "three")?;
    for (flags, wanted) in LISTED {
        let ps = ["ps", "--format", "{{.Names}}"];
        let found = product.ok(&[&ps[..], flags].concat())?.replace('\n', " ");
        expect(format!("ps {}", flags.join(" ")), "names", *wanted, &found)?;
    }
    for (filter, word) in [
        ("health=none", "there are no health checks"),
        (
            "color=red",
            "invalid filter 'color': there are ancestor, before",
        ),
        ("status=up", "there are created, running"),
        ("before=nobody", "nobody"),
        ("name", "NAME=VALUE"),
        ("exited=x", "exited=x"),
    ] {
        product.run(&["ps", "-f", filter])?.refused(2, word)?;
    }
    Ok(())
}

fn images_and_volumes_are_filtered_and_pruned(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let old = json!({"Labels": {"a": "1"}});
    product.load("first", &old)?;
    product.load("second", &json!({"Labels": {"a": "2"}}))?;
    let lists = |words: &[&str], flags: &[&str], wanted: &str| {
        let mut found: Vec<_> = product
            .ok(&[words, flags].concat())?
            .lines()
            .map(str::to_owned)
            .collect();
        found.sort();
        expect(
            [words, flags].concat().join(" "),
            "names",
            wanted,
            &found.join(" "),
        )
    };
    let images = ["images", "--format", "{{.Repository}}", "-f"];
    lists(&images, &["label=a"], "first second")?;
    lists(&images, &["label=a=2"], "second")?;
    lists(
        &images,
        &["reference=*:lat*", "-f", "label=a"],
        "first second",
    )?;
    lists(&images, &["reference=f?rst"], "first")?;
    product.says(
        &["images", "--format", "{{.Repository}}", "f[h-j]*"],
        "first",
    )?;
    lists(&images, &["until=24h"], "")?;
    lists(&images, &["dangling=true"], "")?;
    product.ok(&["tag", "first", "second"])?;
    lists(&images, &["dangling=true"], "<none>")?;
    product
        .run(&["images", "-f", "health=x"])?
        .refused(2, "there are before, dangling, label")?;
    product.ok(&["system", "prune", "-f", "--filter", "until=1h"])?;
    product.ok(&["system", "prune", "-f", "--filter", "label!=a=2"])?;
    lists(&images, &["dangling=true"], "<none>")?;
    product.ok(&["system", "prune", "-f", "--filter", "label=a=2"])?;
    lists(&images, &["dangling=true"], "")?;

    for (name, label) in [("keep", "a=1"), ("lose", "a=2"), ("used", "a=2")] {
        product.ok(&["volume", "create", "--label", label, name])?;
    }
    product.ok(&["create", "-v", "used:/m", BASE, "true"])?;
    let volumes = ["volume", "ls", "-q", "-f"];
    lists(&volumes, &["dangling=true"], "keep lose")?;
    lists(&volumes, &["dangling=0"], "used")?;
    lists(&volumes, &["label=a=2", "-f", "name=o"], "lose")?;
    lists(&volumes, &["driver=local"], "keep lose used")?;
    product.ok(&["volume", "prune", "-f", "--filter", "label=a=2"])?;
    lists(&volumes, &["driver=local"], "keep lose used")?;
    product.ok(&["volume", "prune", "-af", "--filter", "label=a=2"])?;
    lists(&volumes, &["driver=local"], "keep used")?;
    let refused = product.run(&["volume", "prune", "-f", "--filter", "dangling=true"])?;
    refused.refused(2, "there are all, label, label!")
}

fn labels_of_images_files_and_flags(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.load(
        "labeled",
        &json!({"Labels": {"a": "image", "b": "image", "c": "image"}}),
    )?;
    let file = context.dir().join("labels");
    std::fs::write(&file, "b=file\nc=file\n")?;
    let path = file.display().to_string();
    let labels = "{{json .Config.Labels}}";
    let wanted = "{\"a\":\"image\",\"b\":\"file\",\"c\":\"flag\",\"d\":\"\"}";
    let flags = ["-l", "c=flag", "--label-file", &path, "--label", "d"];
    product.ok(&[
        &["create", "--name", "con"],
        &flags[..],
        &["labeled", "true"],
    ]
    .concat())?;
    product.says(&["inspect", "-f", labels, "con"], wanted)?;
    product.ok(&["commit", "con", "made"])?;
    product.says(&["image", "inspect", "-f", labels, "made"], wanted)?;
    product.ok(&["create", "--name", "next", "-h", "host", "made", "true"])?;
    product.says(&["inspect", "-f", labels, "next"], wanted)?;
    product.says(&["inspect", "-f", "{{.Config.Hostname}}", "next"], "host")?;
    product.ok(&["volume", "create", "--label", "a=1", "--label", "b", "data"])?;
    product.says(
        &["volume", "inspect", "-f", "{{json .Labels}}", "data"],
        "{\"a\":\"1\",\"b\":\"\"}",
    )
}

fn files_of_labels_are_as_written(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let file = context.dir().join("labels");
    let path = file.display().to_string();
    let create = [
        "create",
        "--name",
        "con",
        "--label-file",
        &path,
        BASE,
        "true",
    ];
    std::fs::write(&file, "# none\n  a=\"x\" # y\nHOME\n\nb= z=\n")?;
    product.ok(&create)?;
    let wanted = "{\"HOME\":\"\",\"a\":\"\\\"x\\\" # y\",\"b\":\" z=\"}";
    product.says(&["inspect", "-f", "{{json .Config.Labels}}", "con"], wanted)?;
    for bad in ["a b=1", "=1"] {
        std::fs::write(&file, bad)?;
        product.run(&create)?.refused(2, bad)?;
    }
    std::fs::remove_file(&file)?;
    product.run(&create)?.refused(2, &path)
}

fn what_is_left_out_says_so(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    for (flags, instead) in [
        (&["-p", "80:80"][..], "`--network host`"),
        (&["--memory=1g"], "/sys/fs/cgroup"),
        (&["-itm", "1g"], "/sys/fs/cgroup"),
        (&["--network", "bridge"], "`--network host`"),
        (&["--health-cmd", "true"], "cowlab exec"),
        (&["--restart", "always"], "systemd"),
        (&["--privileged"], "`run --privileged` is not here"),
        (&["--add-host", "a:1.2.3.4"], "-v FILE:/etc/hosts"),
    ] {
        let run = [&["run", "--name", "con", "-d"], flags, &[BASE, "true"]].concat();
        product.run(&run)?.refused(125, instead)?;
    }
    for (words, word) in [
        (&["network", "create", "net"][..], "`network` is not here"),
        (&["buildx", "bake"], "this host builds, by one frontend"),
        (
            &["build", "--platform", "linux/arm64", "."],
            "cannot run on it",
        ),
        (
            &["container", "rename", "a", "b"],
            "`--name` when it is made",
        ),
        (&["stats"], "systemd-cgtop"),
        (&["--json", "network", "ls"], "`network` is not here"),
        (
            &["create", "--cap-add", "ALL", BASE],
            "`create --cap-add` is not here",
        ),
        (&["pull", "--platform", "linux/arm64", BASE], "digest"),
        (&["-H", "tcp://localhost", "ps"], "no daemon"),
    ] {
        product.run(words)?.refused(2, word)?;
    }
    product
        .run(&["ps", "--no-such-flag"])?
        .refused(2, "unexpected argument")?;
    product.says(&["ps", "-aq"], "")
}

fn flags_without_an_effect_are_taken(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let file = context.dir().join("variables");
    std::fs::write(&file, "A=file\nB=file\n")?;
    let path = file.display().to_string();
    let run = [
        "run",
        "-d",
        "--name",
        "con",
        "--no-healthcheck",
        "--disable-content-trust",
        "--net",
        "none",
    ];
    product.ok(&[&run[..], &[BASE, "sleep", "1000"]].concat())?;
    product.says(
        &["inspect", "-f", "{{.HostConfig.NetworkMode}}", "con"],
        "none",
    )?;
    let exec = [
        "exec",
        "--env-file",
        &path,
        "-e",
        "B=flag",
        "con",
        "sh",
        "-c",
        "echo $A $B",
    ];
    product.says(&exec, "file flag")?;
    let detached = [
        "exec",
        "-d",
        "--env-file",
        &path,
        "con",
        "sh",
        "-c",
        "echo $A > /tmp/out",
    ];
    product.ok(&detached)?;
    crate::product::until("a program that exec -d started", || {
        Ok(product.run(&["exec", "con", "cat", "/tmp/out"])?.out == "file\n")
    })?;
    product.ok(&["cp", "-q", "con:/tmp/out", &path])?;
    product.ok(&["images", "-a"]).map(drop)
}

fn bash_completes_commands_and_flags(context: &mut Context) -> Result<()> {
    const SCRIPT: &str = r#"
        complete_words() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _cowlab cowlab "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "$*: ${COMPREPLY[*]}"
        }
        set -u
        source "$1" || exit 1
        complete -p cowlab
        complete_words cowlab imag
        complete_words cowlab volume ins
        complete_words cowlab ps --no-t
        complete_words cowlab container run --net
        complete_words cowlab run --network h
        complete_words cowlab moni
    "#;
    let product = Product::empty(context)?;
    let (script, completion) = (
        context.dir().join("script"),
        context.dir().join("completion"),
    );
    std::fs::write(&script, SCRIPT)?;
    std::fs::write(&completion, product.ok(&["completion", "bash"])?)?;
    let line = format!(
        "bash --norc {} {} 2>&1",
        script.display(),
        completion.display()
    );
    let wanted = "complete -o bashdefault -o default -o nosort -F _cowlab cowlab
cowlab imag: image images
cowlab volume ins: inspect
cowlab ps --no-t: --no-trunc
cowlab container run --net: --network
cowlab run --network h: host
cowlab moni: ";
    let said = product.script(&line)?.out;
    expect("completions", "output", wanted, said.trim_end_matches('\n'))
}

fn completions_and_man_pages(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    for (shell, word) in [
        ("bash", "complete -F _cowlab"),
        ("zsh", "#compdef cowlab"),
        ("fish", "complete -c cowlab"),
        ("elvish", "edit:completion:arg-completer[cowlab]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let text = product.ok(&["completion", shell])?;
        expect(
            shell,
            "is a completion",
            true,
            text.contains(word) && text.contains("container"),
        )?;
    }
    product
        .run(&["completion", "tcsh"])?
        .refused(2, "possible values")?;
    let dir = context.dir().join("below/man");
    product.ok(&["man", &dir.display().to_string()])?;
    let help = product.ok(&["--help"])?;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for name in names.filter(|name| !name.is_empty() && *name != "help") {
        let page = std::fs::read_to_string(dir.join(format!("cowlab-{name}.1")))?;
        let title = format!(".TH cowlab-{name} 1");
        expect(name, "has its title", true, page.contains(&title))?;
    }
    let page = std::fs::read_to_string(dir.join("cowlab-volume-prune.1"))?;
    expect(
        "a verb below a verb",
        "has its flag",
        true,
        page.contains("\\-\\-filter"),
    )
}
