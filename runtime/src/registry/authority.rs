//! What a registry asks for before it answers: passwords, or a token of an authority that it names (RFC 9110, 11.6.1;
//! distribution, `docs/spec/auth/token.md` and `oauth.md`).

use std::collections::BTreeMap;

use http_auth::ChallengeParser;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};

use super::Session;
use super::credentials::{Credentials, encode};
use crate::{Error, Result};

/// A challenge: the scheme in lower case, its parameters by their names in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: BTreeMap<String, String>,
}

/// Reads the challenges of every such header; each may have several. What cannot be read is passed over.
fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = texts.filter_map(|value| value.to_str().ok());
    let read = texts.flat_map(|text| ChallengeParser::new(text).map_while(std::result::Result::ok));
    read.map(|challenge| Challenge {
        scheme: challenge.scheme.to_lowercase(),
        parameters: challenge
            .params
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.to_unescaped()))
            .collect(),
    })
    .collect()
}

impl Session {
    /// Answers what a registry asks; tells whether there is an answer. A token comes before a password, as in docker.
    pub(super) async fn answer_challenges(&self, headers: &HeaderMap) -> Result<bool> {
        let challenges = challenges(headers);
        let of = |scheme: &str| {
            challenges
                .iter()
                .find(|challenge| challenge.scheme == scheme)
        };
        let basic = of("basic").and_then(|_| match &self.credentials {
            Credentials::Password(user, password) => {
                Some(format!("Basic {}", encode(user, password)))
            }
            _ => None,
        });
        let authorization = match of("bearer") {
            Some(bearer) => match self.token(&bearer.parameters).await {
                Ok(token) => Some(format!("Bearer {token}")),
                Err(error) => Some(basic.ok_or(error)?),
            },
            None => basic,
        };
        let Some(authorization) = authorization else {
            return Ok(false);
        };
        let value = HeaderValue::from_str(&authorization);
        let mut value = value.map_err(|error| self.bad_token(&error))?;
        value.set_sensitive(true);
        self.authorization.replace(Some(value));
        Ok(true)
    }

    /// Has the authority that a challenge names give a token.
    async fn token(&self, asked: &BTreeMap<String, String>) -> Result<String> {
        if let Credentials::Token(token) = &self.credentials {
            return Ok(token.clone());
        }
        let realm = asked.get("realm").map(|realm| realm.parse::<Url>());
        let Some(Ok(realm)) = realm else {
            return Err(self.bad_token(&"its challenge names no realm"));
        };
        let build = || {
            let request = self.token_request(&realm, asked);
            request.build().map_err(|error| self.broken(&error))
        };
        let answer = self.send_patiently(build).await?;
        let answer = self.accepted(answer).await?;
        let bytes = self.body(answer).await?;
        // The answer holds a secret, so no message shows any of it, not even the parser's.
        let answer = serde_json::from_slice::<Answer>(&bytes).unwrap_or_default();
        let token = [answer.token, answer.access_token].into_iter().flatten();
        let token = token.into_iter().find(|token| !token.is_empty());
        token.ok_or_else(|| self.bad_token(&"its authority gives no token"))
    }

    fn token_request(&self, realm: &Url, asked: &BTreeMap<String, String>) -> RequestBuilder {
        let service = asked
            .get("service")
            .map(|service| ("service", service.clone()));
        let mut scopes: Vec<String> = self.scope.iter().cloned().collect();
        scopes.extend(
            asked
                .get("scope")
                .filter(|scope| Some(*scope) != self.scope.as_ref())
                .cloned(),
        );
        match &self.credentials {
            Credentials::Identity(token) => {
                let words = [
                    ("grant_type", "refresh_token".to_owned()),
                    ("refresh_token", token.clone()),
                    ("client_id", "cowlab".to_owned()),
                ];
                let mut form: Vec<_> = words.into_iter().chain(service).collect();
                if !scopes.is_empty() {
                    form.push(("scope", scopes.join(" ")));
                }
                self.client.post(realm.clone()).form(&form)
            }
            credentials => {
                let scopes = scopes.into_iter().map(|scope| ("scope", scope));
                let query: Vec<_> = service.into_iter().chain(scopes).collect();
                let request = self.client.get(realm.clone()).query(&query);
                match credentials {
                    Credentials::Password(user, password) => request
                        .query(&[("account", user)])
                        .basic_auth(user, Some(password)),
                    _ => request,
                }
            }
        }
    }

    fn bad_token(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::Registry {
            registry: self.registry.clone(),
            reason: format!("it asks for a token, and {reason}"),
        }
    }
}

/// What an authority answers; either name is right (`docs/spec/auth/token.md`, "Token Response Fields").
#[derive(Debug, Default, serde::Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_many_headers_and_schemes_are_read() {
        let mut headers = HeaderMap::new();
        for text in [
            "Negotiate",
            r#"BASIC realm="a, b", bearer Realm="https://x/t",service=s"#,
            "Broken realm=\"",
        ] {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        let read = challenges(&headers);
        let schemes: Vec<_> = read.iter().map(|one| one.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "bearer"]);
        assert_eq!(read[2].parameters["realm"], "https://x/t");
        assert_eq!(read[2].parameters["service"], "s");
    }
}
