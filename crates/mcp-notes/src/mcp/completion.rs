//! Completion of prompt arguments and of the id in the note URI template.

use notes::{Notes, Owner};
use rmcp::{
    ErrorData,
    model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference},
};

use super::{prompts, resources::TEMPLATE};
use crate::error_map::Failure;

/// The most values one answer may have (MCP 2026-07-28, server/utilities/completion).
const VALUES_MAX: u32 = 100;

/// What kind of value completes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completes {
    /// The id of a note, found by its title.
    NoteId,
    /// A tag.
    Tag,
}

pub(super) async fn complete(
    notes: &Notes,
    owner: &Owner,
    request: &CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let kind = kind(&request.r#ref, &request.argument.name)?;
    let typed = &request.argument.value;
    let (values, total) = match kind {
        Completes::NoteId => {
            let found = notes
                .titles(owner, typed, VALUES_MAX)
                .await
                .map_err(failed)?;
            let ids = found
                .items
                .into_iter()
                .map(|found| found.id.as_str().to_owned());
            (ids.collect::<Vec<_>>(), found.total)
        }
        Completes::Tag => {
            let found = notes.tags(owner, typed, VALUES_MAX).await.map_err(failed)?;
            let tags = found
                .items
                .into_iter()
                .map(|found| found.tag.as_str().to_owned());
            (tags.collect(), found.total)
        }
    };
    let shown = values.len() as u64;
    let has_more = total.map_or(shown >= u64::from(VALUES_MAX), |total| total > shown);
    let total = total.and_then(|total| u32::try_from(total).ok());
    let info = CompletionInfo::with_pagination(values, total, has_more)
        .map_err(|_| ErrorData::internal_error("internal error", None))?;
    Ok(CompleteResult::new(info))
}

fn kind(reference: &Reference, argument: &str) -> Result<Completes, ErrorData> {
    let known = match reference {
        Reference::Prompt(prompt) => prompts::completes(&prompt.name, argument),
        Reference::Resource(template) if template.uri != TEMPLATE => {
            Err("there is no such resource template")
        }
        Reference::Resource(_) if argument == "id" => Ok(Completes::NoteId),
        Reference::Resource(_) => Err("the resource template has no such variable"),
        _ => Err("this kind of reference is not known"),
    };
    known.map_err(|why| ErrorData::invalid_params(why, None))
}

fn failed(error: notes::Error) -> ErrorData {
    Failure::of(error).into_rpc_error()
}
