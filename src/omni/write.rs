//! The capability to write: each write is sent once, and says so where its answer was lost.

use super::client::{Client, ClientError};
use super::client::{Request, Trouble};
use super::error::OmniError;
use super::read::Reader;
use super::wire::{self, CreateDoc, PatchDoc};
use crate::metrics::Metrics;
use crate::model::{Email, FieldChange, ObservedUser, Schema, UserId, UserSpec};
use crate::settings::{OmniSettings, UpdateMethod};
use reqwest::{Method, Url};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A client that may write. What is given a [`Client`] alone has no way to one.
#[derive(Clone, Debug)]
pub struct WriteClient(Arc<Client>);

impl WriteClient {
    /// A client for the organisation that the settings name; see [`Client::new`].
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

    /// Makes a user. The answer shows them as made, unless it is empty.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] where the outcome is unknown; [`OmniError::Conflict`] where the email is
    /// taken.
    pub async fn create(
        &self,
        email: &Email,
        spec: &UserSpec,
    ) -> Result<Option<ObservedUser>, OmniError> {
        let url = self.reader.client.endpoint(&["api", "scim", "v2", "Users"]);
        self.write(Request::with_body(
            Method::POST,
            url,
            &CreateDoc::new(email, spec),
        ))
        .await
    }

    /// Changes these fields and nothing else. The answer shows the user as changed, unless it
    /// is empty.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] where the outcome is unknown; [`OmniError::PutWithoutDefinitions`], with
    /// nothing sent, where the settings ask for `PUT` and the schema is not known.
    pub async fn update(
        &self,
        id: &UserId,
        fields: &[FieldChange],
        schema: &Schema,
    ) -> Result<Option<ObservedUser>, OmniError> {
        let url = self.user_url(id);
        match self.reader.client.update_method() {
            UpdateMethod::Patch => {
                self.write(Request::with_body(
                    Method::PATCH,
                    url,
                    &PatchDoc::new(fields),
                ))
                .await
            }
            UpdateMethod::Put => self.replace(url, fields, schema).await,
        }
    }

    /// Sends the whole user, read right before.
    async fn replace(
        &self,
        url: Url,
        fields: &[FieldChange],
        schema: &Schema,
    ) -> Result<Option<ObservedUser>, OmniError> {
        if !schema.is_known() {
            return Err(OmniError::PutWithoutDefinitions);
        }
        let body = self
            .reader
            .read(Request::get(url.clone()), |read| {
                wire::put_body(read, fields, schema)
            })
            .await?;
        self.write(Request::with_body(Method::PUT, url, &body))
            .await
    }

    /// Revokes a membership.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] where the outcome is unknown; [`OmniError::NotFound`] where it is gone.
    pub async fn delete(&self, id: &UserId) -> Result<(), OmniError> {
        let url = self.user_url(id);
        self.write(Request::bare(Method::DELETE, url))
            .await
            .map(drop)
    }

    fn user_url(&self, id: &UserId) -> Url {
        self.reader
            .client
            .endpoint(&["api", "scim", "v2", "Users", id.as_str()])
    }

    /// Sends a write once. An empty answer and one that shows a user are both fine.
    async fn write(&self, request: Request) -> Result<Option<ObservedUser>, OmniError> {
        let Reader { client, stop } = &self.reader;
        let parse = |body: &[u8]| match body.trim_ascii() {
            [] => Ok(None),
            body => wire::parse_user(body),
        };
        client
            .exchange(&request, stop, parse)
            .await
            .map_err(|trouble| match trouble {
                Trouble::Final(error) => error,
                Trouble::Failed(failure) => OmniError::OutcomeUnknown(failure),
            })
    }
}
