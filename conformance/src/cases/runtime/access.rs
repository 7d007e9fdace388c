//! Registries that want to know who one is, and registries that do not prove who they are.

use crate::prelude::*;
use crate::support::program::PASSWORDS;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/a-registry-that-asks-who-one-is",
        spec: "A registry with passwords is open to who has one, by the command line or docker's configuration, and to nobody else.",
        see: &[
            "docs.docker.com, docker login, Credential stores",
            "RFC 7617",
        ],
        catalogue: &["S09"],
        impact: Impact::Isolation,
        needs: &[Need::Program("docker-registry")],
        program: &[
            file("htpasswd", PASSWORDS),
            registry(&[
                ("REGISTRY_AUTH", "htpasswd"),
                ("REGISTRY_AUTH_HTPASSWD_REALM", "cowlab"),
                ("REGISTRY_AUTH_HTPASSWD_PATH", "{dir}/htpasswd"),
            ]),
            run("tag base {registry}/one:1"),
            // Of nobody's home, so that no credentials of this host's are used.
            script(r#"HOME=/nonexistent DOCKER_CONFIG={dir} "$COWLAB" push --tls-verify=false {registry}/one:1"#)
                .fails(77, &["--creds"]),
            script(r#"HOME=/nonexistent DOCKER_CONFIG={dir} "$COWLAB" push --tls-verify=false --creds user:wrong {registry}/one:1"#)
                .fails(77, &["refuses"]),
            script(r#"HOME=/nonexistent DOCKER_CONFIG={dir} "$COWLAB" push --tls-verify=false --creds user:secret {registry}/one:1"#),
            script(r#"HOME=/nonexistent DOCKER_CONFIG={dir} "$COWLAB" pull --tls-verify=false {registry}/one:1"#)
                .fails(77, &["--creds"]),
            file("config.json", r#"{"auths": {"{registry}": {"auth": "dXNlcjpzZWNyZXQ="}}}"#),
            script(r#"HOME=/nonexistent DOCKER_CONFIG={dir} "$COWLAB" pull --tls-verify=false {registry}/one:1"#),
            file("config.json", r#"{"auths": 5}"#),
            script(r#"HOME=/nonexistent DOCKER_CONFIG={dir} "$COWLAB" pull --tls-verify=false {registry}/one:1"#)
                .fails(2, &["config.json"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-registry-without-proof-only-when-asked",
        spec: "A registry whose certificate nobody vouches for is believed only when the command or the configuration says so.",
        see: &["docs.docker.com, dockerd, Insecure registries"],
        catalogue: &["S09"],
        impact: Impact::Isolation,
        needs: &[Need::Program("docker-registry"), Need::Program("openssl")],
        program: &[
            // A certificate for `localhost` that has signed itself.
            script("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                -addext basicConstraints=critical,CA:FALSE -keyout {dir}/key.pem -out {dir}/certificate.pem"),
            registry(&[
                ("REGISTRY_HTTP_TLS_CERTIFICATE", "{dir}/certificate.pem"),
                ("REGISTRY_HTTP_TLS_KEY", "{dir}/key.pem"),
            ]),
            run("tag base {registry}/one:1"),
            run("push {registry}/one:1").fails(69, &["--tls-verify=false"]),
            run("push --tls-verify=false {registry}/one:1"),
            run("pull {registry}/one:1").fails(69, &["--tls-verify=false"]),
            file("config.json", r#"{"insecure-registries": ["{registry}"]}"#),
            script(r#"COWLAB_CONFIG={dir}/config.json "$COWLAB" pull {registry}/one:1"#),
            // Who is vouched for needs no such word.
            script(r#"SSL_CERT_FILE={dir}/certificate.pem "$COWLAB" pull {registry}/one:1"#),
            file("config.json", r#"{"insecure-registers": ["{registry}"]}"#),
            script(r#"COWLAB_CONFIG={dir}/config.json "$COWLAB" images"#).fails(2, &["insecure-registers"]),
        ],
        ..super::BASE
    },
];
