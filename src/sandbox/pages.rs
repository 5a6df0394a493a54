//! Pages of the lists below `/api/v1/`, which have a cursor.

use serde_json::{Value, json};

use super::answer::{Refusal, Reply};
use super::call::Call;
use super::list::number;

const DEFAULT_SIZE: usize = 20;
const MAX_SIZE: usize = 100;

/// The requested number of entries.
pub(super) fn size(call: &Call) -> Result<usize, Refusal> {
    let size = number(call, "pageSize")?.unwrap_or(DEFAULT_SIZE);
    if (1..=MAX_SIZE).contains(&size) {
        return Ok(size);
    }
    let detail = format!("`pageSize` must be from 1 to {MAX_SIZE}");
    Err(Refusal::misuse(400, detail))
}

/// A page with entries of a list of this length. `next` is the cursor of the next page.
pub(super) fn reply(size: usize, total: usize, records: Value, next: Option<String>) -> Reply {
    let page = json!({
        "hasNextPage": next.is_some(),
        "nextCursor": next,
        "pageSize": size,
        "totalRecords": total,
    });
    Reply::json(200, json!({ "records": records, "pageInfo": page }))
}

/// The page of a list whose cursor is the number of entries before it.
pub(super) fn counted<T>(
    call: &Call,
    found: &[T],
    show: impl Fn(&T) -> Value,
) -> Result<Reply, Refusal> {
    let size = size(call)?;
    let skip = number(call, "cursor")?.unwrap_or(0);
    let end = skip.saturating_add(size);
    let next = Some(end).filter(|next| *next < found.len());
    let records = found.iter().skip(skip).take(size).map(show).collect();
    let next = next.map(|next| next.to_string());
    Ok(reply(size, found.len(), records, next))
}
