//! Requests to a registry: with the credentials that it asks for, and again after a while where it says that it is busy.

use std::io::Read;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::{Session, with_causes};
use crate::image::plan::DOCUMENT_LIMIT;
use crate::{Error, Result};

/// How often a registry that is busy is asked.
const ATTEMPTS: u32 = 6;
/// How long to wait before asking again where it does not say; twice as long each time.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait: a registry that asks for more is not asked again, and the error says so.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

impl Session {
    /// Sends a request, which `build` makes anew each time, with the authorization that the registry asked for.
    pub(super) async fn send(
        &self,
        build: impl Fn() -> Result<RequestBuilder>,
    ) -> Result<Response> {
        let mut is_answered = false;
        loop {
            let answer = self.send_patiently(|| self.authorized(build()?)).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || is_answered {
                return Ok(answer);
            }
            // A token may have expired, or may not be for this.
            is_answered = true;
            if !self.answer_challenges(answer.headers()).await? {
                return Ok(answer);
            }
        }
    }

    /// Adds the authorization, which only the registry itself gets: it may send an upload elsewhere.
    fn authorized(&self, request: RequestBuilder) -> Result<reqwest::Request> {
        let mut request = request.build().map_err(|error| self.broken(&error))?;
        let own = self.base.parse::<Url>().map(|url| url.origin());
        if own.is_ok_and(|own| own == request.url().origin())
            && let Some(authorization) = self.authorization.borrow().clone()
        {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    /// Sends a request, and again after a while when the answer is 429 or 503 (RFC 6585, section 4; RFC 9110, 15.6.4).
    pub(super) async fn send_patiently(
        &self,
        build: impl Fn() -> Result<reqwest::Request>,
    ) -> Result<Response> {
        let mut pause = PAUSE;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let sent = self.client.execute(build()?).await;
            let answer = sent.map_err(|error| self.broken(&error))?;
            let is_busy = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            let wait = retry_after(answer.headers()).unwrap_or(pause);
            if !is_busy.contains(&answer.status()) || attempt == ATTEMPTS || wait > LONGEST_WAIT {
                return Ok(answer);
            }
            tracing::debug!(url = %answer.url(), status = %answer.status(), ?wait, "a registry is busy");
            drop(answer);
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
    }

    /// Reads an answer of reasonable length.
    pub(super) async fn body(&self, mut answer: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > DOCUMENT_LIMIT {
                return Err(Error::BadImage {
                    name: self.name.clone(),
                    reason: format!(
                        "registry `{}` sends a document of more than {DOCUMENT_LIMIT} bytes, the limit",
                        self.registry
                    ),
                });
            }
        }
        Ok(bytes)
    }

    /// Lets an answer pass that says that all is well; else says what it means.
    pub(super) async fn accepted(&self, answer: Response) -> Result<Response> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let (registry, name) = (self.registry.clone(), self.name.clone());
        let wait = retry_after(answer.headers());
        let path = answer.url().path().to_owned();
        // Whoever answers something else than the specification's errors has said enough with the status.
        let said = self.body(answer).await.unwrap_or_default();
        let errors: Vec<Reported> = serde_json::from_slice::<Envelope>(&said)
            .map(|envelope| envelope.errors)
            .unwrap_or_default();
        let has = |codes: &[&str]| {
            errors
                .iter()
                .any(|error| codes.contains(&error.code.as_str()))
        };
        if matches!(status.as_u16(), 401 | 403) || has(&["UNAUTHORIZED", "DENIED"]) {
            return Err(Error::Denied { registry, name });
        }
        if status == StatusCode::NOT_FOUND {
            return Err(Error::NotInRegistry { registry, name });
        }
        let mut reason = format!("it answers `{status}` for `{path}`");
        for error in &errors {
            reason = format!("{reason}: {} {}", error.code, error.message);
        }
        if let Some(wait) = wait {
            reason = format!("{reason}; it can be asked again in {} s", wait.as_secs());
        }
        Err(Error::Registry { registry, reason })
    }

    pub(super) fn broken(&self, error: &reqwest::Error) -> Error {
        let registry = self.registry.clone();
        let reason = with_causes(error);
        match error.is_connect() {
            true => Error::Unreachable { registry, reason },
            false => Error::Registry { registry, reason },
        }
    }
}

/// What a registry says of an error (distribution specification, "Error Codes").
#[derive(Debug, serde::Deserialize)]
struct Envelope {
    errors: Vec<Reported>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Reported {
    code: String,
    message: String,
}

/// How long to wait, by seconds or by a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    // A date that is past asks for no wait.
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The next piece of a file, or `None` at its end.
pub(super) fn piece(
    mut file: std::fs::File,
) -> std::io::Result<Option<(bytes::Bytes, std::fs::File)>> {
    /// How much is read at a time, in bytes.
    const PIECE: usize = 256 << 10;
    let mut buffer = Vec::new();
    let limit = u64::try_from(PIECE).unwrap_or(u64::MAX);
    (&mut file).take(limit).read_to_end(&mut buffer)?;
    Ok((!buffer.is_empty()).then(|| (buffer.into(), file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_read_from_seconds_and_dates() {
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("3"), Some(Duration::from_secs(3)));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }
}
