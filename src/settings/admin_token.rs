//! Warnings about the admin token.

use super::SecretFile;
use secrecy::ExposeSecret;

/// Shorter tokens can be guessed.
const MIN_LENGTH: usize = 16;

/// Checks the file of the admin token, and returns warnings for the user. Blocks.
#[must_use]
pub fn admin_token_warnings(file: &SecretFile) -> Vec<String> {
    let token = match file.read() {
        Ok(token) => token,
        Err(error) => return vec![format!("{error}; actions over HTTP are rejected")],
    };
    let length = token.expose_secret().len();
    let is_short = (length < MIN_LENGTH).then(|| {
        format!(
            "serve.admin_token_file: the token has only {length} characters and can be guessed; use 32 \
             random characters: `head -c 24 /dev/urandom | base64`"
        )
    });
    let is_open = file.is_world_readable().then(|| {
        "serve.admin_token_file: every user of this machine can read the file; run `chmod o-r` on it"
            .to_owned()
    });
    is_short.into_iter().chain(is_open).collect()
}
