//! What hands and scripts that know docker ask of lists: formats, filters, labels.

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/lists-in-json-have-dockers-members",
        spec: "`--format json` of ps, images, volume ls and history prints an object a line, with docker's members, and `table` columns under docker's names.",
        see: &["docs.docker.com, docker container ls, --format"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        program: &[
            run("create --name con -l a=b -v data:/m base sleep 1000").saves("id"),
            run("ps -a --no-trunc --format json").json(&[
                ("/ID", "{id}"),
                ("/Image", "base"),
                ("/Command", "\"sleep 1000\""),
                ("/Names", "con"),
                ("/Labels", "a=b"),
                ("/State", "created"),
                ("/Status", "Created"),
                ("/Mounts", "data"),
                ("/LocalVolumes", "1"),
                ("/Networks", "none"),
                ("/Ports", ""),
            ]),
            run("images --format json").json(&[("/Repository", "base"), ("/Tag", "latest")]),
            run("volume ls --format json").json(&[
                ("/Name", "data"),
                ("/Driver", "local"),
                ("/Scope", "local"),
                ("/Labels", ""),
            ]),
            run("history base --format json").json(&[("/CreatedBy", "Imported")]),
            run("layer ls --format json").json(&[("/Parent", "<base>"), ("/Images", "1")]),
            script(r#""$COWLAB" system df --format json | head -n 1"#)
                .json(&[("/Type", "Images"), ("/TotalCount", "1"), ("/Active", "1")]),
            run("images --format '{{json .}}'").json(&[("/Repository", "base"), ("/Tag", "latest")]),
            run(r#"ps -a --format 'table {{.Names}}\t{{.Label "a"}}'"#).prints("NAMES   a\ncon     b"),
            run("ps --format 'table {{.Names}}'").prints("NAMES"),
            run("ps -aq --no-trunc --format {{.Names}}").prints("{id}"),
            run("images -q --format {{.Tag}}").prints("latest"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/plain-fields-of-templates",
        spec: "A template of --format prints fields, labels and `json` of them as Go does; a field that is not there is refused by its name, and so is what is no field.",
        see: &["docs.docker.com, Format command and log output"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        program: &[
            run("create --name con -l a.b/c=d -e A=1 -v data:/m base sleep 1000").saves("id"),
            run("inspect --format '{{.Id}} {{.State.Status}}' con").prints("{id} created"),
            run("container inspect -f '{{.Id}} {{.State.Status}}' con").prints("{id} created"),
            run(r#"inspect --format '{{index .Config.Labels "a.b/c"}}' con"#).prints("d"),
            run(r#"container inspect -f '{{index .Config.Labels "a.b/c"}}' con"#).prints("d"),
            run("inspect --format '{{json .Config.Labels}}' con").prints(r#"{"a.b/c":"d"}"#),
            run("container inspect -f '{{json .Config.Labels}}' con").prints(r#"{"a.b/c":"d"}"#),
            run("inspect --format '{{.Args}}{{.State.ExitCode}}' con").prints("[1000]0"),
            run("container inspect -f '{{.Args}}{{.State.ExitCode}}' con").prints("[1000]0"),
            run("inspect --format '{{.Config.Cmd}}{{.Config.Entrypoint}}' con").prints("[sleep 1000][]"),
            run("container inspect -f '{{.Config.Cmd}}{{.Config.Entrypoint}}' con").prints("[sleep 1000][]"),
            run(r#"inspect --format '{{index .Mounts 0 "Destination"}}' con"#).prints("/m"),
            run(r#"container inspect -f '{{index .Mounts 0 "Destination"}}' con"#).prints("/m"),
            run("volume inspect -f {{.Mountpoint}} data").saves("place"),
            run("inspect -f {{.Mountpoint}} data").prints("{place}"),
            run("image inspect -f {{.Id}} base").saves("image"),
            run("images --no-trunc --format {{.ID}}").prints("{image}"),
            run("inspect -f {{.Config.Entrypoint}}{{.Config.Labels}}{{.Config.User}} base").prints("[]map[]"),
            run("info -f {{.Driver}}").prints("{driver}"),
            run(r"ps -a --format {{.Names}}\t{{.State}}").prints("con\tcreated"),
            run("inspect -f {{.Stat}} con").fails(2, &["State"]),
            run("ps --format {{.Id}}").fails(2, &["ID, Image"]),
            run("inspect -f '{{range .Mounts}}{{.}}{{end}}' con").fails(2, &["is not supported in a template"]),
            run("inspect -f '{{.Id | json}}' con").fails(2, &["is not supported in a template"]),
            run(r#"inspect -f '{{join .Args ""}}' con"#).fails(2, &["is not supported in a template"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/ps-lists-what-filters-say",
        spec: "`ps` lists the containers that fulfil its conditions: several of one name mean or, those on labels and of several names mean and; a state counts whether it runs or not.",
        see: &["docs.docker.com, docker container ls, --filter"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        program: &[
            run("tag base other"),
            run("run -d --name one -l a=1 -v data:/m base sleep 1000"),
            run("create --name two -l a=1 -l b=2 base true"),
            run("run --name three -l a=3 base sh -c 'exit 3'").exits(3),
            run("commit two made"),
            run("create --name four made true"),
            run("ps -aq -f name=three").saves("id"),
            run("ps -a -f id={id} --format {{.Names}}").prints("three"),
            run("ps --format {{.Names}}").prints("one"),
            run("ps --format {{.Names}} -a").prints("four\nthree\ntwo\none"),
            run("ps --format {{.Names}} -l").prints("four"),
            run("ps --format {{.Names}} -n 2").prints("four\nthree"),
            run("ps --format {{.Names}} -n 1 -f name=^t").prints("three"),
            run("ps --format {{.Names}} -a -f label=a=1").prints("four\ntwo\none"),
            run("ps --format {{.Names}} -a -f label=a -f label=b=2").prints("four\ntwo"),
            run("ps --format {{.Names}} -a -f name=^/t").prints("three\ntwo"),
            run("ps --format {{.Names}} -a -f name=one -f name=wo$").prints("two\none"),
            run("ps --format {{.Names}} -f status=exited -f status=running").prints("three\none"),
            run("ps --format {{.Names}} -f status=created").prints("four\ntwo"),
            run("ps --format {{.Names}} -a -f exited=3").prints("three"),
            run("ps --format {{.Names}} -a -f exited=0").prints(""),
            run("ps --format {{.Names}} -a -f before=three").prints("two\none"),
            run("ps --format {{.Names}} -a -f since=one -f before=four").prints("three\ntwo"),
            run("ps --format {{.Names}} -a -f ancestor=other").prints("four\nthree\ntwo\none"),
            run("ps --format {{.Names}} -a -f ancestor=made").prints("four"),
            run("ps --format {{.Names}} -a -f ancestor=none").prints(""),
            run("ps --format {{.Names}} -a -f volume=data").prints("one"),
            run("ps --format {{.Names}} -f volume=/m -f network=none").prints("one"),
            run("ps --format {{.Names}} -a -f network=host").prints(""),
            run("ps -f health=none").fails(2, &["there are no health checks"]),
            run("ps -f color=red").fails(2, &["invalid filter 'color': there are ancestor, before"]),
            run("ps -f status=up").fails(2, &["there are created, running"]),
            run("ps -f before=nobody").fails(2, &["nobody"]),
            run("ps -f name").fails(2, &["NAME=VALUE"]),
            run("ps -f exited=x").fails(2, &["exited=x"]),
        ],
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
        program: &[
            load("first", r#"{"Labels": {"a": "1"}}"#),
            load("second", r#"{"Labels": {"a": "2"}}"#),
            script(r#""$COWLAB" images --format {{.Repository}} -f label=a | sort"#).prints("first\nsecond"),
            run("images --format {{.Repository}} -f label=a=2").prints("second"),
            script(r#""$COWLAB" images --format {{.Repository}} -f 'reference=*:lat*' -f label=a | sort"#).prints("first\nsecond"),
            run("images --format {{.Repository}} -f reference=f?rst").prints("first"),
            run("images --format {{.Repository}} f[h-j]*").prints("first"),
            run("images --format {{.Repository}} -f until=24h").prints(""),
            run("images --format {{.Repository}} -f dangling=true").prints(""),
            run("tag first second"),
            run("images --format {{.Repository}} -f dangling=true").prints("<none>"),
            run("images -f health=x").fails(2, &["there are before, dangling, label"]),
            run("system prune -f --filter until=1h"),
            run("system prune -f --filter label!=a=2"),
            run("images --format {{.Repository}} -f dangling=true").prints("<none>"),
            run("system prune -f --filter label=a=2"),
            run("images --format {{.Repository}} -f dangling=true").prints(""),
            run("volume create --label a=1 keep"),
            run("volume create --label a=2 lose"),
            run("volume create --label a=2 used"),
            run("create -v used:/m base true"),
            script(r#""$COWLAB" volume ls -q -f dangling=true | sort"#).prints("keep\nlose"),
            run("volume ls -q -f dangling=0").prints("used"),
            run("volume ls -q -f label=a=2 -f name=o").prints("lose"),
            script(r#""$COWLAB" volume ls -q -f driver=local | sort"#).prints("keep\nlose\nused"),
            run("volume prune -f --filter label=a=2"),
            script(r#""$COWLAB" volume ls -q -f driver=local | sort"#).prints("keep\nlose\nused"),
            run("volume prune -af --filter label=a=2"),
            script(r#""$COWLAB" volume ls -q -f driver=local | sort"#).prints("keep\nused"),
            run("volume prune -f --filter dangling=true").fails(2, &["there are all, label, label!"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/labels-of-images-files-and-flags",
        spec: "A container has the labels of its image, over them those of --label-file, and over these those of --label; `commit` hands them on.",
        see: &["docs.docker.com, docker container run, --label, --label-file"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        program: &[
            load("labeled", r#"{"Labels": {"a": "image", "b": "image", "c": "image"}}"#),
            file("labels", "b=file\nc=file\n"),
            run("create --name con -l c=flag --label-file {dir}/labels --label d labeled true"),
            run("inspect -f '{{json .Config.Labels}}' con")
                .prints(r#"{"a":"image","b":"file","c":"flag","d":""}"#)
                .saves("labels"),
            run("commit con made"),
            run("image inspect -f '{{json .Config.Labels}}' made").prints("{labels}"),
            run("create --name next -h host made true"),
            run("inspect -f '{{json .Config.Labels}}' next").prints("{labels}"),
            run("inspect -f {{.Config.Hostname}} next").prints("host"),
            run("volume create --label a=1 --label b data"),
            run("volume inspect -f '{{json .Labels}}' data").prints(r#"{"a":"1","b":""}"#),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/files-of-labels-are-as-written",
        spec: "A file of labels has a name and all that follows `=` a line, a label without a value has an empty one, and a blank in a name is refused.",
        see: &["docs.docker.com, docker container run, --label-file"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        program: &[
            file("labels", "# none\n  a=\"x\" # y\nHOME\n\nb= z=\n"),
            run("create --name con --label-file {dir}/labels base true"),
            run("inspect -f '{{json .Config.Labels}}' con").prints(r#"{"HOME":"","a":"\"x\" # y","b":" z="}"#),
            file("labels", "a b=1"),
            run("create --name other --label-file {dir}/labels base true").fails(2, &["a b=1"]),
            file("labels", "=1"),
            run("create --name other --label-file {dir}/labels base true").fails(2, &["=1"]),
            run("create --name other --label-file {dir}/none base true").fails(2, &["{dir}/none"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/what-is-left-out-of-docker-says-so",
        spec: "A verb or a flag of docker's that is left out is refused by its name, with the reason and what to do instead, before anything is made: with 125 by run, else with 2.",
        see: &["docs.docker.com, docker container run, Exit status"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        program: &[
            run("run --name con -d -p 80:80 base true").fails(125, &["`--network host`"]),
            run("run --name con -d --memory=1g base true").fails(125, &["/sys/fs/cgroup"]),
            run("run --name con -d -itm 1g base true").fails(125, &["/sys/fs/cgroup"]),
            run("run --name con -d --network bridge base true").fails(125, &["`--network host`"]),
            run("run --name con -d --health-cmd true base true").fails(125, &["cowlab exec"]),
            run("run --name con -d --restart always base true").fails(125, &["systemd"]),
            run("run --name con -d --privileged base true").fails(125, &["`run --privileged` is not here"]),
            run("run --name con -d --add-host a:1.2.3.4 base true").fails(125, &["-v FILE:/etc/hosts"]),
            run("network create net").fails(2, &["`network` is not here"]),
            run("buildx bake").fails(2, &["this host builds, by one frontend"]),
            run("build --platform linux/arm64 .").fails(2, &["cannot run on it"]),
            run("container rename a b").fails(2, &["`--name` when it is made"]),
            run("container port a").fails(2, &["`container port` is not here"]),
            run("stats").fails(2, &["systemd-cgtop"]),
            run("help stats").fails(2, &["systemd-cgtop"]),
            run("--json network ls").fails(2, &["`network` is not here"]),
            run("create --cap-add ALL base").fails(2, &["`create --cap-add` is not here"]),
            run("pull --platform linux/arm64 base").fails(2, &["digest"]),
            run("-H tcp://localhost ps").fails(2, &["no daemon"]),
            run("ps --no-such-flag").fails(2, &["unexpected argument"]),
            run("ps -aq").prints(""),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/flags-without-an-effect-are-taken",
        spec: "Flags of docker's that turn off what is not here are taken, exec reads files of variables, and --net is --network.",
        see: &["docs.docker.com, docker container run, docker container exec"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        program: &[
            file("variables", "A=file\nB=file\n"),
            run("run -d --name con --no-healthcheck --disable-content-trust --net none base sleep 1000"),
            run("inspect -f {{.HostConfig.NetworkMode}} con").prints("none"),
            run("exec --env-file {dir}/variables -e B=flag con sh -c 'echo $A $B'").prints("file flag"),
            run("exec -d --env-file {dir}/variables con sh -c 'echo $A >/tmp/out'"),
            script(r#"until [ "$("$COWLAB" exec con cat /tmp/out 2>&1)" = file ]; do sleep 0.1; done"#),
            run("cp -q con:/tmp/out {dir}/variables"),
            run("images -a"),
        ],
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
        program: &[
            script(r#""$COWLAB" completion bash >{dir}/completion"#),
            file("script", COMPLETE),
            script("bash --norc {dir}/script {dir}/completion 2>&1").prints(
                "complete -o bashdefault -o default -o nosort -F _cowlab cowlab
cowlab imag: image images
cowlab volume ins: inspect
cowlab ps --no-t: --no-trunc
cowlab container run --net: --network
cowlab run --network h: host
cowlab moni:",
            ),
        ],
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

/// Completes a few beginnings by the file `$1`.
const COMPLETE: &str = r#"
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
