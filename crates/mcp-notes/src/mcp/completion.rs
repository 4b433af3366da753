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
    let unknown = |what| Err(ErrorData::invalid_params(what, None));
    let known = match reference {
        Reference::Prompt(prompt) => match prompts::completes(&prompt.name, argument) {
            Some(known) => known,
            None => return unknown("there is no such prompt"),
        },
        Reference::Resource(template) if template.uri == TEMPLATE => {
            (argument == "id").then_some(Completes::NoteId)
        }
        Reference::Resource(_) => return unknown("there is no such resource template"),
        _ => return unknown("this kind of reference is not known"),
    };
    known.map_or_else(|| unknown("it has no such argument"), Ok)
}

fn failed(error: notes::Error) -> ErrorData {
    Failure::of(error).into_rpc_error()
}
