//! The capability to write. Each write is sent once; a lost response is reported as such.

use super::client::{Client, ClientError};
use super::error::{AttemptError, OmniError};
use super::exchange::ApiRequest;
use super::forms::Forms;
use super::reader::Reader;
use super::request_body::{CreateDoc, PatchDoc, put_body};
use super::wire::WriteAnswer;
use crate::metrics::Metrics;
use crate::model::{Email, FieldChange, ObservedUser, Schema, UserId, UserSpec};
use crate::settings::{OmniSettings, UpdateMethod};
use reqwest::Method;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A client that can write. Code with a plain [`Client`] has no way to one.
#[derive(Clone, Debug)]
pub struct WriteClient(Arc<Client>);

impl WriteClient {
    /// A client for the organisation in the settings; see [`Client::new`].
    pub fn new(
        settings: &OmniSettings,
        state_dir: &Path,
        metrics: Metrics,
    ) -> Result<Self, ClientError> {
        Client::new(settings, state_dir, metrics).map(Self)
    }

    /// The client for reading.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.0
    }

    /// The capability to write, until `stop` is cancelled.
    #[must_use]
    pub fn writer(&self, stop: &CancellationToken) -> Writer {
        Writer {
            reader: self.0.reader(stop),
        }
    }
}

/// The capability to write, and to read.
#[derive(Clone, Debug)]
pub struct Writer {
    reader: Reader,
}

impl Writer {
    /// The capability to read with the same keys.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Creates a user. Returns the user from the response, if there is one.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost; [`OmniError::Conflict`] if the email is
    /// taken.
    pub async fn create(
        &self,
        email: &Email,
        spec: &UserSpec,
    ) -> Result<Option<ObservedUser>, OmniError> {
        let (url, body) = (self.reader.users_url(), CreateDoc::new(email, spec));
        let request = ApiRequest::with_body(Method::POST, url, &body);
        let answer = self.write(request).await?;
        Ok(answer.map(|answer| answer.created(spec)))
    }

    /// Changes these fields of a user and nothing else. Returns the user after that, if the response shows one.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost; [`OmniError::PutWithoutDefinitions`], with
    /// nothing sent, if the settings ask for `PUT` and the schema is unknown.
    pub async fn update(
        &self,
        user: &ObservedUser,
        fields: &[FieldChange],
        schema: &Schema,
    ) -> Result<Option<ObservedUser>, OmniError> {
        let url = self.reader.user_url(&user.id);
        let request = match self.reader.client.update_method() {
            UpdateMethod::Patch => match self.reader.client.forms() {
                usual if usual == Forms::default() => {
                    ApiRequest::with_body(Method::PATCH, url, &PatchDoc::new(fields))
                }
                probed => ApiRequest::with_body(Method::PATCH, url, &probed.patch(fields, schema)),
            },
            UpdateMethod::Put if !schema.is_known() => {
                return Err(OmniError::PutWithoutDefinitions);
            }
            UpdateMethod::Put => {
                let read = ApiRequest::get(url.clone());
                let edited = |user: &[u8]| put_body(user, fields, schema);
                let body = self.reader.read(read, edited).await?;
                ApiRequest::with_body(Method::PUT, url, &body)
            }
        };
        let answer = self.write(request).await?;
        Ok(answer.map(|answer| answer.over(user.with(fields))))
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost; [`OmniError::NotFound`] if the user is gone.
    pub async fn delete(&self, id: &UserId) -> Result<(), OmniError> {
        let request = ApiRequest::without_body(Method::DELETE, self.reader.user_url(id));
        self.write(request).await.map(drop)
    }

    /// Sends a write of a user once. The response may be empty.
    pub(super) async fn write(
        &self,
        request: ApiRequest,
    ) -> Result<Option<WriteAnswer>, OmniError> {
        self.write_once(request, WriteAnswer::parse).await
    }

    /// Sends a write once. The response may be empty.
    pub(super) async fn write_once<T>(
        &self,
        request: ApiRequest,
        parse: impl Fn(&[u8]) -> serde_json::Result<Option<T>>,
    ) -> Result<Option<T>, OmniError> {
        let Reader { client, stop, .. } = &self.reader;
        let parse = |body: &[u8]| match body.trim_ascii() {
            [] => Ok(None),
            body => parse(body),
        };
        client
            .exchange(&request, stop, parse)
            .await
            .map_err(|error| match error {
                AttemptError::Final(error) => error,
                AttemptError::Failed(failure) => OmniError::OutcomeUnknown(failure),
            })
    }
}
